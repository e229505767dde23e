"""Shows the verdicts and the audit on the HTML report, from ``claims.json`` and ``audit.json``.

Their shapes are documented in ``evaluation.py`` and ``audit.py``; this module decides how they look.
"""

from dataclasses import replace
from typing import Any

from analysis.claims import claim_tables, counted
from analysis.report import common_axis
from analysis.report.common_axis import CommonAxis
from analysis.reported_benchmark import ReportedBenchmark
from analysis.tables.formats import csv_of, flat
from analysis.tables.html_tables import PageCell, PageTable, data_uri, gzip_uri, text_cell
from analysis.tables.numbers import number, quantity, signed
from analysis.validity import section

VERDICTS = {
    "reproduced": "the runs show it",
    "contradicted": "the runs show the opposite, or less than claimed",
    "undecided": "more runs could tell",
    "not decided": "these runs are not fit to decide it",
    "not run": "this benchmark does not run what it needs, or has not yet",
}
AUDITED = {  # kind of a check -> what is checked
    "average": "row average",
    "order": "row order",
    "repeat": "repeated row",
    "step": "least spread",
    "gap": "stated difference",
    "best": "stated best",
    "above": "stated order",
    "wins": "stated wins",
    "timing": "stated cost",
}


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


def verdicts(benchmark: ReportedBenchmark, content: dict[str, Any] | None) -> dict[str, Any] | None:
    """The claims as the template shows them, by the axis that they share, and the statistics behind them as tables."""
    if content is None:
        return None
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in common_axis.KINDS}
    not_run = [claim for claim in content["claims"] if claim["verdict"] == "not run"]
    for claim in content["claims"]:
        if claim not in not_run:
            kinds[common_axis.kind_of(claim)].append(claim)
    exported = [
        flat({"claim": c["id"], "claim_verdict": c["verdict"], **p}) for c in content["claims"] for p in c["parts"]
    ]
    return {
        "validity": section.page(content),
        "groups": [_group(kind, claims) for kind, claims in kinds.items() if claims],
        "not_run": [{**claim, "where": ", ".join(_where(claim))} for claim in not_run],
        "counted": counted(content),
        "counts": [(verdict, content["counts"].get(verdict, 0), text) for verdict, text in VERDICTS.items()],
        "csv": gzip_uri(csv_of(exported)),
        "file": f"{benchmark.name}-claims.csv.gz",
        "statistics": claim_tables.statistics(content),
        "width": common_axis.WIDTH,
    }


def _group(kind: str, claims: list[dict[str, Any]]) -> dict[str, Any]:
    """The claims of one axis: its heading, its ticks and zero, and each claim with where it lies on it."""
    axis = common_axis.of(claims)
    return {
        "kind": kind,
        "title": common_axis.KINDS[kind],
        "zero": axis.zero,
        "ticks": axis.ticks(),
        "drawn": any(claim["estimate"] is not None for claim in claims),
        "claims": [_claim(claim, axis) for claim in claims],
    }


def _claim(claim: dict[str, Any], axis: CommonAxis) -> dict[str, Any]:
    """A claim as text and as places on its axis."""
    unit, parts = claim["unit"], claim["parts"]
    return {
        **claim,
        "where": ", ".join(_where(claim)),
        "flag": claim["verdict"].replace(" ", "-"),
        "measured": quantity(claim["estimate"], unit, signed=True),
        "interval": interval(claim, unit),
        "limits": "" if claim["low"] is None else f"[{_bare(claim['low'], unit)}, {_bare(claim['high'], unit)}]",
        "paper_number": quantity(claim["paper"], unit, signed=True) if claim["paper"] is not None else "",
        "drawing": axis.drawing(claim),
        "power": power(claim),
        "table": claim_tables.comparisons(claim) if parts else None,
        "pairs": " ".join(dict.fromkeys(pair for part in parts for pair in part["pairs"])),
        "methods": " ".join(dict.fromkeys(m for part in parts for side in part["methods"] for m in side)),
    }


def _bare(value: float, unit: str) -> str:
    return quantity(value, unit).removesuffix(" points")


def _where(claim: dict[str, Any]) -> list[str]:
    parts = [str(claim["section"])] if claim.get("section") else []
    parts = [f"Section {part}" if part[0].isdigit() else part for part in parts]
    return parts + [f"{kind.capitalize()} {claim[kind]}" for kind in ("table", "figure") if claim.get(kind)]


def audit(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """What does not add up in the paper's printed numbers, by table, apart from what rounding explains."""
    if content is None:
        return None
    checks = content["checks"]
    explained = [check for check in checks if check["holds"] and _rounded(check)]
    return {
        "source": content["source"],
        "counts": content["counts"],
        "explained": len(explained),
        "findings": _audited(
            "findings",
            "What rounding does not explain",
            "No numbers that round to the printed ones agree. Difference: printed minus recomputed. An average is "
            "recomputed as the mean of the printed columns.",
            [check for check in checks if not check["holds"]],
        ),
        "rounding": _audited(
            "rounding",
            "What rounding explains",
            "The printed number is not the one that follows from the others, but numbers that round to these agree.",
            explained,
        ),
        "table": replace(
            _audited("checks", "Every check", "Whatever was recomputed, whether it agrees or not.", checks, True),
            csv=data_uri(csv_of([flat(check) for check in checks])),
            file="audit.csv",
        ),
    }


def _rounded(check: dict[str, Any]) -> bool:
    """Whether a number that holds differs from the recomputed one, when both have the printed decimals."""
    printed, difference = str(check["printed"]), check["difference"]
    if difference is None or check["kind"] not in ("average", "gap"):
        return False
    decimals = len(printed.partition(".")[2])
    return number(float(printed), decimals) != number(float(printed) - difference, decimals)


def _audited(name: str, title: str, caption: str, checks: list[dict[str, Any]], verdict: bool = False) -> PageTable:
    """Checks as a table, under a heading for each table of the paper; what the text states stands last."""
    groups: dict[str, list[tuple[str, list[PageCell]]]] = {}
    for check in checks:
        table, _, rest = check["where"].partition(", ")
        of_table = table.startswith("Table ")
        group, row = (table, rest or table) if of_table else ("The text", check["where"])
        groups.setdefault(group, []).append((row, _audit_cells(check)[0 if verdict else 1 :]))
    return PageTable(
        name,
        title,
        caption,
        ["Verdict", "What", "Printed", "Recomputed", "Difference", "In words"][0 if verdict else 1 :],
        sorted(groups.items()),  # Table 2 to Table 6, then the text
        "Where",
    )


def _audit_cells(check: dict[str, Any]) -> list[PageCell]:
    words = [f"“{check['words']}”"] if check["words"] else []
    words += [] if check["kind"] == "average" else [check["detail"]]
    difference = check["difference"] if check["kind"] in ("average", "gap") else None
    verdict = ("agrees", "consistent") if check["holds"] else ("does not agree", "differs")
    return [
        text_cell(verdict[0], flag=verdict[1]),
        text_cell(AUDITED.get(check["kind"], check["kind"])),
        text_cell(check["printed"] or "–"),
        text_cell(check["recomputed"] or "–"),
        PageCell("–") if difference is None else PageCell(signed(difference, 2), sort=repr(difference)),
        text_cell(" ".join(words)),
    ]
