"""Distillation in a `transformers.Trainer`: any method, the student clean afterwards, checkpoints that resume."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import railkd
from railkd.errors import UserError
from railkd.method_sources import available

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
