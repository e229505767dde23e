"""The verdicts and the report's path at the end of a run on a terminal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from analysis.report import summary

ROOT = Path(__file__).parents[3]
MINI = ROOT / "results" / "reference" / "mini"


def claim(name: str, verdict: str, **values: Any) -> dict[str, Any]:
    known = {"unit": "points", "estimate": None, "low": None, "high": None, "paper": None}
    return {"id": name, "verdict": verdict, **known, **values}


CLAIMS = {
    "warning": "Generated text.",
    "validity": {"headline": "These runs can decide one pair of two. " * 4},
    "counts": {"reproduced": 1, "contradicted": 0, "undecided": 1, "not decided": 1, "not run": 1},
    "claims": [
        claim("faster", "reproduced", unit="ratio", estimate=2.0, low=1.5, high=2.5, paper=1.96),
        claim("above", "undecided", estimate=0.5, low=-1.0, high=2.0, paper=-0.1),
        claim("deeper", "not decided", estimate=0.5, low=-1.0, high=2.0),
        claim("outside", "not run"),
    ],
}


def test_a_row_for_each_decided_claim_and_the_counts_of_all() -> None:
    lines = summary.verdicts(CLAIMS).splitlines()
    assert lines[0] == "Generated text." and max(map(len, lines)) <= summary.WIDTH
    assert " ".join(lines[1:3]) == CLAIMS["validity"]["headline"].strip()
    assert [line.split() for line in lines[3:-1] if not line.startswith("-")] == [
        ["Claim", "Verdict", "Estimate", "[95", "%]", "Paper"],
        ["faster", "reproduced", "2.00×", "[1.50×,", "2.50×]", "1.96×"],
        ["above", "undecided", "+0.50", "points", "[−1.00,", "2.00]", "−0.10", "points"],
    ]
    assert lines[-1] == "The paper's 4 claims: 1 reproduced, 1 undecided, 1 not decided, 1 not run."


def test_where_nothing_is_decided_there_is_no_table() -> None:
    text = summary.verdicts({**CLAIMS, "claims": CLAIMS["claims"][3:], "counts": {"reproduced": 0, "not run": 1}})
    assert "Verdict" not in text and text.endswith(
        "None of the paper's 1 claims is evaluated: what they need is not run by this benchmark, or not yet."
    )
    text = summary.verdicts({**CLAIMS, "claims": [], "counts": {"reproduced": 0}})  # of tasks of one's own
    assert "Verdict" not in text and text.endswith("so no claim is evaluated.")


def test_the_report_of_a_folder(tmp_path: Path) -> None:
    assert summary.summary(tmp_path) == ""
    (tmp_path / "report.html").write_text("<html>")
    last = f"The report is {tmp_path / 'report.html'}. Open it in a browser: {(tmp_path / 'report.html').as_uri()}"
    assert summary.summary(tmp_path) == last
    (tmp_path / "claims.json").write_text(json.dumps(CLAIMS))
    assert summary.summary(tmp_path) == f"{summary.verdicts(CLAIMS)}\n{last}"
    shown = summary.summary(tmp_path, ["my.yaml: methods.mine: no pair names it"]).splitlines()
    assert shown[-2:] == ["Not in these results: my.yaml: methods.mine: no pair names it", last]


def test_the_published_verdicts_are_shown_without_a_heavy_import() -> None:
    code = "import sys, pathlib; from analysis.report.summary import summary; print(summary(pathlib.Path(sys.argv[1])))"
    code += "; print(sorted({'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(MINI)], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()
    decided = [c for c in json.loads((MINI / "claims.json").read_text())["claims"] if c["verdict"] in summary.DECIDED]
    assert sum(line.startswith(c["id"] + " ") for c in decided for line in done) == len(decided) > 0
    assert done[-1] == "[]"
