"""From a claim to its comparisons: which cells are compared, their estimates, and the paper's own figure."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.benchmark import Benchmark, Pair
from analysis.claims.ledger import Claim, pair_of, variants_of
from analysis.load import Runs
from analysis.statistics import bootstrap, inference
from analysis.statistics.bootstrap import Array, Examples
from analysis.statistics.inference import Estimate
from analysis.tables.cells import column_title, source_task
from analysis.tables.measures import MEASURES, columns_of, values
from analysis.tables.paper_tables import has_test, paper_values


@dataclass(frozen=True)
class Part:
    """One comparison; ``estimate`` is None where cells have a single run, and then ``value`` alone is known."""

    label: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    pairs: tuple[str, ...]
    columns: tuple[str, ...]
    value: float
    estimate: Estimate | None
    seeds: int
    fewer: bool  # some cell has fewer runs than planned
    devices: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()  # columns where a spread is zero and has no ratio
    bootstrap: dict[str, list[float] | None] = field(default_factory=dict)
    improvement: float = math.nan
    paper: float = math.nan
    paper_columns: float = math.nan


@dataclass(frozen=True)
class Term:
    """A cell's part in a contrast."""

    weight: float
    pair: Pair
    method: str
    setting: int | str


Strata = dict[tuple[str, str], list[tuple[Term, dict[int, float]]]]  # (pair, column) -> cells, each seed -> value


def parts_of(benchmark: Benchmark, runs: Runs, examples: Examples, claim: Claim) -> tuple[list[Part], list[str]]:
    """A claim's comparisons, or what is missing for them."""
    pair, missing = pair_of(benchmark, claim.setting), []
    other = pair_of(benchmark, claim.minus_setting) if claim.minus_setting is not None else None
    for setting, found in ((claim.setting, pair), (claim.minus_setting, other)):
        if setting is not None and found is None:
            name = f"Table {setting}" if isinstance(setting, int) else f"Figure {setting[-1]}"
            missing.append(f"a pair that draws {name}")
    if claim.block == "test" and not has_test(benchmark, runs):
        missing.append("a labelled test set")
    if missing or pair is None:
        return [], missing
    needed = [(p, m) for p in (pair, other) if p for m in (*claim.methods, *claim.over) if m not in p.methods]
    if needed:
        return [], [f"{benchmark.title_of(m)} with {p.title}" for p, m in needed]
    parts = []
    for first, second, terms in _contrasts(benchmark, claim, pair, other):
        part = _part(benchmark, runs, examples, claim, first, second, terms)
        if isinstance(part, Part):
            parts.append(part)
        else:
            missing += [m for m in part if m not in missing]
    if not parts and not missing:
        options = ", ".join(claim.variants)
        missing.append(
            f"entries of {' and '.join(claim.methods)} with {pair.title} that change {options} and nothing else"
        )
    return ([], missing) if missing else (parts, [])


def _contrasts(
    benchmark: Benchmark, claim: Claim, pair: Pair, other: Pair | None
) -> list[tuple[tuple[str, ...], tuple[str, ...], list[Term]]]:
    """(first side, second side, weighted cells) of each comparison."""
    setting, minus = claim.setting, claim.minus_setting
    if other is not None and minus is not None:
        terms = []
        for sign, p, s in ((1, pair, setting), (-1, other, minus)):
            terms += [Term(sign / len(claim.methods), p, m, s) for m in claim.methods]
            terms += [Term(-sign / len(claim.over), p, m, s) for m in claim.over]
        return [(claim.methods, claim.over, terms)]
    if claim.variants:
        sides = [(v, m) for m in claim.methods for v in variants_of(benchmark, pair, m, claim.variants)]
    elif not claim.over:
        return [((m,), (), [Term(1, pair, m, setting)]) for m in claim.methods]
    else:
        sides = [(m, o) for m in claim.methods for o in claim.over]
    return [((a,), (b,), [Term(1, pair, a, setting), Term(-1, pair, b, setting)]) for a, b in sides]


