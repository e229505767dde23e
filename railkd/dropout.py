"""Dropout on a CPU whose random bits come four to a word: torch draws them one by one, a sixth of a real step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_LEVELS = 1 << 16  # a bit pattern of 16 decides on each element
_torch_dropout = F.dropout


def kept(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies by, of the shape and type of ``like``: 0 with probability p, else 1/(1 − p).

    p is rounded to 1/65,536. The bits are SFC64's, seeded by one draw of torch's global generator, which so remains the
    only state: what seeds or restores it decides on these too.
    """
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()).item())
    words = np.random.SFC64(seed).random_raw(-(-like.numel() // 4))
    bits = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
    dropped = round(p * _LEVELS)
    return (bits >= dropped - _LEVELS // 2).to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout``, for tensors on the CPU."""
    if not training or input.device.type != "cpu" or not 0 < round(p * _LEVELS) < _LEVELS:
        return _torch_dropout(input, p, training, inplace)
    noise = kept(input, p)
    return input.mul_(noise) if inplace else input * noise


def quick_dropout(device: torch.device) -> AbstractContextManager[None]:
    """Within the block, modules and attention drop out as above, if the device is a CPU."""
    return _swapped() if device.type == "cpu" else nullcontext()


@contextmanager
def _swapped() -> Iterator[None]:
    # nn.Dropout and the attention of `transformers` both look the function up by this name, at each call
    F.dropout = dropout
    try:
        yield
    finally:
        F.dropout = _torch_dropout
