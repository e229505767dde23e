"""Holds tables before any markup: cells, each a number (or text) with all that is known about it, in rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import summaries
from railkd.tasks import OF_SCORES, OUT_OF_DOMAIN, TASKS

# undefined: the method has no meaning for the task; absent: not part of the benchmark; empty: stays without a value
Status = Literal["complete", "partial", "missing", "undefined", "absent", "empty", "text"]
NAN = math.nan
BASELINE = "constant"  # the key of the row of baselines in the CSV files
TITLES = {
    1: "The methods, and the cost of a training step",
    2: "Scores by task",
    3: "Scores by task, with a deeper teacher",
    4: "Comparison with CoDIR",
    5: "Standard deviation over seeds",
    6: "Out-of-domain scores",
}
COSTS = {
    "step_seconds": "Cost per step",
    "speedup": "Speedup",
    "speedup_cached": "Speedup, cached",
    "speedup_live": "Speedup, live",
}


@dataclass(frozen=True)
class TableCell:
    """A table's cell. Numbers are in the unit shown (percent, or a ratio), at full precision; NaN: does not apply."""

    pair: str
    block: str  # dev | test | ood, or a pair's cost
    row: str
    column: str
    status: Status
    statistic: str = "mean"  # what value is: mean | sd | median | geometric mean | text
    unit: str = "percent"
    metric: str = ""
    value: float = NAN  # the number shown
    mean: float = NAN
    sd: float = NAN
    low: float = NAN  # sd: its 95 % interval; median or geometric mean: the least and the greatest ratio
    high: float = NAN
    n: int = 0  # runs; tasks for a ratio of costs
    n_expected: int = 0
    examples: float = NAN  # scored in each run
    baseline: float = NAN
    clears_baseline: bool | None = None
    best: bool | None = None
    paper: float = NAN
    text: str = ""
    decimals: int = 1
    spread: bool = True  # show ± sd


@dataclass(frozen=True)
class Section:
    """Rows under one heading (DEV, TEST); no heading when empty."""

    title: str
    rows: list[tuple[str, list[TableCell]]]


@dataclass(frozen=True)
class Table:
    """A table before any markup: what CSV, Markdown, LaTeX, the HTML report and the comparison show of it."""

    number: int
    caption: str
    columns: list[str]  # without the first, which holds the row titles
    sections: list[Section]
    notes: list[str]
    groups: list[tuple[str, int]] = field(default_factory=list)  # headings over several columns
    head: str = "Model"

    @property
    def title(self) -> str:
        """``Table 2: Scores by task``."""
        return title_of_table(self.number)

    @property
    def cells(self) -> list[TableCell]:
        """All cells in reading order, without those where nothing belongs."""
        return [c for s in self.sections for _, row in s.rows for c in row if c.status != "empty"]


def title_of_table(number: int) -> str:
    """``Table 2: Scores by task``, also where a table is known by its number alone."""
    return f"Table {number}: {TITLES[number]}"


def frame(table: int, cells: Sequence[TableCell]) -> pd.DataFrame:
    """The cells as a tidy table, one row a cell."""
    names = [f.name for f in fields(TableCell) if f.name not in ("decimals", "spread")]
    rows = [{"table": table, **{name: getattr(cell, name) for name in names}} for cell in cells]
    return pd.DataFrame(rows, columns=["table", *names])


def seeds_of(benchmark: ReportedBenchmark, method: str) -> Sequence[int]:
    """The runs a row should have: one for the teacher (any seed)."""
    return () if method == "teacher" else sorted(benchmark.seeds)


def score_cells(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, block: str, method: str, columns: list[str]
) -> tuple[list[TableCell], list[str]]:
    """The cells of one row and its average over the columns; and which runs are missing, for the note below.

    scores: (runs × tasks). The average is taken within each run first, so its spread is that of a whole row.
    """
    own = runs.row(pair.name, method, block)
    scores = summaries.matrix(own, columns)
    seeds = seeds_of(benchmark, method)
    expected = len(seeds) or 1
    cells, missing = [], []
    for column in columns:
        rows = own[own["column"] == column]
        cell = TableCell(pair.name, block, method, column, "missing", n_expected=expected)
        if benchmark.source_task(block, column) not in pair.tasks:
            cells.append(absent(pair, block, method, column, column_title(block, column)))
            continue
        if rows.empty and benchmark.undefined(method, benchmark.source_task(block, column)):
            cells.append(replace(cell, status="undefined", n_expected=0))
            continue
        values = scores[column].dropna().to_numpy()
        if len(values) < expected:
            absent_seeds = [str(s) for s in seeds if s not in set(rows["seed"])]
            plural = "s" if len(absent_seeds) > 1 else ""
            which = f" (seed{plural} {', '.join(absent_seeds)})" if absent_seeds and len(values) else ""
            missing.append(column_title(block, column) + which)
        if len(values):
            mean, sd = summaries.mean_sd(values)
            first = rows.iloc[0]
            clears = summaries.clears_baseline(rows.to_dict("records"))
            cell = replace(
                cell,
                status="complete" if len(values) >= expected else "partial",
                metric=first["metric"],
                value=100 * mean,
                mean=100 * mean,
                sd=100 * sd,
                n=len(values),
                examples=NAN if pd.isna(first["examples"]) else int(first["examples"]),
                baseline=NAN if clears is None else 100 * float(first["baseline"]),
                clears_baseline=clears,
            )
        cells.append(cell)
    average = TableCell(pair.name, block, method, "avg", "missing", n_expected=expected)
    return [*cells, _average(average, [c for c in cells if c.status != "absent"], scores)], missing


