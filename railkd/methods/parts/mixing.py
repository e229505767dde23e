"""Draws which examples of a batch are mixed, and with what share."""

import numpy as np
import torch
from torch import Tensor


def draw_mix(examples: int, concentration: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """partner_B, a random permutation of the batch, and one share λ ~ Beta(c, c) for all of it, c the concentration."""
    partner_B = torch.randperm(examples, generator=generator, device="cpu")
    seed = int(torch.randint(2**62, (1,), generator=generator, device="cpu"))
    return partner_B, float(np.random.default_rng(seed).beta(concentration, concentration))
