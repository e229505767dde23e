"""Says which methods of a benchmark differ, also those that the paper claims nothing of: every two of a pair."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import inference
from analysis.statistics.differences import Difference, between
from analysis.tables.paper_tables import compared_block
from analysis.validity import judgement
from analysis.validity.evidence import Evidence
from analysis.validity.judgement import NOT_DECIDED
from analysis.validity.questions import Compared, is_there_a_gain

REFERENCES = ("vanilla_kd", "no_kd")  # method files that a pair's methods are held against, the first that it has
SHARED = "gain"  # the question that is asked of a panel as a whole: its columns are the same for every two methods
Shown = dict[str, Any]


def of_benchmark(benchmark: ReportedBenchmark, runs: Runs, evidence: Evidence) -> list[Shown]:
    """The key ``differences`` of claims.json: a panel for each pair and block whose methods have scores there."""
    blocks = [compared_block(benchmark, runs), "ood"]
    panels = [_panel(benchmark, runs, evidence, pair, block) for pair in benchmark.pairs for block in blocks]
    return [panel for panel in panels if panel is not None]


def _panel(benchmark: ReportedBenchmark, runs: Runs, evidence: Evidence, pair: Pair, block: str) -> Shown | None:
    """Every difference between two methods of a pair in a block, variants left out; None where there is none."""
    methods = [method for method in benchmark.entries(pair) if method != "teacher"]
    columns = _columns(benchmark, runs, pair, block, methods)
    of = Compared(pair, block, tuple(methods), columns, {c: benchmark.source_task(block, c) for c in columns})
    if len(methods) < 2 or not columns:
        return None
    kept = judgement.counted(evidence, "score", [of])
    found = {
        (later, earlier): difference
        for earlier, later in combinations(methods, 2)
        if (difference := between(benchmark, runs, pair.name, block, kept, later, earlier)) is not None
    }
    if not found:
        return None
    p = {sides: float(d.estimate.p_differs()) for sides, d in found.items() if d.estimate is not None}
    adjusted = dict(zip(p, map(float, inference.holm(np.array(list(p.values())))), strict=True)) if p else {}
    gain = is_there_a_gain(evidence, of)
    return {
        "pair": pair.name,
        "title": pair.title,
        "block": block,
        "methods": {method: benchmark.title_of(method) for method in methods},
        "reference": _reference(benchmark, methods),
        "columns": list(kept),
        "not_counted": [column for column in columns if column not in kept],
        "too_little_to_gain": gain.reason if gain.holds is False else None,
        "tests": len(p),
        "differences": [
            _shown(evidence, replace(of, methods=sides), difference, adjusted.get(sides), len(p))
            for sides, difference in found.items()
        ],
    }


def _columns(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, block: str, methods: Sequence[str]
) -> tuple[str, ...]:
    """The tasks, or out-of-domain sets, on which two methods at least have scores."""
    if block == "ood":
        wanted = [o for o in benchmark.out_of_domain if benchmark.source_task(block, o) in pair.tasks]
    else:
        wanted = list(pair.tasks)
    scored = runs.by_cell
    return tuple(c for c in wanted if sum(bool(scored.get((pair.name, m, block, c))) for m in methods) > 1)


def _reference(benchmark: ReportedBenchmark, methods: Sequence[str]) -> str:
    """The method that the others are held against in short: vanilla KD, else without KD, else the first."""
    bases = {benchmark.base(method): method for method in reversed(methods)}
    return next((bases[name] for name in REFERENCES if name in bases), methods[0])


def _shown(evidence: Evidence, of: Compared, difference: Difference, p_holm: float | None, tests: int) -> Shown:
    """A difference as claims.json shows it, one of ``tests`` that are corrected together."""
    estimate, value = difference.estimate, difference.value
    failed = [
        (pair, answer)
        for pair, answer in judgement.failures(evidence, "score", [of])
        if answer.question != SHARED or answer.holds is False
    ]
    shown: Shown = {
        "methods": list(of.methods),
        "columns": list(difference.columns),
        "estimate": value,
        **dict.fromkeys(("low", "high", "se_seeds", "se_examples", "df", "n", "p", "p_holm", "detectable")),
        "verdict": NOT_DECIDED if failed else "undecided",
        "validity": judgement.reasons(failed),
    }
    if estimate is None:
        return shown
    low, high = difference.interval
    freedom = float(estimate.total_df)
    if not failed and p_holm is not None and p_holm < 1 - inference.LEVEL:
        shown["verdict"] = "higher" if value > 0 else "lower"
    return shown | {
        "low": low,
        "high": high,
        "se_seeds": math.sqrt(float(estimate.variance)),
        "se_examples": float(estimate.examples) if difference.of_examples else None,
        "df": freedom if math.isfinite(freedom) else None,
        "n": estimate.n,
        "p": float(estimate.p_differs()),
        "p_holm": p_holm,
        "detectable": inference.detectable(estimate, tests),
    }
