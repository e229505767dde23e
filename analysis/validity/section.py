"""Writes the section "Can these runs decide?" as Markdown and as text for a terminal, from ``claims.json``."""

import textwrap
from typing import Any

from analysis.tables.cells import column_title
from analysis.tables.formats import md, md_table
from analysis.tables.numbers import number
from railkd.errors import UserError

TITLE = "Can these runs decide?"
HOLDS = {True: "yes", False: "no", None: "–"}
FLAGS = {True: "yes", False: "no", None: "open"}  # classes of the style sheet
WIDTH = 110  # characters of a line on a terminal


def of(claims: dict[str, Any]) -> dict[str, Any]:
    """The judgement in the content of claims.json. Raises UserError where an earlier version wrote the file."""
    if "validity" not in claims:
        raise UserError("claims.json: has no key 'validity'; run 'python -m analysis claims' again, then the report")
    return dict(claims["validity"])


def markdown(claims: dict[str, Any]) -> str:
    """The section with its heading, as it stands above the verdicts in claims.md and report.md."""
    validity = of(claims)
    rows = [
        [md(pair["title"]), md(a["title"]), f"**{HOLDS[a['holds']]}**", md(f"{a['reason']} {a['remedy']}".strip())]
        for pair in validity["pairs"]
        for a in pair["answers"]
    ]
    table = md_table(["Pair", "Question", "Answer", "Why, and what would help"], rows, "llll")
    return f"## {TITLE}\n\n**{md(validity['headline'])}**\n\n{table}\n"


def details(claims: dict[str, Any]) -> str:
    """The numbers behind the answers, for claims.md: how each method's runs ended, and the gap on each task."""
    return "\n".join(part for part in (_convergence(of(claims)), _gaps(of(claims))) if part)


def _convergence(validity: dict[str, Any]) -> str:
    rows = [
        [md(pair["title"]), md(c["title"]), str(c["runs"]), str(c["at_last"]), str(c["patience"]), _points(c["rise"]),
         _points(c["se"]), HOLDS[c["holds"]]]
        for pair in validity["pairs"]
        for c in pair["convergence"]
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["Pair", "Row", "Runs", "Best epoch last", "Ended by patience", "Rise", "SE", "Converged"]
    return (
        "## How the runs ended\n\nRise: of the dev score over the last quarter of the epochs, in percentage points, "
        "mean over tasks, of the runs that patience did not end; SE: its standard error.\n\n"
        f"{md_table(head, rows, 'llrrrrrl')}\n"
    )


def _gaps(validity: dict[str, Any]) -> str:
    rows = [
        [md(pair["title"]), g["block"].upper(), md(column_title(g["block"], g["column"])), _points(g["teacher"]),
         _points(g["student"]), _points(g["gap"]), _points(g["se"]), HOLDS[g["clears"]]]
        for pair in validity["pairs"]
        for g in pair["gaps"]
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["Pair", "Block", "Task or set", "Teacher", "Student without KD", "Gap", "SE", "Above noise"]
    return (
        "## What there is to gain\n\nTeacher and student without KD (mean over seeds), in percent; their gap in "
        f"percentage points and its standard error, of seeds and examples.\n\n{md_table(head, rows, 'lllrrrrl')}\n"
    )


def _points(value: float | None) -> str:
    return "–" if value is None else number(value, 1)


def page(claims: dict[str, Any]) -> dict[str, Any]:
    """The section as the template ``validity.html.j2`` shows it."""
    validity = of(claims)
    shown = [
        {**pair, "answers": [{**a, "word": HOLDS[a["holds"]], "flag": FLAGS[a["holds"]]} for a in pair["answers"]]}
        for pair in validity["pairs"]
    ]
    return {**validity, "pairs": shown}


def terminal(claims: dict[str, Any]) -> str:
    """The section as plain lines."""
    validity = of(claims)
    lines = [TITLE, *_wrapped(validity["headline"], "")]
    for pair in validity["pairs"]:
        lines += ["", pair["title"]]
        for a in pair["answers"]:
            lines.append(f"  {HOLDS[a['holds']]:<4}{a['title']}")
            lines += _wrapped(a["reason"], " " * 6) + _wrapped(a["remedy"], " " * 6)
    return "\n".join(lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
