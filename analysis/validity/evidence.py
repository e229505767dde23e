"""Looks up what a benchmark's records say about convergence and gap, by pair, method and task."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.validity import convergence
from analysis.validity.convergence import Convergence, Course
from analysis.validity.gap import Gap, gap


class Evidence:
    """The records behind a judgement. Every lookup returns what is present; nothing stands in for a missing run."""

    def __init__(self, benchmark: ReportedBenchmark, runs: Runs, results: Path) -> None:
        self.benchmark, self.runs, self.results = benchmark, runs, results
        self._known_gaps: dict[tuple[str, str, str], Gap | None] = {}

    def without_kd(self, pair: Pair) -> str | None:
        """The pair's method that trains the student without its teacher."""
        return self.benchmark.without_kd(pair)

    @cached_property
    def _courses(self) -> dict[tuple[str, str, str], list[Course | None]]:
        """(pair, method, task) -> how its runs ended; a teacher's under (teacher, "teacher", task)."""
        found: dict[tuple[str, str, str], list[Course | None]] = {}
        for (pair, method, task, _), record in sorted(self.runs.students.items()):
            found.setdefault((pair, method, task), []).append(convergence.course(record))
        for (teacher, task), record in self.runs.teachers.items():
            if record["best_epoch"]:  # else it came fine-tuned, and nothing was trained here that could have converged
                found[teacher, "teacher", task] = [convergence.course(record)]
        return found

    @cached_property
    def _noises(self) -> dict[tuple[str, str], convergence.Noise]:
        """(pair or teacher, task) -> noise of a rise, pooled over the methods."""
        by_task: dict[tuple[str, str], list[list[Course]]] = {}
        for (of, _, task), courses in self._courses.items():
            by_task.setdefault((of, task), []).append([c for c in courses if c is not None])
        return {key: convergence.noise(of) for key, of in by_task.items()}

    def convergence(self, pair: Pair, method: str, tasks: Iterable[str]) -> Convergence | None:
        """How a method's runs, or ``teacher``'s, ended over these tasks; None where there is no record."""
        of = pair.teacher if method == "teacher" else pair.name
        wanted = [task for task in tasks if (of, method, task) in self._courses]
        found = {task: self._courses[of, method, task] for task in wanted}
        return convergence.converged(found, {task: self._noises[of, task] for task in wanted})

    def gaps(self, pair: Pair, block: str, columns: Iterable[str]) -> list[Gap]:
        """The gap between teacher and student without KD on each column where both have scores."""
        return [g for column in columns if (g := self._gap(pair, block, column)) is not None]

    def _gap(self, pair: Pair, block: str, column: str) -> Gap | None:
        """The gap on one column, measured once."""
        key, without = (pair.name, block, column), self.without_kd(pair)
        if key not in self._known_gaps:
            self._known_gaps[key] = gap(self.runs, pair.name, without, block, column) if without else None
        return self._known_gaps[key]
