"""Finds which key of the benchmark file holds a setting, and what to raise it to: what a person has to change."""

from collections.abc import Iterable
from typing import Any

from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.validity.thresholds import MORE_EPOCHS
from railkd.benchmark.specification import Role


def key_of(benchmark: ReportedBenchmark, role: Role, model: str, task: str, name: str) -> str:
    """The key that holds a training setting of a model on a task; of several, the one that decides."""
    spec = benchmark.file.spec
    if role == "student" and name in ((benchmark.file.search or {}).get("grid") or {}):
        return f"search.grid.{name}"
    if name in spec["models"][model].get("training", {}):
        return f"models.{model}.training.{name}"
    if name in spec.get("training", {}).get(role, {}).get("tasks", {}).get(task, {}):
        return f"training.{role}.tasks.{task}.{name}"
    return f"training.{role}.{name}"


def more_epochs(benchmark: ReportedBenchmark, pair: Pair, role: Role, tasks: Iterable[str]) -> list[str]:
    """``training.student.epochs: 4 -> 8`` for each key that decides the epochs of these tasks."""
    model = pair.teacher if role == "teacher" else pair.student
    found: dict[str, str] = {}
    for task in tasks:
        key = key_of(benchmark, role, model, task, "epochs")
        now: Any = benchmark.file.training(role, model, task)["epochs"]
        if key.startswith("search."):
            now = max((benchmark.file.search or {})["grid"]["epochs"])
        found[key] = f"{key}: {now} -> {MORE_EPOCHS * int(now)}"
    return list(found.values())
