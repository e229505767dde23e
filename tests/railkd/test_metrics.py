"""Metrics against scikit-learn and SciPy, and against what is known of GLUE."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn import metrics as sk

from railkd import metrics
from railkd.metrics import METRICS, constant_prediction_baseline, predicted, score
from railkd.tasks import TASKS

PAIRS = {
    "accuracy": lambda p, y: sk.accuracy_score(y, p),
    "f1": lambda p, y: sk.f1_score(y, p, zero_division=0),
    "matthews": lambda p, y: sk.matthews_corrcoef(y, p),
}


@pytest.mark.parametrize("name", PAIRS)
def test_classes_equal_sklearn(name: str) -> None:
    rng = np.random.default_rng(0)
    for trial in range(60):
        size = int(rng.integers(1, 60))
        p, y = rng.integers(0, 2, size), rng.integers(0, 2, size)
        if trial % 6 == 0:
            p[:] = trial % 4 // 2  # one class for all
        if trial % 10 == 0:
            y[:] = 1
        if name != "matthews" or np.ptp(np.concatenate([p, y])):  # sklearn warns of a single class
            assert METRICS[name](p, y) == pytest.approx(PAIRS[name](p, y), abs=1e-9)


def test_correlations_equal_scipy_with_ties() -> None:
    rng = np.random.default_rng(1)
    for trial in range(60):
        size = int(rng.integers(3, 80))
        y = rng.integers(0, 26, size) / 5
        p = y + rng.normal(size=size) if trial % 2 else rng.integers(0, 4, size).astype(float)
        if np.ptp(p) and np.ptp(y):
            assert metrics.pearson(p, y) == pytest.approx(scipy.stats.pearsonr(p, y)[0], abs=1e-9)
            assert metrics.spearman(p, y) == pytest.approx(scipy.stats.spearmanr(p, y)[0], abs=1e-9)
            mean = (scipy.stats.pearsonr(p, y)[0] + scipy.stats.spearmanr(p, y)[0]) / 2
            assert metrics.pearson_spearman(p, y) == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman"])
def test_constants_give_exactly_zero(name: str) -> None:
    y = np.array([0.1, 2.3, 4.0, 1.0, 3.3, 0.7, 2.9])
    for constant in (np.full(7, 0.1), np.full(7, 0.1, dtype=np.float32), np.zeros(7)):
        assert METRICS[name](constant, y) == METRICS[name](y, constant) == METRICS[name](constant, constant) == 0


def test_perfect_answers_never_exceed_one() -> None:
    """A record refuses scores above 1, so rounding must not lead there."""
    rng = np.random.default_rng(2)
    for size in range(2, 120):
        y = rng.normal(size=size)
        for name in ("pearson", "spearman", "pearson_spearman"):
            assert METRICS[name](3 * y, y) == pytest.approx(1) and METRICS[name](3 * y, y) <= 1
            assert METRICS[name](-y, y) >= -1
    for positives, negatives in rng.integers(1, 200_000, (200, 2)):
        classes = np.repeat([1, 0], [positives, negatives])
        assert metrics.matthews(classes, classes) == pytest.approx(1) and metrics.matthews(classes, classes) <= 1


def test_score_refuses_what_has_no_score() -> None:
    with pytest.raises(ValueError, match="2 predictions for 3 labels"):
        score(("accuracy",), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError):
        score(("accuracy",), np.zeros(0), np.zeros(0))


def test_constant_prediction_baseline_is_the_best_constant() -> None:
    rng = np.random.default_rng(3)
    for classes in (2, 3):
        y = rng.integers(0, classes, 41)
        brute = max(float(np.mean(y == c)) for c in range(classes))
        assert constant_prediction_baseline(("accuracy",), y, classes) == {"accuracy": brute}
    y = rng.integers(0, 2, 41)
    found = constant_prediction_baseline(("f1", "matthews"), y, 2)
    assert found["f1"] == pytest.approx(sk.f1_score(y, np.ones(41))) and found["matthews"] == 0
    assert constant_prediction_baseline(("pearson",), rng.random(9), 1) == {"pearson": 0.0}


def test_predicted() -> None:
    logits = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert predicted(logits).tolist() == [2, 0, 1]
    assert predicted(logits, (0, 1, 1)).tolist() == [1, 0, 1]  # SciTail: neutral and contradiction are one class
    assert predicted(np.array([[0.25], [4.5]])).tolist() == [0.25, 4.5]


@pytest.mark.realtext
@pytest.mark.parametrize("task, metric, percent", [("mrpc", "f1", 81.2), ("rte", "accuracy", 52.7),
                                                   ("sst2", "accuracy", 50.9)])  # fmt: skip
def test_known_constant_scores_of_glue_dev(real_data: Path, task: str, metric: str, percent: float) -> None:
    labels = pd.read_parquet(real_data / task / "validation.parquet", columns=["label"])["label"].to_numpy()
    assert round(100 * constant_prediction_baseline((metric,), labels, 2)[metric], 1) == percent


@pytest.mark.parametrize("task", ["cola", "mrpc", "stsb", "mnli"])
def test_evaluate_module_equals_the_functions(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    module = Path(metrics.__file__).with_name("glue_metric.py")
    rng = np.random.default_rng(4)
    if TASKS[task].regression:
        p, y = rng.random(30).astype(np.float32), rng.random(30).astype(np.float32)
    else:
        p, y = rng.integers(0, TASKS[task].outputs, 30), rng.integers(0, TASKS[task].outputs, 30)
    found = evaluate.load(str(module), task, cache_dir=str(tmp_path)).compute(predictions=p, references=y)
    names = tuple(dict.fromkeys((*TASKS[task].metrics, TASKS[task].shown)))
    assert set(found) == set(names)
    for name in names:
        assert found[name] == pytest.approx(METRICS[name](p, y), abs=1e-9)


def test_evaluate_module_names_an_unknown_task() -> None:
    import evaluate

    with pytest.raises(ValueError, match="unknown task 'mprc'"):
        evaluate.load(str(Path(metrics.__file__).with_name("glue_metric.py")), "mprc")


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.7, 0.2, 0.1)])
def test_the_error_of_macro_f1_is_that_of_resampled_examples(shares: tuple[float, ...]) -> None:
    """Where classes are unequal the formula of an accuracy, as which it was taken, is too small by far."""
    rng = np.random.default_rng(3)
    y = rng.choice(len(shares), 400, p=shares)
    p = np.where(rng.random(400) < 0.75, y, rng.choice(len(shares), 400, p=shares))
    drawn = [metrics.macro_f1(p[rows], y[rows]) for rows in rng.integers(0, 400, (3000, 400))]
    error = metrics.sampling_errors(("accuracy", "macro_f1"), p, y)
    assert error == {"macro_f1": pytest.approx(np.std(drawn), rel=0.06)}
    value = metrics.macro_f1(p, y)
    as_accuracy = np.sqrt(value * (1 - value) / 400)
    assert error["macro_f1"] > (0.9 if shares == (0.5, 0.5) else 1.2) * as_accuracy
    assert metrics.sampling_errors(("macro_f1",), y, y) == {"macro_f1": 0.0}
