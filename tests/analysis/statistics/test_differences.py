"""The difference of two methods: its error of examples against the textbook's, and what keeps it out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import BERT, Folder, spec
from safetensors.numpy import load_file

from analysis import load
from analysis.reported_benchmark import read
from analysis.statistics.differences import Difference, between

SKILL = {"no_kd": 0.6, "vanilla_kd": 0.75, "pkd": 0.75}


@pytest.fixture()
def predicted(tmp_path: Path) -> Folder:
    """One pair on MNLI and RTE, with predictions."""
    content = spec()
    content["data"] |= {"tasks": ["mnli", "rte"], "out_of_domain": []}
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": list(SKILL), "tables": [2]}}
    return Folder(tmp_path, content).fill().predict(lambda method, split: SKILL[method])


def found(folder: Folder, first: str, second: str) -> Difference | None:
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    return between(benchmark, runs, BERT, "test", benchmark.pairs[0].tasks, first, second)


def right(folder: Folder, method: str, task: str, seed: int) -> np.ndarray:
    labels = load_file(folder.results / "prepared" / "bert12" / f"{task}.safetensors")["test.labels"]
    logits = load_file(folder.path(BERT, method, task, seed).with_suffix(".safetensors"))["test"]
    return np.asarray(logits.argmax(axis=1) == labels, dtype=float)


def test_the_error_of_examples_is_that_of_a_paired_mean(predicted: Folder) -> None:
    difference = found(predicted, "vanilla_kd", "no_kd")
    assert difference is not None and difference.estimate is not None and difference.of_examples
    each = [
        np.mean([right(predicted, "vanilla_kd", t, s) - right(predicted, "no_kd", t, s) for s in (1, 2, 3)], axis=0)
        for t in ("mnli", "rte")
    ]
    assert difference.value == pytest.approx(100 * np.mean([values.mean() for values in each]), abs=1e-6)
    textbook = 100 * np.sqrt(sum(values.var(ddof=1) / len(values) for values in each)) / 2
    assert difference.estimate.examples == pytest.approx(textbook, rel=0.12)  # of 1,000 draws
    low, high = difference.interval
    assert high - low > 2 * 1.96 * np.hypot(difference.estimate.examples, np.sqrt(difference.estimate.variance))


def test_a_method_less_itself_is_nothing_without_any_error(predicted: Folder) -> None:
    difference = found(predicted, "pkd", "pkd")
    assert difference is not None and (difference.value, *difference.interval) == (0.0, 0.0, 0.0)


def test_without_all_predictions_the_error_is_of_seeds_alone(predicted: Folder) -> None:
    both = found(predicted, "pkd", "no_kd")
    predicted.path(BERT, "pkd", "rte", 2).with_suffix(".safetensors").unlink()
    alone = found(predicted, "pkd", "no_kd")
    assert both is not None and alone is not None and both.of_examples and not alone.of_examples
    assert alone.value == both.value and alone.estimate is not None and alone.estimate.examples == 0.0


def test_a_seed_that_one_side_lacks_is_left_out_of_both(predicted: Folder) -> None:
    predicted.path(BERT, "pkd", "rte", 3).unlink()
    difference = found(predicted, "pkd", "no_kd")
    assert difference is not None and difference.estimate is not None and difference.estimate.n == 2
    for seed in (1, 2):
        predicted.path(BERT, "pkd", "rte", seed).unlink()
    assert found(predicted, "pkd", "no_kd") is None


def test_sets_that_the_same_students_fill_are_one_piece_of_evidence(tmp_path: Path) -> None:
    """QQP's students fill both sets of PAWS: the error is that of the two sets' mean in each seed."""
    content, sets = spec(), ["paws_wiki", "paws_qqp"]
    content["data"] |= {"tasks": ["qqp", "rte"], "out_of_domain": sets}
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": ["no_kd", "pkd"], "tables": [6]}}
    folder = Folder(tmp_path, content).fill()
    moved = iter(range(6))

    def second(record: dict[str, Any]) -> None:
        for key in ("scores", "baselines", "examples"):
            record[key]["paws_qqp"] = record[key]["paws_wiki"]
        record["scores"]["paws_qqp"] = {"accuracy": record["scores"]["paws_wiki"]["accuracy"] + 0.01 * next(moved) ** 2}

    for method in ("no_kd", "pkd"):
        for seed in (1, 2, 3):
            folder.edit(second, BERT, method, "qqp", seed)
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    difference = between(benchmark, runs, BERT, "ood", sets, "pkd", "no_kd")
    assert difference is not None and difference.estimate is not None
    scores = [[runs.percents(BERT, method, "ood", name) for method in ("pkd", "no_kd")] for name in sets]
    each = [np.mean([a[seed] - b[seed] for a, b in scores]) for seed in (1, 2, 3)]
    assert difference.value == pytest.approx(np.mean(each), abs=1e-6)
    assert float(difference.estimate.variance) == pytest.approx(np.var(each, ddof=1) / 3)
    assert float(difference.estimate.df) == pytest.approx(2)
