"""Says what the ablation decides: a method's own choices against others in their place, with intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from analysis.figures import ablation
from analysis.figures.ablation import change_key, effect_of, interval
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import inference
from analysis.tables.html_tables import PageCell, PageTable, full
from analysis.tables.numbers import number, signed
from analysis.tables.paper_tables import compared_block
from analysis.validity.decisions import Decision, decide, over_tasks, why_not
from analysis.validity.evidence import Evidence
from analysis.validity.questions import Compared

QUESTIONS = {  # option that is varied -> what is asked of it; options of one question are corrected together
    "mapping": "Does drawing the layer map anew help?",
    "projection": "Does the learned projection help?",
    "pooling": "Does the pooling matter?",
    "pool_padding": "Does the pooling matter?",
}
INSTEAD: dict[tuple[str, Any], str] = {  # option, value -> the value in words
    ("mapping", "skip"): "its mean map held fixed",
    ("mapping", "last"): "the last layers held fixed",
    ("mapping", "random_once"): "a map drawn once a run",
    ("projection", "none"): "no projection",
    ("projection", "frozen_random"): "random projections that are not trained",
    ("projection", "learned_student"): "a projection learned for the student alone",
    ("pooling", "cls"): "the first token instead of the mean",
    ("pool_padding", True): "a mean over padding too",
}


@dataclass(frozen=True)
class Contrast:
    """A method less the same method with one option changed."""

    question: str
    title: str  # of the method
    instead: str  # what stands in the option's place, in words
    compared: Compared


def contrasts(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, entry: str) -> Iterator[Contrast]:
    """An entry less each variant that changes one option to a value of ``INSTEAD``.

    A map that is drawn is compared with its mean map without projections too, which cannot collapse there.
    """
    variants, block = benchmark.families(pair)[entry], compared_block(benchmark, runs)
    entries = {change_key(benchmark.variants[v].changed): v for v in variants} | {change_key({}): entry}
    drawn = str(benchmark.methods[entry].get("mapping", "")).startswith("random_sorted")
    title = benchmark.title_of(entry) + (f", {pair.title}" if len(benchmark.drawn_from("ablation")) > 1 else "")
    unprojected = {"projection": "none"}
    for (option, value), words in INSTEAD.items():
        for base in ({}, unprojected) if value == "skip" else ({},):
            method, other = entries.get(change_key(base)), entries.get(change_key({**base, option: value}))
            if method and other and (drawn or option != "mapping"):
                instead = f"{words}, both without projections" if base else words
                yield Contrast(QUESTIONS[option], title, instead, over_tasks(pair, block, (method, other)))


def asked(benchmark: ReportedBenchmark, runs: Runs) -> dict[str, list[tuple[Contrast, Decision]]]:
    """The contrasts of each question, each with its decision; those of a question are corrected together."""
    evidence = Evidence(benchmark, runs, runs.root)
    found = [
        contrast
        for pair in benchmark.drawn_from("ablation")
        for entry in benchmark.families(pair)
        for contrast in contrasts(benchmark, runs, pair, entry)
    ]
    questions = {}
    for question in dict.fromkeys(contrast.question for contrast in found):
        own = [contrast for contrast in found if contrast.question == question]
        questions[question] = list(zip(own, decide(evidence, [c.compared for c in own]), strict=True))
    return questions


def findings(benchmark: ReportedBenchmark, runs: Runs) -> list[str]:
    """What the figure decides: for each question how many differences are, and which."""
    sentences = []
    for question, own in asked(benchmark, runs).items():
        text = [f"{question} {sum(one.sign != 0 for _, one in own)} of {len(own)} differences are decided."]
        text += [
            f"{c.title} less itself with {c.instead}: {signed(effect_of(one.difference)[0])} points {verdict(one)}."
            for c, one in own
            if one.sign
        ]
        if open_ := why_not([one for _, one in own]):
            number_open = sum(bool(one.failed) for _, one in own)
            text.append(f"{number_open} cannot be, because of what their runs fail above: {open_}.")
        sentences.append(" ".join(text))
    if sentences:
        sentences.append(
            "Decided: two-sided at 5 % after Holm's correction over the differences of a question. Detectable: the "
            "least true difference that such runs decide in four of five repetitions, should it be the only one."
        )
    return sentences


def page_tables(benchmark: ReportedBenchmark, runs: Runs) -> list[PageTable]:
    """Every difference that a question asks for: a row for what stands in the place, a column for each method."""
    questions = asked(benchmark, runs)
    if not questions:
        return []
    titles = list(dict.fromkeys(c.title for own in questions.values() for c, _ in own))
    sections = []
    for question, own in questions.items():
        cells = {(c.instead, c.title): _cell(one) for c, one in own}
        places = dict.fromkeys(c.instead for c, _ in own)
        sections.append(
            (question, [(place, [cells.get((place, t), PageCell("")) for t in titles]) for place in places])
        )
    caption = (
        "A method less itself with another choice in its place, in points: above 0 the method's own choice is better. "
        f"Paired over runs and tasks, with 95 % intervals {ablation.errors(benchmark, runs)}, each by itself."
    )
    return [
        PageTable("ablation-questions", "Ablation: the differences", caption, titles, sections, "Less itself with"),
        *ablation.page_tables(benchmark, runs),
    ]


def _cell(decision: Decision) -> PageCell:
    mean = effect_of(decision.difference)[0]
    if math.isnan(mean):
        return PageCell("missing")
    return PageCell(signed(mean), verdict(decision), sort=full(mean))


def verdict(decision: Decision) -> str:
    """A difference's interval, whether it is decided, and where it is not, why or what would have been."""
    effect = effect_of(decision.difference)
    if math.isnan(effect[1]) or decision.difference is None or decision.difference.estimate is None:
        return "(one run, so no interval)"
    text = interval(effect)
    if decision.failed:
        return f"{text} (not decided: {why_not([decision])})".strip()
    if effect[1] == effect[2]:
        return "(the same in every run)"
    if decision.sign:
        return f"{text} (decided: {'higher' if decision.sign > 0 else 'lower'})"
    least = inference.detectable(decision.difference.estimate, decision.tests)
    return f"{text} (undecided; detectable: {number(least, 1)})"
