"""Lists which runs a benchmark asks for, which of them are present, and why the others are not."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from analysis.load import Runs
from analysis.report import failures
from analysis.report.failures import Key
from analysis.reported_benchmark import ReportedBenchmark


@dataclass(frozen=True)
class Completeness:
    """What is present and what is missing of a benchmark's runs."""

    planned: list[Key]  # student runs
    missing: list[Key]  # those of them without a record
    teachers: list[tuple[str, str]]  # (teacher, task)
    missing_teachers: list[tuple[str, str]]
    reasons: dict[str, list[Key]]  # why -> the runs that are missing for it

    @property
    def sentence(self) -> str:
        """How many runs are present, of how many."""
        students, teachers = len(self.planned), len(self.teachers)
        return (
            f"{students - len(self.missing):,} of {students:,} student runs and "
            f"{teachers - len(self.missing_teachers)} of {teachers} teachers are present."
        )

    def counts(self) -> dict[tuple[str, str], tuple[int, list[str]]]:
        """(pair, method) -> number of missing runs, and the tasks that they are of."""
        tasks: dict[tuple[str, str], list[str]] = {}
        for pair, method, task, _ in self.missing:
            tasks.setdefault((pair, method), []).append(task)
        return {key: (len(listed), list(Counter(listed))) for key, listed in tasks.items()}


def planned(benchmark: ReportedBenchmark) -> list[Key]:
    """Every student run that the benchmark file asks for."""
    return [
        (pair.name, method, task, seed)
        for pair in benchmark.pairs
        for method in pair.rows()
        for task in pair.tasks
        if not benchmark.undefined(method, task)
        for seed in benchmark.seeds
    ]


def of(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> Completeness:
    """Compares the benchmark file with the records; the reasons come from the logs of the jobs."""
    expected = planned(benchmark)
    missing = [key for key in expected if key not in runs.students]
    teachers = list(dict.fromkeys((pair.teacher, task) for pair in benchmark.pairs for task in pair.tasks))
    return Completeness(
        expected,
        missing,
        teachers,
        [teacher for teacher in teachers if teacher not in runs.teachers],
        failures.grouped(benchmark, results, missing),
    )
