"""Averages distances over tokens: each example's mean over its real tokens, then the mean over the batch.

So an example counts the same whatever its length, and a batch's loss is the mean of its halves'.
"""

from torch import Tensor
from torch.nn import functional as F


def token_mean(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over real tokens, then over the batch: a scalar. What stands at padding has no part, be it infinite."""
    real_BT = mask_BT.bool()
    return (value_BT.masked_fill(~real_BT, 0).sum(1) / real_BT.sum(1)).mean()


def token_mse(a_BTD: Tensor, b_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over width, real tokens and batch of the squared difference, in float32: a scalar."""
    return token_mean((a_BTD.float() - b_BTD.float()).square().mean(-1), mask_BT)


def token_cosine(a_BTD: Tensor, b_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over real tokens and batch of 1 − cos(a, b), in float32: a scalar."""
    return token_mean(1 - F.cosine_similarity(a_BTD.float(), b_BTD.float(), dim=-1), mask_BT)
