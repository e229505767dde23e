"""Distillation in a `transformers.Trainer`: any method, the student clean afterwards, checkpoints that resume."""

import copy
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

import railkd
from railkd.data.batches import epoch_batches
from railkd.errors import UserError
from railkd.method_sources import available
from railkd.random_streams import stream
from railkd.training.schedule import learning_rate_factor
from railkd.training.steps import Steps

ROWS = [(f"{('bad', 'good')[i % 2]} film number {i}", i % 2) for i in range(24)]


@pytest.fixture
def parts(checkpoints: Path) -> tuple[Any, Any, Any, Any]:
    """Teacher, student without type ids, tokenizer, and tokenised examples."""
    torch.manual_seed(0)
    load = AutoModelForSequenceClassification.from_pretrained
    tokenizer = AutoTokenizer.from_pretrained(checkpoints / "bert4")
    data = Dataset.from_dict({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    tokenised = data.map(lambda rows: tokenizer(rows["text"]), batched=True, remove_columns=["text"])
    return load(checkpoints / "bert4"), load(checkpoints / "distilbert2"), tokenizer, tokenised


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 8, "num_train_epochs": 2, "learning_rate": 3e-3, "use_cpu": True,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 3,
    }  # fmt: skip
    return TrainingArguments(str(folder), **{**defaults, **settings})


OPTIONS = {"codir": {"negatives": 4, "projection_dim": 8}}


@pytest.mark.parametrize("method", available())
def test_every_method_trains(parts: Any, tmp_path: Path, method: str) -> None:
    teacher, student, tokenizer, data = parts
    epochs = {"tinybert": 4}.get(method, 2)
    names, before = set(student.state_dict()), {k: v.clone() for k, v in student.state_dict().items()}
    trainer = railkd.DistillationTrainer(
        teacher, student, method, options=OPTIONS.get(method, {}), train_dataset=data, eval_dataset=data,
        args=arguments(tmp_path, num_train_epochs=epochs), processing_class=tokenizer,
    )  # fmt: skip
    projections = [p.detach().clone() for p in trainer.distillation.parameters()]
    trainer.train()
    assert set(student.state_dict()) == names, "the method's projections are not the student's"
    assert any(not torch.equal(v, before[k]) for k, v in student.state_dict().items())
    if projections:
        assert any(not torch.equal(a, b) for a, b in zip(projections, trainer.distillation.parameters(), strict=True))
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged and all(set(entry) > {"loss"} for entry in logged)
    assert any("ce" in entry for entry in logged) and trainer.evaluate()["eval_loss"] > 0


class SuiteBatches(railkd.DistillationTrainer):
    """Takes the batches that the suite's loop takes."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        data = self._remove_unused_columns(self.train_dataset)
        lengths = torch.tensor([len(ids) for ids in data["input_ids"]])
        size, seed = self.args.per_device_train_batch_size, self.args.seed
        return DataLoader(data, batch_sampler=Epochs(lengths, size, seed), collate_fn=self.data_collator)


class Epochs:
    """Every pass over it is another epoch of the suite's batches."""

    def __init__(self, lengths: torch.Tensor, size: int, seed: int) -> None:
        self.lengths, self.size, self.seed, self.epoch = lengths, size, seed, 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        batches = epoch_batches(self.lengths, self.size, stream(self.seed, "order", self.epoch))
        self.epoch += 1
        return iter([rows.tolist() for rows in batches])


@pytest.mark.parametrize("method", ["rail_kd_c", "pkd"])
def test_the_losses_are_those_of_the_suites_loop_step_by_step(
    parts: Any, tmp_path: Path, monkeypatch: Any, method: str
) -> None:
    """With one seed, the same batches and schedule, a live teacher and no dropout; the last batch is smaller."""
    teacher, student, tokenizer, _ = parts
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = [(f"{text} {'plot ' * (i % 5)}", label) for i, (text, label) in enumerate(ROWS[:20])]
    texts = Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    data = texts.map(lambda some: tokenizer(some["text"]), batched=True, remove_columns=["text"])
    theirs, expected = copy.deepcopy(student), []
    steps = Steps.__call__

    def step(self: Steps, rows_B: torch.Tensor) -> torch.Tensor:
        losses = steps(self, rows_B)
        expected.append(dict(zip(self.names, losses.tolist(), strict=True)))
        return losses

    monkeypatch.setattr(Steps, "__call__", step)
    training = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "precision": "float32", "regime": "live"}
    _, result = railkd.distil(
        teacher, theirs, rows, rows, method, tokenizer=tokenizer, seed=3, progress=False,
        training={**training, "warmup": 0.0, "weight_decay": 0.1},
    )  # fmt: skip
    args = arguments(tmp_path, num_train_epochs=3, logging_steps=1, weight_decay=0.1, seed=3)
    trainer = SuiteBatches(teacher, student, method, args=args, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    found = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(found) == len(expected) == 9
    for ours, suite in zip(found, expected, strict=True):
        assert {name: ours["loss" if name == "total" else name] for name in suite} == pytest.approx(suite, abs=1e-5)
    mean = sum(epoch["loss"]["total"] for epoch in result.epochs) / 3
    assert trainer.state.log_history[-1]["train_loss"] == pytest.approx(mean, abs=1e-5)
    assert trainer.distillation.record().get("layers") == result.record.get("layers")


def test_the_warm_up_of_transformers_is_one_step_behind_the_suites() -> None:
    """It begins at the rate 0, where the suite's first step already has a share of the peak."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=5, num_training_steps=80)
    (theirs,) = schedule.lr_lambdas
    ours = [learning_rate_factor(step, 80, 0.06) for step in range(80)]
    assert [theirs(step) for step in range(6)] == [0.0, *ours[:5]] and ours[4] == 1.0
    assert [theirs(step) for step in range(5, 80)] == pytest.approx(ours[5:])


def trained(parts: Any, args: TrainingArguments, resume: bool = False, **others: Any) -> Any:
    teacher, student, tokenizer, data = parts
    given = {"train_dataset": data, "eval_dataset": data, "processing_class": tokenizer, **others}
    trainer = railkd.DistillationTrainer(teacher, student, args=args, **given)
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


def test_the_projections_are_clipped_decayed_and_resumed_with_the_student(parts: Any, tmp_path: Path) -> None:
    """A training that is stopped after its first epoch and resumed ends where an undisturbed one does."""
    student = parts[1]
    begun = {name: value.clone() for name, value in student.state_dict().items()}
    settings: dict[str, Any] = {"save_strategy": "epoch", "lr_scheduler_type": "constant", "weight_decay": 0.1}
    whole = trained(parts, arguments(tmp_path / "whole", **settings))
    expected = [p.detach().clone() for p in (*student.parameters(), *whole.distillation.parameters())]
    held = sum(len(group["params"]) for group in whole.optimizer.param_groups)
    assert held == len(expected) and {group["weight_decay"] for group in whole.optimizer.param_groups} == {0.0, 0.1}
    kept = sorted((tmp_path / "whole").iterdir())
    assert [folder.name for folder in kept] == ["checkpoint-3", "checkpoint-6"]
    shutil.rmtree(kept[1])
    student.load_state_dict(begun)
    again = trained(parts, arguments(tmp_path / "whole", **settings), resume=True)
    found = [*student.parameters(), *again.distillation.parameters()]
    assert all(map(torch.equal, found, expected))


ANNEALED = """
from railkd.methods.base import Method, cross_entropy


class Annealed(Method):
    "The weight of its loss follows from the history alone."

    def __init__(self, setting):
        super().__init__(setting)
        self.seen = 0

    def resume(self, history):
        super().resume(history)
        self.seen = sum(history["steps"])
        assert history["ended"] == list(range(len(history["steps"])))

    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, generator)
        self.history.setdefault("steps", []).append(0)

    def end_epoch(self):
        self.history.setdefault("ended", []).append(len(self.history["steps"]) - 1)

    def terms(self, batch, student, teacher):
        self.seen += 1
        self.history["steps"][-1] += 1
        self.weights = {"ce": 1.0 / self.seen}
        return {"ce": cross_entropy(student.logits_BC, batch.labels_B, self.setting.regression)}