def _part(
    benchmark: Benchmark,
    runs: Runs,
    examples: Examples,
    claim: Claim,
    first: tuple[str, ...],
    second: tuple[str, ...],
    terms: list[Term],
) -> Part | list[str]:
    pairs = list(dict.fromkeys(t.pair for t in terms))
    own = [columns_of(benchmark, p, claim.measure, claim.block, claim.columns) for p in pairs]
    columns = tuple(c for c in own[0] if all(c in o for o in own))
    columns = tuple(
        c for c in columns if not any(benchmark.undefined(t.method, source_task(claim.block, c)) for t in terms)
    )
    if not columns:
        return [f"a task of {pairs[0].title} that this is measured on"]
    strata: Strata = {}
    devices: set[str] = set()
    missing = []
    for column in columns:
        title, here = column_title(claim.block, column), set[str]()
        for term in terms:
            found, on = values(runs, claim.measure, term.pair.name, term.method, claim.block, column)
            here |= on
            strata.setdefault((term.pair.name, column), []).append((term, found))
            if not found:
                missing.append(f"{benchmark.title_of(term.method)} with {term.pair.title}: {title}")
        if len(here) > 1:
            missing.append(f"one device for all of {title} (have {', '.join(sorted(here))})")
        devices |= here
    paired = {key: sorted(set.intersection(*(set(found) for _, found in cells))) for key, cells in strata.items()}
    if missing:
        return missing
    if not all(paired.values()):
        return [f"runs of the same seed on both sides: {p}, {c}" for (p, c), seeds in paired.items() if not seeds]
    label = _label(benchmark, claim, first, second, pairs)
    seeds = min(len(s) for s in paired.values())
    planned = len(benchmark.seeds)
    part = Part(
        label, first, second, tuple(p.name for p in pairs), columns, math.nan, None, seeds,
        any(len(found) < planned for cells in strata.values() for _, found in cells), tuple(sorted(devices)),
    )  # fmt: skip
    average, printed = _paper(claim, terms, columns)
    part = replace(part, paper=average, paper_columns=printed)
    if len(first) == len(second) == 1 and claim.measure == "score":
        both = [[np.array(list(found.values())) for _, found in cells] for cells in strata.values()]
        part = replace(part, improvement=float(np.mean([inference.improvement(a, b) for a, b in both])))
    if claim.measure == "sd":
        return _spread(part, strata)
    weight = 1 / len(columns)
    arrays = [
        total(t.weight * np.array([found[s] for s in paired[key]]) for t, found in cells)
        for key, cells in strata.items()
    ]
    part = replace(part, value=float(total(weight * a.mean() for a in arrays)))
    if seeds < 2:
        return part
    drawn = _resampled(examples, claim, strata, paired) if claim.measure == "score" else None
    generator = bootstrap.stream("seeds", label, claim.block)
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
    estimate = inference.contrast(arrays, [weight] * len(arrays), se_examples)
    return replace(part, estimate=estimate, bootstrap=intervals)


def total(values: Iterable[Any]) -> Array:
    """The sum of arrays of one shape."""
    return np.asarray(np.sum(list(values), axis=0))


def _spread(part: Part, strata: Strata) -> Part:
    """Ratio of the standard deviations of the two sides, each over its own seeds."""
    first, second, dropped = [], [], []
    for (_, column), cells in strata.items():
        a, b = (np.array(list(found.values())) for _, found in cells)
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


def _resampled(
    examples: Examples, claim: Claim, strata: Strata, paired: dict[tuple[str, str], list[int]]
) -> list[Array] | None:
    """Per stratum the contrast of each seed on resampled examples: (draws, seeds); None without all predictions."""
    drawn = []
    for (pair, column), cells in strata.items():
        total: Any = 0.0
        for term, _ in cells:
            scores = examples.scores(pair, term.method, claim.block, column)
            if scores is None:
                return None
            total = total + term.weight * np.stack([scores[s] for s in paired[pair, column]], axis=1)
        drawn.append(total)
    return drawn


def _label(
    benchmark: Benchmark, claim: Claim, first: tuple[str, ...], second: tuple[str, ...], pairs: list[Pair]
) -> str:
    sides = [" and ".join(benchmark.title_of(m) for m in side) for side in (first, second) if side]
    label = (" / " if MEASURES[claim.measure].ratio else " − ").join(sides)
    return f"{label}, {' less '.join(p.title for p in pairs)}" if len(pairs) > 1 else label


def _paper(claim: Claim, terms: list[Term], columns: tuple[str, ...]) -> tuple[float, float]:
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
