"""Tells why a run is missing: by the last lines of the log of its job, or of a job that it needs.

A job's log ends with "done"; a run that failed ends it with one line of why (``railkd: error: ...``).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from analysis.reported_benchmark import ReportedBenchmark
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell

Key = tuple[str, str, str, int]  # pair, method, task, seed
ERROR = "railkd: error: "
LONGEST = 400  # characters of a reason


def grouped(benchmark: ReportedBenchmark, results: Path, missing: list[Key]) -> dict[str, list[Key]]:
    """Reason -> the runs that are missing for it, in their order."""
    by_reason: dict[str, list[Key]] = {}
    for key in missing:
        by_reason.setdefault(reason(benchmark, results, key), []).append(key)
    return by_reason


def listed(benchmark: ReportedBenchmark, keys: list[Key]) -> str:
    """Runs in words: ``bert12-bert6, PKD: cola (seed 1, 2); mrpc (seed 1)``."""
    cells: dict[tuple[str, str], dict[str, list[int]]] = {}
    for pair, method, task, seed in keys:
        cells.setdefault((pair, method), {}).setdefault(task, []).append(seed)
    return "; ".join(
        f"{pair}, {benchmark.title_of(method)}: "
        + "; ".join(f"{task} (seed {', '.join(map(str, seeds))})" for task, seeds in tasks.items())
        for (pair, method), tasks in cells.items()
    )


def reason(benchmark: ReportedBenchmark, results: Path, key: Key) -> str:
    """Why one run is missing, in a line."""
    layout, file = Layout(results), benchmark.file
    if file.external(key[1]):
        return "another repository's rule has not written it"
    for log in _logs(file, layout, key):
        ending = _ending(log, key)
        if ending:
            return f"{ending} ({log.relative_to(results)})"
    return "not run yet"


def _logs(file: Benchmark, layout: Layout, key: Key) -> Iterator[Path]:
    """The logs of the jobs that a run needs, in their order, its own last."""
    pair, method, task, seed = key
    teacher, student = file.pairs[pair]["teacher"], file.pairs[pair]["student"]
    yield layout.log("data")
    models = [teacher, student]
    for model in models:  # grows while it is read
        entry = file.models[model]
        models += [entry[k] for k in ("from", "layers_of") if k in entry and entry[k] not in models]
    for model in reversed(models):
        yield layout.log("pretrain", model)
    deciding = [of.task for of in file.searched(Cell(pair, method, task))]  # others, where search.tasks leaves it out
    for of in dict.fromkeys([task, *deciding]):
        for step in ("prepare", "teacher", "signals"):
            yield layout.log(step, teacher, of)
    for of in deciding:
        for point in range(len(file.grid(method))):
            yield layout.log(f"search_{method}", pair, f"{of}-{point}")
    yield layout.log(f"select_{method}", pair, task)
    first = next(s.seeds[0] for s in file.seed_groups() if s.cell == (pair, method, task) and seed in s.seeds)
    yield layout.log(f"distil_{method}", pair, f"{task}-{first}")


def _ending(log: Path, key: Key) -> str | None:
    """What a log says of why its job, or this run of it, failed; None where it did not, or has not begun."""
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    if not lines or lines[-1].endswith("] done"):
        return None
    pair, method, task, seed = key
    runs = f"{pair} {method} {task} seed "
    last = lines[-1]
    if last.startswith(ERROR):  # of several runs of a job, what it says of this one
        text = last.removeprefix(ERROR)
        parts = re.findall(rf"(?:^|; ){re.escape(runs)}([\d, ]+): (.*?)(?=; {re.escape(runs)}|$)", text)
        why = (part for seeds, part in parts if str(seed) in seeds.split(", "))
        return next(why, parts[0][1] if parts else text)[:LONGEST]
    what = (
        "crashed"
        if any(line.startswith("Traceback") for line in lines)
        else "its job was stopped, or still runs, after"
    )
    return f"{what}: {last.strip()}"[:LONGEST]
