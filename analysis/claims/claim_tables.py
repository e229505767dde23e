"""Makes the tables behind the verdicts from ``claims.json``: claims.md and the HTML report show the same."""

from statistics import median_low
from typing import Any

from analysis.tables.cells import column_title
from analysis.tables.formats import csv_of
from analysis.tables.html_tables import PageCell, PageTable, gzip_uri, number_cell, text_cell
from analysis.tables.numbers import quantity
from analysis.validity.choices import spelled

COMPARISONS = [
    "Verdict", "Estimate", "Low", "High", "Paper", "SE of seeds", "SE of examples", "p", "p, Holm", "p against, Holm",
    "Seeds", "Detectable", "Seeds to decide",
]  # fmt: skip


def comparisons(claim: dict[str, Any]) -> PageTable:
    """Every comparison of a claim: one row each."""
    return PageTable(
        f"claim-{claim['id']}",
        "Every comparison that must hold",
        "Low and high: the 95 % interval. SE: standard error, on a log scale for a ratio. p: one-sided, that the "
        "claim's side is chance; Holm: corrected over the table or figure. Detectable: the least true difference from "
        "the bound that these runs decide in 4 of 5 repetitions after that correction. Seeds to decide: if the "
        "estimate is right (of a cost: rounds).",
        COMPARISONS,
        [("", [_comparison(part, claim["unit"]) for part in claim["parts"]])],
        "Comparison",
    )


def _comparison(part: dict[str, Any], unit: str) -> tuple[str, list[PageCell]]:
    """The row of one comparison: its title and its cells."""
    columns = f"columns: {', '.join(map(str, part['columns']))}" if part["columns"] else ""
    freedom = f"degrees of freedom {short(part['df'])}" if part["df"] is not None else ""
    tip = "\n".join(line for line in (columns, freedom) if line)
    paper = part["paper"] if part["paper"] is not None else part["paper_columns"]
    cells = [
        text_cell(part["verdict"], flag=part["verdict"].replace(" ", "-")),
        PageCell(quantity(part["estimate"], unit, signed=True), sort=sort(part["estimate"]), tip=tip),
        *(PageCell(quantity(part[key], unit).removesuffix(" points"), sort=sort(part[key])) for key in ("low", "high")),
        PageCell(quantity(paper, unit, signed=True), sort=sort(paper)),
        *(
            PageCell(short(part[key]), sort=sort(part[key]))
            for key in ("se_seeds", "se_examples", "p", "p_holm", "p_against_holm")
        ),
        PageCell(str(part["n"]) if part["n"] is not None else "–", sort=sort(part["n"])),
        PageCell(quantity(part["detectable"], unit), sort=sort(part["detectable"])),
        PageCell(str(part["seeds_needed"] or "–"), sort=sort(part["seeds_needed"])),
    ]
    return f"{part['label']}" + (f", {', '.join(part['pairs'])}" if part["pairs"] else ""), cells


def short(value: float | None) -> str:
    """A p-value or an error with three digits; a dash for none."""
    if value is None:
        return "–"
    return "< 0.0001" if 0 < value < 1e-4 else f"{value:.3g}"


def sort(value: float | None) -> str:
    """What a column is sorted by: more digits than it shows, nothing for none."""
    return "" if value is None else f"{value:.8g}"


def statistics(content: dict[str, Any]) -> list[PageTable]:
    """The tables on single cells that stand after the claims."""
    return [table for table in (selection(content), errors(content), budget(content), choices(content)) if table]


def selection(content: dict[str, Any]) -> PageTable | None:
    """How much choosing the epoch on dev raises the dev score; None where no record tells."""
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
        "In percentage points, mean over tasks, with 95 % intervals over seeds. Dev − test compares two sets of "
        "examples, whose difference is the same for all methods; optimism is measured where the records keep two "
        "halves of dev: the epoch chosen on one is scored on the other.",
        ["Method", "Runs", "Dev − test", "Low", "High", "Optimism", "Low", "High"],
        [("", rows)],
        "Pair",
    )


def errors(content: dict[str, Any]) -> PageTable | None:
    """The error of seeds beside that of examples, median over the methods; the file has every method."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in content.get("errors") or []:
        groups.setdefault((entry["pair"], entry["block"], entry["column"]), []).append(entry)
    if not groups:
        return None
    rows = []
    for (pair, block, column), entries in groups.items():
        known = [[e[key] for e in entries if e[key] is not None] for key in ("sd", "se_seeds", "se_examples")]
        medians = [number_cell(median_low(values) if values else None, 2) for values in known]
        rows.append((pair, [text_cell(block.upper()), text_cell(column_title(block, column)), *medians]))
    return PageTable(
        "errors",
        "Error of seeds beside error of examples",
        "In percentage points, median over the methods: the standard deviation over seeds, the standard error of the "
        "mean that follows, and the standard error of having drawn these examples and no others, which no number of "
        "seeds reduces. Differences between methods, which share the examples, suffer less from the latter.",
        ["Block", "Task or set", "SD", "SE of seeds", "SE of examples"],
        [("", rows)],
        "Pair",
        csv=gzip_uri(csv_of(content["errors"])),
        file="errors.csv.gz",
    )


def budget(content: dict[str, Any]) -> PageTable | None:
    """The expected best dev score against the number of settings tried; None where no search ran."""
    entries = content.get("budget") or []
    longest = max((len(row["expected"]) for row in entries), default=0)
    if not entries:
        return None
    rows = [
        (
            str(row["pair"]),
            [
                text_cell(str(row["method"])),
                text_cell(", ".join(column_title("dev", task) for task in row["tasks"])),
                *(number_cell(dict(enumerate(row["expected"])).get(i), 1) for i in range(longest)),
            ],
        )
        for row in entries
    ]
    return PageTable(
        "budget",
        "Expected best dev score against tuning budget",
        "In percent, mean over the tasks named, on which the method's points were trained: what the best of so many "
        "settings, drawn at random from the search, should score on dev (Dodge et al., 2019). Rows with other tasks do "
        "not compare.",
        ["Method", "Tasks", *(str(i + 1) for i in range(longest))],
        [("", rows)],
        "Pair",
    )


def choices(content: dict[str, Any]) -> PageTable | None:
    """What the search chose, by how much, and where at an end of the grid; None where no search ran."""

    def titles(tasks: list[str]) -> str:
        return ", ".join(column_title("dev", task) for task in tasks)

    rows = [
        (
            str(row["pair"]),
            [
                text_cell(str(row["method"])),
                text_cell(titles(row["decided_on"])),
                text_cell("the same" if row["taken_by"] == row["decided_on"] else titles(row["taken_by"])),
                text_cell(spelled(row["point"])),
                *(number_cell(row[key], 1) for key in ("score", "lead", "se")),
                text_cell(", ".join(f"{key}: {side}" for key, side in row["ends"].items()) or "–"),
            ],
        )
        for row in content.get("choices") or []
    ]
    if not rows:
        return None
    return PageTable(
        "choices",
        "What the search chose",
        "The point with the best dev score, mean over the tasks that decide, of one run each. Ahead by: percentage "
        "points over the next best point. Noise: the standard error of such a difference between two runs, by the "
        "spread over seeds of the reported runs on these tasks; a choice that is ahead by less might as well have been "
        "another. Which examples dev has comes on top.",
        ["Method", "Decided on", "For", "Chosen", "Dev", "Ahead by", "Noise", "End of the grid"],
        [("", rows)],
        "Pair",
    )
