"""Measures how far two budgets order methods alike: rank correlation, its bootstrap, and the pairs that are decided.

``M`` methods, ``R`` runs, ``T`` tasks. The tasks are these ones, not a sample.
"""

import itertools
from typing import Any

import numpy as np

from analysis.statistics import inference
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


def decided_pairs(scores_MRT: Array) -> dict[tuple[int, int], int]:
    """Each pair of methods (i < j) -> 1 or −1 where i is decided to score above or below j, 0 where neither is.

    By the paired difference over runs and tasks, two-sided at 5 %, after Holm's correction over all pairs; with a
    single run nothing is decided.
    """
    pairs = list(itertools.combinations(range(len(scores_MRT)), 2))
    estimates = [inference.paired(scores_MRT[i] - scores_MRT[j]) for i, j in pairs]
    return dict(zip(pairs, inference.decided(estimates), strict=True))
