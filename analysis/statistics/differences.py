"""Estimates the difference of two methods' scores, paired by seed and by example, over the same tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.statistics import bootstrap, inference
from analysis.statistics.inference import Estimate


@dataclass(frozen=True)
class Difference:
    """First − second in points, mean over columns of the mean over the seeds that both have."""

    columns: tuple[str, ...]
    value: float
    estimate: Estimate | None  # None: one seed in common on some column
    of_examples: bool  # whether the estimate holds the error of examples beside that of seeds

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; NaN without an estimate."""
        low, high = self.estimate.interval() if self.estimate else (np.nan, np.nan)
        return float(low), float(high)


def between(
    benchmark: ReportedBenchmark, runs: Runs, pair: str, block: str, columns: Sequence[str], first: str, second: str
) -> Difference | None:
    """The difference over the columns for which both methods are defined; None where one has no seed in common.

    The error of examples is that of the mean over resampled examples (paired bootstrap, standard deviation), and joins
    that of the seeds where every run has its predictions and labels at hand.
    """
    sides = (first, second)
    shared = tuple(
        c for c in columns if not any(benchmark.undefined(m, benchmark.source_task(block, c)) for m in sides)
    )
    scores = [[runs.percents(pair, method, block, column) for method in sides] for column in shared]
    trained_on = [benchmark.source_task(block, column) for column in shared]
    seeds = inference.seeds_in_common(trained_on, [set(a) & set(b) for a, b in scores])
    if not shared or not all(seeds):
        return None
    strata = [np.array([a[seed] - b[seed] for seed in of]) for (a, b), of in zip(scores, seeds, strict=True)]
    value = round(float(np.mean([values.mean() for values in strata])), inference.DIGITS)
    if min(map(len, strata)) < 2:
        return Difference(shared, value, None, False)
    drawn = _resampled(benchmark, runs, pair, block, shared, sides, seeds)
    error = 0.0 if drawn is None else float(np.std(drawn, ddof=1))
    merged = inference.merged(strata, [1 / len(strata)] * len(strata), trained_on)
    estimate = inference.contrast(*merged, error)
    return Difference(shared, value, estimate, drawn is not None)


def _resampled(
    benchmark: ReportedBenchmark,
    runs: Runs,
    pair: str,
    block: str,
    columns: Sequence[str],
    sides: tuple[str, str],
    seeds: Sequence[Sequence[int]],
) -> bootstrap.Array | None:
    """The difference on resampled examples: (draws,); None unless every run has its predictions."""
    examples = bootstrap.examples_of(benchmark, runs)
    total = 0.0
    for column, of in zip(columns, seeds, strict=True):
        first, second = (examples.scores(pair, method, block, column) for method in sides)
        if first is None or second is None:
            return None
        total = total + np.mean([first[seed] - second[seed] for seed in of], axis=0)
    return np.asarray(total) / len(columns)
