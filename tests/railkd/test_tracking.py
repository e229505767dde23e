"""Curves of runs: what a tracker is told while a run trains and afterwards, and that it decides nothing."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from railkd import errors, tracking
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.cli import main
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning, preparing
from railkd.jobs_to_run import JobsToRun
from railkd.records import run_record
from railkd.tracking import TrackedRun, tracked

CPU = torch.device("cpu")
STUBS = Path(__file__).with_name("tracker_stubs")
SMALL = {"data.tasks": ["mrpc"], "seeds": [1], "pairs.p.methods": ["pkd"], "methods": {"pkd": {}}}


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The packages of the trackers, as stubs; returns wandb's runs."""
    monkeypatch.syspath_prepend(STUBS)
    for name in ("wandb", "tensorboardX"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    import wandb

    wandb.RUNS.clear()
    return wandb.RUNS


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        name, value, step = json.loads(line)
        found.setdefault(name, []).append((step, value))
    return found


def trained(benchmark: Any, layout: Layout) -> list[Path]:
    """The teacher's record and the student's, trained."""
    preparing.prepare(benchmark, layout, "bert4", "mrpc")
    fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lambda line: None)
    distillation.distil(benchmark, layout, Cell("p", "pkd", "mrpc"), [1], CPU, lambda line: None)
    return [layout.teacher("bert4", "mrpc") / "record.json", layout.run(Cell("p", "pkd", "mrpc"), 1)]


def test_a_run_in_tensorboard_then_from_its_record(stubs: Any, make_benchmark: Any, tmp_path: Path) -> None:
    """The curves of a run and those of its record are the same; another tracker reruns nothing."""
    benchmark = make_benchmark({**SMALL, "tracker": "tensorboard", "tracker_steps": True})
    layout = Layout(tmp_path / "results")
    records = trained(benchmark, layout)
    for path in records:
        record, curves = run_record.read(path), events(layout.curves(path))
        assert curves["dev/f1"][-1][1] == record["epochs"][-1]["dev"]["f1"]
        assert [value for _, value in curves["train/total"]] == [e["loss"]["total"] for e in record["epochs"]]
        steps = [value for _, value in curves["step/total"]]
        assert len(steps) == record["cost"]["steps"] == curves["train/total"][-1][0]
        mean = sum(steps[-len(steps) // len(record["epochs"]) :]) / (len(steps) // len(record["epochs"]))
        assert mean == pytest.approx(record["epochs"][-1]["loss"]["total"], rel=1e-5)
        assert len({rate for _, rate in curves["step/learning_rate"]}) > 2
    assert main(["track", str(layout.root), "--to", "tensorboard", "--out", str(tmp_path / "out")]) in (0, None)
    for path in records:
        again = events(tmp_path / "out" / path.relative_to(layout.root).with_suffix(""))
        live = {k: v for k, v in events(layout.curves(path)).items() if not k.startswith("step/")}
        assert again == live
    student = str(records[1])
    for changes, made_again in (
        ({"tracker": "none", "tracker_steps": False}, False),
        ({"tracker": "wandb"}, False),
        ({"training": {"student": {"learning_rate": 1e-3}}}, True),
    ):
        other = replace(benchmark, spec={**benchmark.spec, **changes})
        assert (student in JobsToRun(other, layout).outdated) == made_again


def test_wandb_knows_a_run_by_what_it_is(stubs: Any, make_benchmark: Any, tmp_path: Path) -> None:
    benchmark = make_benchmark({**SMALL, "tracker": "wandb"})
    layout = Layout(tmp_path / "results")
    path = trained(benchmark, layout)[1]
    teacher, student = stubs
    assert student.settings["project"] == "tiny" and student.settings["name"] == "p pkd mrpc seed 1"
    assert teacher.settings["name"].startswith("teacher bert4 mrpc") and teacher.finished and student.finished
    assert student.settings["config"] == run_record.read(path)["config"] and student.settings["resume"] is None
    assert student.settings["id"] != teacher.settings["id"] and Path(student.settings["dir"]) == layout.curves(path)
    assert {"train/total", "dev/f1", "learning_rate", "epoch"} <= set(student.logged[-1][1])
    assert not any(name.startswith("step/") for name in student.logged[-1][1])


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_without_the_package_there_is_one_line_before_compute(
    make_benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("wandb", "tensorboardX") else find(name, *a)
    )
    benchmark = make_benchmark({**SMALL, "tracker": kind})
    with pytest.raises(
        UserError, match=rf"tiny.yaml: tracker: {kind} needs the package .* pip install 'railkd\[{kind}\]'"
    ):
        check(benchmark, Layout(tmp_path / "results"))
    with pytest.raises(UserError, match=f"--to: {kind} needs the package"):
        tracking.require(kind, "--to")


def test_a_resumed_run_continues_and_a_new_one_begins_anew(stubs: Any, tmp_path: Path) -> None:
    def run(first: dict[str, float]) -> None:
        with tracked(TrackedRun("b", "run", "id", {}).to("tensorboard", tmp_path / "run")) as told:
            told.epoch(first, 3)
            told.epoch({"loss": 2.0}, 6)

    run({"loss": 1.0})
    run({"resumed_after_epoch": 1})
    assert events(tmp_path / "run")["loss"] == [(3, 1.0), (6, 2.0), (6, 2.0)]
    run({"loss": 0.5})
    assert events(tmp_path / "run")["loss"] == [(3, 0.5), (6, 2.0)]


def test_a_tracker_that_fails_ends_itself_alone(stubs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors.warn.cache_clear()
    with tracked(TrackedRun("b", "run 1", "id", {}).to("wandb", tmp_path)) as run:
        run.epoch({"loss": 1.0}, 6)
        run.epoch({"loss": 1.0}, 3)
        run.epoch({"loss": 1.0}, 9)
    assert [step for step, _ in stubs[0].logged] == [6]
    line = "railkd: warning: run 1: no curves any more, training goes on (ValueError: steps must not fall)\n"
    assert capsys.readouterr().err == line


def test_event_files_of_the_real_package(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs the package tensorboardX, railkd's extra tensorboard")
    with tracked(TrackedRun("b", "run", "id", {}).to("tensorboard", tmp_path / "run")) as run:
        run.epoch({"train/total": 1.0}, 6)
    (file,) = (tmp_path / "run").iterdir()
    assert b"train/total" in file.read_bytes()
