"""Live signals of real models: attention vectors, mixed inputs, and whole runs of the methods that read them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning, model_sizes
from railkd.jobs.model_sizes import setting_for
from railkd.jobs.teacher_signals import TeacherSignals
from railkd.method_facts import facts
from railkd.method_sources import available
from railkd.methods import build
from railkd.methods.tinybert import scores
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.models.forward import forward
from railkd.records import run_record
from railkd.signals import Batch
from railkd.tasks import TASKS
from railkd.teacher.cache import SignalStore
from railkd.teacher.live import LiveTeacher
from railkd.training import loop
from railkd.training.settings import TrainingSettings

CPU = torch.device("cpu")
LIVE = [name for name in available() if facts(name).needs_live_teacher]


def model_of(checkpoints: Path, name: str, whole: bool = True) -> Any:
    return load_classifier(Checkpoint(str(checkpoints / name)), 2, 1, name, whole_last_layer=whole).eval()


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    return {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}


@pytest.mark.parametrize(("name", "depth"), [("bert4", 4), ("distilbert2", 2), ("roberta3", 3)])
def test_softmax_of_the_scores_is_the_models_attention(checkpoints: Path, name: str, depth: int) -> None:
    model = model_of(checkpoints, name)
    model.set_attn_implementation("eager")
    given = inputs()
    with torch.no_grad():
        said = forward(model, given, attention=range(1, depth + 1))
        truth = model(**given, output_attentions=True)
    assert torch.equal(said.logits_BC, truth.logits)
    for layer in range(1, depth + 1):
        raw_BHTT = scores(said, layer, heads=2)
        masked = raw_BHTT.masked_fill(~given["attention_mask"].bool()[:, None, None], -torch.inf)
        torch.testing.assert_close(masked.softmax(-1), truth.attentions[layer - 1], atol=1e-5, rtol=1e-4)
    for path, module in model.named_modules():  # transformers leaves hooks of its own on the layers
        assert not (isinstance(module, torch.nn.Linear) and module._forward_hooks), path
    with pytest.raises(RuntimeError, match="query vectors of layer 1 were not kept"):
        forward(model, given).vectors("query", 1)


@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_mixing_a_model(checkpoints: Path, name: str) -> None:
    model, given = model_of(checkpoints, name), inputs()
    partner = torch.tensor([2, 0, 1])
    with torch.no_grad():
        plain = forward(model, given)
        same, itself, other = plain.mixed(partner, 1.0), plain.mixed(torch.arange(3), 0.3), plain.mixed(partner, 0.0)
        mixed = plain.mixed(partner, 0.6)
    for found in (same, itself):
        torch.testing.assert_close(found.logits_BC, plain.logits_BC, atol=1e-5, rtol=1e-4)
        for layer, states in enumerate(plain.hidden):
            real = given["attention_mask"].bool()
            torch.testing.assert_close(found.tokens(layer)[real], states[real], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.logits_BC, plain.logits_BC[partner], atol=1e-5, rtol=1e-4)
    assert (mixed.logits_BC - plain.logits_BC).abs().max() > 1e-3
    union = given["attention_mask"] | given["attention_mask"][partner]
    assert torch.equal(mixed.mask_BT, union)
    e = model.get_input_embeddings()(given["input_ids"])
    with torch.no_grad():
        truth = model(inputs_embeds=0.6 * e + 0.4 * e[partner], attention_mask=union).logits
    torch.testing.assert_close(mixed.logits_BC, truth)
    model.train()
    forward(model, given).mixed(partner, 0.6).logits_BC.sum().backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_the_narrow_last_layer_has_no_tokens(checkpoints: Path) -> None:
    with torch.no_grad():
        narrow = forward(model_of(checkpoints, "bert4", whole=False), inputs())
    assert narrow.tokens(3).shape == (3, 9, 32)
    with pytest.raises(RuntimeError, match="declare whole_last_layer = True"):
        narrow.tokens(4)


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_the_narrow_last_layer_has_no_vectors(checkpoints: Path, part: Any) -> None:
    with torch.no_grad():
        narrow = forward(model_of(checkpoints, "bert4", whole=False), inputs(), attention=[3, 4])
    assert narrow.vectors(part, 3).shape == (3, 9, 32)
    with pytest.raises(RuntimeError, match=f"{part} vectors of layer 4 were not kept.*whole_last_layer = True"):
        narrow.vectors(part, 4)


def test_vectors_of_an_unknown_layer_are_refused_in_one_line(checkpoints: Path) -> None:
    model = model_of(checkpoints, "bert4")
    for layer in model.bert.encoder.layer:
        layer.attention.self.query_key_value = layer.attention.self.query
        del layer.attention.self.query
    with pytest.raises(
        UserError, match=r"^BertLayer: its queries, keys and values cannot be read, expected an encoder"
    ):
        forward(model, inputs(), attention=[1])


def test_a_cache_says_what_it_lacks(pipeline: Any) -> None:
    data = pipeline.prepared("mrpc")
    rows = torch.arange(4)
    split = data.splits["train"]
    batch = Batch(rows, split.labels[rows], split.collate(rows, 0, True))
    cached = SignalStore(pipeline.layout.signals("bert4", "mrpc"), CPU).signals(batch)
    for read in (
        lambda: cached.mask_BT,
        lambda: cached.tokens(1),
        lambda: cached.vectors("key", 1),
        lambda: cached.mixed(rows, 0.5),
    ):
        with pytest.raises(RuntimeError, match="the method must declare needs_live_teacher = True"):
            read()


def test_the_live_teacher_is_run_when_it_is_read(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type ids and its own embeddings are mixed, without gradient, in eval mode."""
    data, model = pipeline.prepared("mrpc"), pipeline.teacher("mrpc")
    live = LiveTeacher(model, data, CPU, "float32")
    calls = []
    run = LiveTeacher.run
    monkeypatch.setattr(LiveTeacher, "run", lambda self, given: calls.append(sorted(given)) or run(self, given))
    rows, split = torch.arange(6), data.splits["train"]
    batch = Batch(rows, split.labels[rows], split.collate(rows, 0, type_ids=False))  # as for a DistilBERT student
    signals = live.signals(batch)
    assert not calls and torch.equal(signals.mask_BT, batch.inputs["attention_mask"])
    mixed = signals.mixed(rows.flip(0), 0.5)
    assert not calls
    assert not mixed.logits_BC.requires_grad and mixed.logits_BC is mixed.logits_BC
    assert calls == [["attention_mask", "inputs_embeds", "token_type_ids"]]
    signals.logits_BC, signals.tokens(1), signals.pooled("mean", [1])
    assert len(calls) == 2 and not model.training


