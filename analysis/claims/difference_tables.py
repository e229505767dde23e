"""Shows which methods differ, from ``claims.json``: claims.md, both reports and the terminal say the same."""

from typing import Any

from analysis.claims import OPPOSITE, decided, oriented
from analysis.tables.cells import column_title
from analysis.tables.formats import csv_of
from analysis.tables.html_tables import PageCell, PageTable, full, gzip_uri, number_cell, text_cell
from analysis.tables.numbers import signed
from analysis.validity.judgement import FAILED, NOT_DECIDED


def table(content: dict[str, Any]) -> PageTable | None:
    """A row for each method of a panel: its difference from the reference, and which others it differs from."""
    panels = content.get("differences") or []
    if not panels:
        return None
    shown = [panel for panel in panels if not _none_can_be(panel)]
    references = {panel["methods"][panel["reference"]] for panel in panels}
    shared = references.pop() if len(references) == 1 else ""
    exported = [
        {"pair": panel["pair"], "block": panel["block"], "first": d["methods"][0], "second": d["methods"][1]}
        | {
            "columns": " ".join(d["columns"]),
            "why_not_decided": "; ".join(FAILED[v["question"]] for v in d["validity"]),
        }
        | {key: value for key, value in d.items() if key not in ("methods", "columns", "validity")}
        for panel in panels
        for d in panel["differences"]
    ]
    return PageTable(
        "differences",
        "Every method against the others",
        "In points, averaged over the tasks of the heading and paired by seed, with 95 % intervals, each by itself. "
        "Decided: two-sided at 5 %, after Holm's correction over all differences of the heading. Detectable: the least "
        "true difference that these runs decide in 4 of 5 repetitions, if it is the only one. Not decided: the runs "
        "of one of the two fail a question above. Open: how many of its differences are neither. Variants are left out"
        + (", and so are pairs and sets where nothing can be decided; the CSV has the latter." if shown else "."),
        [f"Less {shared or 'the reference'}", "Verdict", "Detectable", "Higher than", "Lower than", "Open"],
        [(heading(panel), _rows(panel)) for panel in shown or panels],
        "Method",
        notes=[sentence(panel) for panel in panels],
        csv=gzip_uri(csv_of(exported)),
        file="differences.csv.gz",
        stacks=True,
    )


def _none_can_be(panel: dict[str, Any]) -> bool:
    """Whether the runs of a panel can decide none of its differences, whatever their p."""
    return {d["verdict"] for d in panel["differences"]} == {NOT_DECIDED}


def heading(panel: dict[str, Any]) -> str:
    """What a panel compares, and on what."""
    where = ", ".join(column_title(panel["block"], column) for column in panel["columns"])
    block = {"ood": "out of domain"}.get(panel["block"], panel["block"].upper())
    return f"{panel['title']}, {block}: {where}"


def _rows(panel: dict[str, Any]) -> list[tuple[str, list[PageCell]]]:
    methods, reference = panel["methods"], panel["reference"]
    rows = []
    for method, title in methods.items():
        found = {other: d for other in methods if other != method and (d := oriented(panel, method, other)) is not None}
        if not found:
            continue
        sides = {side: [methods[o] for o, d in found.items() if d["verdict"] == side] for side in OPPOSITE}
        key = f"{panel['pair']}|{panel['block']}|{method}|difference"
        against = found.get(reference)
        left = len(found) - sum(map(len, sides.values()))
        cells = [
            PageCell("–", key=key) if against is None else _estimate(against, key),
            text_cell("the reference" if method == reference else against["verdict"] if against else "–"),
            number_cell(against["detectable"] if against else None, 1),
            *(text_cell(", ".join(sides[side]) or "–") for side in OPPOSITE),
            PageCell(str(left), sort=str(left)),
        ]
        rows.append((title, cells))
    return rows


def _estimate(found: dict[str, Any], key: str) -> PageCell:
    limits = "" if found["low"] is None else f"[{signed(found['low'])}, {signed(found['high'])}]"
    lines = [
        f"over {', '.join(found['columns'])}",
        *([] if found["p_holm"] is None else [f"p {found['p']:.2g}, after Holm's correction {found['p_holm']:.2g}"]),
        *(FAILED[reason["question"]] for reason in found["validity"]),
    ]
    return PageCell(signed(found["estimate"]), limits, sort=full(found["estimate"]), tip="\n".join(lines), key=key)


def sentence(panel: dict[str, Any]) -> str:
    """What a panel decides, and why a task does not count or nothing can be decided."""
    text = decided(panel)
    for method, columns in panel.get("missing", {}).items():  # a file of an earlier version has no such key
        where = ", ".join(column_title(panel["block"], column) for column in columns)
        text += f" {panel['methods'][method]} has no run on {where}, so it is compared with no other."
    if panel["too_little_to_gain"]:
        return f"{text} {panel['too_little_to_gain']}"
    if _none_can_be(panel):
        questions = dict.fromkeys(reason["question"] for d in panel["differences"] for reason in d["validity"])
        return f"{text} None can be: {', '.join(FAILED[question] for question in questions)}."
    if panel["not_counted"]:
        left = ", ".join(column_title(panel["block"], column) for column in panel["not_counted"])
        text += f" Not counted, because the teacher is not above the student without KD there: {left}."
    return text
