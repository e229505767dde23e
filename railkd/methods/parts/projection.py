"""Maps vectors between representation spaces, and measures what is left of them there.

Dimensions: ``B`` batch, ``G`` groups (layers, or 1), ``D`` width, ``U`` projected width.
"""

import math

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """nn.Linear for vectors of any floating type: cached teacher vectors are half precision."""

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Linear."""
        return super().forward(input.to(self.weight.dtype))


class LayerLinear(nn.Module):
    """One bias-free linear map for each of G groups: ``x_BGD`` → ``(B, G, U)``; a single matrix product."""

    def __init__(self, groups: int, width: int, out: int, trained: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, width, out), requires_grad=trained)
        nn.init.uniform_(self.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))  # as nn.Linear

    def forward(self, x_BGD: Tensor) -> Tensor:
        """Vectors of any floating type, as for ``Linear``."""
        return torch.einsum("bgd,gdu->bgu", x_BGD.to(self.weight.dtype), self.weight)


class Spectrum(nn.Module):
    """How many directions a set of unit vectors uses, accumulated on the device over an epoch.

    ``effective_rank``          exp of the entropy of the eigenvalues of E[v vᵀ], uncentred: 1 when all examples
                                share one direction (a collapsed projection), U when all directions are used alike
    ``effective_rank_centred``  the same of E[v vᵀ] − E[v] E[v]ᵀ: the directions in which examples differ
    ``spread``                  1 − ‖E[v]‖²: the share of the squared norm that differs between examples; 0 = collapsed

    Each is the mean over groups.
    """

    moment_GUU: Tensor
    sum_GU: Tensor

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.register_buffer("moment_GUU", torch.zeros(groups, width, width), persistent=False)
        self.register_buffer("sum_GU", torch.zeros(groups, width), persistent=False)
        self.examples = 0

    def reset(self) -> None:
        """Forget what was added."""
        self.moment_GUU.zero_()
        self.sum_GU.zero_()
        self.examples = 0

    @torch.no_grad()
    def add(self, unit_BGU: Tensor) -> None:
        """Add a batch of unit vectors; does not wait for the device."""
        with torch.autocast(unit_BGU.device.type, enabled=False):
            unit_BGU = unit_BGU.detach().float()
            self.moment_GUU += torch.einsum("bgu,bgv->guv", unit_BGU, unit_BGU)
            self.sum_GU += unit_BGU.sum(0)
        self.examples += len(unit_BGU)

    def summary(self) -> dict[str, float]:
        """The three numbers above; waits for the device once."""
        moment = (self.moment_GUU / self.examples).double().cpu()
        mean = (self.sum_GU / self.examples).double().cpu()
        centred = moment - torch.einsum("gu,gv->guv", mean, mean)
        return {
            "effective_rank": _effective_rank(moment),
            "effective_rank_centred": _effective_rank(centred),
            "spread": round(1 - mean.square().sum(-1).mean().item(), 6),
        }


def _effective_rank(covariance_GUU: Tensor) -> float:
    """exp(−Σ p log p) with p the normalised eigenvalues (Roy & Vetterli, 2007), mean over groups."""
    values = torch.linalg.eigvalsh(covariance_GUU).clamp(min=0)
    p = values / values.sum(-1, keepdim=True).clamp(min=1e-12)
    return round(torch.special.entr(p).sum(-1).exp().mean().item(), 4)
