"""Made-up claims.json and audit.json, of the shapes that evaluation.py and audit.py in analysis/claims document."""

import json
from pathlib import Path
from typing import Any

PART: dict[str, Any] = {
    "label": "RAIL-KD^l − PKD",
    "methods": [["rail_kd_l"], ["pkd"]],
    "pairs": ["bert12-distilbert6"],
    "columns": ["cola", "rte"],
    "estimate": -1.234,
    "low": -2.5,
    "high": 0.032,
    "se_seeds": 0.4,
    "se_examples": None,
    "df": 3.7,
    "n": 3,
    "p": 0.031,
    "p_holm": 0.062,
    "p_against": 0.9,
    "p_against_holm": 1.0,
    "verdict": "undecided",
    "paper": 0.7,
    "paper_columns": 0.65,
    "detectable": 2.1,
    "seeds_needed": 11,
    "bootstrap": {"seeds": [-2.4, 0.1], "examples": None, "both": None},
    "improvement": 0.2,
}


def claim(name: str, verdict: str, unit: str = "points", **changes: Any) -> dict[str, Any]:
    """One claim with one comparison."""
    bounds = {"points": (0.0, None), "ratio": (None, 1.1), "share": (0.5, None), "cosine": (0.0, None)}[unit]
    return {
        "id": name,
        "words": "RAIL-KD <i>outperforms</i> PKD & ALP-KD",
        "section": "4.3",
        "table": 2,
        "reading": "the average over all tasks, dev, 12→6; margin 0",
        "measure": "score",
        "unit": unit,
        "relation": "above",
        "lower": bounds[0],
        "upper": bounds[1],
        "verdict": verdict,
        "why": "The interval holds both sides of the bound. About 11 seeds would decide it if the estimates are right.",
        **{key: PART[key] for key in ("estimate", "low", "high", "paper", "label", "detectable", "seeds_needed")},
        "validity": [],
        "not_counted": [],
        "missing": [],
        "parts": [{**PART, "verdict": verdict}],
        **changes,
    }


VALIDITY: dict[str, Any] = {
    "headline": "In part: 1 of 3 claims about scores rest on runs that fail a question and are not decided.",
    "claims": 3,
    "not_decided": 1,
    "pairs": [
        {
            "pair": "bert12-distilbert6",
            "title": "bert12 → distilbert6",
            "answers": [
                {"question": "converged", "title": "Did teacher and students converge?", "holds": False,
                 "reason": "PKD & <others> still rose.", "remedy": "Raise training.student.epochs: 4 -> 8."},
                {"question": "collapse", "title": "Do the projections tell examples apart?", "holds": None,
                 "reason": "No compared method records the rank of a projection.", "remedy": ""},
            ],
            "convergence": [{"method": "pkd", "title": "PKD", "runs": 6, "at_last": 4, "patience": 0, "rise": 1.25,
                             "se": 0.5, "holds": False}],
            "gaps": [{"block": "dev", "column": "cola", "teacher": 57.25, "student": 50.0, "gap": 7.25, "se": 2.0,
                      "clears": True}],
        }
    ],
}  # fmt: skip


def claims() -> dict[str, Any]:
    """A ledger with one claim of each verdict, and the judgement of the runs above them."""
    nothing = dict.fromkeys(("estimate", "low", "high", "label", "detectable", "seeds_needed"))
    made = [
        claim("higher", "reproduced", estimate=1.5, low=0.4, high=2.6, seeds_needed=None),
        claim("faster", "contradicted", "ratio", estimate=1.42, low=1.3, high=1.55, paper=1.0, seeds_needed=None),
        claim("spread", "undecided"),
        claim(
            "early", "not decided", why="Not decided: training ended too early. Raise training.student.epochs: 4 -> 8."
        ),
        claim("absent", "not run", **nothing, parts=[], missing=["CoDIR"], why="Needs CoDIR."),
    ]
    return {
        "benchmark": "tiny",
        "title": "MiniGLUE",
        "synthetic": True,
        "warning": "generated text",
        "level": 0.95,
        "seeds": 3,
        "draws": 1000,
        "draw_seed": 1,
        "counts": {"reproduced": 1, "contradicted": 1, "undecided": 1, "not decided": 1, "not run": 1},
        "validity": VALIDITY,
        "claims": made,
        "differences": [PANEL],
        "errors": [
            {"pair": "bert12-distilbert6", "block": "dev", "method": "pkd", "column": "cola", "n": 3, "sd": 1.25,
             "se_seeds": 0.72, "se_examples": 2.5}
        ],
        "selection": [
            {"pair": "bert12-distilbert6", "method": "pkd", "runs": 24, "dev_minus_test": 0.61, "low": 0.1, "high": 1.1,
             "optimism": None, "optimism_low": None, "optimism_high": None, "halves": 0}
        ],
        "budget": [
            {"pair": "bert12-distilbert6", "method": "pkd", "tasks": ["rte"], "points": 2, "expected": [60.5, 62.5]}
        ],
        "choices": [
            {"pair": "bert12-distilbert6", "method": "pkd", "decided_on": ["rte"], "taken_by": ["cola", "rte"],
             "point": {"learning_rate": 0.002, "beta": 100}, "score": 62.5, "lead": 0.25, "se": None, "noise": False,
             "ends": {"beta": "highest"}, "beyond": []}
        ],
    }  # fmt: skip


def difference(first: str, second: str, estimate: float, verdict: str) -> dict[str, Any]:
    """An entry of a panel of ``differences``."""
    known = {key: PART[key] for key in ("se_seeds", "se_examples", "df", "n", "p", "p_holm", "detectable")}
    limits = {"estimate": estimate, "low": estimate - 0.5, "high": estimate + 0.5}
    return {
        "methods": [first, second],
        "columns": ["mrpc", "rte"],
        **limits,
        **known,
        "verdict": verdict,
        "validity": [],
    }


PANEL: dict[str, Any] = {
    "pair": "bert12-distilbert6",
    "title": "bert12 → distilbert6",
    "block": "test",
    "methods": {"vanilla_kd": "Vanilla KD", "pkd": "PKD", "rail_kd_l": "RAIL-KD^l"},
    "reference": "vanilla_kd",
    "columns": ["mrpc", "rte"],
    "not_counted": ["cola"],
    "too_little_to_gain": None,
    "tests": 3,
    "differences": [
        difference("pkd", "vanilla_kd", 1.5, "higher"),
        difference("rail_kd_l", "vanilla_kd", -0.25, "undecided"),
        difference("rail_kd_l", "pkd", -1.75, "lower"),
    ],
}


def audit() -> dict[str, Any]:
    """One finding and one check that holds."""
    check = {"id": "average-2-test-pkd", "kind": "average", "holds": False, "where": "Table 2, TEST, PKD", "words": ""}
    check |= {"printed": "77.7", "recomputed": "78.1", "difference": -0.4, "detail": "The mean of the row is 78.1."}
    return {
        "source": "Haidar et al. (2022)",
        "counts": {"checks": 2, "findings": 1},
        "checks": [check, {**check, "id": "average-2-dev-pkd", "holds": True, "where": "Table 2, DEV, PKD"}],
    }


def write(results: Path) -> None:
    """Puts both files into a results folder."""
    (results / "claims.json").write_text(json.dumps(claims()), encoding="utf-8")
    (results / "audit.json").write_text(json.dumps(audit()), encoding="utf-8")
