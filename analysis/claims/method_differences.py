"""Says which methods of a benchmark differ, also those that the paper claims nothing of: every two of a pair."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from analysis.claims.comparisons import resampled, strata_of, total
from analysis.claims.contrasts import Contrast, Term
from analysis.claims.ledger import Claim
from analysis.reported_benchmark import Pair
from analysis.statistics import inference
from analysis.statistics.bootstrap import Examples
from analysis.statistics.inference import Estimate
from analysis.tables.paper_tables import compared_block
from analysis.validity import judgement
from analysis.validity.evidence import Evidence
from analysis.validity.judgement import NOT_DECIDED
from analysis.validity.questions import Compared

REFERENCES = ("vanilla_kd", "no_kd")  # method files that a pair's methods are held against, the first that it has
SHARED = "gain"  # the question that is asked of a panel as a whole: its columns are the same for every two methods
Shown = dict[str, Any]


def of_benchmark(examples: Examples, evidence: Evidence) -> list[Shown]:
    """The key ``differences`` of claims.json: a panel for each pair and block whose methods have scores there."""
    blocks = [compared_block(examples.benchmark, examples.runs), "ood"]
    panels = [_panel(examples, evidence, pair, block) for pair in examples.benchmark.pairs for block in blocks]
    return [panel for panel in panels if panel is not None]


def _panel(examples: Examples, evidence: Evidence, pair: Pair, block: str) -> Shown | None:
    """Every difference between two methods of a pair in a block, variants left out; None where there is none."""
    benchmark = examples.benchmark
    methods = [method for method in benchmark.entries(pair) if method != "teacher"]
    columns = _columns(examples, pair, block, methods)
    of = Compared(pair, block, tuple(methods), columns, {c: benchmark.source_task(block, c) for c in columns})
    if len(methods) < 2 or not columns:
        return None
    kept = judgement.counted(evidence, "score", [of])
    found = [
        (later, earlier, *_difference(examples, pair, block, kept, later, earlier))
        for earlier, later in combinations(methods, 2)
    ]
    found = [entry for entry in found if entry[2]]
    if not found:
        return None
    p = [math.nan if estimate is None else float(estimate.p_differs()) for *_, estimate, _ in found]
    tested = [i for i, value in enumerate(p) if not math.isnan(value)]
    adjusted = dict(zip(tested, inference.holm(np.array([p[i] for i in tested])), strict=True)) if tested else {}
    gain = [answer for _, answer in judgement.failures(evidence, "score", [of]) if answer.question == SHARED]
    return {
        "pair": pair.name,
        "title": pair.title,
        "block": block,
        "methods": {method: benchmark.title_of(method) for method in methods},
        "reference": _reference(examples, methods),
        "columns": list(kept),
        "not_counted": [column for column in columns if column not in kept],
        "too_little_to_gain": next((answer.reason for answer in gain if answer.holds is False), None),
        "tests": len(tested),
        "differences": [
            _shown(evidence, replace(of, methods=entry[:2]), entry, adjusted.get(i)) for i, entry in enumerate(found)
        ],
    }


def _columns(examples: Examples, pair: Pair, block: str, methods: Sequence[str]) -> tuple[str, ...]:
    """The tasks, or out-of-domain sets, on which two methods at least have scores."""
    benchmark = examples.benchmark
    if block == "ood":
        wanted = [o for o in benchmark.out_of_domain if benchmark.source_task(block, o) in pair.tasks]
    else:
        wanted = list(pair.tasks)
    scored = examples.runs.by_cell
    return tuple(c for c in wanted if sum(bool(scored.get((pair.name, m, block, c))) for m in methods) > 1)


def _reference(examples: Examples, methods: Sequence[str]) -> str:
    """The method that the others are held against in short: vanilla KD, else without KD, else the first."""
    bases = {examples.benchmark.base(method): method for method in reversed(methods)}
    return next((bases[name] for name in REFERENCES if name in bases), methods[0])


def _difference(
    examples: Examples, pair: Pair, block: str, columns: Sequence[str], first: str, second: str
) -> tuple[tuple[str, ...], float, Estimate | None, bool]:
    """First − second: the columns that both have, the mean difference in points, and its estimate.

    The latter is None where a column has one seed in common; no column at all where one lacks runs of the same seed.
    Last, whether the estimate holds the error of examples too.
    """
    benchmark = examples.benchmark
    shared = tuple(
        column
        for column in columns
        if not any(benchmark.undefined(m, benchmark.source_task(block, column)) for m in (first, second))
    )
    claim = Claim("", "", "", "", "score", "above", "", (first,), block=block, over=(second,))
    contrast = Contrast((first,), (second,), (Term(1, pair, first, ""), Term(-1, pair, second, "")))
    strata = strata_of(examples, claim, contrast, shared) if shared else []
    if isinstance(strata, list):
        return (), math.nan, None, False
    arrays, weight = strata.differences, 1 / len(shared)
    value = float(total(weight * a.mean() for a in arrays))
    if min(map(len, arrays)) < 2:
        return shared, value, None, False
    drawn = resampled(examples, claim, strata)
    error = 0.0 if drawn is None else float(np.std(total(weight * d.mean(axis=1) for d in drawn), ddof=1))
    return shared, value, inference.contrast(arrays, [weight] * len(arrays), error), drawn is not None


def _shown(
    evidence: Evidence,
    of: Compared,
    entry: tuple[str, str, tuple[str, ...], float, Estimate | None, bool],
    p_holm: float | None,
) -> Shown:
    """A difference as claims.json shows it."""
    first, second, columns, value, estimate, of_examples = entry
    failed = [
        (pair, answer)
        for pair, answer in judgement.failures(evidence, "score", [of])
        if answer.question != SHARED or answer.holds is False
    ]
    shown: Shown = {
        "methods": [first, second],
        "columns": list(columns),
        "estimate": value,
        **dict.fromkeys(("low", "high", "se_seeds", "se_examples", "df", "n", "p", "p_holm", "detectable")),
        "verdict": NOT_DECIDED if failed else "undecided",
        "validity": judgement.reasons(failed),
    }
    if estimate is None:
        return shown
    low, high = estimate.interval()
    if not failed and p_holm is not None and p_holm < 1 - inference.LEVEL:
        shown["verdict"] = "higher" if value > 0 else "lower"
    return shown | {
        "low": float(low),
        "high": float(high),
        "se_seeds": math.sqrt(float(estimate.variance)),
        "se_examples": float(estimate.examples) if of_examples else None,
        "df": float(estimate.total_df) if math.isfinite(float(estimate.total_df)) else None,
        "n": estimate.n,
        "p": float(estimate.p_differs()),
        "p_holm": p_holm,
        "detectable": inference.detectable(estimate),
    }
