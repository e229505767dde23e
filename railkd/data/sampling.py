"""Draws rows of a labelled set so that every class has its share: a file may be sorted by label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def strata(labels: NDArray[Any]) -> list[NDArray[np.intp]]:
    """The rows of every class, or of every fifth of the scores."""
    kinds = labels if labels.dtype.kind == "i" else np.digitize(labels, np.quantile(labels, [0.2, 0.4, 0.6, 0.8]))
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def share_of(
    labels: NDArray[Any], share: float, seed: int, groups: NDArray[np.intp] | None = None
) -> NDArray[np.bool_]:
    """A mask of about ``share`` of the rows, the same share of every class (of every fifth of the scores).

    ``groups``, (rows,): rows of one number stay together, and a group that would give a class more than its share is
    passed over.
    """
    rng = np.random.default_rng(seed)
    held, of_class = np.zeros(len(labels), dtype=bool), strata(labels)
    if groups is None:
        for rows in of_class:
            held[rng.permutation(rows)[: round(share * len(rows))]] = True
        return held
    kinds = np.empty(len(labels), dtype=np.intp)
    for kind, rows in enumerate(of_class):
        kinds[rows] = kind
    wanted = np.array([round(share * len(rows)) for rows in of_class])
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for group in rng.permutation(len(members)):
        given = np.bincount(kinds[members[group]], minlength=len(wanted))
        if (given <= wanted).all():
            held[members[group]] = True
            wanted -= given
    return held


def rows_of(labels: NDArray[Any], count: int, seed: int) -> NDArray[np.intp]:
    """``count`` rows in the file's order, of every class (of every fifth of the scores) its share, and one at least.

    What the shares leave over by rounding goes to the largest remainders.
    """
    groups = strata(labels)
    if count >= len(labels):
        return np.arange(len(labels))
    share = np.array([count * len(rows) / len(labels) for rows in groups])
    taken = np.floor(share).astype(int)
    for i in np.argsort(taken - share, kind="stable")[: count - taken.sum()]:
        taken[i] += 1
    while count >= len(groups) and (taken == 0).any():
        taken[taken.argmax()] -= 1
        taken[taken.argmin()] += 1
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.permutation(rows)[:n] for rows, n in zip(groups, taken, strict=True)]))
