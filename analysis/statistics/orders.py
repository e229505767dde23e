"""Measures how far two budgets order methods alike: rank correlation, and what noise alone makes of it.

``M`` methods, ``R`` runs, ``T`` tasks. The tasks are these ones, not a sample.
"""

import math
from typing import Any

import numpy as np

from analysis.statistics.bootstrap import DRAWS

Array = np.ndarray[Any, Any]


def kendall(first: Array, second: Array) -> Array:
    """Kendall's τ-b of two scorings of the same methods: (..., M) each -> (...); NaN where one of them ties all.

    (concordant − discordant pairs) / √(pairs untied in the first · pairs untied in the second)
    """
    i, j = np.triu_indices(first.shape[-1], 1)
    a, b = (np.sign(scores[..., i] - scores[..., j]) for scores in (first, second))
    untied = np.asarray(np.sqrt((a != 0).sum(-1) * (b != 0).sum(-1)), dtype=float)
    return np.asarray((a * b).sum(-1) / np.where(untied > 0, untied, np.nan))


def resampled(scores_MRT: Array, generator: np.random.Generator, draws: int = DRAWS) -> Array:
    """Mean scores over resampled runs: (M, R, T) -> (draws, M).

    Runs are drawn anew for each task, whose runs are independent, and for all methods alike: a seed is paired.
    """
    methods, n, tasks = scores_MRT.shape
    means_NM = np.zeros((draws, methods))
    for t in range(tasks):
        index_NR = generator.integers(0, n, size=(draws, n))
        means_NM += scores_MRT[:, index_NR, t].mean(axis=-1).T / tasks
    return means_NM


def unchanged(first_MRT: Array, last_MRT: Array, generators: tuple[np.random.Generator, np.random.Generator]) -> Array:
    """Kendall's τ-b of two budgets whose true order is the same, that of the last one's means: (draws,).

    Each budget has the noise of its own runs, as resampled and widened by √(R/(R − 1)), for resampled means of few runs
    vary too little. Noise lowers τ: what is observed is to be held against this, not against 1. At least two runs.
    """
    means_M = last_MRT.mean(axis=(1, 2))
    drawn = []
    for scores_MRT, generator in zip((first_MRT, last_MRT), generators, strict=True):
        runs = scores_MRT.shape[1]
        noise_NM = resampled(scores_MRT, generator) - scores_MRT.mean(axis=(1, 2))
        drawn.append(means_M + math.sqrt(runs / (runs - 1)) * noise_NM)
    return kendall(*drawn)
