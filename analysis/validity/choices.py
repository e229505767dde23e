"""Judges what the search chose: whether by more than the noise of seeds, and whether at an end of the grid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.tables.cells import column_title
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.records import run_record

MOST_NAMES = 8  # of methods in one sentence
NO_FURTHER = {  # settings that have nothing beyond these values
    "lowest": {"batch_size": 1, "epochs": 1},
    "highest": {"learning_rate": 1, "warmup": 1},
}


@dataclass(frozen=True)
class Choice:
    """What the search chose for a method on the tasks that share its choice."""

    pair: str
    method: str
    decided_on: tuple[str, ...]  # tasks whose points were compared
    taken_by: tuple[str, ...]  # tasks whose runs have it
    point: Mapping[str, Any]
    score: float  # of dev, in percent; mean over ``decided_on``, of one run each
    lead: float | None  # percentage points over the next best point; None: there is no other with a score
    se: float | None  # standard error of such a difference by the seeds of these tasks' runs; None: not known
    ends: Mapping[str, str]  # key of the point -> lowest | highest, where its value is the grid's end
    beyond: tuple[str, ...]  # those of ``ends`` whose points all lead the others by more than ``se``

    @property
    def is_noise(self) -> bool:
        """Whether another point might as well have been chosen."""
        return self.lead is not None and self.se is not None and self.lead <= self.se

    def entry(self) -> dict[str, Any]:
        """As ``claims.json`` has it."""
        return {
            "pair": self.pair, "method": self.method, "decided_on": list(self.decided_on),
            "taken_by": list(self.taken_by), "point": dict(self.point), "score": self.score, "lead": self.lead,
            "se": self.se, "noise": self.is_noise, "ends": dict(self.ends), "beyond": list(self.beyond),
        }  # fmt: skip


def of_benchmark(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> list[dict[str, Any]]:
    """Every choice, as ``claims.json`` has it; empty without a search."""
    return [
        choice.entry()
        for pair in benchmark.pairs
        for choice in of_pair(benchmark, runs, results, pair, pair.rows(), pair.tasks)
    ]


def of_pair(
    benchmark: ReportedBenchmark,
    runs: Runs,
    results: Path,
    pair: Pair,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> list[Choice]:
    """The choices for the cells of these methods and tasks; those of other points than the file's are left out."""
    file, found = benchmark.file, []
    for method in methods:
        if not file.search or file.external(method):
            continue
        shared: dict[tuple[str, ...], list[Cell]] = {}
        for cell in (Cell(pair.name, method, task) for task in tasks if not benchmark.undefined(method, task)):
            shared.setdefault(tuple(of.task for of in file.searched(cell)), []).append(cell)
        for decided_on, cells in shared.items():
            best = run_record.choice(file, Layout(results), cells[0])
            if best is not None and decided_on:
                se = _noise(runs, pair, decided_on)
                found.append(_choice(benchmark, best, cells, decided_on, se))
    return found


def _noise(runs: Runs, pair: Pair, tasks: Sequence[str]) -> float | None:
    """Standard error, in percentage points, of the difference between two runs' mean dev scores over tasks.

    From the spread over seeds of the reported runs, pooled over the pair's methods. The examples of dev are the same
    for all points; that others would have been drawn comes on top.
    """
    total = 0.0
    for task in tasks:
        rows = [runs.by_cell.get((pair.name, method, "dev", task), []) for method in pair.methods]
        spreads = [variance([row["score"] for row in of]) for of in rows if len(of) > 1]
        if not spreads:
            return None
        total += fmean(spreads)
    return 100 * math.sqrt(2 * total) / len(tasks)


def _choice(
    benchmark: ReportedBenchmark,
    best: Mapping[str, Any],
    cells: Sequence[Cell],
    decided_on: tuple[str, ...],
    se: float | None,
) -> Choice:
    points = [(p, 100 * s) for p, s in zip(best["grid"], best["scores"], strict=True) if s is not None]
    point, score = best["point"], max(s for _, s in points)
    lead = _lead(score, [s for p, s in points if p != point])
    ends = _ends(benchmark, cells[0].method, point)
    by_end = {key: _lead(score, [s for p, s in points if p[key] != point[key]]) for key in ends}
    return Choice(
        pair=cells[0].pair,
        method=cells[0].method,
        decided_on=decided_on,
        taken_by=tuple(cell.task for cell in cells),
        point=point,
        score=score,
        lead=lead,
        se=se,
        ends=ends,
        beyond=tuple(key for key, ahead in by_end.items() if ahead is not None and se is not None and ahead > se),
    )


def _lead(score: float, others: Sequence[float]) -> float | None:
    return score - max(others) if others else None


def _ends(benchmark: ReportedBenchmark, method: str, point: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a point that have the least or the greatest of several numbers to try, where there may be others."""
    axes = {**(benchmark.file.search or {})["grid"], **benchmark.file.searched_options(method)}
    found: dict[str, str] = {}
    for key, values in axes.items():
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            continue
        low, high = min(values), max(values)
        if low < high and point[key] == low and low not in (0, NO_FURTHER["lowest"].get(key)):
            found[key] = "lowest"
        elif low < high and point[key] == high and high != NO_FURTHER["highest"].get(key):
            found[key] = "highest"
    return found


def by_noise(chosen: Sequence[Choice]) -> str:
    """How many choices are no better than the next point, by the noise of seeds."""
    noise = sum(choice.is_noise for choice in chosen)
    if not noise:
        return ""
    return (
        f" {noise} of {len(chosen)} choices lead the next best point by no more than the standard error of a difference"
        " between two runs: there another point might as well have been chosen."
    )


def at_ends(benchmark: ReportedBenchmark, chosen: Sequence[Choice]) -> str:
    """Names the choices at an end of the grid that lead what is not there by more than noise."""
    named: dict[str, list[str]] = {}
    for choice in chosen:
        for key in choice.beyond:
            tasks = ", ".join(column_title("dev", task) for task in choice.decided_on)
            where = f"{benchmark.title_of(choice.method)} ({tasks})"
            named.setdefault(f"{choice.ends[key]} {key}, {choice.point[key]:g}", []).append(where)
    if not named:
        return ""
    listed = "; ".join(
        f"{end}: {', '.join(of[:MOST_NAMES])}" + (f" and {len(of) - MOST_NAMES} more" if len(of) > MOST_NAMES else "")
        for end, of in named.items()
    )
    return f" Beyond that noise an end of the grid was chosen, so that the best value may lie outside of it: {listed}."


def wider(benchmark: ReportedBenchmark, chosen: Sequence[Choice]) -> list[str]:
    """What to change where such an end was chosen: a sentence, or none."""
    sides: dict[str, set[str]] = {}
    for choice in chosen:
        own = benchmark.file.searched_options(choice.method)
        for key in choice.beyond:
            side = "below" if choice.ends[key] == "lowest" else "above"
            place = f"methods.{choice.method}.search.{key}" if key in own else f"search.grid.{key}"
            sides.setdefault(place, set()).add(f"{side} {choice.point[key]:g}")
    parts = [f"{place} {' and '.join(sorted(values, reverse=True))}" for place, values in sides.items()]
    return [f"Widen {', '.join(parts)}."] if parts else []


def spelled(point: Mapping[str, Any]) -> str:
    """A point in words, such as "learning_rate 0.002, beta 100"."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
    )
