"""The gap between teacher and student without KD, and its error, against examples drawn again and again."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.statistics import summaries
from analysis.validity.gap import gap
from analysis.validity.thresholds import GAP_ERRORS

PAIR = "large-small"


def runs(
    teacher: float, students: list[float], metric: str = "accuracy", agreement: dict[str, float] | None = None,
    accuracies: tuple[float, float] = (0.8, 0.7), examples: int = 400, sampling_error: float | None = None,
) -> load.Runs:  # fmt: skip
    def row(method: str, seed: int, score: float, accuracy: float) -> dict[str, Any]:
        cell = {"pair": PAIR, "method": method, "block": "dev", "column": "cola", "task": "cola", "seed": seed}
        return {**cell, "metric": metric, "score": score, "accuracy": accuracy, "baseline": 0, "examples": examples,
                "sampling_error": sampling_error}  # fmt: skip

    rows = [row("no_kd", i, s, s if metric == "accuracy" else accuracies[1]) for i, s in enumerate(students)]
    rows.append(row("teacher", 1, teacher, teacher if metric == "accuracy" else accuracies[0]))
    diagnostics = {"agreement": {"dev": agreement}} if agreement else {}
    records = {(PAIR, "no_kd", "cola", i): {"diagnostics": diagnostics} for i in range(len(students))}
    return load.Runs(records, {}, pd.DataFrame(rows, columns=load.COLUMNS))


def test_the_gap_clears_beyond_two_standard_errors_of_seeds_and_examples() -> None:
    found = gap(runs(0.85, [0.70, 0.72]), PAIR, "no_kd", "dev", "cola")
    assert found is not None and found.value == pytest.approx(14)
    of_seeds = np.var([70, 72], ddof=1) / 2
    of_examples = 1e4 * (0.85 * 0.15 + 0.71 * 0.29) / 400
    assert found.se == pytest.approx(np.sqrt(of_seeds + of_examples))
    assert found.clears is (GAP_ERRORS * found.se < 14) is True
    near = gap(runs(0.71 + 0.0199 * found.se, [0.70, 0.72]), PAIR, "no_kd", "dev", "cola")
    assert near is not None and not near.clears
    assert gap(runs(0.85, []), PAIR, "no_kd", "dev", "cola") is None


def test_answers_in_common_cancel() -> None:
    """The error of the difference of two accuracies on one sample, from the share of the same answers."""
    generator, n = np.random.default_rng(1), 400
    differences, agreed = [], []
    for _ in range(3000):
        teacher = generator.random(n) < 0.8
        student = np.where(generator.random(n) < 0.85, teacher, ~teacher)  # of two classes
        differences.append(teacher.mean() - student.mean())
        agreed.append((teacher == student).mean())
    scores = 0.8, 0.8 * 0.85 + 0.2 * 0.15
    found = gap(runs(scores[0], [scores[1]], agreement={"same": float(np.mean(agreed))}), PAIR, "no_kd", "dev", "cola")
    assert found is not None and found.se == pytest.approx(100 * np.std(differences), rel=0.05)
    apart = gap(runs(scores[0], [scores[1]]), PAIR, "no_kd", "dev", "cola")
    assert apart is not None and apart.se > 1.2 * found.se  # as if of two samples
    matthews = gap(runs(0.5, [0.4], "matthews", {"same": 0.85}), PAIR, "no_kd", "dev", "cola")
    separate = gap(runs(0.5, [0.4], "matthews"), PAIR, "no_kd", "dev", "cola")
    assert matthews is not None and separate is not None and matthews.se < 0.8 * separate.se


def test_correlated_scores_cancel() -> None:
    generator, n = np.random.default_rng(2), 400
    differences, between = [], []
    for _ in range(2000):
        y = generator.normal(size=n)
        shared = generator.normal(size=n)
        teacher = y + 0.4 * shared + 0.2 * generator.normal(size=n)
        student = y + 0.4 * shared + 0.5 * generator.normal(size=n)
        c = np.corrcoef([y, teacher, student])
        differences.append(c[0, 1] - c[0, 2])
        between.append((c[0, 1], c[0, 2], c[1, 2]))
    own, other, both = np.mean(between, axis=0)
    found = gap(runs(own, [other], "pearson", {"pearson": both}), PAIR, "no_kd", "dev", "cola")
    assert found is not None and found.se == pytest.approx(100 * np.std(differences), rel=0.35)
    apart = gap(runs(own, [other], "pearson"), PAIR, "no_kd", "dev", "cola")
    assert apart is not None and apart.se > found.se


def test_the_error_that_a_record_holds_is_taken() -> None:
    """Of macro F1, whose error no formula of the score gives."""
    known = gap(runs(0.85, [0.70, 0.70], "macro_f1", sampling_error=0.04), PAIR, "no_kd", "dev", "cola")
    assert known is not None and known.se == pytest.approx(100 * np.sqrt(2) * 0.04)
    (row, *_), *_ = runs(0.85, [0.70, 0.70], "macro_f1", sampling_error=0.4).by_cell.values()
    assert summaries.clears_baseline([row]) is False and summaries.clears_baseline([{**row, "sampling_error": 0.1}])
