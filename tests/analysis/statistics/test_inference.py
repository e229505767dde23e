"""Error rates, coverage and power over repeated draws from a known truth; small cases by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.statistics import bootstrap, inference
from analysis.statistics.inference import ALPHA, Estimate, Mean, welch
from railkd.metrics import METRICS

DRAWS = 2000
INFINITY = float("inf")


def strata(generator: np.random.Generator, effect: float, seeds: int = 3, draws: int = DRAWS) -> list[np.ndarray]:
    """Differences within a seed on eight tasks of unequal spread (.3 to 3 points): (draws, seeds) each."""
    return [generator.normal(effect, sd, (draws, seeds)) for sd in (0.3, 0.5, 0.7, 1, 1, 1.5, 2, 3)]


def test_a_contrast_covers_its_truth_and_keeps_its_error_rate() -> None:
    estimate = inference.contrast(strata(np.random.default_rng(1), 0.7), [1 / 8] * 8)
    low, high = estimate.interval()
    assert 0.94 <= np.mean((low < 0.7) & (high > 0.7)) <= 0.985
    null = inference.contrast(strata(np.random.default_rng(2), 0.0), [1 / 8] * 8)
    wrong = [np.mean(p < ALPHA) for p in (null.p_within(0, INFINITY), null.p_outside(0, INFINITY))]
    assert max(wrong) <= 0.033 and min(wrong) >= 0.008


def test_columns_of_the_same_runs_are_one_piece_of_evidence() -> None:
    """Two sets that the same students fill rise and fall together: as strata of their own they err twice as often."""
    generator, draws = np.random.default_rng(11), 20_000
    common = generator.normal(0, 1, (draws, 3))
    sets = [np.sqrt(0.7) * common + np.sqrt(0.3) * generator.normal(0, 1, (draws, 3)) for _ in range(2)]
    weights = [0.5, 0.5]
    wrong = [
        float(np.mean(inference.contrast(*of).p_differs() < 0.05))
        for of in ((sets, weights), inference.merged(sets, weights, ["qqp", "qqp"]))
    ]
    assert wrong[0] > 0.09 and 0.04 < wrong[1] < 0.06
    apart = inference.merged(sets, weights, ["qqp", "mnli"])
    both = (inference.contrast(*apart), inference.contrast(sets, weights))
    assert float(both[0].variance[0]) == pytest.approx(float(both[1].variance[0]))
    assert both[0].value == pytest.approx(both[1].value, abs=1e-8)


def test_as_many_seeds_as_are_asked_for_find_that_two_methods_are_alike() -> None:
    """Both tests of an equivalence have to succeed, so that one test's power would promise too much."""
    sd, margin = 0.9, 0.5
    of_three = Estimate(0.0, 5 * sd**2 / 25 / 3, 10.0, 3)
    seeds = inference.seeds_needed(of_three, -margin, margin, 1)
    assert seeds is not None
    for n, enough in ((seeds, True), (seeds - 2, False)):
        drawn = inference.contrast(list(np.random.default_rng(12).normal(0, sd, (5, 4000, n))), [1 / 5] * 5)
        assert (float(np.mean(drawn.p_within(-margin, margin) < ALPHA)) >= 0.78) == enough


def test_three_seeds_of_one_task_are_students_t() -> None:
    values = np.array([1.0, 2.0, 4.5])
    estimate = inference.contrast([values], [1.0])
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)  # t, two degrees of freedom, .975
    assert estimate.interval() == (pytest.approx(2.5 - half, abs=1e-5), pytest.approx(2.5 + half, abs=1e-5))
    assert float(estimate.df) == pytest.approx(2)


