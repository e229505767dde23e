"""Measures what else makes a score uncertain: the sample of examples, the chosen epoch, the tuning budget."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.statistics import inference, summaries
from analysis.statistics.bootstrap import Examples
from analysis.statistics.inference import Estimate
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.records import run_record


def errors(benchmark: ReportedBenchmark, runs: Runs, examples: Examples) -> list[dict[str, Any]]:
    """Seed error and example error of every cell's mean score, in percentage points.

    The latter by bootstrap; without predictions by formula (``summaries.examples_error``), and ``how`` says which.
    """
    found = []
    for (pair, method, block, column), rows in runs.by_cell.items():
        if method == "teacher":
            continue
        _, sd = summaries.mean_sd(np.array([row["score"] for row in rows]))
        drawn = examples.scores(pair, method, block, column)
        if drawn is not None:
            of_examples, how = float(np.std(np.mean(list(drawn.values()), axis=0), ddof=1)), "bootstrap"
        else:
            of_examples, how = 100 * summaries.examples_error(rows), "formula"
        found.append(
            {
                "pair": pair,
                "method": method,
                "block": block,
                "column": column,
                "n": len(rows),
                "sd": _number(100 * sd),
                "se_seeds": _number(100 * sd / math.sqrt(len(rows))),
                "se_examples": _number(of_examples),
                "how": how,
            }
        )
    return found


def selection(benchmark: ReportedBenchmark, runs: Runs) -> list[dict[str, Any]]:
    """How much choosing the best epoch on dev flatters, for each pair and method, averaged over tasks, in points.

    ``dev_minus_test`` compares two sets of examples, so it holds their difference too, the same for all methods.
    ``optimism`` compares two halves of dev (``inference.optimism``); only records that keep the halves have it.
    """
    found = []
    for pair in benchmark.pairs:
        for method in pair.rows():
            gaps: dict[str, list[float]] = {}
            halves: dict[str, list[float]] = {}
            for task, record in ((t, r) for t in pair.tasks for r in runs.cell(pair.name, method, t).values()):
                shown = record["shown"]
                if record["scores"].get("test"):
                    gap = record["scores"]["dev"][shown] - record["scores"]["test"][shown]
                    gaps.setdefault(task, []).append(100 * gap)
                kept = [epoch["halves"] for epoch in record["epochs"] if "halves" in epoch]
                if kept and len(kept) == len(record["epochs"]):
                    halves.setdefault(task, []).append(100 * inference.optimism(np.array(kept)))
            if gaps or halves:
                mean, low, high = _over_tasks(gaps)
                value, value_low, value_high = _over_tasks(halves)
                found.append(
                    {
                        "pair": pair.name,
                        "method": method,
                        "runs": sum(map(len, gaps.values())) or sum(map(len, halves.values())),
                        "dev_minus_test": mean,
                        "low": low,
                        "high": high,
                        "optimism": value,
                        "optimism_low": value_low,
                        "optimism_high": value_high,
                        "halves": sum(map(len, halves.values())),
                    }
                )
    return found


def _over_tasks(by_task: dict[str, list[float]]) -> tuple[float | None, float | None, float | None]:
    """Mean over tasks and its interval over seeds; None where there is none."""
    if not by_task:
        return None, None, None
    arrays = [np.array(v) for v in by_task.values()]
    if min(map(len, arrays)) < 2:
        return float(np.mean([a.mean() for a in arrays])), None, None
    estimate: Estimate = inference.contrast(arrays, [1 / len(arrays)] * len(arrays))
    low, high = estimate.interval()
    return float(estimate.value), float(low), float(high)


def budget(benchmark: ReportedBenchmark, results: Path) -> list[dict[str, Any]]:
    """Expected best dev score of 1, 2, … random points of the search, in percent, mean over tasks (Dodge et al., 2019).

    Only over tasks that have as many points as the others; empty where no search ran.
    Raises UserError for a bad record.
    """
    found = []
    for pair in benchmark.pairs:
        for method in pair.rows():
            curves: dict[str, np.ndarray] = {}
            for task in pair.tasks:
                scores = _of_points(benchmark, Layout(results), Cell(pair.name, method, task))
                if scores:
                    curves[task] = inference.expected_best(100 * np.array(scores))
            points = max(map(len, curves.values()), default=0)
            full = {task: curve for task, curve in curves.items() if len(curve) == points}
            if full:
                mean = np.mean(list(full.values()), axis=0)
                entry = {"pair": pair.name, "method": method, "tasks": list(full), "points": points}
                found.append({**entry, "expected": [float(v) for v in mean]})
    return found


def _of_points(benchmark: ReportedBenchmark, layout: Layout, cell: Cell) -> list[float]:
    """The dev scores of a cell's points of the search: of their records, or of the choice where these are not kept.

    A point that diverged counts as the lowest of the others.
    """
    records = points(benchmark, layout, cell)
    scores = [None if run_record.diverged(r) else float(r["scores"]["dev"][r["shown"]]) for r in records]
    scores = scores or scores_of_choice(benchmark, layout, cell)
    known = [score for score in scores if score is not None]
    return [min(known) if score is None else score for score in scores] if known else []


def points(benchmark: ReportedBenchmark, layout: Layout, cell: Cell) -> list[dict[str, Any]]:
    """The records of a cell's search that are present and of the points that the file now names.

    An earlier search's stay in their places until the workflow runs.
    """
    search, own, found = benchmark.file.search or {}, benchmark.file.searched_options(cell.method), []
    for number, point in enumerate(benchmark.file.points(cell)):
        if not layout.point(cell, number).is_file():
            continue
        record = run_record.read_point(layout.point(cell, number))
        config = record["config"]
        places = {key: config.get("method" if key in own else "training", {}) for key in point}
        if record["seed"] == search["seed"] and all(places[key].get(key) == point[key] for key in point):
            found.append(record)
    return found


def scores_of_choice(benchmark: ReportedBenchmark, layout: Layout, cell: Cell) -> list[float | None]:
    """The dev scores of the points that a cell's own choice was made among; empty where it took that of other tasks.

    None of a point that diverged; empty too where the file names other points now.
    """
    own = cell in benchmark.file.searched(cell)
    made = run_record.choice(benchmark.file, layout, cell) if own else None
    return list(made["scores"]) if made else []


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
