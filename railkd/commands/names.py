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
    if given["pair"] is not None and given["method"] is not None:
        _check_cell(benchmark, given["pair"], given["method"], given["task"])
    if hasattr(arguments, "seeds"):
        cell = Cell(arguments.pair, arguments.method, arguments.task)
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


def _check_cell(benchmark: Benchmark, pair: str, method: str, task: str | None) -> None:
    if benchmark.external(method):
        raise UserError(f"--method {method}: is external, so a rule of its own writes its records")
    of_pair = [cell for cell in benchmark.cells() if cell.pair == pair]
    tasks = [cell.task for cell in of_pair if cell.method == method]
    if not tasks:
        methods = dict.fromkeys(cell.method for cell in of_pair)
        raise UserError(f"--method {method}: the pair {pair} does not train it; available: {_listed(methods)}")
    if task not in (None, *tasks):
        raise UserError(f"--task {task}: the pair {pair} does not train {method} on it; available: {_listed(tasks)}")


def _check_seeds(benchmark: Benchmark, cell: Cell, seeds: list[int], point: int | None) -> None:
    available = benchmark.seeds
    if point is not None:
        points = len(benchmark.points(cell))
        if not 0 <= point < points:
            where = f" on {cell.task}" if points < len(benchmark.grid(cell.method)) else ""
            raise UserError(f"--point {point}: the search has {points} points{where}, counted from 0")
        available = [(benchmark.search or {})["seed"]]
    for seed in seeds:
        if seed not in available:
            what = "the file's seeds are" if point is None else "the search's seed is"
            raise UserError(f"--seeds {seed}: {what} {_listed(available)}")
