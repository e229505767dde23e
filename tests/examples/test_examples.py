"""The examples and the blocks of docs/python.md and docs/trackers.md, run as a reader does, without a network."""

import csv
import json
import re
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import railkd

ROOT = Path(__file__).parents[2]
BASE = "bert-base-uncased"


class Reader:
    """Who runs scripts in a working folder, without a network, and reads what they print."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.patch, self.capture = folder, patch, capture

    def run(self, script: Path, *arguments: str) -> str:
        self.patch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")
        return self.capture.readouterr().out


@pytest.fixture
def reader(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Reader:
    """In a folder with the CSV file, and the model under its name on the hub."""
    import datasets

    def refuse(*arguments: Any) -> None:
        raise OSError("no network in this test")

    for name in ("reviews.csv", BASE):
        (tmp_path / name).symlink_to(reviews / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return Reader(tmp_path, monkeypatch, capsys)


def test_from_a_csv_file_to_a_student(reader: Reader) -> None:
    printed = reader.run(ROOT / "examples" / "own_csv.py", "reviews.csv", BASE, "student")
    assert re.search(r"student: \{'accuracy': [\d.]+.*best epoch [1-5]", printed)
    assert len(re.findall(r"'label': '(?:negative|positive)'", printed)) == 2
    assert (reader.folder / "student" / "model.safetensors").is_file()


def test_a_loss_in_ones_own_loop(reader: Reader) -> None:
    printed = reader.run(ROOT / "examples" / "own_loop.py", "reviews.csv", BASE, BASE)
    assert re.findall(r"epoch (\d): last loss [\d.]+, ce [\d.]+, kd [\d.]+, pt [\d.]+", printed) == ["1", "2"], printed


def test_a_trainer(reader: Reader) -> None:
    printed = reader.run(ROOT / "examples" / "with_trainer.py", "reviews.csv", BASE, BASE, "out")
    assert "'rail':" in printed and "'eval_loss':" in printed
    assert (reader.folder / "out" / "model.safetensors").is_file()


def test_the_first_block_of_the_page_runs_and_is_short(reader: Reader) -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)[0]
    assert len([line for line in block.splitlines() if line.strip() and not line.startswith("#")]) < 20
    (reader.folder / "page.py").write_text(block)
    printed = reader.run(reader.folder / "page.py")
    assert "{'accuracy':" in printed and re.search(r"'label': '(negative|positive)'", printed)


@pytest.fixture
def names(reader: Reader) -> dict[str, Any]:
    """What the short blocks of the pages take as given: models, their tokenizer, and examples as text."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    set_seed(1)
    load = AutoModelForSequenceClassification.from_pretrained
    teacher, student = load(BASE, num_labels=2), load(BASE, num_labels=2, num_hidden_layers=3)
    with open("reviews.csv", encoding="utf-8") as file:
        rows = [(row["text"], ["negative", "positive"].index(row["label"])) for row in csv.DictReader(file)][:40]
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    return {"teacher": teacher, "student": student, "tokenizer": tokenizer, "train": rows[:32], "dev": rows[32:]}


def run_block(page: str, number: int, names: dict[str, Any]) -> dict[str, Any]:
    """Runs one of a page's blocks of Python as it stands; returns the names that it knows in the end."""
    block = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)[number]
    exec(compile(block, f"{page}, block {number + 1}", "exec"), names)
    return names


def tokenised(names: dict[str, Any], split: str) -> Any:
    """A split as a loop of one's own and a Trainer read it."""
    from datasets import Dataset

    texts, labels = zip(*names[split], strict=True)
    return Dataset.from_dict({**names["tokenizer"](list(texts)), "labels": list(labels)})


def test_the_page_scores_any_model(names: dict[str, Any]) -> None:
    scores = run_block("python.md", 1, {**names, "model": names["teacher"]})["scores"]
    assert {"accuracy", "f1"} <= scores.keys() and all(-1 <= score <= 1 for score in scores.values())


def test_the_pages_own_loop_trains(names: dict[str, Any]) -> None:
    import torch
    from torch.utils.data import DataLoader
    from transformers import DataCollatorWithPadding

    collate = DataCollatorWithPadding(names["tokenizer"])
    loader = DataLoader(tokenised(names, "train"), batch_size=16, collate_fn=collate)
    before = [parameter.detach().clone() for parameter in names["student"].parameters()]
    after = run_block("python.md", 2, {**names, "railkd": railkd, "torch": torch, "loader": loader})
    assert set(after["terms"]) == {"ce", "kd", "pt"} and after["loss"].isfinite()
    assert not all(map(torch.equal, names["student"].parameters(), before))


def test_the_pages_trainer_trains(names: dict[str, Any]) -> None:
    from transformers import TrainingArguments

    given = {"railkd": railkd, "TrainingArguments": TrainingArguments}
    trained = run_block("python.md", 3, {**names, **given, **{s: tokenised(names, s) for s in ("train", "dev")}})
    assert trained["trainer"].state.epoch == 3 and trained["trainer"].evaluate()["eval_loss"] > 0


def test_the_page_on_trackers_writes_curves_from_python(names: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "railkd" / "tracker_stubs")  # a tensorboardX that writes JSON lines
    monkeypatch.delitem(sys.modules, "tensorboardX", raising=False)
    run_block("trackers.md", 0, names)
    monkeypatch.delitem(sys.modules, "tensorboardX")
    (file,) = Path("curves/rail_kd_c").iterdir()
    assert {"train/total", "dev/accuracy"} <= {json.loads(line)[0] for line in file.read_text().splitlines()}


def test_every_block_of_the_page_has_a_test() -> None:
    """Block 0 is the one from a CSV file to a student."""
    blocks = re.findall(r"```python\n", (ROOT / "docs" / "python.md").read_text())
    named = re.findall(r'run_block\("python\.md", (\d)', Path(__file__).read_text())
    assert list(map(int, named)) == list(range(1, len(blocks)))


def test_every_example_has_a_test() -> None:
    named = set(re.findall(r'"examples" / "(\w+\.py)"', Path(__file__).read_text()))
    assert named == {path.name for path in (ROOT / "examples").glob("*.py")}