def test_power_is_what_the_note_and_the_plan_say() -> None:
    """At the true difference called detectable 4 of 5 draws find it; so do as many seeds as the plan asks for."""
    plan = inference.contrast(strata(np.random.default_rng(3), 0.0, 500, 1), [1 / 8] * 8)
    of_three = Estimate(0.0, float(plan.variance[0]) * 500 / 3, float(plan.df[0]) * 2 / 499, 3)
    effect = inference.detectable(of_three)
    found = inference.contrast(strata(np.random.default_rng(4), effect), [1 / 8] * 8).p_within(0, INFINITY) < ALPHA
    assert 0.72 <= found.mean() <= 0.87
    seeds = inference.seeds_needed(Estimate(0.5, of_three.variance, of_three.df, 3), 0, INFINITY, 1)
    assert seeds is not None and 5 <= seeds <= 20
    for n, enough in ((seeds, True), (max(2, seeds // 2), False)):
        drawn = inference.contrast(strata(np.random.default_rng(5), 0.5, n), [1 / 8] * 8)
        assert (np.mean(drawn.p_within(0, INFINITY) < ALPHA) >= 0.75) == enough
    assert inference.seeds_needed(Estimate(0.5, 1.0, 2, 3, examples=0.4), 0, INFINITY, 1) is None  # too few examples
    more = inference.seeds_needed(Estimate(0.5, of_three.variance, of_three.df, 3), 0, INFINITY, 10)
    assert more is not None and more > seeds


@pytest.mark.parametrize("tests", [1, 10, 78])
def test_what_is_called_detectable_is_decided_among_all_that_is_corrected_with_it(tests: int) -> None:
    """One true difference among so many equal ones: Holm's correction leaves it decided in four of five draws."""
    generator, draws = np.random.default_rng(14), 1500
    before = [inference.contrast([generator.normal(0, 1, 5) for _ in range(4)], [1 / 4] * 4) for _ in range(200)]
    effect = np.median([inference.detectable(estimate, tests) for estimate in before])
    p = [
        inference.contrast([generator.normal(mean, 1, (draws, 5)) for _ in range(4)], [1 / 4] * 4).p_differs()
        for mean in (effect, *[0.0] * (tests - 1))
    ]
    assert np.mean(inference.holm(np.stack(p, axis=-1))[:, 0] < 0.05) == pytest.approx(0.8, abs=0.07)


def test_tost_finds_sameness_only_within_the_margin() -> None:
    weights, margin = [1 / 8] * 8, 2.0
    inside, edge, outside = (
        inference.contrast(strata(np.random.default_rng(6), effect), weights) for effect in (0, margin, 2 * margin)
    )
    assert np.mean(inside.p_within(-margin, margin) < ALPHA) > 0.9
    assert np.mean(edge.p_within(-margin, margin) < ALPHA) <= 0.033
    assert np.mean(outside.p_outside(-margin, margin) < ALPHA) > 0.9
    assert np.mean(inside.p_outside(-margin, margin) < ALPHA) <= 0.005
    wide = Estimate(0.0, 100.0, 5, 3)  # no difference seen, but any could be: neither
    assert wide.p_within(-margin, margin) > 0.3 and wide.p_outside(-margin, margin) > 0.3


def test_without_any_spread_the_order_decides() -> None:
    same = Estimate(0.0, 0.0, 1.0, 3)
    assert same.p_above(0) == 0.5 and same.p_within(-1, 1) == 0 and same.p_outside(-1, 1) == 1
    assert Estimate(1.0, 0.0, 1.0, 3).p_above(0) == 0.5  # equal by chance, or surely apart: nothing tells
    assert Estimate(1.0, 0.0, 1.0, 3, examples=0.1).p_above(0) < 1e-9


@pytest.mark.parametrize(
    ("methods", "seeds", "columns", "sd"),
    [(8, 2, 1, 5.0), (8, 3, 1, 5.0), (4, 2, 1, 5.0), (3, 2, 1, 2.0), (6, 3, 5, 1.5)],
)
def test_few_seeds_beside_an_error_of_examples_decide_nothing_by_chance(
    methods: int, seeds: int, columns: int, sd: float
) -> None:
    """Equal methods: a false decision among all pairs in at most one family of twenty, and intervals that cover."""
    generator, draws, of_examples = np.random.default_rng(12), 2000, 1.2
    scores = generator.normal(0, sd, (draws, methods, seeds, columns))
    scores += generator.normal(0, of_examples, (draws, methods, 1, columns))
    p, covered = [], []
    for a, b in itertools.combinations(range(methods), 2):
        differences = scores[:, a] - scores[:, b]
        arrays = [differences[..., column] for column in range(columns)]
        estimate = inference.contrast(arrays, [1 / columns] * columns, of_examples * np.sqrt(2 / columns))
        low, high = estimate.interval()
        p.append(estimate.p_differs())
        covered.append(np.mean((low < 0) & (high > 0)))
    assert np.mean((inference.holm(np.stack(p, axis=-1)) < 0.05).any(axis=-1)) <= 0.06
    assert np.mean(covered) >= 0.94


def test_the_ratio_of_spreads_covers_its_truth() -> None:
    generator = np.random.default_rng(7)
    first = [generator.normal(0, 2 * sd, (DRAWS, 3)) for sd in (0.2, 1, 5)]
    second = [generator.normal(0, sd, (DRAWS, 3)) for sd in (0.2, 1, 5)]
    low, high = inference.spread_ratio(first, second).interval()
    assert 0.93 <= np.mean((low < np.log(2)) & (high > np.log(2))) <= 0.98


@pytest.mark.parametrize(("first", "second"), [(2, 5), (5, 2), (3, 5)])
def test_unequally_many_runs_do_not_lean_a_ratio_of_spreads(first: int, second: int) -> None:
    generator = np.random.default_rng(13)
    sides = [[generator.normal(0, 1, (20000, n)) for _ in range(2)] for n in (first, second)]
    estimate = inference.spread_ratio(*sides)
    assert np.mean(estimate.value) == pytest.approx(0, abs=0.03)
    low, high = estimate.interval()
    assert 0.92 <= np.mean((low < 0) & (high > 0)) <= 0.98


def test_holm_by_hand_and_over_draws() -> None:
    assert inference.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    p = np.random.default_rng(8).uniform(size=(DRAWS, 10))
    assert np.mean(p.min(axis=1) < 0.05) > 0.35  # ten tests at 5 % each
    p[:, :3] = 1e-6  # three real effects
    adjusted = inference.holm(p)
    assert np.mean(adjusted[:, 3:].min(axis=1) < 0.05) <= 0.063
    assert (adjusted[:, :3] < 0.05).all() and (adjusted >= p).all()


@pytest.mark.parametrize(
    "metric", ["accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "pearson_spearman"]
)
def test_means_of_terms_give_the_metric(metric: str) -> None:
    generator = np.random.default_rng(9)
    continuous = "pearson" in metric or "spearman" in metric
    labels = generator.normal(size=80) if continuous else generator.integers(2, size=80)
    guesses = labels + generator.normal(size=80) if continuous else np.where(generator.random(80) < 0.7, labels, 0)
    terms = bootstrap.terms(metric, guesses, labels)
    assert bootstrap.from_means(metric, terms.mean(axis=0)) == pytest.approx(METRICS[metric](guesses, labels))
    flat = bootstrap.terms(metric, np.zeros(80, dtype=int), labels)
    assert bootstrap.from_means(metric, flat.mean(axis=0)) == pytest.approx(METRICS[metric](labels * 0, labels))


def test_a_resample_is_one_of_examples_and_the_same_for_all_runs() -> None:
    terms = np.random.default_rng(0).random((2, 50, 1))
    terms[1] = terms[0]
    drawn = bootstrap.resample("accuracy", terms, np.random.default_rng(1), 400)
    assert drawn.shape == (400, 2) and (drawn[:, 0] == drawn[:, 1]).all()
    assert drawn[:, 0].std() == pytest.approx(terms[0].std() / np.sqrt(50), rel=0.15)


def test_the_bootstrap_honours_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = np.random.default_rng(0).random((2, 50, 1))
    first, again, other = (bootstrap.resample("accuracy", terms, bootstrap.stream(k), 300) for k in ("a", "a", "b"))
    assert (first == again).all() and not (first == other).any()
    monkeypatch.setattr(bootstrap, "CHUNK", 50 * 7)  # whatever is held in memory at a time
    assert bootstrap.resample("accuracy", terms, bootstrap.stream("a"), 300) == pytest.approx(first)


def test_bootstrap_intervals_cover_over_examples_and_over_seeds() -> None:
    generator = np.random.default_rng(10)
    hits = []
    for _ in range(300):
        right = (generator.random((1, 200, 1)) < 0.8).astype(float)
        low, high = bootstrap.percentiles(bootstrap.resample("accuracy", right, generator, 200)[:, 0])
        hits.append(low <= 0.8 <= high)
    assert 0.90 <= np.mean(hits) <= 0.98
    hits = []
    for values in generator.normal(1, 2, (300, 30)):
        low, high = bootstrap.percentiles(bootstrap.resampled_means(values, generator, 400))
        hits.append(low <= 1 <= high)
    assert 0.89 <= np.mean(hits) <= 0.98


@pytest.mark.parametrize(("gain", "least", "most"), [(0.0, 0.0, 0.05), (0.08, 0.85, 1.0)])
def test_seeds_and_examples_together(gain: float, least: float, most: float) -> None:
    """Two methods on fresh examples each time: the null is rejected in at most 5 %, an effect of 8 points is found."""
    generator = np.random.default_rng(11)
    found = []
    for _ in range(300):
        arrays, drawn = [], []
        for _ in range(4):
            hard = generator.normal(size=200)
            skill = np.array([1.0, 1.0 + 4.2 * gain]) + generator.normal(0, 0.05, (3, 2))  # (seeds, methods)
            right = (hard[:, None, None] + generator.normal(size=(200, 3, 2)) < skill).astype(float)
            arrays.append(100 * (right[..., 1] - right[..., 0]).mean(axis=0))
            terms = right.reshape(200, 6).T[:, :, None]
            scores = 100 * bootstrap.resample("accuracy", terms, generator, 100).reshape(100, 3, 2)
            drawn.append((scores[..., 1] - scores[..., 0]).mean(axis=1))
        examples = float(np.mean(drawn, axis=0).std(ddof=1))
        estimate = inference.contrast(arrays, [1 / 4] * 4, examples)
        found.append(min(estimate.p_within(0, INFINITY), estimate.p_outside(0, INFINITY)) < ALPHA)
    assert least <= np.mean(found) <= most


def test_the_expected_best_is_that_of_all_draws() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0])
    for k, expected in enumerate(inference.expected_best(scores), start=1):
        assert expected == pytest.approx(np.mean([max(d) for d in itertools.product(scores, repeat=k)]))


def test_optimism_is_that_of_choosing() -> None:
    generator = np.random.default_rng(12)
    noise = generator.normal(0, 1, (DRAWS, 10, 2))
    chosen = np.array([inference.optimism(halves) for halves in noise])
    assert chosen.mean() == pytest.approx(1.539, abs=0.06)  # the expected greatest of ten standard normal values
    steep = noise + 100 * np.arange(10)[:, None]  # the last epoch is best whatever the noise
    assert np.mean([inference.optimism(halves) for halves in steep]) == pytest.approx(0, abs=0.06)
    assert inference.optimism(np.array([[0.7, 0.6]])) == 0  # one epoch: nothing to choose


def test_improvement_counts_pairs() -> None:
    assert inference.improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


# ---- means of two tables ----


def mean_of(values: Any) -> Mean:
    """The runs of a cell, as a table has them: (runs,) -> mean, sd, n."""
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))


