"""Compares two results folders of one benchmark cell by cell: mine with a published one, or before with after.

Both sides are read from their tables (``tables/table*.csv``), which a published reference has even without records.
"""

import csv
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from analysis.figures import inline_svg
from analysis.report.templates import render
from analysis.reported_benchmark import TABLES, ReportedBenchmark
from analysis.statistics import inference
from analysis.tables import formats, numbers
from analysis.tables.cells import BASELINE, column_title, row_title, title_of_table
from analysis.tables.formats import csv_of
from analysis.tables.html_tables import PageCell, PageTable, data_uri, full
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.outdated import of_other_records
from railkd.records.sealed_files import require

SIGNIFICANCE = 0.05  # of Welch's tests, after Holm's correction
# same: no difference beyond chance or tolerance; *_only: on one side;
# untested: a single run, two runs that tie on both sides, or no mean over runs
Verdict = Literal["same", "differs", "untested", "first_only", "second_only"]
Key = tuple[int, str, str, str, str]  # table, pair, block, row, column


@dataclass(frozen=True)
class Side(inference.Mean):
    """One folder's number of a cell, in the unit shown; NaN: does not apply."""

    statistic: str
    unit: str


@dataclass(frozen=True)
class Compared:
    """A cell on both sides (None: missing). Difference and interval are of ours minus theirs."""

    key: Key
    ours: Side | None
    theirs: Side | None
    verdict: Verdict
    difference: float = math.nan
    half: float = math.nan  # of the 95 % interval of the difference
    p: float = math.nan  # Welch's test, before Holm's correction


