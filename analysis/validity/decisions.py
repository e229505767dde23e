"""Decides differences of two methods: asks first whether their runs can, then corrects over all that are asked.

Every sentence, table and figure that calls a difference of two methods decided takes it from here, so that none
contradicts another. (The layer-map survey compares an entry with all of its fixed maps at once, in its own way.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.reported_benchmark import Pair
from analysis.statistics import inference
from analysis.statistics.differences import Difference, between
from analysis.validity import judgement
from analysis.validity.evidence import Evidence
from analysis.validity.questions import Answer, Compared

SHARED = "gain"  # a question about the columns: that nothing shows a gap keeps a claim open, and no difference


@dataclass(frozen=True)
class Decision:
    """A difference of two methods, and whether it is decided."""

    difference: Difference | None  # None: no seed in common on some column
    failed: tuple[tuple[Pair, Answer], ...]  # the questions that their runs fail: it is then not decided
    p_holm: float | None  # two-sided, corrected; None without an estimate
    tests: int  # that were corrected together

    @property
    def sign(self) -> int:
        """1 or −1 where the first method is decided to be above or below the second, two-sided at 5 %; else 0."""
        if self.difference is None or self.failed or self.p_holm is None or self.p_holm >= 1 - inference.LEVEL:
            return 0
        return int(np.sign(self.difference.value))


def decide(evidence: Evidence, asked: Sequence[Compared], early: bool = False) -> list[Decision]:
    """The decision on each of some differences, after Holm's correction over all of them that have an estimate.

    Each is of two methods, the first less the second, over the columns on which there is something to gain (all where
    those are too few). With ``early`` no question is asked: the students are stopped early on purpose.
    """
    found = [_difference(evidence, of) for of in asked]
    p = [float(d.estimate.p_differs()) for d in found if d is not None and d.estimate is not None]
    adjusted = iter(map(float, inference.holm(np.array(p)))) if p else iter(())
    return [
        Decision(
            difference,
            () if early else tuple(_failed(evidence, of)),
            None if difference is None or difference.estimate is None else next(adjusted),
            len(p),
        )
        for of, difference in zip(asked, found, strict=True)
    ]


def _difference(evidence: Evidence, of: Compared) -> Difference | None:
    columns = judgement.counted(evidence, "score", [of])
    first, second = of.methods
    return between(evidence.benchmark, evidence.runs, of.pair.name, of.block, columns, first, second)


def _failed(evidence: Evidence, of: Compared) -> list[tuple[Pair, Answer]]:
    failed = judgement.failures(evidence, "score", [of])
    return [(pair, answer) for pair, answer in failed if answer.question != SHARED or answer.holds is False]


def over_tasks(pair: Pair, block: str, methods: Sequence[str], tasks: Sequence[str] = ()) -> Compared:
    """Methods of a pair over some of its tasks, or over all."""
    columns = tuple(tasks) or pair.tasks
    return Compared(pair, block, tuple(methods), columns, {task: task for task in columns})


def why_not(decisions: Sequence[Decision]) -> str:
    """Which questions the runs of these differences fail, in a few words; empty where they fail none."""
    return _in_words(answer for one in decisions for _, answer in one.failed)


def failing(evidence: Evidence, of: Compared) -> str:
    """Which questions the runs of several methods fail, in a few words; empty where they fail none."""
    return _in_words(answer for _, answer in _failed(evidence, of))


def _in_words(answers: Iterable[Answer]) -> str:
    return ", ".join(judgement.FAILED[question] for question in dict.fromkeys(a.question for a in answers))
