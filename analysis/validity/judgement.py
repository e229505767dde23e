"""Judges which questions a claim's runs fail, which tasks count for it, and what the answers of each pair are."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analysis.reported_benchmark import Pair
from analysis.validity.evidence import Evidence
from analysis.validity.questions import ASKED, NOTED, QUESTIONS, Answer, Compared
from analysis.validity.thresholds import MOST_TASKS

NOT_DECIDED = "not decided"
FAILED = {  # question -> what its failing means, in a few words
    "converged": "training ended too early",
    "gain": "there is too little to gain",
    "baseline": "students do not clear the majority-class baseline",
    "tuning": "the methods were not tuned alike",
}
EARLY = ("converged", "gain", "baseline")  # questions that are not asked of students that are stopped early on purpose
ON_PURPOSE = "Not asked of this pair: its students are stopped early on purpose, beside others that train for longer."


def failures(evidence: Evidence, measure: str, compared: Sequence[Compared]) -> list[tuple[Pair, Answer]]:
    """The questions that a claim's runs fail, with the pair they fail for; empty: these runs can decide it.

    ``compared`` are the runs behind one claim, one entry for each pair, all with the same columns. Columns that do not
    count for the claim are asked for a gap alone.
    """
    kept = counted(evidence, measure, compared)
    answers = [
        (of.pair, QUESTIONS[question][1](evidence, of if question == "gain" else replace(of, columns=kept)))
        for question in ASKED[measure]
        for of in compared
    ]
    failed = [(pair, answer) for pair, answer in answers if _fails(answer)]
    return failed or _too_few_together(evidence, measure, compared)


def noted(evidence: Evidence, measure: str, compared: Sequence[Compared]) -> list[tuple[Pair, Answer]]:
    """What a reader of a claim's verdict has to know of its runs, though they can decide it."""
    if measure not in NOTED:
        return []
    columns = counted(evidence, measure, compared)
    answers = [(of.pair, QUESTIONS[NOTED[measure]][1](evidence, replace(of, columns=columns))) for of in compared]
    return [(pair, answer) for pair, answer in answers if answer.holds is False]


def _fails(answer: Answer) -> bool:
    """Whether an answer keeps a claim open; a gap that nothing shows does so too."""
    return answer.holds is False or (answer.question == "gain" and answer.holds is None)


def counted(evidence: Evidence, measure: str, compared: Sequence[Compared]) -> tuple[str, ...]:
    """The columns that count for a claim: of one about gains, those on which every pair has something to gain.

    All of them where those are too few: the claim is then not decided, and its numbers are shown over all.
    """
    columns = compared[0].columns
    if "gain" not in ASKED[measure]:
        return columns
    kept = _with_a_gap(evidence, compared)
    return kept if len(kept) > MOST_TASKS * len(columns) else columns


def _with_a_gap(evidence: Evidence, compared: Sequence[Compared]) -> tuple[str, ...]:
    """The columns on which every pair has something to gain."""
    columns = compared[0].columns
    clear = [{g.column for g in evidence.gaps(of.pair, of.block, columns) if g.clears} for of in compared]
    return tuple(column for column in columns if all(column in gaps for gaps in clear))


def _too_few_together(evidence: Evidence, measure: str, compared: Sequence[Compared]) -> list[tuple[Pair, Answer]]:
    """The claim's failing where each of several pairs has something to gain on most columns, but not on the same."""
    columns = compared[0].columns
    if "gain" not in ASKED[measure] or len(compared) < 2:
        return []
    kept = _with_a_gap(evidence, compared)
    if len(kept) > MOST_TASKS * len(columns):
        return []
    pairs = " and ".join(of.pair.title for of in compared)
    reason = f"The teachers of {pairs} are both above the student without KD on {len(kept)} of {len(columns)} only."
    return [(compared[0].pair, Answer("gain", False, reason, "Take teachers that are above it on the same tasks."))]


def reasons(failed: Sequence[tuple[Pair, Answer]]) -> list[dict[str, str]]:
    """What a claim's entry in ``claims.json`` says of the questions that its runs fail."""
    return [{"question": a.question, "pair": pair.title, "reason": a.reason, "remedy": a.remedy} for pair, a in failed]


