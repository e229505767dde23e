"""Says which methods of a benchmark differ, also those that the paper claims nothing of: every two of a pair."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import inference
from analysis.statistics.differences import Difference
from analysis.tables.paper_tables import compared_block
from analysis.validity import judgement
from analysis.validity.decisions import Decision, decide
from analysis.validity.evidence import Evidence
from analysis.validity.judgement import NOT_DECIDED
from analysis.validity.questions import Compared, is_there_a_gain

REFERENCES = ("vanilla_kd", "no_kd")  # method files that a pair's methods are held against, the first that it has
VERDICTS = {1: "higher", -1: "lower", 0: "undecided"}
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
    sides = [(later, earlier) for earlier, later in combinations(methods, 2)]
    decisions = dict(zip(sides, decide(evidence, [replace(of, methods=two) for two in sides]), strict=True))
    found = {two: one for two, one in decisions.items() if one.difference is not None}
    if not found:
        return None
    kept = judgement.counted(evidence, "score", [of])
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
        "tests": next(iter(found.values())).tests,
        "missing": _missing(benchmark, runs, of, kept),
        "differences": [_shown(two, one, one.difference) for two, one in found.items() if one.difference is not None],
    }


def _missing(benchmark: ReportedBenchmark, runs: Runs, of: Compared, columns: Sequence[str]) -> dict[str, list[str]]:
    """The methods that lack every run on some columns, with these: they are compared with no other."""
    found = {
        method: [
            c
            for c in columns
            if not benchmark.undefined(method, of.trained_on[c])
            and not runs.by_cell.get((of.pair.name, method, of.block, c))
        ]
        for method in of.methods
    }
    return {method: lacking for method, lacking in found.items() if lacking}


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


def _shown(methods: tuple[str, str], decision: Decision, difference: Difference) -> Shown:
    """A difference as claims.json shows it."""
    estimate = difference.estimate
    shown: Shown = {
        "methods": list(methods),
        "columns": list(difference.columns),
        "estimate": difference.value,
        **dict.fromkeys(("low", "high", "se_seeds", "se_examples", "df", "n", "p", "p_holm", "detectable")),
        "verdict": NOT_DECIDED if decision.failed else VERDICTS[decision.sign],
        "validity": judgement.reasons(decision.failed),
    }
    if estimate is None:
        return shown
    low, high = difference.interval
    freedom = float(estimate.total_df)
    return shown | {
        "low": low,
        "high": high,
        "se_seeds": math.sqrt(float(estimate.variance)),
        "se_examples": float(estimate.examples) if difference.of_examples else None,
        "df": freedom if math.isfinite(freedom) else None,
        "n": estimate.n,
        "p": float(estimate.p_differs()),
        "p_holm": decision.p_holm,
        "detectable": inference.detectable(estimate, decision.tests),
    }
