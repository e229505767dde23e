"""Finds which key of the benchmark file holds a setting, and what to raise it to: what a person has to change."""

from collections.abc import Iterable
from typing import Any

from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.validity.thresholds import MORE_EPOCHS
from railkd.benchmark.specification import Role


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