def test_a_quick_teacher_gives_the_numbers_of_autocast(pipeline: Any) -> None:
    """In bfloat16, where its weights are cast once; and a job's teacher is a quick one."""
    data, rows = pipeline.prepared("mrpc"), torch.arange(6)
    batch = Batch(rows, data.splits["train"].labels[rows], data.splits["train"].collate(rows, 0, True))
    live = LiveTeacher(pipeline.teacher("mrpc"), data, CPU, "bfloat16")
    plain = live.signals(batch)
    expected = [plain.logits_BC, *(plain.tokens(layer) for layer in range(4)), plain.mixed(rows.flip(0), 0.3).logits_BC]
    undo = live.quicken()
    assert live.model.classifier.weight.dtype == torch.bfloat16
    quick = live.signals(batch)
    found = [quick.logits_BC, *(quick.tokens(layer) for layer in range(4)), quick.mixed(rows.flip(0), 0.3).logits_BC]
    assert all(map(torch.equal, found, expected))
    undo()
    assert live.model.classifier.weight.dtype == torch.float32
    signals = TeacherSignals(pipeline.benchmark, pipeline.layout, "bert4", data, CPU, print)
    source = signals.source(build("pkd", setting_for((4, 32), (2, 16), TASKS["mrpc"]), {}), "live", "bfloat16")
    assert source.model.classifier.weight.dtype == torch.bfloat16


