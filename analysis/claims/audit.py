"""The paper's audit: averages and statements recomputed from its printed tables (``benchmarks/reference/*.csv``).

Writes ``audit.json`` and ``audit.md``. Shape of ``audit.json``:

    source      the paper
    counts      {"checks": n, "findings": n}
    checks      every check made, findings first, each:
        id          such as "average-2-test-pkd", or the id of a statement of ``benchmarks/claims.yaml``
        kind        average | order | repeat | step | gap | best | wins | above | timing
        holds       false: a finding
        where       "Table 2, TEST, PKD", or "Section 5"
        words       the paper's words; "" where a number is checked and no sentence
        printed     what the paper prints or states, as text
        recomputed  what follows from its printed numbers, as text
        difference  printed − recomputed where that is one number, else null
        detail      one sentence for a reader

Nothing here reads a run record. A printed number stands for all that round to it: a check fails only if no choice of
unrounded numbers makes it hold.
"""

import itertools
import math
import re
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.benchmark import title_of_class
from analysis.claims import ledger
from analysis.load import reference
from analysis.tables.cells import column_title
from railkd.method_sources import available

SOURCE = "RAIL-KD: RAndom Intermediate Layer Mapping for Knowledge Distillation, Findings of NAACL 2022"
NUMERIC = (2, 3, 4, 5, 6)
KEYS = ("split", "teacher_model", "method")
NO_SCORE = ("avg", "speedup")
REPEATED = 0.75  # of a row's columns: two data sets do not agree on so many by chance
EXACT = 1e-9  # of the arithmetic here
Tables = dict[int, pd.DataFrame]


def examine(tables: Tables | None = None, book: ledger.Ledger | None = None) -> dict[str, Any]:
    """The content of audit.json, for the printed tables (number -> as in the CSV file) and the ledger's statements."""
    tables = {n: reference(n) for n in NUMERIC} if tables is None else tables
    book = ledger.read() if book is None else book
    checks = [check for n, table in tables.items() for check in _table_checks(n, table, book)]
    checks += [CHECKS[statement["check"]](tables, book, statement) for statement in book.printed]
    checks.sort(key=lambda check: bool(check.holds))  # stable: findings first, each half in its order
    counts = {"checks": len(checks), "findings": sum(not check.holds for check in checks)}
    return {"source": SOURCE, "counts": counts, "checks": [check.content() for check in checks]}


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


def _columns(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in (*KEYS, *NO_SCORE)]


def _title(method: Any) -> str:
    return title_of_class(str(method)) if method in (*available(), "teacher") else str(method)


def _where(number: int, row: "pd.Series[Any] | dict[str, Any]", method: bool = True) -> str:
    parts = [f"Table {number}", str(row.get("split", "")).upper(), str(row.get("teacher_model", ""))]
    if method:
        parts.append(_title(row["method"]))
    return ", ".join(p for p in parts if p)


def _mean(row: "pd.Series[Any]", columns: list[str]) -> float:
    return math.fsum(float(row[c]) for c in columns) / len(columns)


