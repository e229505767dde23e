"""Measures how far two budgets order methods alike: rank correlation, and its bootstrap.

``M`` methods, ``R`` runs, ``T`` tasks. The tasks are these ones, not a sample.
"""

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
