"""Judges whether runs had converged: where the best epoch lies, and whether dev still rose at the end."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.statistics import summaries
from analysis.validity.thresholds import CELL_ERRORS, GROUP_ERRORS, LAST_SHARE, NEGLIGIBLE_RISE, PRIOR_RUNS


@dataclass(frozen=True)
class Course:
    """How one run ended."""

    epochs: int
    patience: bool  # patience ended it: the best epoch lies so many epochs back
    at_last: bool  # its best epoch is the last
    rise: float  # of dev over the last quarter of its epochs, points; NaN for a run of one epoch
    error: float  # the sampling error of that rise, points; NaN where the number of dev examples is not recorded

    @property
    def known(self) -> bool:
        """Whether it can be told that the run converged or did not: by patience, or by two epochs or more."""
        return self.patience or not math.isnan(self.rise)


def course(record: Mapping[str, Any]) -> Course | None:
    """How a recorded run ended; None where its record holds no epoch (another repository's method may keep none).

    The rise is the least-squares slope of the shown dev metric over the last quarter of the epochs, times its length.
    Two epochs are scored on the same dev examples, so that about half of the sampling error of either cancels in their
    difference: its standard error is about that of one score.
    """
    shown = record["shown"]
    scores = [100 * float(epoch["dev"][shown]) for epoch in record["epochs"]]
    if not scores:
        return None
    patience = int((record["config"].get("training") or {}).get("patience") or 0)
    quarter = math.ceil(len(scores) / 4)
    window = scores[-quarter - 1 :]
    rise = math.nan
    if len(window) > 1:
        rise = quarter * float(np.polyfit(np.arange(len(window)), window, 1)[0])
    best, examples, last = int(record["best_epoch"]), record["examples"].get("dev"), record["epochs"][-1]["dev"]
    error = math.nan
    if examples:
        recorded = record.get("sampling_errors", {}).get("dev", {}).get(shown)  # at the best epoch
        formula = summaries.sampling_error(shown, scores[-1] / 100, int(examples), last.get("accuracy"))
        error = 100 * (formula if recorded is None else recorded)
    stopped = 0 < patience <= len(scores) - best
    return Course(len(scores), stopped, best == len(scores), rise, error)


@dataclass(frozen=True)
class Noise:
    """What the rises of runs on one task vary by when nothing but chance tells them apart."""

    squares: float = 0.0  # of the deviations from their cell's mean, summed over cells
    freedom: int = 0
    sampling: float = 0.0  # variance of a rise that comes from the sample of dev examples

    @property
    def variance(self) -> float:
        """Of the rise of one run, in squared points."""
        return (self.squares + PRIOR_RUNS * self.sampling) / (self.freedom + PRIOR_RUNS)


def noise(cells: Iterable[Sequence[Course]]) -> Noise:
    """The noise on one task, pooled over the cells (methods) whose runs are given."""
    squares, freedom, sampling = 0.0, 0, []
    for cell in cells:
        rises = np.array([c.rise for c in cell if not c.patience and not math.isnan(c.rise)])
        sampling += [c.error**2 for c in cell if not math.isnan(c.error)]
        if len(rises) > 1:
            squares += float(((rises - rises.mean()) ** 2).sum())
            freedom += len(rises) - 1
    return Noise(squares, freedom, float(np.mean(sampling)) if sampling else 0.0)


@dataclass(frozen=True)
class Convergence:
    """How a group of runs ended: those of one method over some tasks, or teachers of some tasks."""

    runs: int
    patience: int  # runs that patience ended
    at_last: int  # runs that nothing ended before their last epoch, which is their best
    unknown: int  # runs of one epoch, or without epochs in their record
    rise: float  # of dev over the last quarter of the epochs of runs that patience did not end, mean over tasks; points
    se: float  # its standard error
    tasks: "Mapping[str, Convergence]"  # each task's own

    def rises(self, errors: float) -> bool:
        """Whether the runs ended while dev still rose: too many at their best epoch, and a rise beyond its noise."""
        return self.at_last > LAST_SHARE * self.runs and self.rise > errors * self.se and self.rise > NEGLIGIBLE_RISE

    @property
    def failing(self) -> dict[str, "Convergence"]:
        """The tasks that fail on their own: a rise far beyond noise, or no course to judge by."""
        return {task: cell for task, cell in self.tasks.items() if cell.unknown or cell.rises(CELL_ERRORS)}

    @property
    def holds(self) -> bool:
        """Whether the group has converged, and each of its tasks."""
        return not self.rises(GROUP_ERRORS) and not self.failing


def converged(cells: Mapping[str, Sequence[Course | None]], noises: Mapping[str, Noise]) -> Convergence | None:
    """The convergence of a group: task -> how its runs ended, and the noise on each task; None without any run."""
    tasks = {task: _cell(runs, noises[task]) for task, runs in cells.items() if runs}
    if not tasks:
        return None
    known = [cell for cell in tasks.values() if not math.isnan(cell.rise)]
    cells_of = tasks.values()
    return Convergence(
        runs=sum(cell.runs for cell in cells_of),
        patience=sum(cell.patience for cell in cells_of),
        at_last=sum(cell.at_last for cell in cells_of),
        unknown=sum(cell.unknown for cell in cells_of),
        rise=float(np.mean([cell.rise for cell in known])) if known else math.nan,
        se=math.sqrt(sum(cell.se**2 for cell in known)) / len(known) if known else math.nan,
        tasks=tasks,
    )


def _cell(runs: Sequence[Course | None], of: Noise) -> Convergence:
    courses = [run for run in runs if run is not None]
    going = [run for run in courses if not run.patience]
    rises = [run.rise for run in going if not math.isnan(run.rise)]
    return Convergence(
        runs=len(runs),
        patience=len(courses) - len(going),
        at_last=sum(run.at_last for run in going),
        unknown=len(runs) - sum(run.known for run in courses),
        rise=float(np.mean(rises)) if rises else math.nan,
        se=math.sqrt(of.variance / len(rises)) if rises else math.nan,
        tasks={},
    )
