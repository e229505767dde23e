"""Rank correlation, its resamples and the pairs of methods that are decided, against other ways to compute them."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as reference

from analysis.statistics import inference, orders


def test_kendall_is_scipys_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = rng.integers(0, 5, size=(2, 7)).astype(float)
        assert float(orders.kendall(first, second)) == pytest.approx(reference.kendalltau(first, second).statistic)
    many = rng.standard_normal((2, 30, 7))
    each = [reference.kendalltau(a, b).statistic for a, b in zip(*many, strict=True)]
    assert orders.kendall(*many) == pytest.approx(np.array(each))
    assert math.isnan(orders.kendall(np.ones(4), np.arange(4.0)))


def test_resamples_have_the_means_and_errors_of_the_runs_and_keep_seeds_paired() -> None:
    rng = np.random.default_rng(1)
    scores_MRT = rng.standard_normal((3, 6, 4)) * np.array([1.0, 2.0, 0.5, 1.5])
    drawn_NM = orders.resampled(scores_MRT, np.random.default_rng(2), 20_000)
    assert drawn_NM.shape == (20_000, 3)
    assert drawn_NM.mean(axis=0) == pytest.approx(scores_MRT.mean(axis=(1, 2)), abs=0.02)
    error = np.sqrt((scores_MRT.var(axis=1) / 6).sum(axis=1)) / 4  # of a mean over four tasks
    assert drawn_NM.std(axis=0) == pytest.approx(error, rel=0.05)
    alike = orders.resampled(np.stack([scores_MRT[0], scores_MRT[0] + 1]), np.random.default_rng(3), 100)
    assert alike[:, 1] - alike[:, 0] == pytest.approx(np.ones(100))
    again = orders.resampled(scores_MRT, np.random.default_rng(2), 20_000)
    assert (again == drawn_NM).all()


def test_an_order_that_does_not_change_lies_where_it_is_said_to() -> None:
    """Its observed τ is far below 1 with few seeds, which says nothing of a change."""
    rng, levels = np.random.default_rng(6), np.linspace(0, 1.5, 6)[:, None, None]
    inside, seen, found = 0, [], 0
    for _ in range(200):
        first, last = (levels + rng.standard_normal((6, 3, 3)) for _ in range(2))
        observed = float(orders.kendall(first.mean(axis=(1, 2)), last.mean(axis=(1, 2))))
        low, high = np.nanquantile(orders.unchanged(first, last, (rng, rng)), [0.025, 0.975])
        inside, seen = inside + bool(low <= observed <= high), [*seen, observed]
        turned = orders.kendall(-10 * levels[:, 0, 0], last.mean(axis=(1, 2)))
        found += bool(turned < low)
    assert inside >= 185 and np.mean(seen) < 0.8 and found >= 190


def decided_pairs(scores_MRT: np.ndarray) -> list[bool]:
    """Whether each two methods differ: paired over runs and tasks, after Holm's correction over all of them."""
    pairs = itertools.combinations(range(len(scores_MRT)), 2)
    estimates = [inference.paired(scores_MRT[i] - scores_MRT[j]) for i, j in pairs]
    return [p < 0.05 for p in inference.holm(np.array([float(e.p_differs()) for e in estimates if e is not None]))]


def test_differences_are_decided_after_holms_correction() -> None:
    rng = np.random.default_rng(4)
    noise = 0.3 * rng.standard_normal((4, 3, 3))
    levels = np.array([60.0, 60.0, 65.0, 50.0])[:, None, None]
    assert decided_pairs(levels + noise) == [False, True, True, True, True, True]
    assert not any(decided_pairs(np.full((3, 3, 3), 0.1 + 0.2)))


def test_chance_decides_something_in_one_case_of_twenty() -> None:
    rng = np.random.default_rng(5)
    wrong = sum(any(decided_pairs(rng.standard_normal((5, 3, 3)))) for _ in range(600))
    assert wrong / 600 < 0.07


def test_paired_estimates_are_t_tests() -> None:
    values = np.array([[1.0], [2.0], [4.5]])
    found = inference.paired(values)
    assert found is not None
    assert float(found.p_differs()) == pytest.approx(reference.ttest_1samp(values[:, 0], 0).pvalue)
    assert inference.paired(np.array([[1.0, np.nan], [2.0, np.nan]])) is None and inference.paired(values[:1]) is None
    assert inference.paired(np.empty((0, 0))) is None
    for level in (2.0, 1e-12, 0.3):  # without any spread nothing is decided
        same = inference.paired(np.full((3, 2), level))
        assert same is not None and float(same.p_differs()) == 1 and float(same.variance) == 0


def test_differences_that_are_equal_but_for_rounding_have_no_error() -> None:
    """As one example more in each of two runs: a variance of 1e-33 would make it certain."""
    differences = [0.1 + 0.2 - 0.25, 0.3 - 0.25]
    assert differences[0] != differences[1]
    found = inference.contrast([np.array(differences)], [1.0])
    assert float(found.variance) == 0 and float(found.p_differs()) == 1
    assert float(found.p_within(-1.0, 1.0)) == 0.5  # equivalence is no more certain
