"""Digests what tables, figures, claims and report are made of: with another digest they are made again."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.records import hashes

# keys of a benchmark file that change neither a number nor how it is shown
SILENT = {"seeds_per_job", "rules", "save_students"}
SILENT_DATA = {"root", "model_root", "tasks", "out_of_domain"}  # the last two are digested by what they declare
STEPS = ("tables", "figures", "claims", "audit", "report")  # in the order in which they read each other
BENCHMARKS = config.ROOT / "benchmarks"
PRINTED = [BENCHMARKS / "claims.yaml", *sorted((BENCHMARKS / "reference").glob("*.csv"))]


def files(benchmark: config.Benchmark, layout: Layout) -> list[Path]:
    """The files that the analysis reads besides its own code: records, and what is put beside them or printed."""
    runs = [layout.run(cell, seed) for cell in benchmark.cells() for seed in benchmark.seeds]
    teachers = [
        layout.teacher(t, task) / "record.json" for t in benchmark.teachers for task in benchmark.teacher_tasks(t)
    ]
    return [*runs, *teachers, layout.speed(), layout.leaderboard(), *PRINTED]


def digests(benchmark: config.Benchmark, layout: Layout) -> dict[str, str]:
    """Step of the analysis -> hex SHA-256 over what the benchmark file says, every file that is read, and the code that
    reads it. The audit reads the printed tables alone."""
    shown: dict[str, Any] = {key: value for key, value in benchmark.spec.items() if key not in SILENT}
    shown["data"] = {key: value for key, value in benchmark.spec["data"].items() if key not in SILENT_DATA}
    shown["tasks"] = [[task, benchmark.data_config(task)] for task in benchmark.tasks]
    here = Path(__file__).parent
    code = sorted(path for path in here.rglob("*") if path.suffix in {".py", ".css", ".js", ".j2"})
    always = _digest([*code, *PRINTED])
    runs = _digest(path for path in files(benchmark, layout) if path.is_file() and path not in PRINTED)
    whole = hashes.sha256_text(hashes.canonical([shown, always, runs]))
    return {step: always if step == "audit" else whole for step in STEPS}


def _digest(paths: Iterable[Path]) -> str:
    return hashes.sha256_text("".join(f"{path.name} {hashes.sha256_once(path)}\n" for path in paths))
