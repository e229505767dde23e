"""Makes the comparisons of a claim: takes the runs of its cells, estimates, and adds the paper's own figure."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.claims.contrasts import Contrast, Term, contrasts_of, pairs_of, shared_columns
from analysis.claims.ledger import Claim
from analysis.reported_benchmark import ReportedBenchmark
from analysis.statistics import bootstrap, inference
from analysis.statistics.bootstrap import Array, Examples
from analysis.statistics.inference import Estimate
from analysis.tables import speed
from analysis.tables.cells import column_title
from analysis.tables.measures import COST_REGIMES, MEASURES, values
from analysis.tables.paper_tables import has_test, paper_values


@dataclass(frozen=True)
class Comparison:
    """One comparison; ``estimate`` is None where cells have a single run, and then ``value`` alone is known."""

    label: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    pairs: tuple[str, ...]
    columns: tuple[str, ...]
    seeds: int
    fewer: bool  # some cell has fewer runs than planned
    paper: float  # from the averages that the paper prints; NaN: it prints none
    paper_columns: float  # from the means of its columns
    improvement: float
    value: float = math.nan
    estimate: Estimate | None = None
    dropped: tuple[str, ...] = ()  # columns where a spread is zero and has no ratio
    bootstrap: dict[str, list[float] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Strata:
    """The runs of a contrast: (pair, column) -> its cells, each with seed -> value; of a cost round -> value."""

    cells: dict[tuple[str, str], list[tuple[Term, dict[int, float]]]]
    students: dict[tuple[str, str], tuple[str, str]]  # (pair, column) -> pair and task of the students that fill it

    @functools.cached_property
    def paired(self) -> dict[tuple[str, str], list[int]]:
        """(pair, column) -> the seeds that every cell has, of this column and of others that the same students fill."""
        of_cells = [set.intersection(*(set(found) for _, found in of)) for of in self.cells.values()]
        return dict(zip(self.cells, inference.seeds_in_common(list(self.students.values()), of_cells), strict=True))

    @property
    def differences(self) -> list[Array]:
        """Of each stratum the contrast of each seed: (seeds,)."""
        return [
            total(t.weight * np.array([found[s] for s in self.paired[key]]) for t, found in of)
            for key, of in self.cells.items()
        ]


def parts_of(examples: Examples, claim: Claim) -> tuple[list[Comparison], list[str]]:
    """A claim's comparisons, or what is missing for them, in words."""
    benchmark = examples.benchmark
    pairs, missing = pairs_of(benchmark, claim)
    if claim.block == "test" and not has_test(benchmark, examples.runs):
        missing.append("a labelled test set")
    if missing:
        return [], missing
    contrasts = contrasts_of(benchmark, claim, pairs)
    if not contrasts:
        options = ", ".join(claim.variants)
        entries = f"entries of {' and '.join(claim.methods)} with {pairs[0].title}"
        return [], [f"{entries} that change {options} and nothing else"]
    parts = []
    for contrast in contrasts:
        part = _compare(examples, claim, contrast)
        if isinstance(part, Comparison):
            parts.append(part)
        else:
            missing += [m for m in part if m not in missing]
    return ([], missing) if missing else (parts, [])


def _compare(examples: Examples, claim: Claim, contrast: Contrast) -> Comparison | list[str]:
    """One comparison with its estimate, or what is missing for it."""
    benchmark = examples.benchmark
    columns = shared_columns(benchmark, claim, contrast.pairs, (t.method for t in contrast.terms))
    if not columns:
        return [f"a task of {contrast.pairs[0].title} that this is measured on"]
    strata = _strata(examples, claim, contrast, columns)
    if isinstance(strata, list):
        return strata
    part = _described(benchmark, claim, contrast, columns, strata)
    if claim.measure == "sd":
        return _spread(part, strata)
    weight = 1 / len(columns)
    part = replace(part, value=float(total(weight * a.mean() for a in strata.differences)))
    return part if part.seeds < 2 else _estimated(part, examples, claim, strata)


def _strata(examples: Examples, claim: Claim, contrast: Contrast, columns: tuple[str, ...]) -> Strata | list[str]:
    """The runs of a contrast, or what is missing of them."""
    benchmark = examples.benchmark
    timed = speed.read(benchmark, examples.runs.root) if claim.measure in COST_REGIMES else None
    if claim.measure in COST_REGIMES and timed is None:
        return ["steps that were timed in turn: python -m benchmarks.speed with this benchmark's file"]
    cells: dict[tuple[str, str], list[tuple[Term, dict[int, float]]]] = {}
    missing = []
    for column in columns:
        for term in contrast.terms:
            pair, method = term.pair, term.method
            if timed is not None:
                found = speed.rounds(timed, pair.name, method, COST_REGIMES[claim.measure])
            else:
                found = values(examples.runs, claim.measure, pair.name, method, claim.block, column)
            cells.setdefault((pair.name, column), []).append((term, found))
            if not found:
                title = "its step, timed" if timed is not None else column_title(claim.block, column)
                missing.append(f"{benchmark.title_of(method)} with {pair.title}: {title}")
    strata = Strata(cells, {(p, c): (p, benchmark.source_task(claim.block, c)) for p, c in cells})
    if missing:
        return missing
    if not all(strata.paired.values()):
        return [f"runs of the same seed on both sides: {p}, {c}" for (p, c), s in strata.paired.items() if not s]
    return strata


