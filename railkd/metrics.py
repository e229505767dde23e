"""Computes GLUE's metrics and macro F1, and the baseline that needs no model: one class for every example.

``glue_metric.py`` wraps them for `evaluate`.

All scores are fractions (Matthews and correlations in [-1, 1]); tables multiply by 100.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def accuracy(predictions: Array, labels: Array) -> float:
    """Share of equal entries."""
    return float(np.mean(predictions == labels))


def f1(predictions: Array, labels: Array) -> float:
    """F1 of class 1, as GLUE scores MRPC and QQP; 0 when there is no true positive."""
    hits = int(np.sum((predictions == 1) & (labels == 1)))
    total = int(np.sum(predictions == 1)) + int(np.sum(labels == 1))
    return 2 * hits / total if total else 0.0


def macro_f1(predictions: Array, labels: Array) -> float:
    """Mean F1 of the classes that predictions or labels have, for any number of classes; each weighs the same."""
    classes = np.union1d(predictions, labels)
    return float(np.mean([f1(predictions == kind, labels == kind) for kind in classes]))


def macro_f1_error(predictions: Array, labels: Array) -> float:
    """Standard error of ``macro_f1`` that comes from having drawn these examples and no others (delta method).

    An example moves the F1 of class k, F = 2·TP/(P + Y), by (2·tp − F·(p + y)) / (P + Y): p and y are 1 where it is
    predicted or labelled as k, tp where it is both. Accuracy's formula would be too small where classes are unequal.
    """
    classes = np.union1d(predictions, labels)
    moved_N = np.zeros(len(labels))
    for kind in classes:
        p_N, y_N = (predictions == kind).astype(float), (labels == kind).astype(float)
        moved_N += (2 * p_N * y_N - f1(p_N, y_N) * (p_N + y_N)) / (p_N + y_N).sum()
    return float(np.sqrt(moved_N @ moved_N)) / len(classes)


def matthews(predictions: Array, labels: Array) -> float:
    """Matthews correlation of two classes (CoLA); 0 when either side is constant."""
    p, y = predictions == 1, labels == 1
    tp, tn = float(np.sum(p & y)), float(np.sum(~p & ~y))
    fp, fn = float(np.sum(p & ~y)), float(np.sum(~p & y))
    scale = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / float(np.sqrt(scale)) if scale else 0.0


def pearson(predictions: Array, labels: Array) -> float:
    """Pearson correlation (STS-B); 0 when either side is constant."""
    x, y = predictions.astype(np.float64), labels.astype(np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return float(np.clip(float(x @ y) / scale, -1, 1)) if scale else 0.0  # rounding may lead past 1


def spearman(predictions: Array, labels: Array) -> float:
    """Spearman rank correlation (STS-B), ties at their mean rank; 0 when either side is constant."""
    from scipy.stats import rankdata  # only STS-B pays for this import

    return pearson(rankdata(predictions), rankdata(labels))


def pearson_spearman(predictions: Array, labels: Array) -> float:
    """Mean of the two correlations: the one number GLUE shows for STS-B."""
    return (pearson(predictions, labels) + spearman(predictions, labels)) / 2


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "pearson_spearman": pearson_spearman,
}


ERRORS: dict[str, Callable[[Array, Array], float]] = {"macro_f1": macro_f1_error}  # what no formula of the score gives


def score(names: tuple[str, ...], predictions: Array, labels: Array) -> dict[str, float]:
    """Every named metric. ``predictions`` and ``labels``: (examples,), classes or scores."""
    if len(predictions) != len(labels) or not len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    return {name: METRICS[name](predictions, labels) for name in names}


def sampling_errors(names: tuple[str, ...], predictions: Array, labels: Array) -> dict[str, float]:
    """The standard error of each named metric that has one in ``ERRORS``; shapes as for ``score``."""
    return {name: ERRORS[name](predictions, labels) for name in names if name in ERRORS}


def constant_prediction_baseline(names: tuple[str, ...], labels: Array, classes: int) -> dict[str, float]:
    """For each metric the best score of a model that predicts one class for every example; 0 for correlations."""
    if classes <= 1:
        return dict.fromkeys(names, 0.0)
    answers = [np.full(len(labels), c) for c in range(classes)]
    return {name: max(METRICS[name](answer, labels) for answer in answers) for name in names}


def predicted(logits: NDArray[np.floating], collapse: tuple[int, ...] = ()) -> Array:
    """Classes from logits (examples, C), through ``collapse`` (class -> class) out of domain; scores for C = 1."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    classes = logits.argmax(axis=1)
    return np.asarray(collapse)[classes] if collapse else classes
