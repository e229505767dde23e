"""Checks, before any compute, that the names and numbers on a command line are in the benchmark file."""

import argparse
from collections.abc import Iterable

from railkd.benchmark import config
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError, unknown


def check_names(benchmark: Benchmark, arguments: argparse.Namespace) -> None:
    """Raises UserError for an option whose value the benchmark file does not have, and says what it has."""
    names = {
        "model": benchmark.models,
        "teacher": benchmark.teachers,
        "pair": benchmark.pairs,
        "method": benchmark.spec["methods"],
        "task": benchmark.tasks,
    }
    given = {key: getattr(arguments, key, None) for key in names}
    for key, available in names.items():
        if given[key] is not None and given[key] not in available:
            raise unknown(key, given[key], available, f"--{key}")
    if given["teacher"] is not None:
        _check_teacher_task(benchmark, given["teacher"], arguments.task)
    cell = Cell(*(given[key] for key in ("pair", "method", "task")))  # type: ignore[arg-type]  # None: not asked for
    if given["pair"] is not None and given["method"] is not None:
        _check_cell(benchmark, cell)
    if hasattr(arguments, "seeds"):
        _check_seeds(benchmark, cell, arguments.seeds, arguments.point)
    if hasattr(arguments, "device"):
        config.check_device(arguments.device)
        if arguments.threads < 1:
            raise UserError(f"--threads {arguments.threads}: expected a number of at least 1")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _check_teacher_task(benchmark: Benchmark, teacher: str, task: str) -> None:
    available = benchmark.teacher_tasks(teacher)
    if task not in available:
        raise UserError(f"--task {task}: no pair trains {teacher} on it; available: {_listed(available)}")


def _check_cell(benchmark: Benchmark, cell: Cell) -> None:
    if benchmark.external(cell.method):
        raise UserError(f"--method {cell.method}: is external, so a rule of its own writes its records")
    cells = list(benchmark.cells())
    tasks = [c.task for c in cells if (c.pair, c.method) == (cell.pair, cell.method)]
    if not tasks:
        methods = dict.fromkeys(c.method for c in cells if c.pair == cell.pair)
        raise UserError(
            f"--method {cell.method}: the pair {cell.pair} does not train it; available: {_listed(methods)}"
        )
    if cell.task not in (None, *tasks):
        raise UserError(
            f"--task {cell.task}: the pair {cell.pair} does not train {cell.method} on it; available: {_listed(tasks)}"
        )


def _check_seeds(benchmark: Benchmark, cell: Cell, seeds: list[int], point: int | None) -> None:
    available = benchmark.seeds
    if point is not None:
        points = len(benchmark.points(cell))
        if not 0 <= point < points:
            where = f" on {cell.task}" if points < len(benchmark.grid()) else ""
            raise UserError(f"--point {point}: the search has {points} points{where}, counted from 0")
        available = [(benchmark.search or {})["seed"]]
    for seed in seeds:
        if seed not in available:
            what = "the file's seeds are" if point is None else "the search's seed is"
            raise UserError(f"--seeds {seed}: {what} {_listed(available)}")
