"""Estimates with errors, and decides by them: paired contrasts, ratios of spread, equivalence, Holm, power.

A contrast is compared over seeds within strata (a task of a pair), which are independent of each other: the same seed
on another task is another run. Functions take arrays with any leading axes, so that a test can run many draws at once;
``strata`` is a list over tasks of (..., runs) values, already the weighted difference of the sides of one run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import digamma, nctdtr, nctdtrinc, polygamma, stdtr, stdtrit  # scipy.stats takes a second to import

Array = np.ndarray[Any, Any]
LEVEL = 0.95
ALPHA = (1 - LEVEL) / 2  # of each one-sided test, so that a verdict can be read off the interval
POWER = 0.8
MOST_SEEDS = 1000
DIGITS = 9  # of a score in points: what is equal but for rounding is equal


@dataclass(frozen=True)
class Estimate:
    """A number with its errors, on a scale where they add up (logarithms for ratios); each (...), or a float."""

    value: Any
    variance: Any  # of having run these seeds
    df: Any  # of that variance
    n: int  # seeds in the smallest stratum
    examples: Any = 0.0  # standard error of having these examples

    @property
    def se(self) -> Any:
        """Standard error of seeds and examples together."""
        return np.sqrt(self.variance + np.square(self.examples))

    @property
    def total_df(self) -> Any:
        """Degrees of freedom of ``se`` (Satterthwaite): the examples are many, the seeds few."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.variance > 0, self.df * np.square(self.se**2 / self.variance), np.inf)

    @property
    def scales(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """(standard error, degrees of freedom) of seeds and examples together, and of the seeds alone.

        Each gives an interval and a p, and the less certain of the two is taken. Where few seeds happen to lie close
        together their variance is small, and beside the error of examples Satterthwaite's degrees of freedom are then
        many: by themselves they would reject a true null in a quarter of the draws of two seeds.
        """
        return (self.se, np.minimum(self.total_df, 1e9)), (np.sqrt(self.variance), np.minimum(self.df, 1e9))

    def interval(self, level: float = LEVEL) -> tuple[Any, Any]:
        """Student's interval."""
        half = np.maximum(*(stdtrit(df, (1 + level) / 2) * se for se, df in self.scales))
        return self.value - half, self.value + half

    def found_from(self, alpha: float) -> Any:
        """The distance of the true value from a bound at which a one-sided test has POWER (noncentral t)."""
        return np.maximum(*(nctdtrinc(df, 1 - POWER, stdtrit(df, 1 - alpha)) * se for se, df in self.scales))

    def power(self, lower: float, upper: float, alpha: float) -> float:
        """The least probability with which this value, if true, is decided to lie within the bounds, or without.

        Within two bounds both tests have to find it (what either misses adds up); without, Bonferroni's has to.
        """
        finite = [bound for bound in (lower, upper) if math.isfinite(bound)]
        within = lower < self.value < upper
        at = alpha if within else alpha / len(finite)
        distances = [abs(self.value - bound) for bound in finite]
        distances = distances if within else [min(distances)]
        missed = [
            sum(float(nctdtr(df, d / se, stdtrit(df, 1 - at))) if se > 0 else 0.0 for d in distances)
            for se, df in self.scales
        ]
        return 1 - max(missed)

    def p_above(self, bound: float) -> Any:
        """One-sided p that the true value is at most ``bound``.

        Without any error 1/2, for nothing says how far the value could be off; but runs that are equal are equal.
        """
        away = self.value - bound
        with np.errstate(divide="ignore", invalid="ignore"):
            both = [stdtr(df, np.where(away == 0, 0.0, -away / se)) for se, df in self.scales]
        less_sure = np.where(away > 0, np.maximum(*both), np.minimum(*both))
        return np.where((self.se == 0) & (self.value != 0), 0.5, less_sure)

    def p_differs(self) -> Any:
        """Two-sided p that the true value is 0."""
        above = self.p_above(0.0)
        return np.minimum(2 * np.minimum(above, 1 - above), 1.0)

    def p_within(self, lower: float, upper: float) -> Any:
        """p that the true value lies outside (lower, upper); with two finite bounds TOST, two one-sided tests."""
        return np.maximum(self.p_above(lower), 1 - self.p_above(upper))

    def p_outside(self, lower: float, upper: float) -> Any:
        """p that the true value lies within; Bonferroni over the finite bounds."""
        sides = int(math.isfinite(lower)) + int(math.isfinite(upper))
        return np.minimum(sides * np.minimum(1 - self.p_above(lower), self.p_above(upper)), 1.0)


@dataclass(frozen=True)
class Mean:
    """A mean over runs, with their standard deviation and number."""

    value: float
    sd: float
    n: int


def welch(first: Mean, second: Mean) -> tuple[float, float, float]:
    """Difference of two means over n ≥ 2 runs, half its 95 % interval, and p (Welch, 1947: unequal variances).

    Without any spread on either side, equal means have p = 1 and others 0, but of two runs NaN: two seeds often tie.
    """
    difference = first.value - second.value
    a, b = first.sd**2 / first.n, second.sd**2 / second.n
    if a + b < 1e-18:
        unequal = math.nan if min(first.n, second.n) == 2 else 0.0
        return difference, 0.0, 1.0 if abs(difference) < 1e-9 else unequal
    degrees = (a + b) ** 2 / (a**2 / (first.n - 1) + b**2 / (second.n - 1))
    error = math.sqrt(a + b)
    p = 2 * float(stdtr(degrees, -abs(difference) / error))
    return difference, float(stdtrit(degrees, (1 + LEVEL) / 2)) * error, p


def contrast(strata: Sequence[Array], weights: Sequence[float], examples: Any = 0.0) -> Estimate:
    """Σ wₖ mean(strataₖ), its variance Σ wₖ² sₖ²/nₖ and Welch–Satterthwaite degrees of freedom.

    Needs two runs in every stratum. Pairing is the caller's: a value is a difference within one seed. Values that are
    equal but for rounding have no variance: one of 1e-29 would make any difference certain.
    """
    strata = [np.round(s, DIGITS) for s in strata]
    values = np.sum([w * s.mean(axis=-1) for w, s in zip(weights, strata, strict=True)], axis=0)
    spreads = [np.where(np.ptp(s, axis=-1) > 0, s.var(axis=-1, ddof=1), 0.0) for s in strata]
    parts = [w**2 * v / s.shape[-1] for w, v, s in zip(weights, spreads, strata, strict=True)]
    variance = np.sum(parts, axis=0)
    squares = np.sum([v**2 / (s.shape[-1] - 1) for v, s in zip(parts, strata, strict=True)], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(np.asarray(squares) > 0, np.square(variance) / squares, 1.0)
    return Estimate(values, variance, df, min(s.shape[-1] for s in strata), examples)


def seeds_in_common(runs: Sequence[object], seeds: Sequence[set[int]]) -> list[list[int]]:
    """Of each stratum the seeds that it shares with all others of the same runs, sorted; ``runs`` as for ``merged``."""
    shared: dict[object, set[int]] = {}
    for key, own in zip(runs, seeds, strict=True):
        shared[key] = shared.get(key, own) & own
    return [sorted(shared[key]) for key in runs]


def merged(
    strata: Sequence[Array], weights: Sequence[float], runs: Sequence[object]
) -> tuple[list[Array], list[float]]:
    """Strata of the same runs as one stratum: their weighted sum within each run, and its weight, 1.

    ``runs`` names the runs of a stratum. Sets that the same students fill are no independent evidence on a method.
    """
    of: dict[object, list[Array]] = {}
    for key, values, weight in zip(runs, strata, weights, strict=True):
        of.setdefault(key, []).append(weight * values)
    return [np.sum(values, axis=0) for values in of.values()], [1.0] * len(of)


def paired(differences: Array) -> Estimate | None:
    """The mean over tasks of differences in points: (runs × tasks), NaN where a run is missing.

    None where a task has fewer than two runs.
    """
    strata = [column[~np.isnan(column)] for column in differences.T]
    if not strata or min(map(len, strata)) < 2:
        return None
    return contrast(strata, [1 / len(strata)] * len(strata))


def spread_ratio(first: Sequence[Array], second: Sequence[Array]) -> Estimate:
    """Mean over strata of log(sd₁/sd₂), of normal runs; (..., runs) each, on both sides as many strata.

    log s² of n normal runs has variance ψ'((n − 1)/2), and is ψ((n − 1)/2) − log((n − 1)/2) too low in the mean, which
    is taken out: the two sides may have unequally many runs.
    """
    logs, variance = [], 0.0
    for a, b in zip(first, second, strict=True):
        bias = _log_bias(a.shape[-1]) - _log_bias(b.shape[-1])
        logs.append((np.log(a.var(axis=-1, ddof=1)) - np.log(b.var(axis=-1, ddof=1)) - bias) / 2)
        variance += _log_variance(a.shape[-1]) + _log_variance(b.shape[-1])
    n = min(s.shape[-1] for s in (*first, *second))
    return Estimate(np.mean(logs, axis=0), variance / len(logs) ** 2, np.inf, n)


def _log_bias(n: int) -> float:
    return float(digamma((n - 1) / 2)) - math.log((n - 1) / 2)


def _log_variance(n: int) -> float:
    return float(polygamma(1, (n - 1) / 2)) / 4


def holm(p: Array) -> Array:
    """Holm's (1979) adjusted p over the last axis: (..., tests) -> (..., tests)."""
    order = np.argsort(p, axis=-1)
    tests = p.shape[-1]
    stepped = np.take_along_axis(p, order, axis=-1) * np.arange(tests, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def detectable(estimate: Estimate, tests: int = 1) -> float:
    """The true difference from a bound that such runs would find with probability POWER.

    ``tests``: of the family that is corrected together; a lone true difference has to pass Holm's strictest step.
    """
    return float(estimate.found_from(ALPHA / tests))


def seeds_needed(estimate: Estimate, lower: float, upper: float, tests: int, spread: bool = False) -> int | None:
    """Seeds with which this estimate, if right, would be decided with probability POWER after Holm over ``tests``.

    Planning takes Holm's first and strictest step. Seeds shrink their own error alone: None where the examples' is too
    large, or where more than MOST_SEEDS are needed. ``spread``: the estimate is of ``spread_ratio``.
    """
    value = float(estimate.value)
    distance = min(abs(value - bound) for bound in (lower, upper) if math.isfinite(bound))

    def decides(n: int) -> bool:
        if spread:
            variance, df = float(estimate.variance) * _log_variance(n) / _log_variance(estimate.n), 1e9
        else:
            variance = float(estimate.variance) * estimate.n / n
            df = float(estimate.df) * (n - 1) / (estimate.n - 1)
        now = Estimate(value, variance, df, n, estimate.examples)
        return distance > 0 and now.power(lower, upper, ALPHA / tests) >= POWER - 1e-6

    return _first(decides)


def _first(holds: Callable[[int], bool]) -> int | None:
    """The least n from 2 to MOST_SEEDS for which a monotone condition holds."""
    if not holds(MOST_SEEDS):
        return None
    low, high = 2, MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def improvement(first: Array, second: Array) -> float:
    """Probability that a run of the first side beats one of the second, ties half: (runs,) each (rliable's measure)."""
    return float(np.mean((first[:, None] > second) + 0.5 * (first[:, None] == second)))


def expected_best(scores: Array) -> Array:
    """Expected best of 1, 2, …, n draws, with replacement, of n measured points: (n,) -> (n,) (Dodge et al., 2019)."""
    values, n = np.sort(scores), len(scores)
    share = np.arange(n + 1) / n
    powers = share[None, :] ** np.arange(1, n + 1)[:, None]
    return np.diff(powers, axis=1) @ values


def optimism(halves: Array) -> float:
    """What choosing an epoch on half of dev flatters: (epochs, 2) scores of the two halves -> one number.

    The epoch is chosen on each half in turn and scored on both. For an epoch chosen without looking the two differences
    cancel exactly, so what remains is the choice. A half is noisier than all of dev: this is an upper estimate.
    """
    first, second = halves[halves[:, 0].argmax()], halves[halves[:, 1].argmax()]
    return float((first[0] - first[1] + second[1] - second[0]) / 2)
