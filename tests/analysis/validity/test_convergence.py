"""Convergence on courses whose truth is known: the rule's bounds, and how often chance trips it."""

import math
from typing import Any

import numpy as np
import pytest

from analysis.validity import convergence
from analysis.validity.convergence import Convergence, Course, Noise
from analysis.validity.thresholds import CELL_ERRORS, GROUP_ERRORS, LAST_SHARE, NEGLIGIBLE_RISE, PRIOR_RUNS


def record(scores: list[float], patience: int | None = None, **changes: Any) -> dict[str, Any]:
    """What the rule reads of a record: dev accuracy by epoch, in percent, on 400 examples."""
    return {
        "shown": "accuracy",
        "best_epoch": int(np.argmax(scores)) + 1 if scores else 0,
        "config": {"training": {"patience": patience}},
        "examples": {"dev": 400},
        "epochs": [{"epoch": i + 1, "dev": {"accuracy": s / 100}} for i, s in enumerate(scores)],
        **changes,
    }


def test_a_course_is_the_slope_over_the_last_quarter_times_its_length() -> None:
    rising = convergence.course(record([50, 60, 62, 64, 66, 70, 72, 74]))  # the last quarter: 70, 72, 74
    assert rising is not None and rising.rise == pytest.approx(4) and rising.at_last and not rising.patience
    assert rising.error == pytest.approx(100 * math.sqrt(0.74 * 0.26 / 400))
    known = convergence.course(record([50, 60], sampling_errors={"dev": {"accuracy": 0.05}}))
    assert known is not None and known.error == pytest.approx(5)
    four = convergence.course(record([50, 60, 70, 66]))
    assert four is not None and four.rise == pytest.approx(-4) and not four.at_last
    assert convergence.course(record([])) is None
    one = convergence.course(record([70]))
    assert one is not None and math.isnan(one.rise) and not one.known


@pytest.mark.parametrize(
    ("scores", "patience", "ended"),
    [([60, 70, 69, 68], 2, True), ([60, 70, 69], 2, False), ([60, 70, 69, 68], None, False), ([60, 70, 71], 1, False)],
)
def test_patience_ended_a_run_whose_best_epoch_lies_so_far_back(
    scores: list[float], patience: int | None, ended: bool
) -> None:
    found = convergence.course(record(scores, patience))
    assert found is not None and found.patience is ended


def group(at_last: int, runs: int, rise: float, se: float, unknown: int = 0, **tasks: Convergence) -> Convergence:
    return Convergence(runs, 0, at_last, unknown, rise, se, tasks)


def test_the_bounds_of_the_rule() -> None:
    third = round(24 * LAST_SHARE)
    assert not group(third + 1, 24, 2.0, 1.0).holds
    assert group(third, 24, 2.0, 1.0).holds  # not more than a third: one seed of three
    assert group(24, 24, 0.99 * GROUP_ERRORS, 1.0).holds and not group(24, 24, 1.01 * GROUP_ERRORS, 1.0).holds
    assert group(24, 24, 0.9 * NEGLIGIBLE_RISE, 0.0).holds and not group(24, 24, 1.1 * NEGLIGIBLE_RISE, 0.0).holds
    alone = {"cola": group(3, 3, 1.01 * CELL_ERRORS, 1.0)}
    assert not group(3, 24, 0.4, 0.5, **alone).holds and list(group(3, 24, 0.4, 0.5, **alone).failing) == ["cola"]
    assert group(3, 24, 0.4, 0.5, cola=group(3, 3, 0.99 * CELL_ERRORS, 1.0)).holds
    assert not group(0, 24, 0.0, 0.5, cola=group(0, 3, math.nan, math.nan, unknown=1)).holds  # one epoch tells nothing


def test_noise_is_pooled_over_methods_and_never_of_a_few_runs_alone() -> None:
    def courses(*rises: float) -> list[Course]:
        return [Course(4, False, False, rise, 2.0) for rise in rises]

    found = convergence.noise([courses(1, 2, 3), courses(5, 5, 8), courses(4)])
    assert found == Noise(2 + 6, 4, 4.0) and found.variance == pytest.approx((8 + PRIOR_RUNS * 4) / (4 + PRIOR_RUNS))
    assert convergence.noise([courses(3)]).variance == pytest.approx(4)  # one seed: the sampling error
    assert convergence.noise([courses(3, 3, 3)]).variance > 0  # three that agree by luck


def test_a_group_is_the_mean_over_its_tasks_of_the_runs_that_patience_did_not_end() -> None:
    rises = {"cola": [(2.0, False), (4.0, False), (-9.0, True)], "rte": [(1.0, False), (1.0, False), (1.0, False)]}
    cells = {t: [Course(4, p, not p, rise, 2.0) for rise, p in of] for t, of in rises.items()}
    found = convergence.converged(cells, {"cola": Noise(4.0, 2, 0.0), "rte": Noise(0.0, 4, 0.0)})
    assert found is not None and found.rise == pytest.approx((3 + 1) / 2)
    assert (found.runs, found.patience, found.at_last, found.unknown) == (6, 1, 5, 0)
    assert found.se == pytest.approx(math.sqrt(4 / (2 + PRIOR_RUNS) / 2) / 2)
    assert convergence.converged({"cola": [None]}, {"cola": Noise()}).unknown == 1  # type: ignore[union-attr]
    assert convergence.converged({}, {}) is None


def simulated(rise: float, seeds: int, generator: np.random.Generator, epochs: int = 8) -> Convergence:
    """A method on eight tasks: dev around 80, each epoch's noise 1 point, rising so many points a quarter."""
    cells, noises = {}, {}
    for task in range(8):
        methods = []
        for _ in range(4):
            runs = 80 + rise * np.arange(epochs) / (epochs / 4) + generator.normal(0, 1, (seeds, epochs))
            methods.append([c for run in runs if (c := convergence.course(record(list(run))))])
        cells[str(task)], noises[str(task)] = methods[0], convergence.noise(methods)
    found = convergence.converged(cells, noises)
    assert found is not None
    return found


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize(("rise", "least", "most"), [(0.0, 0.0, 0.05), (3.0, 0.95, 1.0)])
def test_few_seeds_are_neither_condemned_nor_acquitted_by_luck(
    seeds: int, rise: float, least: float, most: float
) -> None:
    generator = np.random.default_rng(seeds)
    failing = [not simulated(rise, seeds, generator).holds for _ in range(60)]
    assert least <= np.mean(failing) <= most
