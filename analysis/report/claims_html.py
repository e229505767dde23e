"""The verdicts and the audit for the HTML report, from the contents of ``claims.json`` and ``audit.json``.

Their shapes are documented in ``evaluation.py`` and ``audit.py``; this module decides how they look.
"""

import math
from typing import Any

from analysis.benchmark import Benchmark
from analysis.claims import claim_tables
from analysis.claims.claim_tables import quantity
from analysis.tables.formats import csv_of, flat
from analysis.tables.html_tables import PageTable, data_uri, text_cell
from analysis.validity import section

VERDICTS = {
    "reproduced": "the runs show it",
    "contradicted": "the runs show the opposite, or less than claimed",
    "undecided": "more runs could tell",
    "not decided": "these runs are not fit to decide it",
    "not run": "this benchmark does not run what it needs",
}
WIDTH = 240  # of an interval's drawing, in its own units


def interval(part: dict[str, Any], unit: str) -> str:
    """``[low, high]`` in words; empty for none."""
    if part["low"] is None or part["high"] is None:
        return ""
    low = quantity(part["low"], unit).removesuffix(" points")
    return f"95 % interval {low} to {quantity(part['high'], unit)}"


def power(claim: dict[str, Any]) -> str:
    """The least difference from a claim's bound that its runs could have seen, in a sentence; empty for none."""
    if claim["detectable"] is None:
        return ""
    what = "factor" if claim["unit"] == "ratio" else "difference"
    amount = quantity(claim["detectable"], claim["unit"])
    return f"The least true {what} from the bound that these runs find in 4 of 5 repetitions is {amount}."


def drawing(claim: dict[str, Any]) -> dict[str, Any] | None:
    """Where estimate, interval, paper and the claim's bounds lie on one line of ``WIDTH``; None without an estimate.

    Ratios are placed on a log scale. x positions: estimate, low, high, paper (None: not there), bounds (list).
    """
    log = claim["unit"] == "ratio"

    def place(value: float | None) -> float | None:
        if value is None or (log and value <= 0):
            return None
        return math.log(value) if log else float(value)

    points = {key: place(claim[key]) for key in ("estimate", "low", "high", "paper")}
    bounds = [b for b in (place(claim["lower"]), place(claim["upper"])) if b is not None]
    known = [x for x in (*points.values(), *bounds) if x is not None]
    if points["estimate"] is None or not known:
        return None
    least, most = min(known), max(known)
    span = (most - least) or 1.0
    low, span = least - 0.08 * span, 1.16 * span

    def x(value: float | None) -> float | None:
        return None if value is None else round((value - low) / span * WIDTH, 1)

    return {**{key: x(value) for key, value in points.items()}, "bounds": [x(b) for b in bounds], "width": WIDTH}


def verdicts(benchmark: Benchmark, content: dict[str, Any] | None) -> dict[str, Any] | None:
    """The claims as the template shows them, and the statistics behind them as tables."""
    if content is None:
        return None
    claims = [
        {
            **claim,
            "where": ", ".join(_where(claim)),
            "flag": claim["verdict"].replace(" ", "-"),
            "measured": quantity(claim["estimate"], claim["unit"], signed=True),
            "interval": interval(claim, claim["unit"]),
            "paper_figure": quantity(claim["paper"], claim["unit"], signed=True) if claim["paper"] is not None else "",
            "drawing": drawing(claim),
            "power": power(claim),
            "table": claim_tables.comparisons(claim) if claim["parts"] else None,
        }
        for claim in content["claims"]
    ]
    exported = [
        flat({"claim": c["id"], "claim_verdict": c["verdict"], **p}) for c in content["claims"] for p in c["parts"]
    ]
    return {
        "validity": section.page(content),
        "claims": claims,
        "counts": [(verdict, content["counts"].get(verdict, 0), text) for verdict, text in VERDICTS.items()],
        "csv": data_uri(csv_of(exported)),
        "file": f"{benchmark.name}-claims.csv",
        "statistics": claim_tables.statistics(content),
        "titles": [(m, benchmark.title_of(m)) for m in benchmark.methods],
    }


def _where(claim: dict[str, Any]) -> list[str]:
    parts = [str(claim["section"])] if claim.get("section") else []
    parts = [f"Section {part}" if part[0].isdigit() else part for part in parts]
    return parts + [f"{kind.capitalize()} {claim[kind]}" for kind in ("table", "figure") if claim.get(kind)]


def audit(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """What does not add up in the paper's printed numbers, and how much was checked."""
    if content is None:
        return None
    rows = [
        (
            check["where"],
            [
                text_cell(
                    "holds" if check["holds"] else "does not", flag="consistent" if check["holds"] else "differs"
                ),
                text_cell(check["kind"]),
                text_cell(check["printed"]),
                text_cell(check["recomputed"]),
                text_cell(check["detail"]),
            ],
        )
        for check in content["checks"]
    ]
    return {
        "source": content["source"],
        "counts": content["counts"],
        "findings": [check for check in content["checks"] if not check["holds"]],
        "table": PageTable(
            "checks",
            "Every check",
            "A printed number stands for all that round to it: a check fails only if no such numbers make it hold.",
            ["Verdict", "Kind", "Printed", "Recomputed", "In words"],
            [("", rows)],
            "Where",
            csv=data_uri(csv_of([flat(check) for check in content["checks"]])),
            file="audit.csv",
        ),
    }
