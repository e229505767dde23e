"""Says which parameters decay, and what the learning rate of a step is."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def parameter_groups(modules: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """No weight decay on biases and layer norms, which are vectors."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over ``warmup`` of all steps, then linear decay to 0; step counts from 0."""
    warm = max(1, math.ceil(warmup * steps)) if warmup else 0
    if step < warm:
        return (step + 1) / warm
    return max(0.0, (steps - step) / max(1, steps - warm))
