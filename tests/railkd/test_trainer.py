"""Distillation in a `transformers.Trainer`: any method, the student clean afterwards, checkpoints that resume."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="transformers' Trainer needs the package accelerate")

from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import railkd
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
