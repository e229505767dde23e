"""A benchmark of every kind of step, small enough to be run dozens of times, and its undisturbed results."""

import shutil
from pathlib import Path
from typing import NamedTuple

import faults
import pytest
import yaml

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark

SPEC = {
    "name": "trust",
    "title": "Trust",
    "seeds": [1, 2],
    "data": {
        "source": "miniglue",
        "seed": 3,
        "sizes": {"train": 64, "dev": 32, "test": 32, "ood": 24, "corpus_sentences": 800},
        "max_length": 32,
        "test": "labels",
        "tasks": ["sst2"],
        "out_of_domain": ["imdb"],
    },
    "models": {},
    "training": {
        "teacher": {"learning_rate": 1.0e-3, "batch_size": 16, "epochs": 3},
        "student": {"learning_rate": 1.0e-3, "batch_size": 16, "epochs": 3, "dropout": 0.1},
    },
    "search": {"seed": 5, "grid": {"weight_decay": [0.0, 0.1]}},
    "methods": {"no_kd": {}, "rail_kd_l": {"projection_dim": 8}},
    "pairs": {
        "pair": {
            "teacher": "bert4",
            "student": "distilbert2",
            "methods": ["no_kd", "rail_kd_l"],
            "tables": [2, 6, "figure2"],  # Tables 1 and 4 print times, which no two runs share
        }
    },
}
SIZE = {
    "width": 16,
    "heads": 2,
    "vocabulary": 300,
    "max_length": 64,
    "steps": 6,
    "batch_size": 8,
    "learning_rate": 1e-3,
}
SPEC["models"] = {
    "bert4": {"pretrain": {"family": "bert", "layers": 4, **SIZE}},
    "distilbert2": {"from": "bert4", "pretrain": {"family": "distilbert", "layers": 2, **SIZE}},
}


class Undisturbed(NamedTuple):
    """Results that nothing happened to; for reading only."""

    benchmark: Benchmark
    results: Path
    places: list[int]  # where each step can be killed
    floating: list[list[str]]  # what each step wrote and did not put on disk

    @property
    def layout(self) -> Layout:
        return Layout(self.results)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Every step of the benchmark, once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "trust.yaml"
    path.write_text(yaml.safe_dump(SPEC, sort_keys=False))
    benchmark, results = config.load(path), folder / "results"
    results.mkdir()
    places, floating = [], []
    for step in faults.workflow(benchmark, results):
        before = faults.looks(results)
        ending = faults.run(step, results)
        assert ending.status == 0, (step, ending.said)
        places.append(ending.places)
        floating.append(faults.unsynced(results, before, ending))
    shutil.rmtree(results / ".kept")  # as the workflow does after its last job
    return Undisturbed(benchmark, results, places, floating)


@pytest.fixture
def copy(undisturbed: Undisturbed, tmp_path: Path) -> Layout:
    """Those results, to be damaged."""
    shutil.copytree(undisturbed.results, tmp_path / "results")
    return Layout(tmp_path / "results")