def rejected(p: list[float]) -> list[bool]:
    """Which of several hypotheses are rejected at 5 %."""
    return [bool(adjusted <= 0.05) for adjusted in inference.holm(np.array(p))]


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(70, 1, 3), rng.normal(72, 3, 5)
    difference, half, p = welch(mean_of(a), mean_of(b))
    expected = scipy_stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert p == pytest.approx(expected.pvalue)
    assert (difference - half, difference + half) == pytest.approx((interval.low, interval.high))
    assert welch(mean_of([5.0, 5.0]), mean_of([5.0, 5.0])) == (0, 0, 1)
    assert welch(mean_of([5.0, 5.0, 5.0]), mean_of([6.0, 6.0, 6.0])) == (-1, 0, 0)
    assert np.isnan(welch(mean_of([5.0, 5.0]), mean_of([6.0, 6.0]))[2])  # two seeds that tie, by chance


def test_holm_on_the_textbook_steps() -> None:
    assert rejected([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # .005 ≤ .05/4, .01 ≤ .05/3, .03 > .05/2
    assert rejected([]) == [] and rejected([0.05]) == [True]


def test_chance_is_found_in_at_most_one_comparison_of_twenty() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        sides = [(mean_of(rng.normal(70, 1, 4)), mean_of(rng.normal(70, 1, 4))) for _ in range(10)]
        wrong += any(rejected([welch(a, b)[2] for a, b in sides]))
    assert wrong / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
