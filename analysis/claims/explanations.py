"""Explains why a claim has its verdict: what decided it, or what keeps it open, in sentences."""

from dataclasses import dataclass
from typing import Any

from analysis.claims.comparisons import Comparison
from analysis.claims.ledger import Claim
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import inference
from analysis.statistics.inference import ALPHA
from analysis.tables import speed
from analysis.tables.cells import column_title
from analysis.tables.measures import COST_REGIMES
from analysis.validity import judgement
from analysis.validity.judgement import NOT_DECIDED
from analysis.validity.questions import Answer

Shown = dict[str, Any]  # an entry of claims.json
SIGNALS = {"live": "the teacher running", "cached": "the teacher's signals cached"}  # by regime


@dataclass(frozen=True)
class Judged:
    """A claim, its comparisons or what is missing, the questions of validity that its runs fail, and what is noted."""

    claim: Claim
    parts: list[Comparison]
    missing: list[str]
    failed: list[tuple[Pair, Answer]]
    noted: list[tuple[Pair, Answer]]
    not_counted: tuple[str, ...]


def of(benchmark: ReportedBenchmark, runs: Runs, judged: Judged, shown: Shown) -> list[str]:
    """What decided a claim, or what keeps it open, and what limits either: sentences without full stops.

    ``shown`` is its entry of claims.json, whose parts still hold ``_evidence`` and ``_tests``.
    """
    claim, parts = judged.claim, shown["parts"]
    if not parts:
        return [f"needs {'; '.join(judged.missing)}"]
    sentences = _deciding(judged, shown)
    if judged.not_counted:
        names = ", ".join(column_title(claim.block, c) for c in judged.not_counted)
        sentences.append(f"not counted, because the teacher is not above the student without KD by the noise: {names}")
    sentences += judgement.notes(judged.noted)
    if any(p["fewer"] for p in parts):
        sentences.append("some runs are missing")
    if any(p["dropped"] for p in parts):
        sentences.append("tasks without any spread are left out")
    timed = speed.read(benchmark, runs.root) if claim.measure in COST_REGIMES else None
    if timed is not None:
        sentences.append(f"steps with {SIGNALS[COST_REGIMES[claim.measure]]}, {timed['measured']}")
    return sentences


def _deciding(judged: Judged, shown: Shown) -> list[str]:
    """What decided a claim, or what keeps it open."""
    parts, verdict = shown["parts"], shown["verdict"]
    if verdict == NOT_DECIDED:
        return judgement.sentences(judged.failed)
    if verdict == "reproduced":
        many = len(parts) > 1
        return [f"all {len(parts)} comparisons hold" if many else "the interval lies where the claim says"]
    if verdict == "contradicted":
        return [f"the evidence is against: {'; '.join(p['label'] for p in parts if p['verdict'] == 'contradicted')}"]
    several = f"{sum(p['verdict'] == 'reproduced' for p in parts)} of {len(parts)} comparisons hold" * (len(parts) > 1)
    return [several, *_open(judged, shown, min(parts, key=lambda part: part["_evidence"]))]


def _open(judged: Judged, shown: Shown, weakest: Shown) -> list[str]:
    """What keeps a claim undecided, and how many seeds would decide it."""
    open_parts = [part for part in shown["parts"] if part["verdict"] == "undecided"]
    sentences = []
    what = "rounds" if judged.claim.measure in COST_REGIMES else "seeds"
    if weakest["n"] < 2:
        sentences.append(f"one alone has no interval; two or more {what} can decide")
    elif weakest["low"] is None:
        sentences.append("a spread of zero has no ratio")
    elif weakest["p"] is not None and min(weakest["p"], weakest["p_against"]) < ALPHA:
        sentences.append(f"{weakest['label']} alone would be decided, but not among {weakest['_tests']} tests (Holm)")
    if shown["seeds_needed"] is not None:
        sentences.append(f"about {shown['seeds_needed']} {what} would decide it if the estimates are right")
    elif all(p["low"] is not None for p in open_parts):
        limits = any(p["se_examples"] for p in open_parts)
        sentences.append(
            f"no number of {what} up to {inference.MOST_SEEDS} would decide it: the estimate lies too near the bound"
            + (" for so few examples" if limits else "")
        )
    return sentences
