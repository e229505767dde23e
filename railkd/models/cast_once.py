"""Holds a frozen model's weights in the number format that autocast would cast them to in every forward pass."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.devices import autocast
from railkd.models.shortcuts import calm, tiny_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def cast_once(model: "PreTrainedModel", dtype: torch.dtype) -> Callable[[], None]:
    """Casts the linear maps of a model that is only run, and run under autocast; returns what puts them back.

    Autocast casts the very same weights to the very same values, but in every pass, for it remembers none without a
    gradient. All else stays float32, as it is under autocast. No number changes: a model that gives others on a tiny
    batch, because it reads a weight by itself, is left as it was.
    """
    if dtype == torch.float32:
        return lambda: None
    kept = [(parameter, parameter.data) for parameter in _cast_by_autocast(model)]

    def undo() -> None:
        for parameter, whole in kept:
            parameter.data = whole

    before = _numbers(model, dtype)
    for parameter, whole in kept:
        parameter.data = whole.to(dtype)
    try:
        same = all(map(torch.equal, _numbers(model, dtype), before))
    except Exception:  # types that do not fit, in a model's own code
        same = False
    if not same:
        undo()
    return undo


def _cast_by_autocast(model: nn.Module) -> list[Tensor]:
    """The weights and biases of linear maps; not the biases inside a narrowed attention, which adds them by itself."""
    narrowed = [module for module in model.modules() if "forward" in vars(module)]
    by_itself = {id(part) for module in narrowed for part in module.modules()}
    found: list[Tensor] = []
    for module in model.modules():
        if type(module) is nn.Linear:
            found.append(module.weight)
            if module.bias is not None and id(module) not in by_itself:
                found.append(module.bias)
    return found


def _numbers(model: "PreTrainedModel", dtype: torch.dtype) -> list[Tensor]:
    with calm(model), autocast(model.device, dtype):
        output: Any = model(**tiny_batch(model), output_hidden_states=True)
    return [output.logits, *output.hidden_states]
