"""What a job says while it trains."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from railkd.jobs import recording


def test_a_line_of_the_steps_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], list[str]()
    monkeypatch.setattr(recording.time, "monotonic", lambda: now[0])
    after_step = recording.step_lines(said.append, epochs=3, every=30.0)
    for done in range(1, 13):  # a step takes 20 seconds, an epoch 6 steps
        now[0] += 20.0
        after_step(cast(Any, SimpleNamespace(done=done, per_epoch=6)), torch.zeros(1))
    assert said == [f"epoch {e}/3 step {s}/6" for e in (1, 2) for s in (2, 4, 6)]
