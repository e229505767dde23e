"""Says what the ablation decides: a method's own choices against others in their place, with intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from analysis.figures.ablation import Effect, change_key, differences, interval
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import inference, summaries
from analysis.statistics.inference import Estimate
from analysis.tables.numbers import number, signed

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
    effect: Effect
    estimate: Estimate | None  # None: a task has fewer than two runs


def contrasts(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, entry: str) -> Iterator[Contrast]:
    """An entry less each variant that changes one option to a value of ``INSTEAD``.

    A map that is drawn is compared with its mean map without projections too, which cannot collapse there.
    """
    variants = benchmark.families(pair)[entry]
    entries = {change_key(benchmark.variants[v].changed): v for v in variants} | {change_key({}): entry}
    drawn = str(benchmark.methods[entry].get("mapping", "")).startswith("random_sorted")
    title = benchmark.title_of(entry) + (f", {pair.title}" if len(benchmark.drawn_from("ablation")) > 1 else "")
    unprojected = {"projection": "none"}
    for (option, value), words in INSTEAD.items():
        for base in ({}, unprojected) if value == "skip" else ({},):
            method, other = entries.get(change_key(base)), entries.get(change_key({**base, option: value}))
            if method and other and (drawn or option != "mapping"):
                points = differences(benchmark, runs, pair, method, other)
                instead = f"{words}, both without projections" if base else words
                found = summaries.stratified_interval(points)
                yield Contrast(QUESTIONS[option], title, instead, found, inference.paired(points))


def findings(benchmark: ReportedBenchmark, runs: Runs) -> list[str]:
    """What the figure decides: for each question how many differences are, then each of them."""
    found = [
        contrast
        for pair in benchmark.drawn_from("ablation")
        for entry in benchmark.families(pair)
        for contrast in contrasts(benchmark, runs, pair, entry)
    ]
    sentences = []
    for question in dict.fromkeys(contrast.question for contrast in found):
        own = [contrast for contrast in found if contrast.question == question]
        signs = inference.decided([contrast.estimate for contrast in own])
        sentences.append(f"{question} {len(own) - signs.count(0)} of {len(own)} differences are decided.")
        for title in dict.fromkeys(contrast.title for contrast in own):
            parts = [verdict(c, sign) for c, sign in zip(own, signs, strict=True) if c.title == title]
            sentences.append(f"{title} less itself {'; '.join(parts)}.")
    if sentences:
        sentences.append(
            "Decided: two-sided at 5 % after Holm's correction over the differences of a question. Detectable: the "
            "least true difference that such runs find in four of five repetitions."
        )
    return sentences


def verdict(contrast: Contrast, sign: int) -> str:
    """A difference in words: estimate, interval, whether it is decided, and what would have been where it is not."""
    mean, low, high = contrast.effect
    text = f"with {contrast.instead}: "
    if math.isnan(mean):
        return f"{text}missing"
    text += f"{signed(mean)} points"
    if math.isnan(low) or contrast.estimate is None:
        return f"{text} (one run, so no interval)"
    if low == high:
        return f"{text} (the same in every run)"
    text += f" {interval(contrast.effect)}"
    if sign:
        return f"{text} (decided: {'higher' if sign > 0 else 'lower'})"
    return f"{text} (not decided; detectable: {number(inference.detectable(contrast.estimate), 1)})"