def _described(
    benchmark: ReportedBenchmark, claim: Claim, contrast: Contrast, columns: tuple[str, ...], strata: Strata
) -> Comparison:
    """What a comparison compares, without its estimate."""
    average, printed = _paper(claim, contrast.terms, columns)
    improvement = math.nan
    if len(contrast.first) == len(contrast.second) == 1 and claim.measure == "score":
        both = [[np.array(list(found.values())) for _, found in of] for of in strata.cells.values()]
        improvement = float(np.mean([inference.improvement(a, b) for a, b in both]))
    planned = 0 if claim.measure in COST_REGIMES else len(benchmark.seeds)
    return Comparison(
        label=_label(benchmark, claim, contrast),
        first=contrast.first,
        second=contrast.second,
        pairs=tuple(p.name for p in contrast.pairs),
        columns=columns,
        seeds=min(len(s) for s in strata.paired.values()),
        fewer=any(len(found) < planned for of in strata.cells.values() for _, found in of),
        paper=average,
        paper_columns=printed,
        improvement=improvement,
    )


def _estimated(part: Comparison, examples: Examples, claim: Claim, strata: Strata) -> Comparison:
    """A comparison of two seeds or more with its estimate and its bootstrap intervals."""
    arrays, weight = strata.differences, 1 / len(part.columns)
    drawn = _resampled(examples, claim, strata) if claim.measure == "score" else None
    generator = bootstrap.stream("seeds", part.label, claim.block)
    of_seeds = total(weight * bootstrap.resampled_means(a, generator) for a in arrays)
    intervals: dict[str, list[float] | None] = {
        "seeds": bootstrap.percentiles(of_seeds),
        "examples": None,
        "both": None,
    }
    se_examples = 0.0
    if drawn is not None:
        of_examples = total(weight * d.mean(axis=1) for d in drawn)
        of_both = total(weight * bootstrap.resampled_means(d, generator, len(d)) for d in drawn)
        intervals |= {"examples": bootstrap.percentiles(of_examples), "both": bootstrap.percentiles(of_both)}
        se_examples = float(np.std(of_examples, ddof=1))
    merged = inference.merged(arrays, [weight] * len(arrays), list(strata.students.values()))
    estimate = inference.contrast(*merged, se_examples)
    return replace(part, estimate=estimate, bootstrap=intervals)


def total(values: Iterable[Any]) -> Array:
    """The sum of arrays of one shape."""
    return np.asarray(np.sum(list(values), axis=0))


def _spread(part: Comparison, strata: Strata) -> Comparison:
    """Ratio of the standard deviations of the two sides, each over its own seeds."""
    first, second, dropped = [], [], []
    for (_, column), of in strata.cells.items():
        a, b = (np.round(list(found.values()), inference.DIGITS) for _, found in of)
        if min(len(a), len(b)) < 2:
            return part
        if a.std() == 0 or b.std() == 0:
            dropped.append(column)
            continue
        first.append(a)
        second.append(b)
    part = replace(part, dropped=tuple(dropped))
    if not first:
        return part
    estimate = inference.spread_ratio(first, second)
    return replace(part, value=float(estimate.value), estimate=estimate)


def _resampled(examples: Examples, claim: Claim, strata: Strata) -> list[Array] | None:
    """Per stratum the contrast of each seed on resampled examples: (draws, seeds); None without all predictions."""
    drawn = []
    for (pair, column), of in strata.cells.items():
        total: Any = 0.0
        for term, _ in of:
            scores = examples.scores(pair, term.method, claim.block, column)
            if scores is None:
                return None
            total = total + term.weight * np.stack([scores[s] for s in strata.paired[pair, column]], axis=1)
        drawn.append(total)
    return drawn


def _label(benchmark: ReportedBenchmark, claim: Claim, contrast: Contrast) -> str:
    sides = [" and ".join(benchmark.title_of(m) for m in side) for side in (contrast.first, contrast.second) if side]
    ratio, pairs = MEASURES[claim.measure].ratio, contrast.pairs
    label = (" / " if ratio else " − ").join(sides)
    return f"{label}, {(' over ' if ratio else ' less ').join(p.title for p in pairs)}" if len(pairs) > 1 else label


def _paper(claim: Claim, terms: tuple[Term, ...], columns: tuple[str, ...]) -> tuple[float, float]:
    """The paper's figure of a contrast: of its printed averages, and of the means of its printed columns.

    NaN where it prints none. The former only over the columns that the paper averages.
    """
    averages, means = [], []
    ratio = MEASURES[claim.measure].ratio
    for term in terms:
        values = _printed(claim, term, columns)
        own = {c: v for (m, c), v in values.items() if m == term.method}
        if claim.measure == "train_seconds":
            averages.append(-math.log(own["speedup"]) if own.get("speedup", 0) > 0 else math.nan)
            continue
        parts = [own.get(c, math.nan) for c in columns]
        means.append(float(np.mean([math.log(p) for p in parts] if ratio else parts)))
        complete = set(own) - {"avg", "speedup"} == set(columns) and "avg" in own
        averages.append((math.log(own["avg"]) if ratio else own["avg"]) if complete else math.nan)
    average, mean = (
        sum(t.weight * v for t, v in zip(terms, vs, strict=True)) if vs else math.nan for vs in (averages, means)
    )
    return average, mean


def _printed(claim: Claim, term: Term, columns: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """The printed table behind one cell of a contrast: (method, column) -> value."""
    if claim.measure == "sd":
        return _table(5)
    if claim.measure == "train_seconds":
        return _table(4, "test") if term.setting == 4 else {}
    if claim.measure != "score" or term.setting not in (2, 3, 4):
        return {}
    if claim.block == "ood":
        return _table(6, "", {2: "bert12", 3: "roberta24"}.get(int(term.setting), ""), columns)
    return _table(int(term.setting), claim.block)


@functools.cache
def _table(number: int, block: str = "", teacher: str = "", sets: tuple[str, ...] = ()) -> dict[tuple[str, str], float]:
    return paper_values(number, block, teacher, sets)
