"""``railkd plan``: counts that can be checked by hand, and no hub."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import BertConfig

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.data.preparation import load
from railkd.planning import plan
from railkd.planning.untrained_models import PUBLISHED, configuration, made_up

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def test_runs_hours_and_disk(pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SECONDS", 0.5)
    lines: list[str] = []
    found = plan.plan(pipeline.benchmark, pipeline.layout, CPU, lines.append)
    assert found["runs"] == 2 * 2 * (13 + 12) and found["teachers"] == 2 and found["points"] == 0  # CoDIR: no STS-B
    sizes = [len(load(pipeline.layout.prepared("bert4", task)).splits["train"]) for task in ("mrpc", "stsb")]
    on_disk = sum(
        f.stat().st_size
        for task in ("mrpc", "stsb")
        for f in pipeline.layout.signals("bert4", task).glob("*.npy")
        if not f.name.startswith("probe")
    )
    headers = 128 * sum(
        1 for t in ("mrpc", "stsb") for f in pipeline.layout.signals("bert4", t).glob("*.npy") if "probe" not in f.name
    )
    assert found["disk"]["signals"] == on_disk - headers
    assert min(found["hours"][part] for part in ("students", "teachers", "signals")) > 0
    assert lines[0] == f"training examples: MRPC {sizes[0]}, STS-B {sizes[1]}"
    (said,) = [line for line in lines if line.startswith("measured with ")]
    assert re.match(rf"measured with 1 threads on {os.cpu_count()} cores, load average \d+\.\d in the minute", said)
    fresh = Layout(tmp_path)  # nothing prepared: the mirror's files say how many there are
    counted = [plan.examples(pipeline.benchmark, fresh, task) for task in ("mrpc", "stsb")]
    assert counted == pytest.approx(sizes, abs=2)  # what is held out is rounded in each class


@pytest.mark.parametrize(("example", "streamed"), [(360, "none"), (359, "bert4 mrpc (")])
def test_a_plan_says_which_data_a_gpu_holds(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, example: int, streamed: str
) -> None:
    sizes, lines = {"mrpc": 1000, "stsb": 10}, []  # 3 layers of 32 float16, 2 logits and 40 tokens of 4 bytes
    monkeypatch.setattr(plan, "data_budget", lambda device, share: 1000 * example if share == 0.5 else 0)
    configs = {"bert4": BertConfig(num_hidden_layers=4, hidden_size=32)}
    plan._log_places(pipeline.benchmark, configs, sizes, CPU, lines.append)
    assert len(lines) == 1 and f"(device_memory: 0.5); copied batch by batch: {streamed}" in lines[0]
    assert "stsb" not in lines[0]
    monkeypatch.setattr(plan, "data_budget", lambda device, share: None)
    plan._log_places(pipeline.benchmark, configs, sizes, CPU, lines.append)
    assert len(lines) == 1  # a CPU reads data where it is


@pytest.mark.parametrize(("load", "busy"), [(0.3, False), (7.5, True)])
def test_a_busy_machine_is_named(load: float, busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 1.0, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    said = plan.machine_load()
    assert said.startswith(f"measured with {torch.get_num_threads()} threads on 4 cores, load average {load}")
    assert said.endswith("without them the hours are fewer") == busy


def test_hours_are_those_of_the_measured_steps(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps of .5 s and forward passes of .25 s an example, whatever this machine measures: two epochs each."""
    costs = {name: {"step": 0.5, "forward": 0.25, "bytes": 4.0} for name in ("bert4", "bert2", "distilbert2")}
    monkeypatch.setattr(plan, "calibrate", lambda *_: costs)
    lines: list[str] = []
    found = plan.plan(pipeline.benchmark, pipeline.layout, CPU, lines.append)
    hours = found["hours"]
    assert not any("compile" in line for line in lines)
    spec = {**pipeline.benchmark.spec, "training": {"student": {"compile": True}}}
    plan.plan(type(pipeline.benchmark)(pipeline.benchmark.path, spec), pipeline.layout, CPU, lines.append)
    assert [line for line in lines if "compile" in line][0].startswith(
        "compile: true: the steps above are timed without"
    )
    mrpc, stsb = (plan.examples(pipeline.benchmark, pipeline.layout, task) for task in ("mrpc", "stsb"))
    assert 3600 * hours["signals"] == pytest.approx((mrpc + stsb) * 0.25)
    assert 3600 * hours["teachers"] == pytest.approx((mrpc + stsb) * 2 * 0.5)
    every = mrpc * (13 * 0.5 + 5 * 0.25) + stsb * (12 * 0.5 + 5 * 0.25)  # five run the teacher live; CoDIR: no STS-B
    assert 3600 * hours["students"] == pytest.approx(2 * 2 * 2 * every)  # pairs, seeds, epochs
    most, task = max((mrpc, "mrpc"), (stsb, "stsb"))
    assert found["longest"]["teacher"] == (pytest.approx(most * 2 * 0.5), f"bert4 on {task}")
    seconds, said = found["longest"]["students"]
    assert seconds == pytest.approx(2 * 2 * most * 0.75) and said.endswith(f" on {task}, 2 seeds")  # live teacher
    line, _ = [line for line in lines if line.startswith("longest job, its steps alone: teacher bert4 on ")]
    assert line.endswith(f"{said}: {seconds / 60:.2g} minutes")


