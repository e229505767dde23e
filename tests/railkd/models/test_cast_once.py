"""Weights of a frozen model that are cast once: the numbers of autocast, bit for bit, and back again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from railkd.devices import autocast
from railkd.models.cast_once import cast_once
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.models.shortcuts import tiny_batch

CPU, BF16 = torch.device("cpu"), torch.bfloat16


class Casts(TorchDispatchMode):
    """Counts the conversions of matrices, (rows, columns), to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.of_matrices = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ == "_to_copy" and made.dtype == BF16 and made.ndim == 2:
            self.of_matrices += 1
        return made


def frozen(checkpoints: Path, name: str, whole: bool) -> Any:
    model = load_classifier(Checkpoint(str(checkpoints / name)), 2, 1, name, whole_last_layer=whole)
    return model.eval().requires_grad_(False)


def outputs(model: Any) -> tuple[list[torch.Tensor], int]:
    """Logits and hidden states under autocast, and how many matrices were cast for them."""
    with torch.no_grad(), autocast(CPU, BF16), Casts() as casts:
        made = model(**tiny_batch(model), output_hidden_states=True)
    return [made.logits, *made.hidden_states], casts.of_matrices


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_numbers_are_those_of_autocast_without_its_casts(checkpoints: Path, name: str, whole: bool) -> None:
    model = frozen(checkpoints, name, whole)
    before, weights = outputs(model), {key: value.clone() for key, value in model.state_dict().items()}
    undo = cast_once(model, BF16)
    after = outputs(model)
    assert all(map(torch.equal, after[0], before[0]))
    linear = [module for module in model.modules() if type(module) is nn.Linear]
    assert all(module.weight.dtype == BF16 for module in linear) and after[1] <= before[1] - len(linear) + 2
    assert model.get_input_embeddings().weight.dtype == torch.float32
    undo()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert cast_once(model, torch.float32)() is None and model.dtype == linear[0].weight.dtype == torch.float32


def test_a_model_whose_numbers_would_change_stays_as_it_is(checkpoints: Path) -> None:
    model = frozen(checkpoints, "bert4", True)
    dense = model.bert.encoder.layer[0].output.dense
    dense.register_forward_hook(lambda module, given, made: made * module.weight.itemsize)
    cast_once(model, BF16)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
