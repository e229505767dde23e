"""What a model's folder holds when it is saved: all that `transformers` needs, with the task's labels."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from railkd.benchmark.specification import Cell
from railkd.jobs import distillation, fine_tuning
from railkd.models.checkpoints import Checkpoint, load_tokenizer
from railkd.models.classifier import load_classifier, save_classifier

CPU = torch.device("cpu")


@pytest.mark.parametrize(("task", "labels"), [("mrpc", ["not_equivalent", "equivalent"]), ("stsb", ["score"])])
def test_saved_folders_are_complete_and_have_the_tasks_labels(
    pipeline: Any, tmp_path: Path, task: str, labels: list[str]
) -> None:
    """`transformers` alone loads teacher and student: weights, the task's labels, the checkpoint's own tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    spec = dict(pipeline.benchmark.spec)
    own = type(pipeline.benchmark)(pipeline.benchmark.path, {**spec, "save_students": "all"})
    distillation.distil(own, pipeline.layout, Cell("bert2", "no_kd", task), [5], CPU, lambda line: None)
    saved = {
        "bert4": pipeline.layout.teacher("bert4", task),
        "bert2": pipeline.layout.run(Cell("bert2", "no_kd", task), 5).with_suffix(""),
    }
    for name, place in saved.items():
        model = AutoModelForSequenceClassification.from_pretrained(place, trust_remote_code=False, use_safetensors=True)
        assert model.config.id2label == dict(enumerate(labels)) and model.config.num_labels == len(labels)
        assert model.config.label2id == {label: i for i, label in enumerate(labels)}
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        first = AutoTokenizer.from_pretrained(pipeline.checkpoints / name, trust_remote_code=False)
        assert tokenizer.get_vocab() == first.get_vocab() and len(tokenizer) > 50
        assert tokenizer("good film", "a bad actor") == first("good film", "a bad actor")
    assert fine_tuning.fine_tuned(pipeline.layout, "bert4", task, len(labels))[0].config.num_labels == len(labels)


def test_labels_of_another_task_are_replaced(checkpoints: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints / "bert2", tmp_path / "edited"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "yes", "1": "no"}, "label2id": {"yes": 0, "no": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    at = Checkpoint(str(folder))
    model = load_classifier(at, 2, 1, "m")
    save_classifier(model, load_tokenizer(at, "m"), ("negative", "positive"), tmp_path / "s")
    saved = json.loads((tmp_path / "s" / "config.json").read_text())
    assert saved["id2label"] == {"0": "negative", "1": "positive"} and saved["label2id"]["positive"] == 1