def test_pre_training_on_the_way_to_a_pair_takes_hours_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight layers from two in 10 steps of 4 rows, 40 % of them shallow; a student of it in 5 steps; layers of that."""
    shape = {"family": "bert", "width": 32, "heads": 2, "vocabulary": 500, "max_length": 64, "learning_rate": 0.01}
    grown = {**shape, "layers": 8, "first_layers": 2, "first_share": 0.4, "steps": 10, "batch_size": 4}
    student = {**shape, "layers": 4, "steps": 5, "batch_size": 2}
    spec = yaml.safe_load((ROOT / "benchmarks" / "quick.yaml").read_text())
    teacher = next(iter(spec["pairs"].values()))["teacher"]
    spec["models"] = {
        teacher: spec["models"][teacher],
        "grown8": {"pretrain": grown},
        "student4": {"from": "grown8", "pretrain": student},
        "first2": {"layers_of": "student4", "layers": 2, "keep": "first"},
        "unused": {"pretrain": grown},
    }
    next(iter(spec["pairs"].values()))["student"] = "first2"
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(spec))
    timed: list[str] = []

    def costs(_benchmark: Any, _layout: Any, configs: dict[str, Any], *_: Any) -> dict[str, dict[str, float]]:
        timed.extend(configs)
        return {name: {"step": 2.0, "forward": 0.5, "bytes": 4.0} for name in configs}

    monkeypatch.setattr(plan, "calibrate", costs)
    benchmark = config.load(tmp_path / "b.yaml")
    hours = plan.plan(benchmark, Layout(tmp_path / "results"), CPU, lambda _: None)["hours"]
    assert sorted(timed) == sorted([teacher, "first2", "student4", "grown8"])
    own = spec["models"][teacher]["pretrain"]
    shallow = own.get("first_share", 0.6) * (1 - own.get("first_layers", own["layers"]) / own["layers"])
    first = own["steps"] * own["batch_size"] * 2.0 * (1 - shallow)
    assert 3600 * hours["pre-training"] == pytest.approx(first + 40 * 2.0 * (1 - 0.4 * 0.75) + 10 * (2.0 + 0.5))


@pytest.mark.parametrize(("save", "students"), [(None, 1), ("best", 1), ("all", 2), ("none", 0)])
def test_the_disk_of_students_follows_what_is_kept(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, save: str | None, students: int
) -> None:
    """Of 25 cells for each of two pairs, with 4 bytes of weights for each student; and how much is free."""
    costs = {name: {"step": 0.5, "forward": 0.25, "bytes": 4.0} for name in ("bert4", "bert2", "distilbert2")}
    monkeypatch.setattr(plan, "calibrate", lambda *_: costs)
    spec = {**pipeline.benchmark.spec, **({"save_students": save} if save else {})}
    benchmark, lines = type(pipeline.benchmark)(pipeline.benchmark.path, spec), list[str]()
    found = plan.plan(benchmark, Layout(pipeline.layout.root / "not" / "there"), CPU, lines.append)
    assert found["disk"]["students"] == 2 * 25 * 4 * students
    assert f"GiB of students (save_students: {save or 'best'}); " in lines[-1] and lines[-1].endswith("GiB are free")


def test_a_teacher_fine_tuned_elsewhere_takes_no_hours(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {name: {"step": 0.5, "forward": 0.25, "bytes": 4.0} for name in ("bert4", "bert2", "distilbert2")}
    monkeypatch.setattr(plan, "calibrate", lambda *_: costs)
    models = {**pipeline.benchmark.models, "bert4": {**pipeline.benchmark.models["bert4"], "fine_tuned": True}}
    benchmark = type(pipeline.benchmark)(pipeline.benchmark.path, {**pipeline.benchmark.spec, "models": models})
    hours = plan.plan(benchmark, pipeline.layout, CPU, lambda line: None)["hours"]
    assert hours["teachers"] == 0 and hours["signals"] > 0


def test_the_papers_shapes_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = config.load(ROOT / "benchmarks" / "paper.yaml")
    lines: list[str] = []
    shapes = {}
    for name in benchmark.models:
        found = configuration(benchmark, Layout("nowhere"), name, lines.append)
        shapes[name] = (found.num_hidden_layers, found.hidden_size, found.vocab_size)
    assert shapes == {
        "bert12": (12, 768, 30522),
        "roberta12": (12, 768, 50265),
        "roberta24": (24, 1024, 50265),
        "distilbert6": (6, 768, 30522),
        "distilroberta6": (6, 768, 50265),
    }
    assert len(lines) == 5 and all("the hub was not asked" in line for line in lines)
    assert {m["hub"] for m in config.load(ROOT / "benchmarks" / "small.yaml").models.values()} <= PUBLISHED.keys()


def test_made_up_text_has_the_asked_lengths() -> None:
    data = made_up(4000, 40, 128, 30522, 0)
    lengths = data.splits["train"].lengths.float()
    assert 38 < lengths.mean() < 41 and lengths.max() <= 128 and lengths.min() >= 6
    assert torch.equal(made_up(4000, 40, 128, 30522, 0).splits["train"].tokens, data.splits["train"].tokens)
    assert data.splits["train"].tokens.max() < 30522 and data.splits["train"].tokens.min() >= 5


def test_students_have_the_epochs_that_a_search_may_choose(
    make_benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {"seed": 0, "grid": {"epochs": [10, 4], "learning_rate": [1e-4, 2e-4]}, "tasks": ["mrpc"]}
    benchmark = make_benchmark({"search": search, "pairs.p.methods": ["no_kd"]})
    cost = {name: {"step": 1.0, "forward": 0.0, "bytes": 1.0} for name in benchmark.models}
    monkeypatch.setattr(plan, "configuration", lambda *_: BertConfig(num_hidden_layers=4, hidden_size=32))
    monkeypatch.setattr(plan, "calibrate", lambda *_: cost)
    monkeypatch.setattr(plan, "poolings_needed", lambda *_: [])
    monkeypatch.setattr(plan, "examples", lambda *_: 36)
    found = plan.plan(benchmark, Layout("results"), CPU, lambda _: None)
    runs = len(benchmark.seeds) * len(benchmark.tasks)
    assert found["hours"]["students"] == pytest.approx(runs * 36 * 10 / 3600)
    assert found["hours"]["search"] == pytest.approx(2 * 36 * (10 + 4) / 3600)
    assert found["longest"]["search"] == (360.0, "no_kd on mrpc, a point")
