"""Decides the claims of ``benchmarks/claims.yaml`` by run records, with an estimate and a verdict for each claim.

Writes ``claims.json`` and, for reading, ``claims.md``. Shape of ``claims.json`` (every number may be null):

    benchmark, title   of the benchmark file
    synthetic          true when the records are of generated text; then ``warning`` says what that means, else ""
    level              of the intervals, 0.95
    seeds              planned seeds
    draws, draw_seed   of the bootstrap
    counts             verdict -> number of claims
    validity           "Can these runs decide?", judged before any verdict (docs/validity.md):
        headline, claims, not_decided   in a sentence; claims about scores that are run; those of them not decided
        pairs          each pair: pair, title;
            answers        question (converged | gain | baseline | collapse | tuning), title, holds (null: nothing to
                           ask it of), reason, remedy
            convergence    each method and the teacher: method, title, runs, at_last (best epoch the last, and nothing
                           ended the run), patience (runs that it ended), rise (of dev over the last quarter of the
                           epochs, points, mean over tasks), se, holds
            gaps           block, column, teacher, student (without KD), gap, se, clears, in percentage points
    claims             in the order of the ledger; none where every task is one of the user's own; each:
        id, words, section, table | figure     as in the ledger: the paper's words and where they stand
        reading        what is compared, and every margin
        measure        score | sd | train_seconds | step_seconds | similarity | top_attention
        unit           points (percentage points) | ratio | cosine | share: of all the numbers below
        relation       above | same | at_most
        lower, upper   the claim holds where the estimate lies between them; null: no such bound
        verdict        reproduced | contradicted | undecided | not decided | not run
        why            one sentence
        validity       not decided only: the questions that the claim's runs fail, a list: question, pair, reason,
                       remedy
        noted          what a reader has to know of runs that can decide the claim, a list of the same shape: collapse
        not_counted    tasks or sets left out of a claim about gains, because the teacher is not above the student
                       without KD there
        estimate, low, high, paper, detectable   of the part that the claim hangs on: the one with the least evidence
        label          that part's, such as "RAIL-KD^l − PKD"
        seeds_needed   undecided only: seeds that would decide it if the estimate is right (power 0.8); null: none would
        missing        what has to be run, a list in words; empty unless not run
        parts          every comparison that must hold:
            label, methods, pairs, columns   what is compared; methods: the two sides; columns: tasks or sets averaged
            estimate, low, high      and 95 % interval, of seeds and examples together (without predictions of seeds)
            se_seeds, se_examples    standard errors (log scale for a ratio): of having run these seeds, of having these
                                     examples; null where predictions are not at hand or play no role
            df, n                    degrees of freedom (Satterthwaite); seeds in the smallest cell
            p, p_holm                one-sided, that the claim's side is chance; Holm-corrected over the table or figure
            p_against, p_against_holm   that the other side is
            verdict                  reproduced | contradicted | undecided | not decided
            paper                    the paper's figure from its printed averages; over the same columns as here
            paper_columns            the same from the means of the printed columns
            detectable               the least true difference from the bound (a factor for ratios) that these seeds
                                     find in 4 of 5 repetitions
            seeds_needed             as above
            bootstrap                {"seeds": [low, high], "examples": [low, high] | null, "both": [low, high] | null}
            improvement              probability that a run of the first side beats one of the second; mean over columns
            fewer, dropped           some cell has fewer runs than planned; tasks left out where a spread is zero
    differences        which methods differ, variants left out: for each pair and block with scores:
        pair, title, block   the block that chose nothing (test, else dev), and ood
        methods        of the panel, by name: their titles
        reference      the method that the others are held against in short: vanilla KD, else without KD, else the first
        columns, not_counted   tasks or sets averaged over, as for a claim about gains; those left out
        too_little_to_gain     why nothing about gains can be decided here; null: it can
        tests          differences with a p, over all of which Holm's correction goes
        missing        methods that are compared with no other: the columns on which they have no run
        differences    every two methods: methods (the first less the second), columns, estimate, low, high, se_seeds,
                       se_examples, df, n, detectable as in a part of a claim; p (two-sided), p_holm; verdict: higher |
                       lower (two-sided at 5 % after the correction) | undecided | not decided; validity as in a claim
    errors             dev-set (and test-set) sampling error beside seed error, for each cell of scores:
                       pair, block, method, column, n, sd, se_seeds, se_examples, in percentage points; how:
                       bootstrap | formula, of se_examples
    selection          what choosing the best epoch on dev flatters, for each pair and method, in percentage points:
                       pair, method, runs, dev_minus_test, low, high, optimism, optimism_low, optimism_high, halves
                       (runs whose record keeps the two halves of dev)
    budget             expected best dev score against tuning budget, where a search ran, for each pair and method:
                       pair, method, tasks, points, expected (list: budget 1, 2, ...), in percent
    choices            what the search chose, where it ran, for each pair, method and tasks that share a choice:
                       pair, method, decided_on, taken_by (tasks), point, score (percent of dev), lead (over the next
                       best point) and se (of such a difference, by seeds) in percentage points, noise (lead is no more
                       than se), ends (key -> lowest | highest), beyond (those of ends that lead by more than se)

``audit.json`` is described in ``analysis/claims/audit.py``.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.claims import explanations, ledger, method_differences
from analysis.claims.comparisons import Comparison, parts_of
from analysis.claims.contrasts import compared_by
from analysis.claims.explanations import Judged
from analysis.claims.ledger import Claim
from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.statistics import bootstrap, inference, uncertainty
from analysis.statistics.bootstrap import Examples
from analysis.statistics.inference import ALPHA, LEVEL, Estimate
from analysis.tables import captions
from analysis.tables.measures import MEASURES
from analysis.validity import choices, judgement
from analysis.validity.evidence import Evidence
from analysis.validity.judgement import NOT_DECIDED

VERDICTS = ("reproduced", "contradicted", "undecided", NOT_DECIDED, "not run")
Shown = dict[str, Any]  # an entry of claims.json


def evaluate(benchmark: ReportedBenchmark, runs: Runs, results: Path, path: Path = ledger.LEDGER) -> dict[str, Any]:
    """The content of claims.json. Raises UserError for a bad ledger and for predictions that contradict a record."""
    examples, evidence = bootstrap.examples_of(benchmark, runs), Evidence(benchmark, runs, results)
    listed = ledger.read(path).claims if benchmark.of_paper else ()
    judged = [_judged(examples, evidence, claim) for claim in listed]
    tested = [(j.claim, part) for j in judged for part in j.parts if part.estimate is not None]
    adjusted = corrected(tested)
    claims = [_claim(benchmark, runs, j, adjusted) for j in judged]
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "synthetic": bool(captions.synthetic(benchmark, runs)),
        "warning": captions.synthetic(benchmark, runs),
        "level": LEVEL,
        "seeds": list(benchmark.seeds),
        "draws": bootstrap.DRAWS,
        "draw_seed": bootstrap.SEED,
        "counts": {verdict: sum(c["verdict"] == verdict for c in claims) for verdict in VERDICTS},
        "validity": judgement.of_benchmark(evidence, claims),
        "claims": claims,
        "differences": method_differences.of_benchmark(benchmark, runs, evidence),
        "errors": uncertainty.errors(benchmark, runs, examples),
        "selection": uncertainty.selection(benchmark, runs),
        "budget": uncertainty.budget(benchmark, results),
        "choices": choices.of_benchmark(benchmark, runs, results),
    }


def _judged(examples: Examples, evidence: Evidence, claim: Claim) -> Judged:
    """Asks whether the runs behind a claim can decide it, then compares them on the columns that count."""
    compared = compared_by(examples.benchmark, claim)
    if not compared:
        return Judged(claim, *parts_of(examples, claim), [], [], ())
    kept = judgement.counted(evidence, claim.measure, compared)
    counting = claim if kept == compared[0].columns else replace(claim, columns=kept)
    parts, missing = parts_of(examples, counting)
    failed = judgement.failures(evidence, claim.measure, compared) if parts else []
    noted = judgement.noted(evidence, claim.measure, compared) if parts else []
    return Judged(claim, parts, missing, failed, noted, tuple(c for c in compared[0].columns if c not in kept))


Adjusted = dict[int, tuple[float, float, float, float, int]]  # id of a part -> p, Holm's p, the same against; tests


def corrected(tested: list[tuple[Claim, Comparison]]) -> Adjusted:
    """p for and against of every part, and Holm-corrected over the parts of the claims of the same table or figure."""
    adjusted: Adjusted = {}
    for source in {claim.source for claim, _ in tested}:
        family = [(claim, part) for claim, part in tested if claim.source == source]
        raw = []
        for claim, part in family:
            assert part.estimate is not None
            raw.append([part.estimate.p_within(*claim.bounds), part.estimate.p_outside(*claim.bounds)])
        sides = np.array(raw, dtype=float).T  # (2, parts)
        corrected_sides = inference.holm(sides)
        for k, (_, part) in enumerate(family):
            p, against = sides[:, k]
            adjusted[id(part)] = (p, corrected_sides[0, k], against, corrected_sides[1, k], len(family))
    return adjusted


def _shown(claim: Claim, value: float) -> float | None:
    """A number of the scale compared as it is shown: factors instead of logarithms; None for what is not finite."""
    if not math.isfinite(value):
        return None
    return math.exp(value) if MEASURES[claim.measure].ratio else value


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


UNESTIMATED = dict.fromkeys(
    ("low", "high", "se_seeds", "se_examples", "df", "p", "p_holm", "p_against", "p_against_holm", "detectable",
     "seeds_needed", "bootstrap")
)  # fmt: skip


def _part(claim: Claim, part: Comparison, adjusted: Adjusted) -> Shown:
    """A comparison as claims.json shows it; of a single seed without errors."""
    shown = {
        "label": part.label,
        "methods": [list(part.first), list(part.second)],
        "pairs": list(part.pairs),
        "columns": list(part.columns),
        "estimate": _shown(claim, part.value),
        **UNESTIMATED,
        "n": part.seeds,
        "verdict": "undecided",
        "paper": _shown(claim, part.paper),
        "paper_columns": _shown(claim, part.paper_columns),
        "improvement": _number(part.improvement),
        "fewer": part.fewer,
        "dropped": list(part.dropped),
        "_evidence": 0.0,
        "_tests": 0,
    }
    if part.estimate is None:
        return shown
    return shown | _tested(claim, part, part.estimate, adjusted[id(part)])


def _tested(
    claim: Claim, part: Comparison, estimate: Estimate, adjusted: tuple[float, float, float, float, int]
) -> Shown:
    """Interval, errors, p and power of a comparison."""
    low, high = estimate.interval()
    p, p_holm, against, against_holm, tests = adjusted
    verdict = "reproduced" if p_holm < ALPHA else "contradicted" if against_holm < ALPHA else "undecided"
    needed = None
    if verdict == "undecided":
        needed = inference.seeds_needed(estimate, *claim.bounds, tests, claim.measure == "sd")
    intervals = {
        k: [_shown(claim, v) for v in interval] if interval else None for k, interval in part.bootstrap.items()
    }
    return {
        "low": _shown(claim, float(low)),
        "high": _shown(claim, float(high)),
        "se_seeds": _number(math.sqrt(float(estimate.variance))),
        "se_examples": _number(estimate.examples if part.bootstrap.get("examples") else math.nan),
        "df": _number(float(estimate.total_df)),
        "p": float(p),
        "p_holm": float(p_holm),
        "p_against": float(against),
        "p_against_holm": float(against_holm),
        "verdict": verdict,
        "detectable": _shown(claim, inference.detectable(estimate, tests)),
        "seeds_needed": needed,
        "bootstrap": intervals or None,
        "_evidence": float(against - p),  # from -1, all against, to 1, all for
        "_tests": tests,
    }


def _verdict(judged: Judged, parts: list[Shown]) -> str:
    """Of a claim, from its comparisons, if its runs can decide it."""
    if not parts:
        return "not run"
    if judged.failed:
        return NOT_DECIDED
    verdicts = [part["verdict"] for part in parts]
    return next((v for v in ("contradicted", "undecided") if v in verdicts), "reproduced")


def _claim(benchmark: ReportedBenchmark, runs: Runs, judged: Judged, adjusted: Adjusted) -> Shown:
    """A claim as claims.json shows it."""
    claim, parts = judged.claim, [_part(judged.claim, part, adjusted) for part in judged.parts]
    lower, upper = claim.bounds
    shown: Shown = {
        "id": claim.id,
        "words": claim.words,
        "section": claim.section,
        ("table" if claim.table else "figure"): claim.table or claim.figure,
        "reading": " ".join(claim.reading.split()),
        "measure": claim.measure,
        "unit": MEASURES[claim.measure].unit,
        "relation": claim.relation,
        "lower": _shown(claim, lower),
        "upper": _shown(claim, upper),
        "verdict": _verdict(judged, parts),
        "validity": judgement.reasons(judged.failed),
        "noted": judgement.reasons(judged.noted),
        "not_counted": list(judged.not_counted),
        **dict.fromkeys(("estimate", "low", "high", "paper", "detectable")),
        "label": "",
        "seeds_needed": None,
        "missing": judged.missing,
        "parts": parts,
    }
    if parts:
        shown |= _hanging_on(shown, parts)
    shown["why"] = ". ".join(s[:1].upper() + s[1:] for s in explanations.of(benchmark, runs, judged, shown) if s) + "."
    for part in parts:
        del part["_evidence"], part["_tests"]
        if judged.failed:
            part |= {"verdict": NOT_DECIDED, "seeds_needed": None}
    return shown


def _hanging_on(shown: Shown, parts: list[Shown]) -> Shown:
    """The numbers that stand beside a verdict: those of the comparison with the least evidence for the claim."""
    weakest = min(parts, key=lambda part: part["_evidence"])
    found = {key: weakest[key] for key in ("estimate", "low", "high", "label", "detectable")}
    found["paper"] = weakest["paper"] if weakest["paper"] is not None else weakest["paper_columns"]
    if shown["verdict"] == "undecided":
        needs = [part["seeds_needed"] for part in parts if part["verdict"] == "undecided"]
        found["seeds_needed"] = None if None in needs else max(needs)
    return found