def read(results: Path) -> dict[Key, Side]:
    """Every number of a folder's tables.

    Raises UserError when no table is present, one cannot be read, or they were made of other records than the folder's.
    """
    if not results.is_dir():
        raise UserError(f"{results}: no such results folder")
    sides: dict[Key, Side] = {}
    layout = Layout(results)
    paths = [path for n in TABLES if (path := layout.table(n)).is_file()]
    if not paths:
        raise UserError(
            f"{layout.table(TABLES[0]).parent}: no table to compare; 'railkd report {results}' writes those that the "
            "pairs of its benchmark file name (their key tables)"
        )

    if old := of_other_records(layout, "tables"):
        raise UserError(old)

    def number(text: str) -> float:
        return float(text) if text else math.nan

    for path in paths:
        require(results, f"tables/{path.name}", file=layout.checksums("tables"))
        try:
            with open(path, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if row["value"]:
                        key = (int(row["table"]), row["pair"], row["block"], row["row"], row["column"])
                        n = int(float(row["n"] or 0))
                        sides[key] = Side(number(row["value"]), number(row["sd"]), n, row["statistic"], row["unit"])
        except (OSError, KeyError, OverflowError, TypeError, ValueError, csv.Error) as error:
            raise UserError(
                f"{path}: not a table of this suite ({error}); 'railkd report {results}' writes it again"
            ) from None
    return sides


def compare(results: Path, against: Path, tolerance: float = 0.0) -> list[Compared]:
    """Every cell of either folder. Means over runs are tested by Welch's test, Holm-corrected over all of them.

    A cell that two tables have counts once in the correction (see ``_test``). A difference up to ``tolerance`` (points)
    is none; a single run, which cannot be tested, is held to it where it is given. The baselines, which follow from the
    data alone, must be equal.
    """
    left, right = read(results), read(against)
    cells: list[Compared] = []
    for key in [*left, *(key for key in right if key not in left)]:
        ours, theirs = left.get(key), right.get(key)
        if ours is None or theirs is None:
            cells.append(Compared(key, ours, theirs, "first_only" if ours else "second_only"))
            continue
        cell = Compared(key, ours, theirs, "untested", ours.value - theirs.value)
        if key[3] == BASELINE:
            cell = replace(cell, verdict="same" if abs(cell.difference) < 0.005 else "differs")
        elif ours.statistic == theirs.statistic == "mean" and min(ours.n, theirs.n) > 1:
            difference, half, p = inference.welch(ours, theirs)
            verdict: Verdict = "untested" if math.isnan(p) else "same"
            cell = replace(cell, verdict=verdict, difference=difference, half=half, p=p)
        elif tolerance and ours.statistic == theirs.statistic == "mean" and ours.unit == theirs.unit != "ratio":
            cell = replace(cell, verdict="same" if abs(cell.difference) <= tolerance else "differs")
        cells.append(cell)
    tested = {_test(cell): cell.p for cell in cells if not math.isnan(cell.p)}
    adjusted = dict(zip(tested, inference.holm(np.array(list(tested.values()))), strict=True))
    return [
        replace(cell, verdict="differs")
        if not math.isnan(cell.p) and adjusted[_test(cell)] <= SIGNIFICANCE and abs(cell.difference) > tolerance
        else cell
        for cell in cells
    ]


def _test(cell: Compared) -> Hashable:
    """What makes two tables' cells one test: the same place in a table, and the same numbers on both sides.

    The averages of two tables share a place, but each is over its table's columns: without STS-B in Table 4.
    """
    return cell.key[1:], cell.ours, cell.theirs


def agree(cells: Iterable[Compared]) -> bool:
    """Whether no cell differs or is on one side only, and one at least could be compared."""
    cells = list(cells)
    compared = any(cell.verdict == "same" and cell.key[3] != BASELINE for cell in cells)
    return compared and all(cell.verdict in ("same", "untested") for cell in cells)


def _column(block: str, column: str) -> str:
    try:
        return column_title(block, column)
    except KeyError:  # of a table that somebody else wrote
        return column


def _where(benchmark: ReportedBenchmark, key: Key) -> str:
    table, pair, block, row, column = key
    return f"Table {table}, {pair}, {block.upper()}, {row_title(benchmark, row)}, {_column(block, column)}"


def _shown(side: Side | None) -> str:
    if side is None:
        return "–"
    spread = (
        f" ± {numbers.number(side.sd, 1)}"
        if side.n > 1 and not math.isnan(side.sd) and side.statistic == "mean"
        else ""
    )
    return numbers.number(side.value, 2 if side.unit == "ratio" else 1) + spread


def counts(cells: list[Compared]) -> dict[Verdict, int]:
    """How many cells have which verdict."""
    verdicts: tuple[Verdict, ...] = ("same", "differs", "untested", "first_only", "second_only")
    return {v: sum(cell.verdict == v for cell in cells) for v in verdicts}


def rule(cells: list[Compared], tolerance: float) -> str:
    """How a difference was judged, as a sentence."""
    tested = len({_test(cell) for cell in cells if not math.isnan(cell.p)})
    text = (
        f"{tested:,} means over seeds tested by Welch's test, Holm-corrected together at {100 * SIGNIFICANCE:.0f} %. "
        "With few seeds only large differences are found: “same” means that none was shown, not that there is none."
    )
    if not any(cell.ours and cell.theirs for cell in cells):
        text += (
            " No cell is in both folders, so that nothing agrees: a cell is of one table, pair, block, row and column, "
            "by their names in the benchmark files."
        )
    elif not tested and not tolerance:
        text += " Nothing could be tested, so that nothing agrees: give the tolerance for single runs in points."
    return text + (f" Differences up to {tolerance:g} points count as none." if tolerance else "")


def summary(benchmark: ReportedBenchmark, cells: list[Compared], results: Path, against: Path, tolerance: float) -> str:
    """The comparison in a few lines: what differs, what is on one side only."""
    n = counts(cells)
    lines = [
        f"{results} against {against}: {n['same']} cells the same, {n['differs']} differ, {n['untested']} not tested, "
        f"{n['first_only']} only in the first, {n['second_only']} only in the second",
        rule(cells, tolerance),
    ]
    rows = []
    for cell in cells:
        if cell.verdict == "differs":
            table, pair, block, row, column = cell.key
            where = (str(table), pair, block.upper(), row_title(benchmark, row), _column(block, column))
            rows.append([*where, _shown(cell.ours), _shown(cell.theirs)])
    heads = ("Table", "Pair", "Block", "Row", "Column", "First", "Second")
    differing = ["What differs:", formats.plain_table(heads, rows, "lllllrr")] if rows else []
    return "\n".join([*lines, *differing])


def _view(cell: Compared | None) -> PageCell:
    if cell is None:
        return PageCell("")
    key = "|".join(cell.key[1:])
    both = f"{_shown(cell.ours)}\n{_shown(cell.theirs)}"
    tip = [f"first folder {_shown(cell.ours)}, second {_shown(cell.theirs)}"]
    if cell.verdict in ("first_only", "second_only"):
        text = "only first" if cell.ours else "only second"
        return PageCell(text, "", both, tip="\n".join(tip), key=key, flag="differs")
    assert cell.ours is not None and cell.theirs is not None
    decimals = 2 if cell.ours.unit == "ratio" else 1
    text = numbers.signed(cell.difference, decimals)
    tip.append(f"difference {text} (n = {cell.ours.n} and {cell.theirs.n})")
    if not math.isnan(cell.p):
        low, high = cell.difference - cell.half, cell.difference + cell.half
        tip += [
            f"95 % interval {numbers.number(low, 2)} to {numbers.number(high, 2)}",
            f"p = {cell.p:.3g} before correction",
        ]
    tip.append({"same": "no difference shown", "differs": "differs"}.get(cell.verdict, "not tested"))
    flag = "differs" if cell.verdict == "differs" else ""
    return PageCell(text, "", both, full(cell.difference), "\n".join(tip), key=key, flag=flag)


def page_tables(benchmark: ReportedBenchmark, cells: list[Compared]) -> list[PageTable]:
    """A page's table for each of the paper's tables: difference, and both sides' numbers below."""
    made = []
    for number in TABLES:
        own = {cell.key: cell for cell in cells if cell.key[0] == number}
        if not own:
            continue
        sections: dict[tuple[str, str], dict[str, list[PageCell]]] = {}
        columns = list(dict.fromkeys((key[2] if key[2] == "cost" else "", key[4]) for key in own))
        for _, pair, block, row, _ in own:
            place = (pair, block if block != "cost" else "")
            sections.setdefault(place, {})
            if row not in sections[place]:
                views = []
                for kind, column in columns:
                    at = (number, pair, kind or block, row, column)
                    views.append(_view(own.get(at)))
                sections[place][row] = views
        made.append(
            PageTable(
                f"table{number}",
                title_of_table(number),
                "First folder minus second; below it both numbers.",
                [_column(next(k[2] for k in own if k[4] == c), c) for _, c in columns],
                [
                    (
                        f"{pair} {block.upper()}".strip(),
                        [(row_title(benchmark, row), views) for row, views in rows.items()],
                    )
                    for (pair, block), rows in sections.items()
                ],
                "Model",
            )
        )
    return made


def compose(benchmark: ReportedBenchmark, cells: list[Compared], results: Path, against: Path, tolerance: float) -> str:
    """The comparison as one HTML file of the report's kind."""
    exported = []
    head = ("table", "pair", "block", "row", "column", "first", "second", "difference", "half_interval", "p", "verdict")
    for cell in cells:
        numbers = (cell.ours.value if cell.ours else math.nan, cell.theirs.value if cell.theirs else math.nan)
        values = (*numbers, cell.difference, cell.half, cell.p)
        exported.append(dict(zip(head, [*cell.key, *map(full, values), cell.verdict], strict=True)))
    return render(
        "compare.html.j2",
        title=benchmark.title,
        name=benchmark.name,
        first=str(results),
        second=str(against),
        agree=agree(cells),
        counts=counts(cells),
        rule=rule(cells, tolerance),
        different=[(_where(benchmark, cell.key), cell) for cell in cells if cell.verdict == "differs"],
        shown=_shown,
        marks=inline_svg.symbols(benchmark),
        tables=page_tables(benchmark, cells),
        csv=data_uri(csv_of(exported)),
        file=f"{benchmark.name}-comparison.csv",
    )
