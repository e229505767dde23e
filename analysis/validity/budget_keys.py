"""Finds which key of the benchmark file holds a setting, and what to raise it to: what a person has to change."""

from collections.abc import Iterable, Sequence
from typing import Any

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.validity import cells
from analysis.validity.thresholds import MORE_EPOCHS
from railkd.benchmark.specification import Cell, Role


def key_of(benchmark: ReportedBenchmark, pair: Pair, role: Role, task: str, name: str) -> str:
    """The key that holds a training setting of a pair's model on a task; of several, the one that decides."""
    spec, model = benchmark.file.spec, pair.teacher if role == "teacher" else pair.student
    if role == "student" and name in ((benchmark.file.search or {}).get("grid") or {}):
        return f"search.grid.{name}"
    if role == "student" and name in spec["pairs"][pair.name].get("training", {}):
        return f"pairs.{pair.name}.training.{name}"
    if name in spec["models"][model].get("training", {}):
        return f"models.{model}.training.{name}"
    if name in spec.get("training", {}).get(role, {}).get("tasks", {}).get(task, {}):
        return f"training.{role}.tasks.{task}.{name}"
    return f"training.{role}.{name}"


def more_epochs(benchmark: ReportedBenchmark, pair: Pair, role: Role, tasks: Iterable[str]) -> list[str]:
    """``training.student.epochs: 4 -> 8`` for each key that decides the epochs of these tasks."""
    found: dict[str, str] = {}
    for task in tasks:
        key = key_of(benchmark, pair, role, task, "epochs")
        settings = benchmark.file.student_training(pair.name, task)
        if role == "teacher":
            settings = benchmark.file.training(role, pair.teacher, task)
        now: Any = settings["epochs"]
        if key.startswith("search."):
            now = max((benchmark.file.search or {})["grid"]["epochs"])
        found[key] = f"{key}: {now} -> {MORE_EPOCHS * int(now)}"
    return list(found.values())


def to_learn(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, block: str, failed: Sequence[Cell]) -> str:
    """What to change where students do not clear the majority-class baseline; a cell names the column it fails on."""
    columns = list(dict.fromkeys(cell.task for cell in failed))
    teacher = cells.baselines(runs, pair.name, "teacher", block, columns)
    if all(teacher.get(column) is False for column in columns):
        return "The teacher does not clear it there either: take a better teacher, or leave these columns out."
    if block == "ood":
        return "Training need not have failed: what was learned does not carry over to these sets. Take others."
    key = key_of(benchmark, pair, "student", columns[0], "learning_rate")
    if not key.startswith("search."):
        return f"Training failed there: search {key} on dev (search.grid.learning_rate)."
    grid = sorted(float(rate) for rate in (benchmark.file.search or {})["grid"]["learning_rate"])
    records = [record for cell in failed for record in runs.cell(pair.name, cell.method, cell.task).values()]
    rates = [record["config"].get("training", {}).get("learning_rate") for record in records]
    chosen = {float(rate) for rate in rates if rate is not None}
    ends = [f"{side} {end:g}" for side, end in (("below", grid[0]), ("above", grid[-1])) if end in chosen]
    if not ends:
        return f"Training failed there, at rates within {key}: take more training examples or epochs."
    return f"Training failed there: widen {key} {' and '.join(ends)}, which was chosen there."
