"""What the tests of the methods share besides the fixtures of conftest.py."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from railkd.methods import build
from railkd.methods.base import Method, Setting

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0, 2, 0, 1, 2])  # of a training set of three classes
BEND = 2.0  # how far a fake model is from linear in a mix, see conftest.FakeSignals.mixed


def started(name: str, setting: Setting, epoch: int = 0, epochs: int = 4, seed: int = 0, **options: Any) -> Method:
    """A method as the training loop has it in its first step of an epoch."""
    torch.manual_seed(seed)
    method = build(name, setting, options)
    method.epochs = epochs
    method.start_training(torch.Generator().manual_seed(seed))
    method.start_epoch(epoch, torch.Generator().manual_seed(1000 * seed + epoch))
    return method


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """In plain numbers, no tensors."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