def _table_checks(number: int, table: pd.DataFrame, book: ledger.Ledger) -> list[Check]:
    """All checks that a table allows by itself."""
    averages = {index: _average(number, row, _columns(table)) for index, row in table.iterrows()}
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
    mean, printed = _mean(row, columns), float(row["avg"])
    holds = abs(printed - mean) <= 2 * unit + EXACT  # the columns' rounding moves their mean by one half unit more
    return Check(
        "-".join(["average", str(number), *(str(row[k]) for k in KEYS if k in row)]),
        "average",
        holds,
        _where(number, row),
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
    columns, blocks = _columns(table), [k for k in ("split", "teacher_model") if k in table]
    swapped = []
    for _, block in table.groupby(blocks, sort=False) if blocks else [("", table)]:
        rows = [(index, row) for index, row in block.iterrows() if row["method"] != "teacher"]
        for (i, a), (j, b) in itertools.combinations(rows, 2):
            printed, mean = float(a["avg"]) - float(b["avg"]), _mean(a, columns) - _mean(b, columns)
            # rounding alone may swap two rows whose averages are otherwise right
            if not (printed * mean < -EXACT and {i, j} & failed):
                continue
            first, second = (a, b) if printed > 0 else (b, a)
            above, below = (_title(row["method"]) for row in (first, second))
            swapped.append(
                Check(
                    "-".join(map(str, ["order", number, *a[blocks], first["method"], second["method"]])),
                    "order",
                    False,
                    _where(number, a, method=False),
                    printed=f"{above} above {below}",
                    recomputed=f"{below} {_mean(second, columns):.2f}, {above} {_mean(first, columns):.2f}",
                    detail="On the means of the printed columns the two rows swap places.",
                )
            )
    return swapped


def _repeats(number: int, table: pd.DataFrame) -> list[Check]:
    """Whether a method's row on one split repeats that on the other."""
    columns, checks = _columns(table), []
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
                _where(number, b),
                printed=f"{len(same)} of {len(columns)} columns equal to {str(a['split']).upper()}",
                detail="The two splits' rows differ."
                if holds
                else f"The row repeats that of the other split (but for {odd or 'nothing'}): two data sets never do.",
            )
        )
    return checks


def _steps(number: int, table: pd.DataFrame, book: ledger.Ledger) -> list[Check]:
    """Whether a standard deviation over runs is at least what one dev example changes an accuracy by."""
    checks, unit = [], half_unit(number)
    for _, row in table.iterrows():
        for column in (c for c in _columns(table) if c in book.dev_examples):
            step, sd = 100 / book.dev_examples[column], float(row[column])
            holds = sd + unit >= step
            checks.append(
                Check(
                    f"step-{number}-{column}-{row['method']}",
                    "step",
                    holds,
                    _where(number, row),
                    printed=f"{sd:.2f}",
                    recomputed=f"one example is {step:.2f}",
                    difference=sd - step,
                    detail=f"A standard deviation over five runs {'not below' if holds else 'below'} one of the "
                    f"{book.dev_examples[column]} dev examples of {column_title('dev', column)}.",
                )
            )
    return checks


def _rows(tables: Tables, statement: dict[str, Any]) -> pd.DataFrame:
    """The rows of the block that a statement is about, by method."""
    table = tables[statement["table"]]
    for key in ("split", "teacher_model"):
        if key in statement:
            table = table[table[key] == statement[key]]
    return table.set_index("method")


def _statement(
    statement: dict[str, Any], holds: bool, printed: str, recomputed: str, detail: str, difference: float | None = None
) -> Check:
    section = str(statement["section"])
    where = f"Section {section}" if section[:1].isdigit() else section.capitalize()
    return Check(
        statement["id"], statement["check"], holds, where, statement["words"], printed, recomputed, difference, detail
    )


