"""Trains again with less data on the device where its memory ran out."""

from collections.abc import Callable
from typing import TypeVar

import torch

from railkd.errors import UserError

Made = TypeVar("Made")


def with_less_memory(train: Callable[[float], Made], share: float, say: Callable[[str], None]) -> Made:
    """What ``train(share)`` returns: the share of a GPU's free memory that data may take; where memory runs out, it is
    called with a quarter of it, and at last with none.

    Raises UserError where the step alone does not fit. ``say`` is told of every further try.
    """
    shares = [share, share / 4, 0.0] if share else [0.0]
    for part, less in zip(shares, [*shares[1:], None], strict=True):
        try:
            return train(part)
        except torch.OutOfMemoryError:
            pass  # what follows is outside this block, which holds the failed try's tensors
        if less is not None:
            say(f"GPU memory ran out with {part:.0%} of what was free for data; trying again with {less:.0%}")
            torch.cuda.empty_cache()
    raise UserError(
        "GPU memory ran out with no data kept there; expected a smaller batch_size, or fewer jobs on the GPU "
        "(--resources gpu)"
    )
