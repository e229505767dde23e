"""Loads run records into one tidy table of scores, and keeps them for costs, attention and similarity."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import leaderboard
from analysis.reported_benchmark import ROOT, TEACHER_SEED, ReportedBenchmark
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.method_facts import remember
from railkd.outdated import SOURCE, differences
from railkd.records import run_record

COLUMNS = [
    "pair", "method", "block", "column", "task", "seed", "metric", "score", "accuracy", "baseline", "examples",
    "sampling_error",
]  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """The results of a benchmark: records by (pair, method, task, seed) or (teacher, task), and their scores."""

    students: dict[tuple[str, str, str, int], dict[str, Any]]
    teachers: dict[tuple[str, str], dict[str, Any]]
    scores: pd.DataFrame  # one row for each run and shown score, see COLUMNS; block is dev, test or ood
    # (pair, method) -> tasks whose runs have another configuration than the benchmark file's; (teacher, "teacher") too
    outdated: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    # the same for runs whose method has another source than the present one
    edited: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    # the same for runs whose setting was chosen among other points, or on other tasks, than the file's search has now
    unchosen: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # such runs in words, in cells that have others
    root: Path = Path()  # of the results folder
    made: dict[str, Any] = field(default_factory=dict, repr=False)  # what is dear to make of them, by name

    def note(self, record: dict[str, Any], differ: list[str]) -> None:
        """Notes that a cell's runs are outdated."""
        for of, differing in ((self.outdated, set(differ) - {SOURCE}), (self.edited, SOURCE in differ)):
            if differing:
                of.setdefault((record["pair"], record["method"]), []).append(record["task"])

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        return dict(list(self.scores.groupby(["pair", "method", "block"])))

    def row(self, pair: str, method: str, block: str) -> pd.DataFrame:
        """The scores that fill one row of a table."""
        return self._rows.get((pair, method, block), self.scores.iloc[:0])

    @cached_property
    def column(self) -> dict[tuple[str, str], tuple[str, float]]:
        """(block, column) -> metric and majority-class baseline (NaN: unknown), the same for all runs."""
        first = self.scores.drop_duplicates(["block", "column"])
        return {(r["block"], r["column"]): (r["metric"], r["baseline"]) for r in first.to_dict("records")}

    @cached_property
    def _tasks(self) -> dict[tuple[str, str], str]:
        first = self.scores.drop_duplicates(["block", "column"])
        return {(r["block"], r["column"]): r["task"] for r in first.to_dict("records")}

    def task_of(self, block: str, column: str) -> str:
        """The task whose models fill a column, as its runs say; the column itself where there is no run."""
        return self._tasks.get((block, column), column)

    @cached_property
    def by_cell(self) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
        """(pair, method, block, column) -> its rows of ``scores``; far quicker to look up than the table."""
        cells: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
        for row in self.scores.to_dict("records"):
            cells.setdefault((row["pair"], row["method"], row["block"], row["column"]), []).append(row)
        return cells

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], dict[int, dict[str, Any]]]:
        cells: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
        for (pair, method, task, seed), record in sorted(self.students.items()):
            cells.setdefault((pair, method, task), {})[seed] = record
        return cells

    def cell(self, pair: str, method: str, task: str) -> dict[int, dict[str, Any]]:
        """seed -> record of the runs of one cell."""
        return self._cells.get((pair, method, task), {})

    @property
    def everything(self) -> list[dict[str, Any]]:
        """All records, teachers first."""
        return [*self.teachers.values(), *self.students.values()]

    def percents(self, pair: str, method: str, block: str, column: str) -> dict[int, float]:
        """seed -> score of one cell's runs, in percent."""
        rows = self.by_cell.get((pair, method, block, column), [])
        return {int(row["seed"]): 100 * float(row["score"]) for row in rows}

    def costs(self, pair: str, method: str, task: str, key: str) -> dict[int, tuple[float, str, str]]:
        """seed -> (cost, regime, device) of the runs of one cell that recorded this cost."""
        by_seed = {}
        for seed, record in self.cell(pair, method, task).items():
            cost = record["cost"]
            if cost.get(key):
                by_seed[seed] = (float(cost[key]), str(cost.get("regime", "?")), str(cost.get("device", "?")))
        return by_seed

    def commits(self, pair: str, method: str, task: str) -> set[str]:
        """The suite's commits that the runs of one cell were trained at; "None" is one that is not recorded."""
        return {str(record["provenance"].get("commit")) for record in self.cell(pair, method, task).values()}


