"""Ends a run on a terminal: prints the verdicts of ``claims.json``, what was not trained, and where the report is.

Imports nothing that takes time to load: the workflow shows this in its own process.
"""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.claims import counted, decided
from analysis.tables.numbers import interval, quantity
from railkd.benchmark.paths import Layout

DECIDED = ("reproduced", "contradicted", "undecided")  # verdicts that have a row; of the others the number is shown
WIDTH = 110  # characters of a line
HEAD = ("Claim", "Verdict", "Estimate [95 %]", "Paper")


def summary(root: Path, not_trained: Sequence[str] = ()) -> str:
    """The verdicts in a table and the path of the report, of the results in a folder; "" where it has no report.

    Between them stands a line for each entry of the benchmark file that is not trained.

    Raises OSError and ValueError for a file that cannot be read, KeyError where claims.json lacks a key.
    """
    layout = Layout(root)
    page, claims = layout.document("report", "html"), layout.document("claims", "json")
    if not page.is_file():
        return ""
    parts = [verdicts(json.loads(claims.read_text(encoding="utf-8")))] if claims.is_file() else []
    parts += [f"Not in these results: {line}" for line in not_trained]
    return "\n".join([*parts, f"The report is {page}. Open it in a browser: {page.resolve().as_uri()}"])


def verdicts(data: dict[str, Any]) -> str:
    """The content of claims.json as lines: whether the runs can decide, a row for each decided claim, the counts."""
    from tabulate import tabulate

    validity = data.get("validity", {}).get("headline", "") if data["claims"] else ""  # it is about claims
    remarks = [line for text in (data["warning"], validity) for line in textwrap.wrap(text, WIDTH)]
    rows = [
        [c["id"], c["verdict"], interval(c, c["unit"]), quantity(c["paper"], c["unit"], signed=True)]
        for c in data["claims"]
        if c["verdict"] in DECIDED
    ]
    sides = ("left", "left", "right", "right")
    table = [tabulate(rows, HEAD, tablefmt="simple", colalign=sides, disable_numparse=True)] if rows else []
    panels = [panel for panel in data.get("differences") or [] if panel["block"] != "ood"]
    between = [line for panel in panels for line in textwrap.wrap(decided(panel), WIDTH)]
    return "\n".join([*remarks, *table, counted(data, zeros=False), *between])
