"""Audits the paper: recomputes averages and statements from its printed tables (``benchmarks/reference/*.csv``).

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

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from analysis.claims import ledger
from analysis.claims.printed_tables import EXACT, Check, half_unit, method_title, score_columns, table_checks
from analysis.load import paper_table
from analysis.tables.cells import column_title

SOURCE = "RAIL-KD: RAndom Intermediate Layer Mapping for Knowledge Distillation, Findings of NAACL 2022"
NUMERIC = (2, 3, 4, 5, 6)
Tables = dict[int, pd.DataFrame]  # number of a printed table -> its rows


def examine(tables: Tables | None = None, book: ledger.Ledger | None = None) -> dict[str, Any]:
    """The content of audit.json, for the printed tables (number -> as in the CSV file) and the ledger's statements."""
    tables = {n: paper_table(n) for n in NUMERIC} if tables is None else tables
    book = ledger.read() if book is None else book
    checks = [check for n, table in tables.items() for check in table_checks(n, table, book)]
    checks += [CHECKS[statement["check"]](tables, book, statement) for statement in book.printed]
    checks.sort(key=lambda check: bool(check.holds))  # stable: findings first, each half in its order
    counts = {"checks": len(checks), "findings": sum(not check.holds for check in checks)}
    return {"source": SOURCE, "counts": counts, "checks": [check.content() for check in checks]}


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
    columns = [c for c in score_columns(tables[statement["table"]]) if c not in statement.get("except", [])]
    lost = [
        column_title("dev", c)
        for c in columns
        if max(rows[c][m] for m in statement["methods"]) < max(rows[c][m] for m in statement["over"])
    ]
    detail = f"Not the highest on {', '.join(lost)}." if lost else "The highest, alone or with another, on each."
    return _statement(statement, not lost, f"best on {len(columns)}", f"{len(columns) - len(lost)}", detail)


def above(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """Whether each of the methods exceeds each of the others in every column, or may do before rounding."""
    rows, number = _rows(tables, statement), statement["table"]
    unit = 2 * half_unit(number) - EXACT
    columns = statement.get("columns") or score_columns(tables[number])
    lost, made = [], 0
    for column in columns:
        title = column.upper() if column == "paws" else column_title("ood" if number == 6 else "dev", column)
        for m in statement["methods"]:
            made += len(statement["over"])
            over = [o for o in statement["over"] if float(rows[column][m]) <= float(rows[column][o]) - unit]
            if over:
                than = ", ".join(f"{method_title(o)} {rows[column][o]:g}" for o in over)
                lost.append((len(over), f"{method_title(m)} {rows[column][m]:g} on {title} is not above {than}"))
    failures = sum(n for n, _ in lost)
    detail = "; ".join(text for _, text in lost) + "." if lost else "Each comparison holds."
    return _statement(statement, not lost, f"{made} of {made}", f"{made - failures} of {made}", detail)


def wins(tables: Tables, book: ledger.Ledger, statement: dict[str, Any]) -> Check:
    """A stated number of columns won, of a stated number."""
    rows, columns = _rows(tables, statement), score_columns(tables[statement["table"]])
    own, other = rows.loc[statement["method"]], rows.loc[statement["over"]]
    won, tied = (sum(f(float(own[c]), float(other[c])) for c in columns) for f in (float.__gt__, float.__eq__))
    holds = won <= statement["stated"] <= won + tied and len(columns) == statement["of"]
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
    names = ", ".join(method_title(m) for m in statement["methods"])
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
            names = ", ".join(method_title(m) for m in table["method"])
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
