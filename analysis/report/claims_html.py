"""The verdicts and the audit for the HTML report, from the contents of ``claims.json`` and ``audit.json``.

Their shapes are documented in ``evaluation.py`` and ``audit.py``; this module decides how they look.
"""

import math
from typing import Any

from analysis.benchmark import Benchmark
from analysis.tables import formats
from analysis.tables.formats import csv_of, flat
from analysis.tables.html_tables import PageCell, PageTable, data_uri, number_cell, text_cell
from analysis.validity import section

VERDICTS = {
    "reproduced": "the runs show it",
    "contradicted": "the runs show the opposite, or less than claimed",
    "undecided": "more runs could tell",
    "not decided": "these runs are not fit to decide it",
    "not run": "this benchmark does not run what it needs",
}
WIDTH = 240  # of an interval's drawing, in its own units


def quantity(value: float | None, unit: str, signed: bool = False) -> str:
    """A number in its unit; a dash for none."""
    if value is None:
        return "–"
    decimals, after = {"points": (2, " points"), "ratio": (2, "×")}.get(unit, (2, ""))
    text = formats.number(value, decimals).replace("-", "−")
    return ("+" if signed and unit == "points" and value > 0 else "") + text + after


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
            "table": _parts(claim) if claim["parts"] else None,
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
        "statistics": [table for table in (_selection(content), _errors(content), _budget(content)) if table],
        "titles": [(m, benchmark.title_of(m)) for m in benchmark.methods],
    }


def _where(claim: dict[str, Any]) -> list[str]:
    parts = [str(claim["section"])] if claim.get("section") else []
    parts = [f"Section {part}" if part[0].isdigit() else part for part in parts]
    return parts + [f"{kind.capitalize()} {claim[kind]}" for kind in ("table", "figure") if claim.get(kind)]


def _parts(claim: dict[str, Any]) -> PageTable:
    """Every comparison of a claim: one row each."""
    unit, rows = claim["unit"], []
    for part in claim["parts"]:
        tip = "\n".join(
            line
            for line, known in (
                (f"columns: {', '.join(map(str, part['columns']))}", part["columns"]),
                (
                    f"standard error of seeds {_short(part['se_seeds'])}, of examples {_short(part['se_examples'])}",
                    True,
                ),
                (f"degrees of freedom {_short(part['df'])}", part["df"] is not None),
                (f"detectable difference {quantity(part['detectable'], unit)}", part["detectable"] is not None),
                (f"p against {_short(part['p_against'])}, Holm {_short(part['p_against_holm'])}", True),
            )
            if known
        )
        views = [
            text_cell(part["verdict"], flag=part["verdict"].replace(" ", "-")),
            PageCell(quantity(part["estimate"], unit, signed=True), sort=_sort(part["estimate"]), tip=tip),
            PageCell(quantity(part["low"], unit), sort=_sort(part["low"])),
            PageCell(quantity(part["high"], unit), sort=_sort(part["high"])),
            PageCell(quantity(part["paper"], unit, signed=True), sort=_sort(part["paper"])),
            PageCell(_short(part["p"]), sort=_sort(part["p"])),
            PageCell(_short(part["p_holm"]), sort=_sort(part["p_holm"])),
            PageCell(str(part["n"]) if part["n"] is not None else "–", sort=_sort(part["n"])),
            PageCell(quantity(part["detectable"], unit), sort=_sort(part["detectable"])),
            PageCell(str(part["seeds_needed"] or "–"), sort=_sort(part["seeds_needed"])),
        ]
        rows.append((f"{part['label']}" + (f", {', '.join(part['pairs'])}" if part["pairs"] else ""), views))
    return PageTable(
        f"claim-{claim['id']}",
        "Every comparison that must hold",
        "p: one-sided, that the claim's side is chance; Holm: corrected over the table or figure. Could see: the least "
        "true difference from the bound that these seeds find in 4 of 5 repetitions. Seeds to decide: if the estimate "
        "is right.",
        ["Verdict", "Estimate", "Low", "High", "Paper", "p", "p, Holm", "Seeds", "Could see", "Seeds to decide"],
        [("", rows)],
        "Comparison",
    )


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.0001" if 0 < value < 1e-4 else f"{value:.3g}"


def _sort(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _selection(content: dict[str, Any]) -> PageTable | None:
    rows = [
        (
            str(row["pair"]),
            [
                text_cell(str(row["method"])),
                PageCell(str(row["runs"]), sort=str(row["runs"])),
                *(number_cell(row[k], 2) for k in ("dev_minus_test", "low", "high")),
                *(number_cell(row[k], 2) for k in ("optimism", "optimism_low", "optimism_high")),
            ],
        )
        for row in content.get("selection") or []
    ]
    if not rows:
        return None
    return PageTable(
        "selection",
        "How much choosing the epoch on dev flatters",
        "In percentage points, with 95 % intervals. Dev − test compares two sets of examples; optimism is measured "
        "where the records keep two halves of dev: the epoch chosen on one is scored on the other.",
        ["Method", "Runs", "Dev − test", "Low", "High", "Optimism", "Low", "High"],
        [("", rows)],
        "Pair",
    )


def _errors(content: dict[str, Any]) -> PageTable | None:
    rows = [
        (
            str(row["pair"]),
            [
                *(text_cell(str(row[k])) for k in ("method", "block", "column")),
                PageCell(str(row["n"]), sort=str(row["n"])),
                *(number_cell(row[k], 2) for k in ("sd", "se_seeds", "se_examples")),
            ],
        )
        for row in content.get("errors") or []
    ]
    if not rows:
        return None
    return PageTable(
        "errors",
        "Error of seeds beside error of examples",
        "In percentage points: the standard deviation over seeds, the standard error of the mean that follows, and "
        "the standard error of having drawn these examples and no others, which no number of seeds reduces.",
        ["Method", "Block", "Task or set", "Seeds", "SD", "SE of seeds", "SE of examples"],
        [("", rows)],
        "Pair",
    )


def _budget(content: dict[str, Any]) -> PageTable | None:
    entries = content.get("budget") or []
    longest = max((len(row["expected"]) for row in entries), default=0)
    rows = [
        (
            str(row["pair"]),
            [
                text_cell(str(row["method"])),
                *(number_cell(dict(enumerate(row["expected"])).get(i), 1) for i in range(longest)),
            ],
        )
        for row in entries
    ]
    if not rows:
        return None
    return PageTable(
        "budget",
        "Expected best dev score against tuning budget",
        "In percent: what the best of so many settings, drawn at random from the search, should score on dev.",
        ["Method", *(str(i + 1) for i in range(longest))],
        [("", rows)],
        "Pair",
    )


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
