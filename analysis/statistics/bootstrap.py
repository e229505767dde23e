"""Resamples examples and seeds (bootstrap), from the predictions kept beside each record.

Every metric here is a function of means over examples (a correlation of five of them), so a resample of the examples is
one matrix product. The rank correlation keeps the ranks of the full set, as is usual.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.metrics import predicted
from railkd.records.hashes import sha256_once, sha256_text
from railkd.records.run_record import predictions
from railkd.records.sealed_files import read_sealed

Array = np.ndarray[Any, Any]
DRAWS, SEED = 1000, 20220710
CHUNK = 4_000_000  # resampled examples at a time


def terms(metric: str, predictions: Array, labels: Array) -> Array:
    """What a metric averages: (examples,) each -> (examples, K); ``from_means`` makes the metric of the K means."""
    if metric == "accuracy":
        return np.asarray(predictions == labels, dtype=float)[:, None]
    if metric == "f1":
        p, y = predictions == 1, labels == 1
        return np.stack([p & y, p, y], axis=1).astype(float)
    if metric == "macro_f1":
        kinds = np.union1d(predictions, labels)
        return np.concatenate([terms("f1", predictions == kind, labels == kind) for kind in kinds], axis=1)
    if metric == "spearman":
        from scipy.stats import rankdata  # only STS-B pays for this import

        predictions, labels = rankdata(predictions), rankdata(labels)
    if metric == "pearson_spearman":
        return np.concatenate([terms(m, predictions, labels) for m in ("pearson", "spearman")], axis=1)
    x, y = predictions.astype(float), labels.astype(float)
    x, y = (x - x.mean(), y - y.mean())  # no change of the correlation, less rounding
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def from_means(metric: str, means: Array) -> Array:
    """The metric of the means of its terms: (..., K) -> (...). Matthews is the correlation of two binary variables."""
    if metric == "accuracy":
        return np.asarray(means[..., 0])
    if metric == "f1":
        total = means[..., 1] + means[..., 2]
        return 2 * means[..., 0] / np.where(total > 0, total, 1.0)
    if metric == "macro_f1":
        return np.mean([from_means("f1", means[..., k : k + 3]) for k in range(0, means.shape[-1], 3)], axis=0)
    if metric == "pearson_spearman":
        return (from_means("pearson", means[..., :5]) + from_means("spearman", means[..., 5:])) / 2
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    scale = np.maximum(xx - x * x, 0.0) * np.maximum(yy - y * y, 0.0)
    return np.where(scale > 1e-18, (xy - x * y) / np.sqrt(np.maximum(scale, 1e-18)), 0.0)


def resample(metric: str, statistics: Array, generator: np.random.Generator, draws: int = DRAWS) -> Array:
    """Scores on resampled examples: (runs, examples, K) -> (draws, runs); all runs see the same examples."""
    runs, n, k = statistics.shape
    flat = statistics.transpose(1, 0, 2).reshape(n, runs * k)
    found = []
    chunk = max(1, CHUNK // n)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n) / n
        found.append(from_means(metric, (counts @ flat).reshape(rows, runs, k)))
    return np.concatenate(found)


def resampled_means(values: Array, generator: np.random.Generator, draws: int = DRAWS) -> Array:
    """Means over resampled runs: (runs,), or (draws, runs) one set of runs for each draw, -> (draws,)."""
    n = values.shape[-1]
    index = generator.integers(0, n, size=(draws, n))
    return np.take_along_axis(np.broadcast_to(values, (draws, n)), index, axis=1).mean(axis=1)


def percentiles(draws: Array, level: float = 0.95) -> list[float]:
    """The percentile interval."""
    return [float(q) for q in np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])]


def stream(*key: object) -> np.random.Generator:
    """A generator of its own for a key: the same on every machine, and independent of what else is drawn."""
    return np.random.default_rng([SEED, int(sha256_text(repr(key))[:12], 16)])


class Examples:
    """Scores on resampled examples of every cell whose predictions and labels are at hand, in percent."""

    def __init__(self, benchmark: ReportedBenchmark, runs: Runs, draws: int = DRAWS) -> None:
        self.benchmark, self.runs, self.layout, self.draws = benchmark, runs, Layout(runs.root), draws
        self._prepared: dict[Path, str | None] = {}
        self._columns: dict[tuple[str, str], dict[tuple[str, str], dict[int, Array]]] = {}

    @cached_property
    def _teachers(self) -> dict[str, str]:
        return {pair.name: pair.teacher for pair in self.benchmark.pairs}

    def scores(self, pair: str, method: str, block: str, column: str) -> dict[int, Array] | None:
        """seed -> (draws,) scores; None unless every run of the cell has its predictions and the labels are present.

        The same column is resampled alike for every method and pair: examples are paired.
        Raises UserError naming the file whose predictions are not what was written or do not give the record's score.
        """
        if (block, column) not in self._columns:
            self._columns[block, column] = self._column(block, column)
        return self._columns[block, column].get((pair, method))

    def _column(self, block: str, column: str) -> dict[tuple[str, str], dict[int, Array]]:
        """(pair, method) -> scores; resampled together, which costs hardly more than one cell."""
        by_shape: dict[tuple[int, ...], list[tuple[str, str, int, Array]]] = {}
        metric = ""
        for (pair, method, b, c), rows in self.runs.by_cell.items():
            if (b, c) != (block, column) or method == "teacher":
                continue
            metric = str(rows[0]["metric"])
            found = [(int(row["seed"]), self._terms(row)) for row in rows]
            if all(statistics is not None for _, statistics in found):
                for seed, statistics in found:
                    assert statistics is not None
                    by_shape.setdefault(statistics.shape, []).append((pair, method, seed, statistics))
        scores: dict[tuple[str, str], dict[int, Array]] = {}
        for (size, _), runs in by_shape.items():  # macro F1 has terms for each class that a run predicts
            generator = stream("examples", block, column, size)
            drawn = 100 * resample(metric, np.stack([statistics for *_, statistics in runs]), generator, self.draws)
            for (pair, method, seed, _), values in zip(runs, drawn.T, strict=True):
                scores.setdefault((pair, method), {})[seed] = values
        return scores

    def _terms(self, row: dict[Any, Any]) -> Array | None:
        """(examples, K) terms of one run's metric; None where its predictions or labels are not at hand."""
        pair, method, task, seed = row["pair"], row["method"], row["task"], int(row["seed"])
        split = row["column"] if row["block"] == "ood" else row["block"]
        record = self.runs.students.get((pair, method, task, seed))
        if record is None:
            return None  # a score without a record of ours
        path = self.layout.root / "runs" / pair / method / task / f"seed-{seed}.json"
        file = path.with_name(Path(str(record["predictions"].get("file"))).name or "-")
        logits = predictions(path, record).get(split) if file.is_file() else None
        labels = self._labels(self._teachers[pair], task, split, record)
        if logits is None or labels is None or len(logits) != len(labels):
            return None
        collapse = self.benchmark.file.out_of_domain_set(split).collapse if row["block"] == "ood" else ()
        statistics = terms(row["metric"], predicted(logits, collapse), labels)
        again = float(from_means(row["metric"], statistics.mean(axis=0)))
        if abs(again - row["score"]) > 1e-4:
            raise UserError(
                f"{file}: its {split} predictions score {again:.4f}, but the record says {row['score']:.4f}"
            )
        return statistics

    def _labels(self, teacher: str, task: str, split: str, record: dict[str, Any]) -> Array | None:
        """The labels that a run was scored on, if the prepared data are still those of the record."""
        path = self.layout.prepared(teacher, task)
        facts = path.with_suffix(".json")
        if facts not in self._prepared:
            self._prepared[facts] = read_sealed(facts).get("sha256") if facts.is_file() else None
        known = self._prepared[facts]
        if not known or known != record["fingerprints"].get("data") or not path.is_file():
            return None
        if sha256_once(path) != known:
            raise UserError(f"{path}: not what was written (checksum); delete it and its .json and run again")
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as tensors:  # the tokens beside them stay on disk
                name = f"{split}.labels"
                return np.asarray(tensors.get_tensor(name)) if name in tensors.keys() else None  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: cannot be read as safetensors ({error})") from None


def examples_of(benchmark: ReportedBenchmark, runs: Runs) -> Examples:
    """The scores on resampled examples of these runs, made once for all that asks for them."""
    if "examples" not in runs.made:
        runs.made["examples"] = Examples(benchmark, runs)
    examples = runs.made["examples"]
    assert isinstance(examples, Examples)
    return examples