def gap(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """A stated difference of two averages, each the best of some rows."""
    rows, unit = _rows(tables, statement), half_unit(statement["table"])
    best, other = (max(float(rows["avg"][m]) for m in statement[k]) for k in ("best_of", "over_best_of"))
    difference, stated = best - other, float(statement["stated"])
    holds = abs(difference - stated) <= 3 * unit + EXACT  # three rounded numbers
    detail = f"Printed averages {best:g} and {other:g} differ by {difference:.1f}; the text says {stated:g}."
    return _statement(statement, holds, f"{stated:g}", f"{difference:.1f}", detail, stated - difference)


def best(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """Whether in every column one of the methods is the best."""
    rows = _rows(tables, statement)
    columns = [c for c in _columns(tables[statement["table"]]) if c not in statement.get("except", [])]
    lost = [
        column_title("dev", c)
        for c in columns
        if max(rows[c][m] for m in statement["methods"]) < max(rows[c][m] for m in statement["over"])
    ]
    detail = f"Not the highest on {', '.join(lost)}." if lost else "The highest, alone or with another, on each."
    return _statement(statement, not lost, f"best on {len(columns)}", f"{len(columns) - len(lost)}", detail)


def above(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """Whether each of the methods exceeds each of the others in every column."""
    rows, number = _rows(tables, statement), statement["table"]
    columns = statement.get("columns") or _columns(tables[number])
    lost, made = [], 0
    for column in columns:
        title = column.upper() if column == "paws" else column_title("ood" if number == 6 else "dev", column)
        for m in statement["methods"]:
            made += len(statement["over"])
            over = [o for o in statement["over"] if not float(rows[column][m]) > float(rows[column][o])]
            if over:
                than = ", ".join(f"{_title(o)} {rows[column][o]:g}" for o in over)
                lost.append((len(over), f"{_title(m)} {rows[column][m]:g} on {title} is not above {than}"))
    failures = sum(n for n, _ in lost)
    detail = "; ".join(text for _, text in lost) + "." if lost else "Each comparison holds."
    return _statement(statement, not lost, f"{made} of {made}", f"{made - failures} of {made}", detail)


def wins(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """A stated number of columns won, of a stated number."""
    rows, columns = _rows(tables, statement), _columns(tables[statement["table"]])
    own, other = rows.loc[statement["method"]], rows.loc[statement["over"]]
    won, tied = (sum(f(float(own[c]), float(other[c])) for c in columns) for f in (float.__gt__, float.__eq__))
    holds = (won, len(columns)) == (statement["stated"], statement["of"])
    counted = f"{won} of {len(columns)}"
    detail = f"The table has {len(columns)} columns: {won} won, {tied} tied, {len(columns) - won - tied} lost."
    return _statement(statement, holds, f"{statement['stated']} of {statement['of']}", counted, detail)


def timing(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """Whether any printed table measures what a statement about cost rests on, and gives its number within a tenth."""
    depth, stated = statement["teacher_layers"], statement.get("stated")
    for number, table in tables.items():
        for column in (c for c in table.columns if re.fullmatch(statement["measure"], c)):
            depths = book.teacher_layers.get(number, {})
            models = table["teacher_model"] if "teacher_model" in table else [""] * len(table)
            rows = table[[depths.get(str(m)) == depth for m in models]].set_index("method")
            if set(statement["methods"]) <= set(rows.index):
                first, second = (float(rows[column][m]) for m in (statement["methods"][0], statement["methods"][-1]))
                ratio = second / first
                holds = stated is None or abs(ratio / stated - 1) <= 0.1
                detail = f"Table {number} prints {ratio:g} for a teacher of {depth} layers."
                return _statement(statement, holds, "" if stated is None else f"{stated:g}", f"{ratio:g}", detail)
    what = statement["measure"].replace("|", ", ")
    names = ", ".join(_title(m) for m in statement["methods"])
    have = sorted({c for t in tables.values() for c in t.columns if re.fullmatch(f"speedup|{statement['measure']}", c)})
    detail = f"No table prints {what} of {names} with a teacher of {depth} layers" + (
        f"; all that is printed of cost is {_cost_printed(tables, book)}." if have else "."
    )
    return _statement(statement, False, "" if stated is None else f"{stated:g}", "not printed", detail)


def _cost_printed(tables: Tables, book: ledger.Ledger) -> str:
    """The tables that print a speed-up, with the methods it is of."""
    places = []
    for number, table in tables.items():
        if "speedup" in table:
            names = ", ".join(_title(m) for m in table["method"])
            depth = next(iter(book.teacher_layers.get(number, {"": 0}).values()))
            places.append(f"the speedup in Table {number} ({names}; {depth} layers)")
    return " and ".join(places)


CHECKS: dict[str, Callable[[Tables, ledger.Ledger, dict[str, Any]], Check]] = {
    "gap": gap,
    "best": best,
    "above": above,
    "wins": wins,
    "timing": timing,
}