def read(benchmark: ReportedBenchmark, results: Path) -> Runs:
    """Reads every run that the benchmark file lists and that is present.

    Where some runs of a cell are of another configuration than the benchmark file's, or of another version of their
    method's source, and some are not, the former are left out, by name. Raises UserError naming the file for a record
    that is invalid, lies in the wrong place, differs so from the other seeds of its cell where all are outdated, or was
    scored on other data than the rest of its column; and for a line of ``leaderboard.csv`` that fits no run.
    """
    if not results.is_dir():
        raise UserError(f"{results}: no such results folder; run the benchmark first, or name it with --results")
    runs = Runs({}, {}, pd.DataFrame(columns=COLUMNS))
    rows: list[dict[str, Any]] = []
    columns: dict[tuple[str, str], tuple[Path, tuple[Any, ...]]] = {}
    layout = Layout(results)
    for pair in benchmark.pairs:
        for task in pair.tasks:
            path = layout.teacher(pair.teacher, task) / "record.json"
            if path.exists():
                if (pair.teacher, task) not in runs.teachers:
                    identity = {"stage": "teacher", "teacher": pair.teacher, "task": task}
                    record = runs.teachers[pair.teacher, task] = _record(path, identity)
                    expected = run_record.expected_teacher_config(benchmark.file, pair.teacher, task)
                    runs.note(record, differences(record, expected))
                rows += _scores(benchmark, runs.teachers[pair.teacher, task], path, pair.name, "teacher", columns)
            for method in pair.methods:
                cell = Cell(pair.name, method, task)
                for seed, (path, record) in _cell(benchmark, layout, cell, runs).items():
                    runs.students[pair.name, method, task, seed] = record
                    rows += _scores(benchmark, record, path, pair.name, method, columns)
    rows += leaderboard.read(benchmark, results)
    return replace(runs, scores=pd.DataFrame(rows, columns=COLUMNS), root=results)


SeedRecords = dict[int, tuple[Path, dict[str, Any]]]  # seed -> where its record lies, and the record


def _cell(benchmark: ReportedBenchmark, layout: Layout, cell: Cell, runs: Runs) -> SeedRecords:
    """The records of one cell, all of one configuration and one source; notes what is outdated."""
    records: SeedRecords = {}
    for seed in sorted(benchmark.seeds):
        path = layout.run(cell, seed)
        path = path if path.exists() else layout.kept(path)  # finished, though its job failed later
        if path.exists():
            expected = {**cell._asdict(), "seed": seed, "stage": "distil"}
            records[seed] = path, _record(path, expected)
            if not benchmark.file.external(cell.method):
                remember(benchmark.file.method_class(cell.method), records[seed][1])
    expected_config = run_record.expected_config(benchmark.file, layout, cell) if records else None
    differ = {
        seed: []
        if expected_config is None
        else differences(record, expected_config, benchmark.file.method_class(cell.method))
        for seed, (_, record) in records.items()
    }
    kept = {seed for seed, (path, _) in records.items() if path != layout.run(cell, seed)}
    records = {
        seed: at for seed, at in records.items() if seed not in kept or expected_config is not None and not differ[seed]
    }
    current = {seed: at for seed, at in records.items() if not differ[seed]}
    if current and len(current) < len(records):
        seeds = ", ".join(str(seed) for seed in records if seed not in current)
        runs.left_out.append(f"{cell.pair} {cell.method}: {cell.task} (seed {seeds})")
    chosen = current or records
    _check_alike(chosen)
    if chosen and expected_config is None and layout.best(cell).is_file() and _is_searched(benchmark, cell):
        runs.unchosen.setdefault((cell.pair, cell.method), []).append(cell.task)
    for seed, (_, record) in list(chosen.items())[:1]:
        runs.note(record, differ[seed])
    return chosen


