"""Compiled training: the losses of plain training, a graph for each padded length, none for a draw of layers."""

from typing import Any

import pytest
import torch
from test_loop import CPU, FAST

from railkd.benchmark.specification import Cell
from railkd.data.batches import epoch_batches
from railkd.errors import MethodError
from railkd.jobs import distillation
from railkd.jobs.model_sizes import setting_for
from railkd.methods import build, find
from railkd.models import compiled
from railkd.random_streams import stream
from railkd.records import run_record
from railkd.tasks import TASKS
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps

OPTIONS = {"rail_kd_c": {"mapping": "random_sorted_step"}}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that are captured; each is run as it is."""
    captured: list[Any] = []

    def run(graph: Any, examples: Any) -> Any:
        captured.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(compiled, "how", lambda device: {"backend": run})
    return captured


def steps(pipeline: Any, name: str, **settings: Any) -> Steps:
    data = pipeline.prepared("mrpc")
    torch.manual_seed(1)
    method = build(
        name, setting_for((4, 32), (2, 16), TASKS["mrpc"], data.splits["train"].labels), OPTIONS.get(name, {})
    )
    model = pipeline.student("distilbert2", dropout=0.0, whole=find(name).whole_last_layer)
    given = TrainingSettings.of({**FAST, "batch_size": 14, **settings}, 1, CPU)
    step = Steps(model, method, pipeline.source(method, "mrpc"), data, given)
    method.start_training(stream(1, "method"))
    return step


def losses(step: Steps, epochs: int = 3) -> list[torch.Tensor]:
    """(terms,) of every step."""
    found = []
    for epoch in range(epochs):
        step.method.start_epoch(epoch, stream(1, "method", epoch))
        torch.manual_seed(epoch)
        for rows in epoch_batches(step.split.lengths, step.settings.batch_size, stream(1, "order", epoch)):
            found.append(step(rows))
    return found


@pytest.mark.parametrize("name", ["rail_kd_c", "codir", "minilm_v2"])
def test_losses_are_those_of_plain_training_with_one_graph_for_each_length(
    pipeline: Any, graphs: list[Any], name: str
) -> None:
    plain, step = steps(pipeline, name), steps(pipeline, name, compile=True)
    expected, found = losses(plain), losses(step)
    assert len(expected) == 15 and len(plain.split) % 14  # the last batch of each epoch is smaller
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert plain.batches.lengths == [] and 2 <= len(graphs) <= len(step.batches.lengths) <= 8
    if name == "rail_kd_c":
        assert len([count for row in step.method.counts_MN for count in row if count]) >= 2  # another draw in each step


def test_a_draw_inside_the_graph_would_be_captured_anew(
    pipeline: Any, graphs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = steps(pipeline, "rail_kd_c", compile=True)
    outputs = compiled._outputs

    def drawn_inside(model: Any, hidden: bool, vectors: Any) -> Any:
        run = outputs(model, hidden, vectors)

        def and_draw(inputs: Any) -> Any:
            logits_BC, states, vectors = run(inputs)
            return logits_BC, states, {**vectors, "drawn": torch.tensor(list(step.method.layers))}

        return and_draw

    monkeypatch.setattr(compiled, "_outputs", drawn_inside)
    step.forward = step._forward()
    losses(step)
    assert len(graphs) > len(step.batches.lengths)


def test_a_run_says_that_it_was_compiled(pipeline: Any, tmp_path: Any, graphs: list[Any]) -> None:
    spec, layout = pipeline.benchmark.spec, pipeline.layout
    given = {**spec.get("training", {}), "student": {**spec.get("training", {}).get("student", {}), "compile": True}}
    benchmark = type(pipeline.benchmark)(pipeline.benchmark.path, {**spec, "training": given})
    cell = Cell("distilbert2", "rail_kd_l", "mrpc")
    for name in ("prepared", "teachers", "signals"):
        (tmp_path / name).symlink_to(layout.root / name)
    place = type(layout)(tmp_path)
    distillation.distil(benchmark, place, cell, [1, 2], CPU, lambda line: None)
    first, second = (run_record.read(place.run(cell, seed)) for seed in (1, 2))
    assert first["config"]["training"]["compile"] is True
    assert first["config"] == second["config"] == benchmark.run_config(*cell)
    assert "compile" not in pipeline.benchmark.run_config(*cell)["training"]
    assert 1 <= len(graphs) <= 8  # of both seeds together


@pytest.mark.parametrize("compiled_too", [False, True])
def test_what_the_optimizer_has_not_is_refused_in_the_first_step_of_a_stage(
    pipeline: Any, graphs: list[Any], monkeypatch: pytest.MonkeyPatch, compiled_too: bool
) -> None:
    """A module that no step would train is; a part of the student that is frozen, or left out on purpose, is not."""
    step = steps(pipeline, "vanilla_kd", compile=compiled_too)
    step.rows.weight.requires_grad_(False)
    head = step.model.classifier.weight
    for group in step.optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p is not head]
    step.clipped = [p for p in step.clipped if p is not head]
    losses(step, 1)
    extra = torch.nn.Linear(2, 5)
    terms = step.method.terms
    monkeypatch.setattr(
        step.method, "terms", lambda batch, student, teacher: {
            **terms(batch, student, teacher), "late": extra(student.logits_BC).square().mean()
        }
    )  # fmt: skip
    step.method.weights["late"] = 1.0
    with pytest.raises(MethodError, match=r"VanillaKD: a tensor of the shape \(5.* is no registered parameter"):
        losses(step, 1)
    assert step.done == step.per_epoch


def test_terms_that_change_within_an_epoch(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order is the same terms; others are one line at that step, not a stack of unequal sizes at its end."""
    step = steps(pipeline, "vanilla_kd")
    terms = step.method.terms
    calls: list[int] = []

    def turned(*given: Any) -> Any:
        calls.append(1)
        return dict(reversed(terms(*given).items())) if len(calls) % 2 else terms(*given)

    monkeypatch.setattr(step.method, "terms", turned)
    found = losses(step, 1)
    monkeypatch.undo()
    for one, other in zip(found, losses(steps(pipeline, "vanilla_kd"), 1), strict=True):
        assert step.names == ["total", "kd", "ce"] and one.tolist() == other[[0, 2, 1]].tolist()
    step = steps(pipeline, "vanilla_kd")
    step.method.weights["kd"] = 0.0
    monkeypatch.setattr(
        step.method, "terms", lambda *given: {"ce": terms(*given)["ce"]} if step.done else terms(*given)
    )
    with pytest.raises(MethodError, match="returned ce after ce, kd in the same epoch; expected the same terms in ev"):
        losses(step, 1)