"""


@pytest.mark.parametrize("settings", [{"save_strategy": "epoch"}, {"save_steps": 3}])
def test_a_resumed_method_has_its_history(parts: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    """A checkpoint after the last step of an epoch holds that epoch, whether steps or epochs decide when it is due."""
    (tmp_path / "annealed.py").write_text(ANNEALED)
    method, student = str(tmp_path / "annealed.py"), parts[1]
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    begun = {name: value.clone() for name, value in student.state_dict().items()}
    settings = {"save_strategy": "steps", "num_train_epochs": 3, "lr_scheduler_type": "constant", **settings}
    whole = trained(parts, arguments(tmp_path / "whole", **settings), method=method)
    expected = [p.detach().clone() for p in student.parameters()]
    shutil.rmtree(tmp_path / "whole" / "checkpoint-9")
    student.load_state_dict(begun)
    again = trained(parts, arguments(tmp_path / "whole", **settings), resume=True, method=method)
    assert again.distillation.record() == whole.distillation.record() == {"steps": [3, 3, 3], "ended": [0, 1, 2]}
    assert all(map(torch.equal, student.parameters(), expected))


def test_an_epoch_that_a_checkpoint_lies_in_begins_again(parts: Any, tmp_path: Path) -> None:
    """Its draw is the same, and the history holds it once."""
    records = []
    for resume in (False, True):
        args = arguments(tmp_path, save_strategy="steps", save_steps=2, num_train_epochs=3)
        records.append(trained(parts, args, resume, options={"projection_dim": 8}).distillation.record()["layers"])
        if not resume:  # it then goes on from checkpoint-4, one step into the second epoch of three
            for step in (6, 8, 9):
                shutil.rmtree(tmp_path / f"checkpoint-{step}")
    assert records[0] == records[1] and len(records[0]) == 3


def test_a_training_that_is_interrupted_in_its_first_epoch_goes_on_in_the_same_notebook(
    parts: Any, tmp_path: Path
) -> None:
    """What the interrupted epoch had drawn is drawn again, and counts once."""
    teacher, student, tokenizer, data = parts
    args = arguments(tmp_path, save_strategy="steps", save_steps=1, num_train_epochs=3)
    trainer = railkd.DistillationTrainer(
        teacher, student, "rail_kd_c", options={"projection_dim": 8}, train_dataset=data, args=args,
        processing_class=tokenizer,
    )  # fmt: skip
    step, steps = trainer.training_step, iter(range(100))

    def interrupted(*given: Any, **named: Any) -> Any:
        if next(steps) == 2:
            raise KeyboardInterrupt
        return step(*given, **named)

    trainer.training_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert len(trainer.distillation.record()["layers"]) == 3


@pytest.mark.parametrize(("settings", "epochs"), [({}, 3), ({"dataloader_drop_last": True}, 4)])
def test_a_method_is_told_as_many_epochs_as_there_are(
    parts: Any, tmp_path: Path, settings: dict[str, Any], epochs: int
) -> None:
    """40 examples in batches of 16: three a pass, or two without the incomplete one."""
    data = parts[3].select([*range(24), *range(16)])
    args = arguments(tmp_path, max_steps=8, per_device_train_batch_size=16, **settings)
    trainer = trained((*parts[:3], data), args, method="vanilla_kd", options={})
    assert trainer.distillation.method.epochs == epochs == math.ceil(trainer.state.epoch)


def test_a_checkpoint_without_a_history_is_refused(parts: Any, tmp_path: Path) -> None:
    trained(parts, arguments(tmp_path, save_strategy="epoch"))
    (tmp_path / "checkpoint-6" / "railkd_history.json").unlink()
    with pytest.raises(UserError, match="resume_from_checkpoint: .*railkd_history.json is missing"):
        trained(parts, arguments(tmp_path, save_strategy="epoch"), resume=True)


def test_what_is_saved_is_the_student_alone(parts: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    trainer = trained(parts, arguments(tmp_path))
    trainer.save_model(str(tmp_path / "saved"))
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(parts[1].state_dict())


def test_torch_data_sets_and_metrics(parts: Any, tmp_path: Path) -> None:
    """CoDIR needs the examples' places, which no user has to give."""
    data = parts[3].to_list()
    scored = trained(
        (*parts[:3], data), arguments(tmp_path), method="codir", options=OPTIONS["codir"],
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )  # fmt: skip
    assert 0 <= scored.evaluate()["eval_accuracy"] <= 1
    without = [{key: value for key, value in row.items() if key != "label"} for row in data]
    assert scored.predict(without).predictions.shape == (24, 2)


def test_a_mistake_is_one_line(parts: Any, tmp_path: Path) -> None:
    teacher, student, tokenizer, data = parts
    for changes, expected in (
        ({"options": {"temperatur": 2.0}}, "unknown option 'temperatur'; did you mean 'temperature'?"),
        ({"train_dataset": None}, "train_dataset: expected a data set of a known length"),
        ({"train_dataset": data.remove_columns("label")}, "train_dataset: no labels, expected a column"),
        ({"method": "rail"}, "unknown method 'rail'"),
    ):
        given = {"args": arguments(tmp_path), "train_dataset": data, "processing_class": tokenizer, **changes}
        with pytest.raises(UserError) as caught:
            railkd.DistillationTrainer(teacher, student, **given)
        assert expected in str(caught.value)