def _is_searched(benchmark: ReportedBenchmark, cell: Cell) -> bool:
    return bool(benchmark.file.search) and not benchmark.file.external(cell.method)


def _check_alike(records: SeedRecords) -> None:
    """Raises UserError unless all runs of a cell have one configuration and one source of their method."""
    for what, of in (
        ("another configuration (config_hash", lambda record: record["config_hash"]),
        ("another version of its method's source (fingerprint", lambda record: record["fingerprints"].get("method")),
    ):
        stated = [(path, str(of(record))) for path, record in records.values() if of(record)]
        for path, one in stated[1:]:
            if one != stated[0][1]:
                raise UserError(
                    f"{path}: was run with {what} {one[:12]}) than {stated[0][0].name} ({stated[0][1][:12]}); a cell "
                    "never mixes two, remove the outdated runs"
                )


def _record(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    record = run_record.read(path)
    for key, value in expected.items():
        if record[key] != value:
            raise UserError(f"{path}: '{key}' is {record[key]!r}, but this place in the results is for {value!r}")
    return record


def _scores(
    benchmark: ReportedBenchmark,
    record: dict[str, Any],
    path: Path,
    pair: str,
    method: str,
    columns: dict[tuple[str, str], tuple[Path, tuple[Any, ...]]],
) -> list[dict[str, Any]]:
    task, rows = record["task"], []
    own = [s for s in ("dev", "test") if s == "dev" or benchmark.test in ("labels", "heldout")]
    foreign = [name for name in benchmark.out_of_domain if benchmark.source_task("ood", name) == task]
    for split in (*own, *foreign):
        scores = record["scores"].get(split)
        if scores is None:
            continue  # shown as missing
        metric = record["shown"] if split in own else benchmark.file.out_of_domain_set(split).shown
        score = scores.get(metric) if isinstance(scores, dict) else None
        if not isinstance(score, int | float) or isinstance(score, bool):
            raise UserError(f"{path}: scores.{split} has no number '{metric}', which is the metric its table shows")
        examples = record["examples"].get(split)
        # a prediction that never changes correlates with nothing
        constant = None if metric in ("accuracy", "f1", "macro_f1") else 0.0
        baseline = record["baselines"].get(split, {}).get(metric, constant)
        if metric == "macro_f1" and baseline is not None:
            baseline = max(baseline, 1 / _classes(benchmark, task, split))
        facts = (metric, examples, None if baseline is None else round(baseline, 9))
        first, seen = columns.setdefault((task, split), (path, facts))
        if seen != facts:
            names = ("metric", "examples", "majority-class baseline")
            what = next(f"{n} {a!r} against {b!r}" for n, a, b in zip(names, facts, seen, strict=True) if a != b)
            raise UserError(f"{path}: scored on other {split} data than {first}: {what}; not comparable")
        rows.append(
            {
                "pair": pair,
                "method": method,
                "block": split if split in own else "ood",
                "column": task if split in own else split,
                "task": task,
                "seed": TEACHER_SEED if method == "teacher" else record["seed"],
                "metric": metric,
                "score": float(score),
                "accuracy": scores.get("accuracy"),
                "baseline": baseline,
                "examples": examples,
                "sampling_error": record.get("sampling_errors", {}).get(split, {}).get(metric),
            }
        )
    return rows


def _classes(benchmark: ReportedBenchmark, task: str, split: str) -> int:
    """Classes of a task's own data or of an out-of-domain set.

    Guessing each as often as it is has a macro F1 of one over their number, which one answer for all does not reach.
    """
    foreign = benchmark.file.out_of_domain_set(split) if split in benchmark.out_of_domain else None
    return len(foreign.labels if foreign and foreign.labels else benchmark.task(task).labels)


def paper_table(number: int) -> pd.DataFrame:
    """One of the paper's tables as printed, see benchmarks/reference/README.md."""
    return pd.read_csv(ROOT / "benchmarks" / "reference" / f"table{number}.csv", keep_default_na=False, na_values=[""])
