"""A run that was killed goes on at its last epoch and ends with the bytes of one that was not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import CPU, FAST, METHODS, WIDTH, states_equal

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.jobs import distillation
from railkd.jobs.model_sizes import setting_for
from railkd.jobs.recording import epoch_lines
from railkd.methods import build, find
from railkd.tasks import TASKS
from railkd.training.loop import train
from railkd.training.run_state import State
from railkd.training.settings import TrainingSettings

IDENTITY = {"method": "x", "seed": 1, "config": {"learning_rate": 3e-3}}


class Killed(Exception):
    pass


def run(pipeline: Any, method: str, path: Path, kill_after: int | None = None, **options: Any) -> tuple[Any, ...]:
    """Trains 4 epochs, or until killed; returns model, method, outcome and what was logged."""
    data = pipeline.prepared("mrpc")
    model = pipeline.student("distilbert2", 1, 2, whole=find(method).whole_last_layer)
    setting = setting_for((4, 32), (2, WIDTH["distilbert2"]), TASKS["mrpc"], data.splits["train"].labels)
    torch.manual_seed(1)
    objective = build(method, setting, {**pipeline.benchmark.options(method), **options})
    source = pipeline.source(objective, "mrpc")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if kill_after is not None and line.startswith(f"epoch {kill_after + 1}/"):  # in the next epoch's evaluation
            raise Killed

    settings = TrainingSettings.of({**FAST, "epochs": 4, "dropout": 0.1}, 1, CPU)
    state, log = State(path, IDENTITY, every=0.0), epoch_lines(say, 4, "f1")
    try:
        outcome = train(model, objective, source, data, settings, log, state)
    except Killed:
        return ()
    return model, objective, outcome, lines


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_with_the_same_bytes(pipeline: Any, tmp_path: Path, method: str) -> None:
    model, objective, outcome, _ = run(pipeline, method, tmp_path / "undisturbed")
    assert not run(pipeline, method, tmp_path / "s", kill_after=2)
    again, other, resumed, lines = run(pipeline, method, tmp_path / "s")
    assert lines[0] == "resumed after epoch 2" and len(lines) == 3 and resumed.cost["resumed"] == 1
    assert states_equal(model, again) and states_equal(objective, other)
    assert objective.record() == other.record()
    for key in ("epoch", "dev", "loss", "learning_rate"):
        assert [e[key] for e in outcome.epochs] == [e[key] for e in resumed.epochs]
    assert outcome.best_epoch == resumed.best_epoch and (outcome.dev_logits == resumed.dev_logits).all()
    assert outcome.cost["steps"] == resumed.cost["steps"]


@pytest.mark.parametrize("mapping", ["random_once", "random_sorted_step"])
def test_layer_draws_go_on(pipeline: Any, tmp_path: Path, mapping: str) -> None:
    _, objective, _, _ = run(pipeline, "rail_kd_l", tmp_path / "undisturbed", mapping=mapping)
    assert not run(pipeline, "rail_kd_l", tmp_path / "s", kill_after=1, mapping=mapping)
    _, other, resumed, _ = run(pipeline, "rail_kd_l", tmp_path / "s", mapping=mapping)
    assert resumed.cost["resumed"] == 1 and objective.record() == other.record()


@pytest.mark.parametrize("damage", ["flip", "truncate", "gone", "facts", "other run"])
def test_a_state_that_is_not_to_be_trusted_is_not_read(pipeline: Any, tmp_path: Path, damage: str) -> None:
    assert not run(pipeline, "no_kd", tmp_path / "s", kill_after=2)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif damage == "truncate":
        file.write_bytes(bytes(content[: len(content) // 2]))
    elif damage == "gone":
        file.unlink()
    elif damage == "facts":
        (tmp_path / "s.json").write_text('{"identity"')
    identity = {**IDENTITY, "seed": 2} if damage == "other run" else IDENTITY
    assert State(tmp_path / "s", identity).load() is None


def test_a_state_is_written_when_due_and_cleared(tmp_path: Path) -> None:
    state = State(tmp_path / "s", IDENTITY, every=1e6)
    assert not state.due and State(tmp_path / "s", IDENTITY, every=0.0).due
    for epoch in (1, 2):
        state.save(epoch, {"step": epoch}, {"a": torch.arange(3)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s-2.safetensors", "s.json"]  # one at a time
    found = State(tmp_path / "s", IDENTITY).load()
    assert found is not None and found[0] == {"step": 2} and torch.equal(found[1]["a"], torch.arange(3))
    state.clear()
    assert not list(tmp_path.iterdir())


def test_a_killed_job_resumes_inside_a_seed(pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(pipeline.layout.root, tmp_path / "results")  # other tests read the pipeline's own
    benchmark, layout = pipeline.benchmark, Layout(tmp_path / "results")
    cell, lines = Cell("distilbert2", "rail_kd_l", "mrpc"), []
    monkeypatch.setattr(State.__init__, "__defaults__", (0.0,))

    def kill(line: str) -> None:
        if "epoch 2/2" in line:
            raise Killed

    with pytest.raises(Killed):
        distillation.distil(benchmark, layout, cell, [1], CPU, kill)
    place = layout.kept(layout.run(cell, 1))
    assert list(place.parent.glob("seed-1.state*")) and not layout.run(cell, 1).exists()
    distillation.distil(benchmark, layout, cell, [1], CPU, lines.append)
    assert any("resumed after epoch 1" in line for line in lines)
    assert layout.run(cell, 1).is_file() and not list(place.parent.glob("*state*"))
