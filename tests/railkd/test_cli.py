"""The command line: what it is asked and cannot do is one line, at once, on any terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from railkd import cli
from railkd.devices import device_for
from railkd.errors import UserError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("step", "arguments", "expected"),
    [
        ("distil", "--pair p --method pkd --task sst2 --seeds 1 7", "--seeds 7: the file's seeds are 1, 2"),
        (
            "distil",
            "--pair p --method pkd --task sst2 --seeds 1 --point 0",
            "--point 0: the search has 0 points, counted",
        ),
        (
            "distil",
            "--pair p --method codir --task sst2 --seeds 1",
            "--method codir: the pair p does not train it; avail",
        ),
        (
            "submission",
            "--pair p --method codir --seed 1 --out x.zip",
            "--method codir: the pair p does not train it; avail",
        ),
        ("distil", "--pair p --method pkd --task rte --seeds 1", "--task: unknown task 'rte'; available: mrpc, sst2"),
        (
            "distil",
            "--pair q --method pkd --task mrpc --seeds 1",
            "--task mrpc: the pair q does not train pkd on it; avail",
        ),
        ("distil", "--pair p --method mine --task sst2 --seeds 1", "--method mine: is external, so a rule of its own"),
        (
            "select",
            "--pair p --method codir --task sst2",
            "--method codir: the pair p does not train it; available: no_kd",
        ),
        ("select", "--pair p --method pkd --task sst2", "FILE has no search; expected the key search"),
        ("teacher", "--teacher bert2 --task sst2", "--teacher: unknown teacher 'bert2'; did you mean 'bert4'?"),
        (
            "teacher",
            "--teacher bert4 --task sst2 --device gpu",
            "device 'gpu': expected auto, cpu, cuda, or one of several",
        ),
        ("teacher", "--teacher bert4 --task sst2 --device cuda:x", "device 'cuda:x': expected auto, cpu, cuda, or one"),
        ("teacher", "--teacher bert4 --task sst2 --threads 0", "--threads 0: expected a number of at least 1"),
    ],
)
def test_what_the_file_does_not_name_is_one_line(
    make_benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str, arguments: str, expected: str
) -> None:
    """Nothing is computed and no folder is made."""
    pairs = {
        "p": {"teacher": "bert4", "student": "distilbert2", "methods": ["no_kd", "pkd", "mine"], "tables": [2]},
        "q": {"teacher": "bert4", "student": "distilbert2", "methods": ["pkd"], "tasks": ["sst2"], "tables": []},
    }
    methods = {"no_kd": {}, "pkd": {}, "codir": {}, "mine": {"external": True}}
    path = make_benchmark({"pairs": pairs, "methods": methods}).path
    expected = expected.replace("FILE", str(path))
    assert cli.main([step, str(path), "--results", str(tmp_path / "results"), *arguments.split()]) == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith(f"railkd: error: {expected}")
    assert not (tmp_path / "results").exists()


def test_a_point_of_the_search_has_the_searchs_seed(
    make_benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_benchmark({"search": {"seed": 5, "grid": {"epochs": [1, 2]}}}).path
    point = ["distil", str(path), "--results", str(tmp_path / "r"), "--pair", "p", "--method", "pkd", "--task", "sst2"]
    for seed, k, expected in (
        ("1", "0", "--seeds 1: the search's seed is 5"),
        ("5", "2", "--point 2: the search has 2"),
    ):
        assert cli.main([*point, "--seeds", seed, "--point", k]) == 1
        assert capsys.readouterr().err.startswith(f"railkd: error: {expected}")
    others = make_benchmark({"search": {"seed": 5, "grid": {"epochs": [1, 2]}, "tasks": ["mrpc"]}}).path
    assert cli.main([*point[:1], str(others), *point[2:], "--seeds", "5", "--point", "1"]) == 1
    assert "--point 1: the search has 0 points on sst2, counted" in capsys.readouterr().err
    path = make_benchmark({"search": {"seed": 5, "grid": {"epochs": [1, 2]}}}).path
    assert cli.main([*point, "--seeds", "5", "--point", "1"]) == 1  # the data is not prepared
    assert "prepared" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none", "x" * 300])
def test_a_results_folder_that_cannot_be_made_is_one_line(
    make_benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    path = make_benchmark().path
    (tmp_path / "file").write_text("")
    for step, *arguments in (["prepare", "--teacher", "bert4", "--task", "sst2"], ["data"]):
        assert cli.main([step, str(path), "--results", str(tmp_path / place), *arguments]) == 1
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and f"error: {tmp_path / place}: the folder cannot be made (" in said


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for("auto") == device_for("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"^device {name}: no CUDA device is visible; expected auto or cpu$"):
            device_for(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_for("auto") == device_for("cuda") == torch.device("cuda:0")  # torch.cuda asks for the number
    assert device_for("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"^device cuda:7: expected one of .*, cuda:0 to cuda:1$"):
        device_for("cuda:7")
    for name in ("gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "mps", ""):
        with pytest.raises(UserError, match=f"^device '{name}': expected auto, cpu, cuda"):
            device_for(name)


ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "setting", [ASCII, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}]
)
def test_a_terminal_without_the_character(make_spec: Any, tmp_path: Path, setting: dict[str, str]) -> None:
    """A name of a file, a line of the analysis: printed with the character's number."""
    path = tmp_path / "größe.yaml"
    path.write_text(yaml.safe_dump(make_spec({"title": "Größer ≥ 1"}), allow_unicode=True), encoding="utf-8")
    environment = {**os.environ, **setting}
    environment.pop("RAILKD_WARM", None)
    results = str(tmp_path / "ergebnis-ü")
    Path(results).mkdir()
    for command, code, expected in (
        (["railkd", "check", str(path)], 0, r"gr\\(xf6|udcc3\\udcb6)\\(xdf|udcc3\\udc9f)e.yaml: valid"),
        (["railkd", "verify", str(path), "--results", results], 1, r"ergebnis-\\(xfc|udcc3\\udcbc): \d+ things do not"),
        (["analysis", "claims", str(path), "--results", results], 0, r"bert4 \\u2192 distilbert2"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, env=environment, cwd=tmp_path, timeout=300
        )
        said = (done.stdout + done.stderr).decode("ascii")
        assert done.returncode == code and re.search(expected, said) and "Traceback" not in said, said
    claims = (tmp_path / "ergebnis-ü" / "claims.md").read_bytes().decode()
    assert "Größer ≥ 1" in claims and "→" in claims, claims


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word() -> None:
    command = f"{sys.executable} -m railkd check-method vanilla_kd | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("ok") and done.stderr == ""
