"""What the pages say, and what the published files hold, for the tests that compare them."""

import csv
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from analysis.claims import oriented
from analysis.tables.numbers import signed

ROOT = Path(__file__).parents[2]
REFERENCE, PAPER = ROOT / "results" / "reference", ROOT / "benchmarks" / "reference"
ROWS = {
    "majority-class baseline": "constant",
    "teacher": "teacher",
    "without KD": "no_kd",
    "vanilla KD": "vanilla_kd",
    "PKD": "pkd",
    "CKD": "ckd",
    "ALP-KD": "alp_kd",
    "CoDIR": "codir",
    "RAIL-KD<sup>l</sup>": "rail_kd_l",
    "RAIL-KD<sup>c</sup>": "rail_kd_c",
    "DistilBERT-cos": "distilbert_cos",
    "MiniLMv2": "minilm_v2",
    "MixKD": "mixkd",
    "TinyBERT": "tinybert",
    "CR-ILD": "cr_ild",
}
Row = dict[str, str]


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text().split())


def table(name: str, first_line: str) -> list[Row]:
    """The Markdown table of a page whose first line begins so: row by row, column title -> text."""
    lines = (ROOT / name).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(first_line))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([text.strip() for text in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def read_csv(path: Path) -> list[Row]:
    with path.open() as file:
        return list(csv.DictReader(file))


def cell(file: str, block: str, row: str, column: str) -> str:
    """A cell of a published table, as the pages write it: mean ± standard deviation, and † under the baseline."""
    (at,) = [r for r in read_csv(REFERENCE / file) if (r["block"], r["row"], r["column"]) == (block, ROWS[row], column)]
    spread = f" ± {float(at['sd']):.1f}" if at["sd"] else ""
    dagger = "†" if at["clears_baseline"] == "False" and column != "avg" else ""
    return f"{float(at['value']):.1f}{spread}{dagger}"


def printed(file: str, split: str, row: str) -> str:
    """The average that the paper prints; empty where it prints none."""
    found = [r["avg"] for r in read_csv(PAPER / file) if (r["split"], r["method"]) == (split, ROWS[row])]
    return found[0] if found else ""


@cache
def records(benchmark: str, kind: str = "runs") -> list[dict[str, Any]]:
    """The published records of a benchmark."""
    pattern = {"runs": "*/*/*/seed-*.json", "teachers": "*/*/record.json"}[kind]
    return [json.loads(path.read_text()) for path in (REFERENCE / benchmark / kind).glob(pattern)]


def at_their_end(some: Iterable[dict[str, Any]]) -> str:
    """How many of these runs have their last epoch as the best one."""
    last = [record["best_epoch"] == len(record["epochs"]) for record in some]
    return f"{sum(last)} of {len(last)}"


def ratios(group: str, regime: str) -> dict[str, str]:
    """The cost of a step relative to one without KD, by method; CoDIR's by its negatives too."""
    rows = read_csv(REFERENCE / "paper" / "speed.csv")
    rows = [r for r in rows if (r["group"], r["regime"]) == (group, regime)]
    return {r["method"] + (r["negatives"] and f"-{r['negatives']}"): f"{float(r['ratio']):.2f}" for r in rows}


def claims(benchmark: str) -> dict[str, dict[str, Any]]:
    """The verdicts of a published benchmark, by the claim's id."""
    return {c["id"]: c for c in json.loads((REFERENCE / benchmark / "claims.json").read_text())["claims"]}


def part(claim: dict[str, Any], label: str) -> tuple[str, str, str]:
    """A comparison's estimate and interval, as pages write numbers; it has to have decided against the claim."""
    (found,) = [part for part in claim["parts"] if part["label"] == label]
    assert found["verdict"] == "contradicted"
    low, value, high = (f"{found[key]:.1f}".replace("-", "−") for key in ("low", "estimate", "high"))
    return low, value, high


def differences(method: str, benchmark: str = "ablation") -> dict[str, tuple[str, str, str, str]]:
    """What an ablation's report says of a method: what stands in its place -> mean, low, high, whether decided."""
    number = r"([−+][\d.]+)"
    cells = rf"{number} \\\[{number}, {number}\\\] \((decided|undecided|not decided)[:;].*\)"
    rows = table(f"results/reference/{benchmark}/report.md", "| Less itself with")
    matches = {row["Less itself with"]: re.fullmatch(cells, row[method]) for row in rows if row[method]}
    return {place: match.groups() for place, match in matches.items() if match}


def against(panel: dict[str, Any], first: str, second: str) -> tuple[str, str, str, str]:
    """A difference of a panel of claims.json as pages write it: estimate, low, high, verdict."""
    found = oriented(panel, ROWS[first], ROWS[second])
    assert found is not None
    return signed(found["estimate"]), signed(found["low"]), signed(found["high"]), found["verdict"]


def real_text(benchmark: str = "minilm") -> dict[str, Any]:
    """The differences between methods on the test sets of a benchmark of real text."""
    panels = json.loads((REFERENCE / benchmark / "claims.json").read_text())["differences"]
    (panel,) = (panel for panel in panels if panel["block"] == "test")
    return panel