def absent(pair: Pair, block: str, row: str, column: str, what: str) -> TableCell:
    """A cell that the benchmark file does not ask for."""
    return TableCell(pair.name, block, row, column, "absent", text=what)


def _average(average: TableCell, cells: list[TableCell], scores: pd.DataFrame) -> TableCell:
    """The mean of a row's ``cells``: over them within each run, then over the runs; missing unless every run has all.

    ``average`` is the cell to be filled. scores: (runs × tasks).
    """
    if not cells:
        return replace(average, status="absent", text=column_title(average.block, "avg"))
    if any(cell.status == "undefined" for cell in cells):
        return replace(average, status="undefined", n_expected=0)  # a mean of other tasks compares with no other row
    if any(cell.status != "complete" for cell in cells):
        return average
    by_run = scores[[cell.column for cell in cells]].to_numpy(dtype=float).mean(axis=1)
    if np.isnan(by_run).any():  # every column is complete, but with other runs
        return average
    mean, sd = summaries.mean_sd(by_run)
    baseline = sum(cell.baseline for cell in cells) / len(cells)
    return replace(
        average, status="complete", value=100 * mean, mean=100 * mean, sd=100 * sd, n=len(scores), baseline=baseline
    )


def baseline_cells(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, block: str, columns: list[str]
) -> list[TableCell]:
    """The row of baselines: for each column the best score of one constant prediction, from the labels alone."""
    cells = []
    for column in columns:
        metric, baseline = runs.column.get((block, column), ("", NAN))
        cell = TableCell(pair.name, block, BASELINE, column, "missing", spread=False)
        if benchmark.source_task(block, column) not in pair.tasks:
            cell = absent(pair, block, BASELINE, column, column_title(block, column))
        elif pd.notna(baseline):
            value = 100 * float(baseline)
            cell = replace(cell, status="complete", metric=metric, value=value, mean=value)
        cells.append(cell)
    average = TableCell(pair.name, block, BASELINE, "avg", "missing", spread=False)
    own = [cell for cell in cells if cell.status != "absent"]
    if not own:
        average = absent(pair, block, BASELINE, "avg", column_title(block, "avg"))
    elif all(cell.status == "complete" for cell in own):
        value = sum(cell.value for cell in own) / len(own)
        average = replace(average, status="complete", value=value, mean=value)
    return [*cells, average]


def mark_best(rows: list[list[TableCell]]) -> list[list[TableCell]]:
    """Marks the highest value of each column among two rows or more, and everything that rounds to the same number."""
    marked = [list(row) for row in rows]
    for i in range(len(rows[0]) if rows else 0):
        shown = [round(row[i].value, row[i].decimals) for row in rows]
        contenders = [p for p in shown if not math.isnan(p)]
        for row, value in zip(marked, shown, strict=True):
            if len(contenders) > 1 and not math.isnan(value):
                row[i] = replace(row[i], best=value == max(contenders))
    return marked


def row_title(benchmark: ReportedBenchmark, row: str) -> str:
    """The title of a row of scores: a method's, the teacher's, or that of the baselines."""
    return "Majority-class baseline" if row == BASELINE else benchmark.title_of(row)


def baseline_name(metric: str) -> str:
    """The name of a cell's baseline: where labels are scores, no class is the majority."""
    return "constant-prediction baseline" if metric in OF_SCORES else "majority-class baseline"


def column_title(block: str, column: str) -> str:
    """The heading of a column; of a cost too (block ``cost``). A task or set of one's own has its name there."""
    if column == "avg":
        return "Avg."
    if block == "cost":
        return COSTS[column]
    built_in = OUT_OF_DOMAIN if block == "ood" else TASKS
    return built_in[column].title if column in built_in else column