def distilled(pipeline: Any, folder: Path, cell: Cell, seeds: list[int]) -> list[Any]:
    """Records of runs whose results lie beside the pipeline's, which must stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("prepared", "teachers", "signals"):
        if not (folder / name).exists():
            (folder / name).symlink_to(pipeline.layout.root / name)
    layout = Layout(folder)
    distillation.distil(pipeline.benchmark, layout, cell, seeds, CPU, lambda line: None)
    return [run_record.read(layout.run(cell, seed)) for seed in seeds]


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
@pytest.mark.parametrize("method", LIVE)
def test_runs(pipeline: Any, tmp_path: Path, method: str, task: str) -> None:
    """Of a narrower student without type ids and of one as wide as its teacher; a seed decides every bit."""
    for student in ("distilbert2", "bert2"):
        cell = Cell(student, method, task)
        (record,) = distilled(pipeline, tmp_path / "a", cell, [1])
        assert record["cost"]["regime"] == "live" and record["config"]["training"]["regime"] == "cached"
        for epoch in record["epochs"]:
            assert all(math.isfinite(value) for value in epoch["loss"].values())
        if method in ("cr_ild", "tinybert"):
            assert record["method_record"]["stage"] == [1, 2] and record["best_epoch"] == 2
            assert set(record["epochs"][0]["loss"]) & set(record["epochs"][1]["loss"]) == {"total"}
    again, other = distilled(pipeline, tmp_path / "b", cell, [1, 2])
    assert [e["loss"] for e in again["epochs"]] == [e["loss"] for e in record["epochs"]]
    assert [e["loss"] for e in other["epochs"]] != [e["loss"] for e in record["epochs"]]
    first, same = (load_file(tmp_path / x / "runs" / student / method / task / "seed-1.safetensors") for x in "ab")
    assert all(np.array_equal(first[key], same[key]) for key in first)


def test_live_methods_write_no_cache_of_pooled_vectors(pipeline: Any) -> None:
    only = {"pairs": {"p": {**pipeline.benchmark.pairs["bert2"], "methods": LIVE}}}
    benchmark = type(pipeline.benchmark)(pipeline.benchmark.path, {**pipeline.benchmark.spec, **only})
    assert model_sizes.poolings_needed(benchmark, pipeline.layout, "bert4", "mrpc") == []
    assert model_sizes.poolings_needed(pipeline.benchmark, pipeline.layout, "bert4", "mrpc") == ["cls", "mean"]


def test_a_first_stage_is_neither_chosen_nor_a_reason_to_stop(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.9, 0.8, 0.7, 0.4, 0.5, 0.3, 0.2, 0.1])
    monkeypatch.setattr(loop, "scores_of", lambda *_: {"f1": next(answers)})
    data = pipeline.prepared("mrpc")
    model = load_classifier(Checkpoint(str(pipeline.checkpoints / "bert2")), 2, 1, "m", whole_last_layer=True)
    method = build("tinybert", setting_for((4, 32, 2), (2, 32, 2), TASKS["mrpc"]), {"first_stage": 0.375})
    teacher = LiveTeacher(
        fine_tuning.fine_tuned(pipeline.layout, "bert4", "mrpc", 2, True)[0],
        data,
        CPU,
        "float32",
        True,
        method.attention_layers[1],
    )
    settings = {**pipeline.benchmark.training("student", "bert2", "mrpc"), "epochs": 8, "patience": 2, "batch_size": 36}
    outcome = loop.train(model, method, teacher, data, TrainingSettings.of(settings, 1, CPU))
    assert outcome.best_epoch == 5 and len(outcome.epochs) == 7


def test_one_epoch_is_too_few_for_two_stages(pipeline: Any, tmp_path: Path) -> None:
    spec = {**pipeline.benchmark.spec, "training": {"student": {"epochs": 1}}}
    benchmark = type(pipeline.benchmark)(pipeline.benchmark.path, spec)
    with pytest.raises(UserError, match=r"^bert2 cr_ild mrpc seed 1: first_stage: two stages need at least 2 epochs"):
        distillation.distil(benchmark, pipeline.layout, Cell("bert2", "cr_ild", "mrpc"), [1], CPU, lambda line: None)


@pytest.mark.parametrize("method", ["distilbert_cos", "tinybert", "minilm_v2"])
def test_a_student_learns_its_teachers_tokens(pipeline: Any, method: str) -> None:
    """On a real model the own terms fall."""
    data = pipeline.prepared("mrpc")
    model = load_classifier(Checkpoint(str(pipeline.checkpoints / "bert2")), 2, 1, "m", 0.0, True)
    built = build(method, setting_for((4, 32, 2), (2, 32, 2), TASKS["mrpc"]), {})
    full = fine_tuning.fine_tuned(pipeline.layout, "bert4", "mrpc", 2, True)[0]
    teacher = LiveTeacher(full, data, CPU, "float32", True, built.attention_layers[1])
    before = {name: value.clone() for name, value in full.state_dict().items()}
    settings = {**pipeline.benchmark.training("student", "bert2", "mrpc"), "epochs": 12}
    outcome = loop.train(model, built, teacher, data, TrainingSettings.of(settings, 1, CPU))
    own = {"distilbert_cos": "cos", "tinybert": "hidden", "minilm_v2": "relation"}[method]
    values = [epoch["loss"][own] for epoch in outcome.epochs if own in epoch["loss"]]
    assert values[-1] < 0.8 * values[0]
    assert all(torch.equal(before[name], value) for name, value in full.state_dict().items())


def test_whole_and_narrow_students_are_scored_alike(pipeline: Any, checkpoints: Path) -> None:
    with torch.no_grad():
        whole, narrow = (forward(model_of(checkpoints, "bert2", w), inputs()).logits_BC for w in (True, False))
    assert F.mse_loss(whole, narrow).item() < 1e-10
