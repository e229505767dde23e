"""The examples, and the page docs/python.md, run as a reader runs them, on a made model and without a network."""

import re
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

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


def test_every_example_has_a_test() -> None:
    named = set(re.findall(r'"examples" / "(\w+\.py)"', Path(__file__).read_text()))
    assert named == {path.name for path in (ROOT / "examples").glob("*.py")}
