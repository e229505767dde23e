"""Measures whether there is something to gain: how far the teacher lies above the student trained without it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.load import Runs
from analysis.statistics import summaries
from analysis.validity.thresholds import GAP_ERRORS


@dataclass(frozen=True)
class Gap:
    """Teacher less student without KD on one task or out-of-domain set, in points."""

    block: str
    column: str
    teacher: float
    student: float  # mean over its runs
    se: float  # of the difference: of the student's seeds and of the examples
    examples: int

    @property
    def value(self) -> float:
        """The gap in points."""
        return self.teacher - self.student

    @property
    def clears(self) -> bool:
        """Whether the gap is more than noise."""
        return self.value > GAP_ERRORS * self.se


def gap(runs: Runs, pair: str, without_kd: str, block: str, column: str) -> Gap | None:
    """The gap on one column; None where a score of either, or the number of examples, is missing.

    The teacher that was trained is the one that teaches, so that its own seed is no error. Both are scored on the same
    examples: what their answers have in common cancels (``shared``).
    """
    teachers, students = (runs.by_cell.get((pair, method, block, column), []) for method in ("teacher", without_kd))
    if not teachers or not students or not teachers[0]["examples"] or np.isnan(teachers[0]["examples"]):
        return None
    scores = np.array([row["score"] for row in students])
    records = runs.cell(pair, without_kd, runs.task_of(block, column)).values()
    agreed = [r.get("diagnostics", {}).get("agreement", {}).get(block if block != "ood" else column) for r in records]
    of_examples = _examples_variance(teachers[0], students, [a for a in agreed if a])
    of_seeds = float(scores.var(ddof=1)) / len(scores) if len(scores) > 1 else 0.0
    return Gap(
        block, column, 100 * float(teachers[0]["score"]), 100 * float(scores.mean()),
        100 * math.sqrt(of_seeds + of_examples), int(teachers[0]["examples"]),
    )  # fmt: skip


def _examples_variance(
    teacher: Mapping[Any, Any], students: list[dict[str, Any]], agreed: list[Mapping[str, float]]
) -> float:
    """Variance of teacher less student that comes from the sample of examples, of scores as fractions.

    Classes: with a share a of the same answers, exactly one of the two is right on at most 1 − a of the examples, so
    that the difference δ of their accuracies has at most the variance (1 − a − δ²)/N (McNemar). Another metric than
    accuracy has its own sampling variance, reduced by the same factor. Scores (correlations): Hotelling's, of two
    correlations with one variable whose own correlation is known. Without agreement: as if of two samples.
    """
    n, own = int(teacher["examples"]), float(teacher["score"])
    other = float(np.mean([row["score"] for row in students]))
    separate = summaries.examples_error([teacher]) ** 2 + summaries.examples_error(students) ** 2
    p, q = _mean([teacher["accuracy"]]), _mean(row["accuracy"] for row in students)
    correlation, same = (_mean(a[key] for a in agreed if key in a) for key in ("pearson", "same"))
    if not math.isnan(correlation):
        determinant = 1 - own**2 - other**2 - correlation**2 + 2 * own * other * correlation
        return min(max(2 * determinant / (max(n - 3, 1) * (1 + correlation)), 0.0), separate)
    if not math.isnan(same + p + q):
        apart = p * (1 - p) + q * (1 - q)
        return separate * min(1.0, max(1 - same - (p - q) ** 2, 0.0) / apart) if apart > 0 else 0.0
    return separate


def _mean(values: Iterable[Any]) -> float:
    found = [float(v) for v in values if v is not None]
    return float(np.mean(found)) if found else math.nan
