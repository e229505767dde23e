"""Run records → one tidy table of scores, and the records themselves for costs, attention and similarity."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import leaderboard
from analysis.benchmark import ROOT, Benchmark
from railkd import records
from railkd.config import Cell, Layout
from railkd.errors import UserError
from railkd.tasks import OUT_OF_DOMAIN

COLUMNS = ["pair", "method", "block", "column", "task", "seed", "metric", "score", "accuracy", "baseline", "examples"]


@dataclass(frozen=True)
class Runs:
    """What was found of a benchmark: records by (pair, method, task, seed) or (teacher, task), and their scores."""

    students: dict[tuple[str, str, str, int], dict[str, Any]]
    teachers: dict[tuple[str, str], dict[str, Any]]
    scores: pd.DataFrame  # one row for each run and printed score, see COLUMNS; block is dev, test or ood
    # (pair, method) -> tasks whose runs have another configuration than the benchmark file's; (teacher, "teacher") too
    outdated: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        return dict(list(self.scores.groupby(["pair", "method", "block"])))

    def row(self, pair: str, method: str, block: str) -> pd.DataFrame:
        """The scores that fill one row of a table."""
        return self._rows.get((pair, method, block), self.scores.iloc[:0])

    @cached_property
    def column(self) -> dict[tuple[str, str], tuple[str, float]]:
        """(block, column) -> metric and constant-answer baseline (NaN if unknown), the same for all runs."""
        first = self.scores.drop_duplicates(["block", "column"])
        return {(r["block"], r["column"]): (r["metric"], r["baseline"]) for r in first.to_dict("records")}

    @cached_property
    def by_cell(self) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
        """(pair, method, block, column) -> its rows of ``scores``; far quicker to look up than the table."""
        found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
        for row in self.scores.to_dict("records"):
            found.setdefault((row["pair"], row["method"], row["block"], row["column"]), []).append(row)
        return found

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], dict[int, dict[str, Any]]]:
        found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
        for (pair, method, task, seed), record in sorted(self.students.items()):
            found.setdefault((pair, method, task), {})[seed] = record
        return found

    def cell(self, pair: str, method: str, task: str) -> dict[int, dict[str, Any]]:
        """seed -> record of the runs of one cell."""
        return self._cells.get((pair, method, task), {})

    @property
    def everything(self) -> list[dict[str, Any]]:
        """All records, teachers first."""
        return [*self.teachers.values(), *self.students.values()]

    def costs(self, pair: str, method: str, task: str, key: str) -> dict[int, tuple[float, str, str]]:
        """seed -> (cost, regime, device) of the runs of one cell that recorded this cost."""
        found = {}
        for seed, record in self.cell(pair, method, task).items():
            cost = record["cost"]
            if cost.get(key):
                found[seed] = (float(cost[key]), str(cost.get("regime", "?")), str(cost.get("device", "?")))
        return found


def read(benchmark: Benchmark, results: Path) -> Runs:
    """Reads every run that the benchmark file lists and that is there.

    Raises UserError naming the file for a record that is invalid, lies in the wrong place, has another configuration
    than the other seeds of its cell, or was scored on other data than the rest of its column; and for a line of
    ``leaderboard.csv`` that fits no run.
    """
    if not results.is_dir():
        raise UserError(f"{results}: no such results folder; run the benchmark first, or name it with --results")
    students: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    teachers: dict[tuple[str, str], dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    columns: dict[tuple[str, str], tuple[Path, tuple[Any, ...]]] = {}
    outdated: dict[tuple[str, str], list[str]] = {}

    def compare(record: dict[str, Any], asked: dict[str, Any] | None) -> None:
        if asked is not None and not _trained_with(record, asked):
            outdated.setdefault((record["pair"], record["method"]), []).append(record["task"])

    layout = Layout(results)
    for pair in benchmark.pairs:
        for task in pair.tasks:
            path = results / "teachers" / pair.teacher / task / "record.json"
            if path.exists():
                if (pair.teacher, task) not in teachers:
                    expected = {"benchmark": benchmark.name, "stage": "teacher", "teacher": pair.teacher, "task": task}
                    teachers[pair.teacher, task] = _record(path, expected)
                    compare(teachers[pair.teacher, task], records.asked_of_teacher(benchmark.file, pair.teacher, task))
                rows += _scores(benchmark, teachers[pair.teacher, task], path, pair.name, "teacher", columns)
            for method in pair.methods:
                cell: tuple[Path, str] | None = None
                asked = records.asked(benchmark.file, layout, Cell(pair.name, method, task))
                for seed in sorted(benchmark.seeds):
                    path = layout.run(Cell(pair.name, method, task), seed)
                    if not path.exists():
                        path = layout.kept(path)  # finished, though its job failed later
                        if not path.exists() or not asked or not _trained_with(records.read(path), asked):
                            continue
                    expected = {"benchmark": benchmark.name, "pair": pair.name, "method": method, "task": task}
                    record = _record(path, {**expected, "seed": seed, "stage": "distil"})
                    if cell and cell[1] != record["config_hash"]:
                        raise UserError(
                            f"{path}: was run with another configuration (config_hash "
                            f"{record['config_hash'][:12]}) than {cell[0].name} ({cell[1][:12]}); a cell never mixes "
                            "two, remove the outdated runs"
                        )
                    if cell is None:
                        cell = (path, record["config_hash"])
                        compare(record, asked)
                    students[pair.name, method, task, seed] = record
                    rows += _scores(benchmark, record, path, pair.name, method, columns)
    rows += leaderboard.read(benchmark, results)
    return Runs(students, teachers, pd.DataFrame(rows, columns=COLUMNS), outdated)


def _trained_with(record: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a record is of this configuration."""
    return bool(record["config_hash"] == records.sha256_text(records.canonical(config)))


