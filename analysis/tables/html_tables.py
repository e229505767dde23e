"""Shows a table on the HTML report: sortable, with all that is known about a cell on hover and on focus."""

import base64
import gzip
import math
from dataclasses import dataclass, field

from analysis.reported_benchmark import METRICS
from analysis.statistics import summaries
from analysis.tables import formats, numbers
from analysis.tables.cells import BASELINE, Table, TableCell, baseline_name


@dataclass(frozen=True)
class PageCell:
    """One cell of a page's table. Everything is text from data, escaped by the template."""

    text: str
    after: str = ""  # ± sd and marks
    paper: str = ""  # the paper's number
    sort: str = ""  # what the column is sorted by: a number at full precision or a text
    tip: str = ""  # what hover and focus add
    best: bool = False
    numeric: bool = True
    key: str = ""  # pair|block|row|column, for whoever reads the page by program
    flag: str = ""  # a word that the style marks: differs, reproduced, ...


@dataclass(frozen=True)
class PageTable:
    """A table of a page: rows under headings, and its data as a file to keep."""

    name: str
    title: str
    caption: str
    columns: list[str]
    sections: list[tuple[str, list[tuple[str, list[PageCell]]]]]
    head: str = ""
    groups: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    csv: str = ""  # a data URI
    file: str = ""  # the name it is saved under; ``.gz`` where it is compressed
    stacks: bool = False  # on a narrow screen each cell is a line with its column's name: nothing scrolls out of view

    @property
    def words(self) -> set[int]:
        """The columns that hold words, which stand to the left."""
        rows = [views for _, section in self.sections for _, views in section]
        return {i for views in rows for i, view in enumerate(views) if not view.numeric}


def data_uri(text: str) -> str:
    """A CSV file inside the page: needs no server and no script."""
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def gzip_uri(text: str) -> str:
    """A large file inside the page, compressed: pandas and R read it as it is."""
    compressed = gzip.compress(text.encode(), mtime=0)
    return f"data:application/gzip;base64,{base64.b64encode(compressed).decode()}"


def full(value: float) -> str:
    """A number as sorting reads it: full precision, nothing for one that does not apply."""
    return "" if math.isnan(value) else repr(float(value))


def text_cell(text: str, sort: str = "", tip: str = "", flag: str = "") -> PageCell:
    """A cell of words."""
    return PageCell(text, sort=sort or text, tip=tip, numeric=False, flag=flag)


def number_cell(value: float | None, decimals: int, tip: str = "") -> PageCell:
    """A cell with one number; a dash for none."""
    if value is None or math.isnan(value):
        return PageCell("–", tip=tip)
    return PageCell(numbers.number(value, decimals), sort=f"{value:.8g}", tip=tip)


def of_table(table: Table) -> PageTable:
    """One of the paper's tables, as the HTML report shows it."""
    sections = []
    for section in table.sections:
        rows = []
        for name, cells in section.rows:
            views = [_view(c, f"{name}, {head}", section.title) for c, head in zip(cells, table.columns, strict=True)]
            rows.append((name, views))
        sections.append((section.title, rows))
    return PageTable(
        f"table{table.number}",
        table.title,
        table.caption,
        table.columns,
        sections,
        table.head,
        table.groups,
        table.notes,
        data_uri(formats.to_csv(table)),
        f"table{table.number}.csv",
        stacks=table.number == 1,  # words, and the cost in the last column
    )


def to_markdown(table: PageTable) -> str:
    """A page's table, without caption, as GitHub-flavoured Markdown."""
    lines = []
    for title, rows in table.sections:
        lines += [[f"**{formats.md(title)}**", *[""] * len(table.columns)]] if title else []
        for name, cells in rows:
            shown = (" ".join(part for part in (cell.text, cell.after, cell.paper) if part) for cell in cells)
            lines.append([formats.md(name), *map(formats.md, shown)])
    sides = "l" + "".join("l" if i in table.words else "r" for i in range(len(table.columns)))
    return formats.md_table([formats.md(title) for title in (table.head, *table.columns)], lines, sides)


def _view(cell: TableCell, where: str, section: str) -> PageCell:
    value, after, paper = formats.cell_parts(cell)
    key = "|".join((cell.pair, cell.block, cell.row, cell.column))
    if cell.status == "text":
        return PageCell(value, sort=value, numeric=False, key=key)
    tip = [f"{where}, {section}" if section else where, *_details(cell)] if cell.status != "empty" else []
    return PageCell(value, after, paper, full(cell.value), "\n".join(tip), bool(cell.best), key=key)


class _Unit:
    """How the details of a cell show a number: one decimal more than the cell, and its unit."""

    def __init__(self, cell: TableCell) -> None:
        ratio = cell.unit == "ratio"
        self.name = "×" if ratio else " %" if cell.unit == "percent" else " points"
        self.decimals = 2 if ratio else cell.decimals + 1

    def __call__(self, value: float) -> str:
        return numbers.number(value, self.decimals) + self.name


def _details(cell: TableCell) -> list[str]:
    """All that is known about a cell, one line each."""
    unit = _Unit(cell)
    if cell.status == "undefined":
        return [f"not defined: {cell.text or 'this method has no meaning for this task'}"]
    if cell.status == "absent":
        return ["not part of this benchmark"]
    if cell.status == "missing":
        lines = [f"only {cell.n} of {cell.n_expected} runs" if cell.n else "no run yet"]
    else:
        lines = _details_of_mean(cell, unit) if cell.statistic == "mean" else _details_of_other(cell, unit)
    if not math.isnan(cell.paper):
        lines.append(f"the paper prints {numbers.number(cell.paper, cell.decimals)}{unit.name}")
    return lines


def _details_of_mean(cell: TableCell, unit: _Unit) -> list[str]:
    """The lines of a mean score: metric, spread and interval, baseline, examples."""
    metric = f"{METRICS.get(cell.metric, cell.metric)}: " if cell.metric else ""
    lines = [metric + unit(cell.mean)]
    if cell.n > 1:
        low, high = summaries.mean_interval(cell.mean, cell.sd, cell.n)
        lines.append(f"± {unit(cell.sd)} (standard deviation of single runs), n = {cell.n} runs")
        lines.append(f"95 % interval of the mean over seeds: {unit(low)} to {unit(high)}")
    elif cell.n == 1:
        lines.append("n = 1 run, so no spread is known")
    if cell.status == "partial":
        lines.append(f"{cell.n} of {cell.n_expected} planned runs")
    if not math.isnan(cell.baseline) and cell.row != BASELINE:
        exceeded = {True: ", exceeded", False: ", not exceeded by two standard errors", None: ""}[cell.clears_baseline]
        lines.append(f"{baseline_name(cell.metric)}: {unit(cell.baseline)}{exceeded}")
    if not math.isnan(cell.examples):
        lines.append(f"{int(cell.examples):,} examples scored in each run")
    return lines


def _details_of_other(cell: TableCell, unit: _Unit) -> list[str]:
    """The lines of a standard deviation or of a ratio of costs, with its limits."""
    lines = [f"{cell.statistic.replace('sd', 'standard deviation')}: {unit(cell.value)}, n = {cell.n}"]
    if not math.isnan(cell.low):
        limits = "95 % interval" if cell.statistic == "sd" else "least and greatest task"
        lines.append(f"{limits}: {unit(cell.low)} to {unit(cell.high)}")
    return lines
