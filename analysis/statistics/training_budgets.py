"""Compares several training budgets of one teacher and student: their scores and the order of methods at each.

``B`` budgets from the smallest to the largest, ``M`` methods, ``R`` runs, ``T`` tasks.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import bootstrap, orders, summaries

Sides = tuple[str, str]  # two methods


@dataclass(frozen=True)
class Decided:
    """Which differences between two methods are decided at a budget."""

    signs: Mapping[Sides, int]  # 1 or −1: the first is decided to be above or below the second; else 0
    open: str  # which questions of validity the runs fail, in a few words; empty where they fail none


Decide = Callable[[tuple[Pair, ...], Pair, Sequence[Sides]], Decided]  # of all budgets, at one of them


@dataclass(frozen=True)
class Agreement:
    """One budget against the largest, over the methods that have every run at both."""

    methods: int
    tau: float  # Kendall's τ-b of the two orders; NaN without it
    low: float  # from here to there lie 95 % of the τ that an unchanged order gives with the noise of these runs;
    high: float  # NaN with one run
    same: int  # of the pairs that are decided at the largest budget: decided the same way here,
    reversed_pairs: tuple[tuple[str, str], ...]  # decided the other way, the one that is higher here first,
    undecided: int  # and not decided here
    pairs: int  # all pairs of these methods

    @property
    def decided(self) -> int:
        """Pairs that are decided at the largest budget."""
        return self.same + len(self.reversed_pairs) + self.undecided


@dataclass(frozen=True)
class Budgets:
    """One teacher and student at several budgets. Scores in percent, NaN where a run is missing."""

    pairs: tuple[Pair, ...]
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    scores_BMRT: np.ndarray
    steps_BMT: np.ndarray  # of a run, mean over the runs; NaN without one
    teacher_T: np.ndarray
    settings: tuple[str, ...]  # the budgets in the file's words
    decided_B: tuple[Decided, ...]

    @cached_property
    def complete_BM(self) -> np.ndarray:
        """Whether a method has every run at a budget."""
        return np.asarray(~np.isnan(self.scores_BMRT).any(axis=(2, 3)))

    @property
    def models(self) -> str:
        """Teacher and student, as a caption names them."""
        return f"{self.pairs[-1].teacher} → {self.pairs[-1].student}"

    def name(self, b: int) -> str:
        """``240 steps``: of a run, mean over methods and tasks; as the file says it where no run is present."""
        known = self.steps_BMT[b][~np.isnan(self.steps_BMT[b]).any(axis=1)]
        return f"{known.mean():,.0f} steps" if len(known) else self.settings[b]

    @cached_property
    def agreements(self) -> tuple[Agreement, ...]:
        """Each budget against the largest."""
        return tuple(self._agreement(b) for b in range(len(self.pairs)))

    def _agreement(self, b: int) -> Agreement:
        both = self.complete_BM[b] & self.complete_BM[-1]
        names = [method for method, known in zip(self.methods, both, strict=True) if known]
        here, last = self.scores_BMRT[b][both], self.scores_BMRT[-1][both]
        if len(names) < 2:
            return Agreement(len(names), math.nan, math.nan, math.nan, 0, (), 0, 0)
        tau = float(orders.kendall(here.mean(axis=(1, 2)), last.mean(axis=(1, 2))))
        low = high = math.nan
        if here.shape[1] > 1 and b < len(self.pairs) - 1:
            taus = orders.unchanged(here, last, (bootstrap.stream("budget", b), bootstrap.stream("budget", -1)))
            taus = taus[~np.isnan(taus)]
            low, high = bootstrap.percentiles(taus) if len(taus) else (math.nan, math.nan)
        pairs = list(itertools.combinations(names, 2))
        now, end = self.decided_B[b].signs, self.decided_B[-1].signs
        kinds = {pair: now[pair] * end[pair] for pair in pairs if end[pair]}
        turned = tuple(pair if now[pair] > 0 else pair[::-1] for pair, kind in kinds.items() if kind < 0)
        count = list(kinds.values()).count
        return Agreement(len(names), tau, low, high, count(1), turned, count(0), len(pairs))

    @cached_property
    def settled(self) -> int | None:
        """The smallest budget from which on no pair of methods that is decided at the largest is decided the other way.

        None where the largest budget decides no pair, or where a budget cannot be compared.
        """
        if not self.agreements[-1].decided or any(a.methods < 2 for a in self.agreements):
            return None
        turned = [b for b, agreement in enumerate(self.agreements) if agreement.reversed_pairs]
        return max(turned, default=-1) + 1


def all_budgets(benchmark: ReportedBenchmark, runs: Runs, block: str, decide: Decide) -> Iterator[Budgets]:
    """The budgets of each teacher and student of the training-budget figure, scored on ``block``.

    ``decide`` says which differences of two methods are decided at one of them.
    """
    for pairs in benchmark.budgets():
        tasks = [task for task in pairs[-1].tasks if all(task in pair.tasks for pair in pairs)]
        methods = [m for m in benchmark.entries(pairs[-1]) if all(m in pair.methods for pair in pairs)]

        def scores(pair: Pair, method: str, tasks: list[str] = tasks) -> np.ndarray:
            table = summaries.matrix(runs.row(pair.name, method, block), tasks).reindex(sorted(benchmark.seeds))
            return np.round(100 * table.to_numpy(dtype=float), 9)  # equal but for rounding is equal

        def steps(pair: Pair, method: str, task: str) -> float:
            taken = [r["cost"].get("steps") for r in runs.cell(pair.name, method, task).values()]
            return float(np.mean([n for n in taken if n])) if any(taken) else math.nan

        teacher = summaries.matrix(runs.row(pairs[-1].name, "teacher", block), tasks).to_numpy(dtype=float)
        yield Budgets(
            pairs,
            tuple(methods),
            tuple(tasks),
            np.array([[scores(pair, method) for method in methods] for pair in pairs]),
            np.array([[[steps(pair, method, task) for task in tasks] for method in methods] for pair in pairs]),
            100 * teacher[0] if len(teacher) else np.full(len(tasks), math.nan),
            tuple(pair.settings or "as the file's students" for pair in pairs),
            tuple(decide(pairs, pair, list(itertools.combinations(methods, 2))) for pair in pairs),
        )