def _record(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    record = records.read(path)
    for key, value in expected.items():
        if record[key] != value:
            raise UserError(f"{path}: '{key}' is {record[key]!r}, but this place in the results is for {value!r}")
    return record


def _scores(
    benchmark: Benchmark,
    record: dict[str, Any],
    path: Path,
    pair: str,
    method: str,
    columns: dict[tuple[str, str], tuple[Path, tuple[Any, ...]]],
) -> list[dict[str, Any]]:
    task, rows = record["task"], []
    own = [s for s in ("dev", "test") if s == "dev" or benchmark.test in ("labels", "heldout")]
    foreign = [name for name in benchmark.out_of_domain if OUT_OF_DOMAIN[name].source == task]
    for split in (*own, *foreign):
        scores = record["scores"].get(split)
        if scores is None:
            continue  # shown as missing
        metric = record["shown"] if split in own else OUT_OF_DOMAIN[split].shown
        score = scores.get(metric) if isinstance(scores, dict) else None
        if not isinstance(score, int | float) or isinstance(score, bool):
            raise UserError(f"{path}: scores.{split} has no number '{metric}', which is the metric its table shows")
        examples = record["examples"].get(split)
        # an answer that never changes correlates with nothing
        constant = None if metric in ("accuracy", "f1") else 0.0
        baseline = record["baselines"].get(split, {}).get(metric, constant)
        facts = (metric, examples, None if baseline is None else round(baseline, 9))
        first, seen = columns.setdefault((task, split), (path, facts))
        if seen != facts:
            names = ("metric", "examples", "constant-answer baseline")
            what = next(f"{n} {a!r} against {b!r}" for n, a, b in zip(names, facts, seen, strict=True) if a != b)
            raise UserError(f"{path}: scored on other {split} data than {first}: {what}; not comparable")
        rows.append(
            {
                "pair": pair,
                "method": method,
                "block": split if split in own else "ood",
                "column": task if split in own else split,
                "task": task,
                "seed": record["seed"],
                "metric": metric,
                "score": float(score),
                "accuracy": scores.get("accuracy"),
                "baseline": baseline,
                "examples": examples,
            }
        )
    return rows


def reference(number: int) -> pd.DataFrame:
    """One of the paper's tables as printed, see benchmarks/reference/README.md."""
    return pd.read_csv(ROOT / "benchmarks" / "reference" / f"table{number}.csv", keep_default_na=False, na_values=[""])
