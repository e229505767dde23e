"""``railkd init``: what it writes is accepted by ``railkd check`` and planned by snakemake; it overwrites nothing."""

import builtins
import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from railkd import cli
from railkd.benchmark import config
from railkd.benchmark.plain_yaml import parse
from railkd.commands.starter_file import flow

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """40 made reviews of two kinds, a number of each, and a score."""
    path = tmp_path / "reviews 1.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "what they wrote", "Sentiment", "how much"])
        for i in range(40):
            kind = ("bad", "good")[i % 2]
            writer.writerow([f"r{i}", f"the {kind} film, number {i}, is {kind} again", kind, i / 10])
    return path


def written(path: str) -> dict[str, Any]:
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def dry_run(file: Path) -> None:
    """snakemake plans the file as it is."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet"]
    settings = ["--config", f"benchmark={file}", f"results={file.parent / 'results'}"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0 and "jobs to do" in done.stdout + done.stderr, done.stdout + done.stderr


def test_without_options_it_is_a_benchmark_that_needs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", "my.yaml"]) == 0
    assert capsys.readouterr().out == "my.yaml: written; next: railkd check my.yaml\n"
    assert cli.main(["check", "my.yaml"]) == 0
    assert capsys.readouterr().out == "my.yaml: valid; 1 pair, 8 cells, 2 seeds\n"
    benchmark = config.load("my.yaml")
    assert benchmark.synthetic and benchmark.tasks == ["sst2", "mrpc"] and benchmark.seeds == [1, 2]
    lines = Path("my.yaml").read_text().splitlines()
    assert len([line for line in lines if "#" in line]) > 12  # it is commented
    dry_run(tmp_path / "my.yaml")


def test_a_file_of_ones_own_with_its_columns(
    reviews: Path, checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--teacher", str(checkpoints / "bert4"), "--student", "2"]
    chosen = ["--methods", "no_kd", "rail_kd_l", "--seeds", "3"]
    assert cli.main(["init", "mine.yaml", "--data", str(reviews), *models, *chosen]) == 0
    spec = written("mine.yaml")
    assert spec["data"]["tasks"] == {
        "reviews-1": {
            "files": "reviews 1.csv", "heldout": 0.2, "text": "what they wrote", "label": "Sentiment",
            "labels": ["bad", "good"],
        }
    }  # fmt: skip
    assert (
        spec["data"]["source"] == "files" and spec["seeds"] == [3] and list(spec["methods"]) == ["no_kd", "rail_kd_l"]
    )
    few = {"learning_rate": 5e-5, "batch_size": 16, "epochs": 12}  # three epochs of so few rows teach nothing
    assert spec["training"] == {"teacher": few, "student": few}
    assert spec["models"]["bert4-2"] == {"layers_of": "bert4", "layers": 2, "keep": "every_other"}
    assert cli.main(["check", "mine.yaml"]) == 0, capsys.readouterr().err
    dry_run(tmp_path / "mine.yaml")


def test_many_classes_that_are_numbers_are_told_from_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As data sets of intents have them: taken for scores, and said so; named, they are classes."""
    rows = [f"text {i},{i % 21}" for i in range(84)]
    Path("intents.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    line = ["init", "m.yaml", "--data", "intents.csv", "--text", "text", "--label", "label", "--teacher", "a/b"]
    assert cli.main([*line, "--student", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("intents.csv: column 'label' is read as scores from 0 to 20; if they are classes, delete")
    Path("m.yaml").unlink()
    assert cli.main([*line, "--student", "2", "--labels", *map(str, range(21))]) == 0
    (task,) = written("m.yaml")["data"]["tasks"].values()
    assert "regression" not in task and [str(label) for label in task["labels"]] == [str(n) for n in range(21)]
    assert "read as scores" not in capsys.readouterr().out


def test_scores_and_columns_that_are_named(reviews: Path, checkpoints: Path, tmp_path: Path) -> None:
    models = ["--teacher", str(checkpoints / "bert4"), "--student", str(checkpoints / "bert2")]
    columns = ["--label", "how much", "--text", "what they wrote", "Sentiment"]
    (tmp_path / "below").mkdir()
    assert cli.main(["init", "below/s.yaml", "--data", str(reviews), *columns, *models]) == 0
    (task,) = written("below/s.yaml")["data"]["tasks"].values()
    assert (task["regression"], task["text"], task["files"]) == (
        [0.0, 3.9], ["what they wrote", "Sentiment"], "../reviews 1.csv",
    )  # fmt: skip
    assert cli.main(["check", "below/s.yaml"]) == 0


def answering(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """A terminal on which these lines are typed; returns the questions, as they come."""
    asked: list[str] = []
    given: Iterator[str] = iter(lines)

    def answer(question: str) -> str:
        asked.append(question)
        line = next(given, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr(builtins, "input", answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return asked


def test_questions_on_a_terminal_have_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    asked = answering(monkeypatch, "", "sst3", "rte cola", "", "", "no_kd pkd", "7 8")
    assert cli.main(["init", "my.yaml"]) == 0
    assert "unknown task 'sst3'; did you mean 'sst2'?" in capsys.readouterr().out  # and it is asked again
    assert [question.rpartition(" [")[2] for question in asked] == [
        "miniglue]: ", "sst2 mrpc]: ", "sst2 mrpc]: ", "miniature]: ", "miniature]: ",
        "no_kd vanilla_kd pkd rail_kd_c]: ", "1 2]: ",
    ]  # fmt: skip
    spec = written("my.yaml")
    assert (spec["data"]["tasks"], list(spec["methods"]), spec["seeds"]) == (["rte", "cola"], ["no_kd", "pkd"], [7, 8])
    asked = answering(monkeypatch, "glue")
    assert cli.main(["init", "other.yaml"]) == 1
    assert "init: the answers ended before --tasks" in capsys.readouterr().err and not Path("other.yaml").exists()
    assert cli.main(["init", "third.yaml", "--defaults"]) == 0 and len(asked) == 2  # nothing more was asked


def test_a_file_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text("mine")
    Path("link.yaml").symlink_to("nowhere.yaml")
    for name in ("my.yaml", "link.yaml"):
        assert cli.main(["init", name]) == 1
        assert f"{name}: exists already, and is never overwritten" in capsys.readouterr().err
    assert Path("my.yaml").read_text() == "mine" and not Path("nowhere.yaml").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("my.txt", "my.txt: expected a name that ends with .yaml"),
        ("none/my.yaml", "none/my.yaml: no such folder none"),
        ("my.yaml --tasks sst3", "--tasks: unknown task 'sst3'; did you mean 'sst2'?"),
        ("my.yaml --data none.csv", "--data none.csv: no such file; expected a file, miniglue or glue"),
        ("my.yaml --data notes.txt", "--data notes.txt: has no known ending, expected .csv"),
        ("my.yaml --text a", "--text: does not go with --data miniglue"),
        ("my.yaml --data glue --teacher miniature", "--teacher miniature: is pre-trained on the text of miniglue"),
        ("my.yaml --teacher a/b --student miniature", "--student miniature: is pre-trained from its teacher"),
        ("my.yaml --teacher ./none", "--teacher ./none: no such folder"),
        ("my.yaml --data glue --teacher a/b", "--student: is needed and has no default"),
        ("my.yaml --student 0", "--student 0: expected at least 1 layer"),
        ("my.yaml --methods pdk", "unknown method 'pdk'; did you mean 'pkd'?"),
        ("my.yaml --seeds -1", "--seeds -1: expected whole numbers of at least 0"),
        ("my.yaml --seeds 1 1", "my.yaml: seeds: "),
    ],
)
def test_a_wrong_answer_is_one_line_and_leaves_no_file(
    line: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").touch()
    assert cli.main(["init", *line.split()]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"railkd: error: {expected}"), error
    assert not list(Path().glob("**/*.yaml"))


def test_a_checkpoint_beside_it_that_is_nearly_called_so_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """Else it is taken for a hub id, and the run ends where the hub does not know it."""
    Path("my-teacher").mkdir()
    Path("my-teacher/config.json").write_text("{}")
    assert cli.main(["init", "m.yaml", "--teacher", "my-techer", "--student", "2"]) == 1
    expected = "railkd: error: --teacher my-techer: no such folder; did you mean my-teacher?\n"
    assert capsys.readouterr().err == expected and not Path("m.yaml").exists()


def test_a_wrong_column_or_label_is_one_line(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in [
        (["--label", "sentiment"], "--label: reviews 1.csv: unknown column 'sentiment'; did you mean 'Sentiment'?"),
        (["--text", "id", "Sentiment"], "--text id Sentiment: expected one column or two, and not that of the labels"),
        (["--labels", "good", "fine"], "--labels: reviews 1.csv has also 'bad' in its column 'Sentiment'"),
        (["--label", "id"], "--labels: is needed and has no default"),
    ]:
        assert cli.main(["init", "m.yaml", "--data", reviews.name, *options, "--teacher", "a/b", "--student", "2"]) == 1
        assert capsys.readouterr().err.startswith(f"railkd: error: {expected}")
    assert not Path("m.yaml").exists()


@pytest.mark.parametrize(
    "value", ["no", "1e5", "a: b # c", "", "ü\t", 3e-3, ["0", "1"], {"a b": [1, None]}, "'\"", "..."]
)
def test_a_value_in_the_file_is_read_as_it_was(value: Any) -> None:
    assert parse(f"key: {flow(value)} # a comment", "") == {"key": value} and "\n" not in flow(value)
