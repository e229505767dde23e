"""Training settings: the keys of a benchmark file at their values, and one line for a key that is none."""

from dataclasses import asdict

import pytest
import torch

from railkd.benchmark.defaults import LATER, TRAINING
from railkd.errors import UserError
from railkd.training.settings import TrainingSettings

CPU = torch.device("cpu")


def test_what_is_not_given_has_its_default() -> None:
    settings = asdict(TrainingSettings.of({"epochs": 7, "warmup": 0}, 3, CPU))
    others = {**LATER, "seed": 3, "device": CPU, "device_memory": 0.5}
    assert settings == {**TRAINING, "epochs": 7, "warmup": 0.0, **others}
    assert TrainingSettings.of({"compile": True}, 3, CPU).compile


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(UserError, match="^training: unknown setting 'learningrate'; did you mean 'learning_rate'?"):
        TrainingSettings.of({"learningrate": 1e-3}, 1, CPU)