def sentences(failed: Sequence[tuple[Pair, Answer]]) -> list[str]:
    """Why a claim is not decided, and what would help: sentences without full stops, the summary first."""
    first = f"not decided: {', '.join(dict.fromkeys(FAILED[answer.question] for _, answer in failed))}"
    return [first, *_each(failed)]


def notes(answers: Sequence[tuple[Pair, Answer]]) -> list[str]:
    """What is noted beside a verdict: sentences without full stops, the summary first."""
    if not answers:
        return []
    return ["note that a projection collapsed, which is what the method does and no fault of the runs", *_each(answers)]


def _each(answers: Sequence[tuple[Pair, Answer]]) -> list[str]:
    several = len({pair for pair, _ in answers}) > 1
    return [
        " ".join(filter(None, (f"{pair.title}:" if several else "", answer.reason, answer.remedy))).removesuffix(".")
        for pair, answer in answers
    ]


def of_benchmark(evidence: Evidence, claims: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The section "Can these runs decide?": a headline over the judged claims, and the answers for each pair."""
    scores = [claim for claim in claims if claim["measure"] == "score" and claim["verdict"] != "not run"]
    failing = sum(claim["verdict"] == NOT_DECIDED for claim in scores)
    return {
        "headline": _headline(len(scores), failing),
        "claims": len(scores),
        "not_decided": failing,
        "pairs": [_of_pair(evidence, pair) for pair in evidence.benchmark.pairs],
    }


def _headline(claims: int, failing: int) -> str:
    if not claims:
        return "No claim about scores is evaluated here; the questions below are about the runs."
    if not failing:
        return f"Yes: the runs behind all {claims} claims about scores pass every question."
    if failing == claims:
        return f"No: none of the {claims} claims about scores can be decided by these runs, whatever their p."
    return f"In part: {failing} of {claims} claims about scores rest on runs that fail a question and are not decided."


def _of_pair(evidence: Evidence, pair: Pair) -> dict[str, Any]:
    scored = evidence.runs.by_cell
    block = "test" if any((pair.name, m, "test", t) in scored for m in pair.methods for t in pair.tasks) else "dev"
    of = Compared(pair, block, tuple(pair.methods), pair.tasks, {task: task for task in pair.tasks})
    answers = [_early(evidence, pair, ask(evidence, of)) for _, ask in QUESTIONS.values()]
    gaps = [
        g
        for b, columns in (("dev", pair.tasks), ("test", pair.tasks), ("ood", evidence.benchmark.out_of_domain))
        for g in evidence.gaps(pair, b, columns)
    ]
    return {
        "pair": pair.name,
        "title": pair.title,
        "answers": [
            {"question": a.question, "title": QUESTIONS[a.question][0], "holds": a.holds, "reason": a.reason,
             "remedy": a.remedy}
            for a in answers
        ],
        "convergence": [
            {"method": method, "title": evidence.benchmark.title_of(method), "runs": c.runs, "at_last": c.at_last,
             "patience": c.patience, "rise": _number(c.rise), "se": _number(c.se), "holds": c.holds}
            for method in ("teacher", *pair.methods)
            if (c := evidence.convergence(pair, method, pair.tasks)) is not None
        ],
        "gaps": [
            {"block": g.block, "column": g.column, "teacher": g.teacher, "student": g.student, "gap": g.value,
             "se": g.se, "clears": g.clears}
            for g in gaps
        ],
    }  # fmt: skip


def _early(evidence: Evidence, pair: Pair, answer: Answer) -> Answer:
    """The answer as the section shows it: students that are stopped early on purpose need not have converged.

    A claim that rests on them is judged by the answer as it is.
    """
    early = evidence.benchmark.stopped_early(pair)
    if not early or answer.question not in EARLY or answer.holds is None:
        return answer
    teacher = evidence.convergence(pair, "teacher", pair.tasks)
    if answer.question == "converged" and teacher is not None and not teacher.holds:
        return answer  # the teacher of all budgets
    return replace(answer, holds=None, reason=f"{ON_PURPOSE} {answer.reason}", remedy="")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
