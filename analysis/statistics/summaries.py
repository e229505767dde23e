"""Sums up a cell in numbers: mean, spread, and whether it is better than the majority-class baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtri, fdtri, stdtrit  # scipy.stats takes a second to import

from analysis.statistics import inference


def matrix(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One table row's scores: (runs × tasks), a row for each seed, NaN where a run is missing; fractions."""
    return rows.pivot(index="seed", columns="column", values="score").reindex(columns=columns).sort_index()


def mean_sd(values: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor n − 1) of scores: (runs,); the latter is NaN for one run."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def mean_interval(mean: float, sd: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Student's confidence interval of a mean over n ≥ 2 normal runs: mean ± t(n − 1) · sd/√n."""
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return mean - half, mean + half


def sampling_error(metric: str, score: float, examples: int, accuracy: float | None = None) -> float:
    """Standard error of a score that comes from having drawn these test examples and no others.

    accuracy         √(p(1 − p)/N)
    F1               delta method on the counts of true positives and errors, √(F(1 − F)²(2 − F) / (N(1 − accuracy)));
                     the counts follow from F1 and accuracy. Without the accuracy: as if F1 were an accuracy
    macro F1         as if it were an accuracy, which is too small where the classes are unequal: the error that a
                     record holds is taken instead (``examples_error``)
    correlations     √((1 − r²)/(N − 2)), the error of the usual t-test; for Matthews, the correlation of two binary
                     variables, exact at r = 0 for large N, which is where the constant answer lies
    """
    if metric == "f1" and accuracy is not None:
        return math.sqrt(score * (1 - score) ** 2 * (2 - score) / (examples * (1 - accuracy))) if accuracy < 1 else 0.0
    if metric in ("accuracy", "f1", "macro_f1"):
        return math.sqrt(max(score * (1 - score), 0.0) / examples)
    return math.sqrt(max(1 - score**2, 0.0) / max(examples - 2, 1))


def clears(mean: float, sd: float, n: int, baseline: float, sampling: float) -> bool:
    """Whether a mean over n runs lies above a baseline by more than two standard errors, of runs and examples."""
    of_runs = 0.0 if math.isnan(sd) else sd**2 / n
    return mean - baseline > 2 * math.sqrt(sampling**2 + of_runs)


def examples_error(rows: Sequence[Mapping[Any, Any]]) -> float:
    """Standard error of a cell's mean score that comes from its examples; NaN where their number is unknown.

    ``rows`` are the cell's rows of ``load.Runs.scores``, one for each run, all on the same examples: runs do not make
    it smaller. What the records say of it, where they do, otherwise ``sampling_error``.
    """
    first, recorded = rows[0], [row["sampling_error"] for row in rows]
    if pd.isna(first["examples"]) or not first["examples"]:
        return math.nan
    if not any(map(pd.isna, recorded)):
        return float(np.mean(recorded))
    accuracies = [row["accuracy"] for row in rows]
    accuracy = None if any(map(pd.isna, accuracies)) else float(np.mean(accuracies))
    mean = float(np.mean([row["score"] for row in rows]))
    return sampling_error(first["metric"], mean, int(first["examples"]), accuracy)


def clears_baseline(rows: Sequence[Mapping[Any, Any]]) -> bool | None:
    """Whether a cell clears its majority-class baseline, the rule behind the † of the tables; None where it is unknown.

    ``rows`` as for ``examples_error``.
    """
    error = examples_error(rows)
    if pd.isna(rows[0]["baseline"]) or math.isnan(error):
        return None
    mean, sd = mean_sd(np.array([row["score"] for row in rows], dtype=float))
    return clears(mean, sd, len(rows), float(rows[0]["baseline"]), error)


def sd_factors(n: int, level: float = 0.95) -> tuple[float, float]:
    """What to multiply a standard deviation of n normal runs by for its confidence interval (chi-square)."""
    tail = (1 - level) / 2
    return math.sqrt((n - 1) / chdtri(n - 1, tail)), math.sqrt((n - 1) / chdtri(n - 1, 1 - tail))


def stratified_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean over tasks of the mean over runs, and its interval: values (runs × tasks), NaN where a run is missing.

    The tasks are these ones, not a sample: the variance is Σₜ sₜ²/nₜ over T², its degrees of freedom Satterthwaite's.
    NaN limits where a task has a single run; all NaN where it has none.
    """
    if not values.size or np.isnan(values).all(axis=0).any():
        return math.nan, math.nan, math.nan
    estimate = inference.paired(values)
    if estimate is None:
        return float(np.nanmean(values, axis=0).mean()), math.nan, math.nan
    low, high = estimate.interval(level)
    return float(estimate.value), float(low), float(high)


@dataclass(frozen=True)
class Variance:
    """Two-way analysis of scores (items × runs) without replication: what the items explain of one run's variance."""

    item_sd: float  # of the items' true means, its estimate cut at 0
    noise_sd: float  # of one run of an item, after the effect of the run on all items
    freedom: int  # degrees of freedom of the latter
    share: float  # item variance over the sum of both (intraclass correlation, consistency), may be negative
    low: float  # its interval
    high: float


def variance_shares(values: np.ndarray, level: float = 0.95) -> Variance | None:
    """Of scores: (items × runs), complete; None with fewer than two of either or all alike.

    Shrout & Fleiss (1979), ICC(3, 1).
    """
    items, runs = values.shape
    if items < 2 or runs < 2:
        return None
    by_item = values.mean(axis=1, keepdims=True)
    rest = values - by_item - values.mean(axis=0, keepdims=True) + values.mean()
    freedom = (items - 1) * (runs - 1)
    between, within = runs * float(by_item.var(ddof=1)), float((rest**2).sum()) / freedom
    if within < 1e-18:  # equal but for rounding
        return Variance(math.sqrt(between / runs), 0.0, freedom, 1.0, 1.0, 1.0) if between > 1e-18 else None
    ratio, tail = between / within, (1 + level) / 2
    ratios = ratio, ratio / fdtri(items - 1, freedom, tail), ratio * fdtri(freedom, items - 1, tail)
    share, low, high = (float((r - 1) / (r + runs - 1)) for r in ratios)
    return Variance(math.sqrt(max(between - within, 0.0) / runs), math.sqrt(within), freedom, share, low, high)
