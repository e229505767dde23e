"""Checks the paper's printed tables by themselves: averages, the order of rows, repeated rows, least spreads.

A printed number stands for all that round to it: a check fails only if no choice of unrounded numbers makes it hold.
"""

import itertools
import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.claims import ledger
from analysis.reported_benchmark import title_of_class
from analysis.tables.cells import column_title
from railkd.method_sources import available

KEYS = ("split", "teacher_model", "method")
NO_SCORE = ("avg", "speedup")
REPEATED = 0.75  # of a row's columns: two data sets do not agree on so many by chance
EXACT = 1e-9  # of the arithmetic here
LEAST_SPREAD = 0.4  # of 1, 0, 0, 0, 0 with n, the smallest standard deviation of five whole numbers that differ


@dataclass(frozen=True)
class Check:
    """One check of the paper's numbers; the keys are those of ``audit.json``."""

    id: str
    kind: str
    holds: bool
    where: str
    words: str = ""
    printed: str = ""
    recomputed: str = ""
    difference: float | None = None
    detail: str = ""

    def content(self) -> dict[str, Any]:
        """The check as ``audit.json`` has it."""
        difference = None if self.difference is None else round(self.difference, 6)
        return {**asdict(self), "holds": bool(self.holds), "difference": difference}


def half_unit(number: int) -> float:
    """Half a unit of the last printed decimal: Table 5 prints two decimals, the others one."""
    return 0.005 if number == 5 else 0.05


def score_columns(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in (*KEYS, *NO_SCORE)]


def method_title(method: Any) -> str:
    return title_of_class(str(method)) if method in (*available(), "teacher") else str(method)


def place(number: int, row: "pd.Series[Any] | dict[str, Any]", method: bool = True) -> str:
    parts = [f"Table {number}", str(row.get("split", "")).upper(), str(row.get("teacher_model", ""))]
    if method:
        parts.append(method_title(row["method"]))
    return ", ".join(p for p in parts if p)


def row_mean(row: "pd.Series[Any]", columns: list[str]) -> float:
    return math.fsum(float(row[c]) for c in columns) / len(columns)


def table_checks(number: int, table: pd.DataFrame, book: ledger.Ledger) -> list[Check]:
    """All checks that a table allows by itself."""
    averages = {index: _average(number, row, score_columns(table)) for index, row in table.iterrows()}
    failed = {index for index, check in averages.items() if not check.holds}
    return [
        *averages.values(),
        *_orders(number, table, failed),
        *(_repeats(number, table) if "split" in table else []),
        *(_steps(number, table, book) if number == 5 else []),
    ]


def _average(number: int, row: "pd.Series[Any]", columns: list[str]) -> Check:
    """Whether the printed average of a row is the mean of its printed columns."""
    unit, decimals = half_unit(number), 2 if number == 5 else 1
    mean, printed = row_mean(row, columns), float(row["avg"])
    holds = abs(printed - mean) <= 2 * unit + EXACT  # the columns' rounding moves their mean by one half unit more
    return Check(
        "-".join(["average", str(number), *(str(row[k]) for k in KEYS if k in row)]),
        "average",
        holds,
        place(number, row),
        printed=f"{printed:.{decimals}f}",
        recomputed=f"{mean:.{decimals + 1}f}",
        difference=printed - mean,
        detail="The printed average is the mean of the printed columns, within their rounding."
        if holds
        else f"The printed average is not the mean of the printed columns: it differs by {printed - mean:+.2f}, "
        f"where rounding explains {2 * unit:g}.",
    )


def _orders(number: int, table: pd.DataFrame, failed: set[Hashable]) -> list[Check]:
    """Pairs of rows that swap places on the means of the printed columns, where one's printed average has failed."""
    columns, blocks = score_columns(table), [k for k in ("split", "teacher_model") if k in table]
    swapped = []
    for _, block in table.groupby(blocks, sort=False) if blocks else [("", table)]:
        rows = [(index, row) for index, row in block.iterrows() if row["method"] != "teacher"]
        for (i, a), (j, b) in itertools.combinations(rows, 2):
            printed, mean = float(a["avg"]) - float(b["avg"]), row_mean(a, columns) - row_mean(b, columns)
            # rounding alone may swap two rows whose averages are otherwise right
            if not (printed * mean < -EXACT and {i, j} & failed) or abs(mean) <= 2 * half_unit(number) + EXACT:
                continue
            first, second = (a, b) if printed > 0 else (b, a)
            above, below = (method_title(row["method"]) for row in (first, second))
            swapped.append(
                Check(
                    "-".join(map(str, ["order", number, *a[blocks], first["method"], second["method"]])),
                    "order",
                    False,
                    place(number, a, method=False),
                    printed=f"{above} above {below}",
                    recomputed=f"{below} {row_mean(second, columns):.2f}, {above} {row_mean(first, columns):.2f}",
                    detail="On the means of the printed columns the two rows swap places.",
                )
            )
    return swapped


def _repeats(number: int, table: pd.DataFrame) -> list[Check]:
    """Whether a method's row on one split repeats that on the other."""
    columns, checks = score_columns(table), []
    for (_, a), (_, b) in itertools.combinations(table.iterrows(), 2):
        if a["method"] != b["method"] or a["split"] == b["split"]:
            continue
        same = [c for c in columns if float(a[c]) == float(b[c])]
        holds = len(same) < REPEATED * len(columns)
        odd = ", ".join(f"{column_title('dev', c)} {a[c]} and {b[c]}" for c in columns if c not in same)
        checks.append(
            Check(
                f"repeat-{number}-{a['method']}",
                "repeat",
                holds,
                place(number, b),
                printed=f"{len(same)} of {len(columns)} columns equal to {str(a['split']).upper()}",
                detail="The two splits' rows differ."
                if holds
                else f"The row repeats that of the other split (but for {odd or 'nothing'}): two data sets never do.",
            )
        )
    return checks


def _steps(number: int, table: pd.DataFrame, book: ledger.Ledger) -> list[Check]:
    """Whether a standard deviation over runs is one that accuracies can have.

    Where they differ at all, the least is that of four equal runs and one that is off by an example: 0.4 times what the
    example counts (0.45 with n − 1).
    """
    checks, unit = [], half_unit(number)
    for _, row in table.iterrows():
        for column in (c for c in score_columns(table) if c in book.dev_examples):
            step, sd = 100 / book.dev_examples[column], float(row[column])
            least = LEAST_SPREAD * step
            holds = sd < unit or sd + unit >= least
            checks.append(
                Check(
                    f"step-{number}-{column}-{row['method']}",
                    "step",
                    holds,
                    place(number, row),
                    printed=f"{sd:.2f}",
                    recomputed=f"at least {least:.2f}",
                    difference=sd - least,
                    detail=f"Five accuracies {'can' if holds else 'cannot'} have it: where they differ, by one of the "
                    f"{book.dev_examples[column]} dev examples of {column_title('dev', column)} at least.",
                )
            )
    return checks
