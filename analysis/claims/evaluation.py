"""The claims ledger: ``benchmarks/claims.yaml`` against run records, with an estimate and a verdict for each claim.

Writes ``claims.json`` and, for reading, ``claims.md``. Shape of ``claims.json`` (every number may be null):

    benchmark, title   of the benchmark file
    synthetic          true when the records are of generated text; then ``warning`` says what that means, else ""
    level              of the intervals, 0.95
    seeds              planned seeds
    draws, draw_seed   of the bootstrap
    counts             verdict -> number of claims
    claims             in the order of the ledger, each:
        id, words, section, table | figure     as in the ledger: the paper's words and where they stand
        reading        what is compared, and every margin
        measure        score | sd | train_seconds | step_seconds | similarity | top_attention
        unit           points (percentage points) | ratio | cosine | share: of all the numbers below
        relation       above | same | at_most
        lower, upper   the claim holds where the estimate lies between them; null: no such bound
        verdict        reproduced | contradicted | undecided | not run
        why            one sentence
        estimate, low, high, paper     of the part that the claim hangs on: the one with the least evidence for it
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
            verdict                  reproduced | contradicted | undecided
            paper                    the paper's figure from its printed averages; over the same columns as here
            paper_columns            the same from the means of the printed columns
            detectable               the least true difference from the bound (a factor for ratios) that these seeds
                                     find in 4 of 5 repetitions
            seeds_needed             as above
            bootstrap                {"seeds": [low, high], "examples": [low, high] | null, "both": [low, high] | null}
            improvement              probability that a run of the first side beats one of the second; mean over columns
            fewer, dropped           some cell has fewer runs than planned; tasks left out where a spread is zero
    errors             dev-set (and test-set) sampling error beside seed error, for each cell of scores:
                       pair, block, method, column, n, sd, se_seeds, se_examples, in percentage points; how:
                       bootstrap | formula, of se_examples
    selection          what choosing the best epoch on dev flatters, for each pair and method, in percentage points:
                       pair, method, runs, dev_minus_test, low, high, optimism, optimism_low, optimism_high, halves
                       (runs whose record keeps the two halves of dev)
    budget             expected best dev score against tuning budget, where a search ran, for each pair and method:
                       pair, method, tasks, points, expected (list: budget 1, 2, ...), in percent

``audit.json`` is described in ``analysis/claims/audit.py``.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from analysis.benchmark import Benchmark
from analysis.claims import ledger
from analysis.claims.comparisons import Part, parts_of
from analysis.claims.ledger import Claim
from analysis.load import Runs
from analysis.statistics import bootstrap, inference, uncertainty
from analysis.statistics.inference import ALPHA, LEVEL
from analysis.tables import captions
from analysis.tables.measures import MEASURES

VERDICTS = ("reproduced", "contradicted", "undecided", "not run")


def evaluate(benchmark: Benchmark, runs: Runs, results: Path, path: Path = ledger.LEDGER) -> dict[str, Any]:
    """The content of claims.json. Raises UserError for a bad ledger and for predictions that contradict a record."""
    claims = ledger.read(path).claims
    examples = bootstrap.Examples(benchmark, runs, results)
    found = [(claim, *parts_of(benchmark, runs, examples, claim)) for claim in claims]
    tested = [(claim, part) for claim, parts, _ in found for part in parts if part.estimate is not None]
    adjusted = corrected(tested)
    judged = []
    for claim, parts, missing in found:
        judged.append(_claim(benchmark, runs, claim, [_part(claim, part, adjusted) for part in parts], missing))
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "synthetic": bool(captions.synthetic(benchmark, runs)),
        "warning": captions.synthetic(benchmark, runs),
        "level": LEVEL,
        "seeds": list(benchmark.seeds),
        "draws": bootstrap.DRAWS,
        "draw_seed": bootstrap.SEED,
        "counts": {verdict: sum(c["verdict"] == verdict for c in judged) for verdict in VERDICTS},
        "claims": judged,
        "errors": uncertainty.errors(benchmark, runs, examples),
        "selection": uncertainty.selection(benchmark, runs),
        "budget": uncertainty.budget(benchmark, results),
    }


Adjusted = dict[int, tuple[float, float, float, float, int]]  # id of a part -> p, Holm's p, the same against; tests


def corrected(tested: list[tuple[Claim, Part]]) -> Adjusted:
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


def _part(claim: Claim, part: Part, adjusted: Adjusted) -> dict[str, Any]:
    lower, upper = claim.bounds
    shown = {
        "label": part.label,
        "methods": [list(part.first), list(part.second)],
        "pairs": list(part.pairs),
        "columns": list(part.columns),
        "estimate": _shown(claim, part.value),
        "low": None,
        "high": None,
        "se_seeds": None,
        "se_examples": None,
        "df": None,
        "n": part.seeds,
        "p": None,
        "p_holm": None,
        "p_against": None,
        "p_against_holm": None,
        "verdict": "undecided",
        "paper": _shown(claim, part.paper),
        "paper_columns": _shown(claim, part.paper_columns),
        "detectable": None,
        "seeds_needed": None,
        "bootstrap": None,
        "improvement": _number(part.improvement),
        "fewer": part.fewer,
        "dropped": list(part.dropped),
        "_evidence": 0.0,
        "_tests": 0,
    }
    estimate = part.estimate
    if estimate is None:
        return shown
    low, high = estimate.interval()
    p, p_holm, against, against_holm, tests = adjusted[id(part)]
    verdict = "reproduced" if p_holm < ALPHA else "contradicted" if against_holm < ALPHA else "undecided"
    of_examples = estimate.examples if part.bootstrap.get("examples") else math.nan
    return {
        **shown,
        "low": _shown(claim, float(low)),
        "high": _shown(claim, float(high)),
        "se_seeds": _number(math.sqrt(float(estimate.variance))),
        "se_examples": _number(of_examples),
        "df": _number(float(estimate.total_df)),
        "p": float(p),
        "p_holm": float(p_holm),
        "p_against": float(against),
        "p_against_holm": float(against_holm),
        "verdict": verdict,
        "detectable": _shown(claim, inference.detectable(estimate)),
        "seeds_needed": None
        if verdict != "undecided"
        else inference.seeds_needed(estimate, lower, upper, tests, claim.measure == "sd"),
        "bootstrap": {
            k: [_shown(claim, v) for v in interval] if interval else None for k, interval in part.bootstrap.items()
        }
        or None,
        "_evidence": float(against - p),  # from -1, all against, to 1, all for
        "_tests": tests,
    }


def _claim(
    benchmark: Benchmark, runs: Runs, claim: Claim, parts: list[dict[str, Any]], missing: list[str]
) -> dict[str, Any]:
    lower, upper = claim.bounds
    verdicts = [part["verdict"] for part in parts]
    verdict = (
        "not run" if not parts else next((v for v in ("contradicted", "undecided") if v in verdicts), "reproduced")
    )
    shown: dict[str, Any] = {
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
        "verdict": verdict,
        "why": "",
        "estimate": None,
        "low": None,
        "high": None,
        "paper": None,
        "label": "",
        "seeds_needed": None,
        "missing": missing,
        "parts": parts,
    }
    if parts:
        weakest = min(parts, key=lambda part: part["_evidence"])
        shown |= {key: weakest[key] for key in ("estimate", "low", "high", "label")}
        shown["paper"] = weakest["paper"] if weakest["paper"] is not None else weakest["paper_columns"]
        open_parts = [part for part in parts if part["verdict"] == "undecided"]
        if verdict == "undecided":
            needs = [part["seeds_needed"] for part in open_parts]
            shown["seeds_needed"] = None if None in needs else max(needs)
        shown["why"] = _why(benchmark, runs, claim, shown, weakest, open_parts)
    else:
        shown["why"] = f"Needs {'; '.join(missing)}."
    for part in parts:
        del part["_evidence"], part["_tests"]
    return shown


def _why(
    benchmark: Benchmark,
    runs: Runs,
    claim: Claim,
    shown: dict[str, Any],
    weakest: dict[str, Any],
    open_parts: list[dict[str, Any]],
) -> str:
    """One sentence or two: what decided, or what keeps it open."""
    parts, verdict = shown["parts"], shown["verdict"]
    several = f"{sum(p['verdict'] == 'reproduced' for p in parts)} of {len(parts)} comparisons hold" * (len(parts) > 1)
    if verdict == "reproduced":
        sentences = [f"All {len(parts)} comparisons hold" if several else "The interval lies where the claim says"]
    elif verdict == "contradicted":
        against = [p["label"] for p in parts if p["verdict"] == "contradicted"]
        sentences = [f"The evidence is against: {'; '.join(against)}"]
    else:
        sentences = [several] if several else []
        inside = weakest["p"] is not None and min(weakest["p"], weakest["p_against"]) < ALPHA
        if weakest["n"] < 2:
            sentences.append("one seed has no interval; two or more can decide")
        elif weakest["low"] is None:
            sentences.append("a spread of zero has no ratio")
        elif inside:
            sentences.append(
                f"{weakest['label']} alone would be decided, but not among {weakest['_tests']} tests (Holm)"
            )
        if shown["seeds_needed"] is not None:
            sentences.append(f"about {shown['seeds_needed']} seeds would decide it if the estimates are right")
        elif all(p["low"] is not None for p in open_parts):
            limits = any(p["se_examples"] for p in open_parts)
            sentences.append(
                f"no number of seeds up to {inference.MOST_SEEDS} would decide it: the estimate lies too near the bound"
                + (" for so few examples" if limits else "")
            )
    if any(p["fewer"] for p in parts):
        sentences.append("some runs are missing")
    if any(p["dropped"] for p in parts):
        sentences.append("tasks without any spread are left out")
    if claim.measure in ("train_seconds", "step_seconds"):
        from analysis.tables.costs import measured

        names = {name for p in parts for name in p["pairs"]}
        pairs = [pair for pair in benchmark.pairs if pair.name in names]
        sentences.append(measured(runs, pairs, benchmark, claim.measure).removesuffix("."))
    text = [s[:1].upper() + s[1:] for s in sentences if s]
    return ". ".join(text) + "."
