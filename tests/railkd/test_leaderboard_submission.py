"""GLUE leaderboard files: hidden test sets are predicted and never scored; the format is what the leaderboard asks."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from railkd import cli, leaderboard_submission
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.data import reading
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning, preparing
from railkd.records import run_record
from railkd.tasks import TASKS

FILES = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX"]
ROWS = 30  # of every test set of the tiny mirror


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaderboard's files with as many rows as the tiny mirror's test sets."""
    monkeypatch.setattr(
        leaderboard_submission,
        "SUBMISSION_FILES",
        tuple(replace(file, rows=ROWS) for file in leaderboard_submission.SUBMISSION_FILES),
    )


def test_files_and_rows_are_the_leaderboards() -> None:
    assert [file.name for file in leaderboard_submission.SUBMISSION_FILES] == [f"{name}.tsv" for name in FILES]
    rows = [1063, 1821, 1725, 1379, 390965, 9796, 9847, 5463, 3000, 146, 1104]  # gluebenchmark.com/tasks
    assert [file.rows for file in leaderboard_submission.SUBMISSION_FILES] == rows
    for file in leaderboard_submission.SUBMISSION_FILES:
        if file.task in TASKS and not TASKS[file.task].regression:
            assert len(file.labels) == TASKS[file.task].outputs
            if file.labels != leaderboard_submission.BINARY:  # spelt as the task's classes, in their order
                assert file.labels == TASKS[file.task].labels


def test_what_fills_a_file_can_be_scored() -> None:
    """A class looks at no input; a score does not either, but a correlation with a constant is undefined."""
    for file in leaderboard_submission.SUBMISSION_FILES:
        assert len(file.filler) == (1 if file.labels else 2)
        leaderboard_submission._check_file(file.name, file, leaderboard_submission.tsv(file.filled()))
    scores = np.array([float(score) for score in leaderboard_submission.SUBMISSION_FILES[3].filler])
    assert scores.min() >= 0 and scores.max() <= 5 and scores.std() > 0


@pytest.mark.realtext
def test_real_test_files_have_the_leaderboards_rows(real_data: Path) -> None:
    import pyarrow.parquet

    found = 0
    for file in leaderboard_submission.SUBMISSION_FILES:
        files = (
            dict(zip(("test", "test_mismatched"), TASKS[file.task].test, strict=False)) if file.task in TASKS else {}
        )
        path = real_data / file.task / f"{files.get(file.split, 'none')}.parquet"
        if path.is_file():
            found += 1
            assert pyarrow.parquet.read_metadata(path).num_rows == file.rows, path
    assert found >= 5


@pytest.fixture
def hidden(make_benchmark: Any, mirror: Path, tmp_path: Path) -> Callable[..., tuple[Any, Layout]]:
    """A benchmark on MNLI and STS-B with hidden test sets, trained with one method; AX is MNLI's test set again."""

    def make() -> tuple[Any, Layout]:
        own = tmp_path / "data"
        shutil.copytree(mirror, own)
        (own / "ax").mkdir()
        frame = pd.read_parquet(own / "mnli" / "test_matched.parquet")
        frame.at[3, "premise"] = ""  # GLUE's own test files have empty texts
        frame.assign(label=-1).to_parquet(own / "ax" / "test.parquet")
        (own / "mnli" / "test_mismatched.parquet").unlink()
        tiny = {"data.test": "hidden", "data.root": str(own), "data.tasks": ["mnli", "stsb"], "seeds": [1]}
        benchmark = make_benchmark({**tiny, "pairs.p.methods": ["no_kd"], "training.student.epochs": 1})
        layout = Layout(tmp_path / "results")
        reading.check_files(benchmark)
        for task in benchmark.tasks:
            cpu = torch.device("cpu")
            preparing.prepare(benchmark, layout, "bert4", task)
            fine_tuning.fine_tune(benchmark, layout, "bert4", task, cpu, lambda line: None)
            fine_tuning.signals(benchmark, layout, "bert4", task, cpu)
            distillation.distil(benchmark, layout, Cell("p", "no_kd", task), [1], cpu, lambda line: None)
        return benchmark, layout

    return make


def test_hidden_sets_are_predicted_not_scored_and_written(
    hidden: Any, small_files: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark, layout = hidden()
    path = layout.run(Cell("p", "no_kd", "mnli"), 1)
    record = run_record.read(path)
    assert set(record["scores"]) == set(record["baselines"]) == {"dev", "dev_mismatched"}
    assert set(record["examples"]) == {"train", "dev", "dev_mismatched"}
    logits = load_file(path.with_suffix(".safetensors"))
    assert set(logits) == {"dev", "dev_mismatched", "test", "ax"}  # the mirror has no test_mismatched
    assert len(logits["ax"]) == ROWS

    out = tmp_path / "made.zip"
    asked = ["submission", str(benchmark.path), "--results", str(layout.root), "--pair", "p", "--method", "no_kd"]
    assert cli.main([*asked, "--seed", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "predicted: STS-B.tsv, MNLI-m.tsv, AX.tsv" in said
    assert "WNLI.tsv (always 0: not a task of this benchmark)" in said
    assert "MNLI-mm.tsv (always entailment: no predictions of 'test_mismatched')" in said
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"{name}.tsv" for name in FILES]
        assert archive.comment.decode() in said
        lines = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert {file[0] for file in lines.values()} == {"index\tprediction"}
    labels = TASKS["mnli"].labels
    expected = [f"{i}\t{labels[int(k)]}" for i, k in enumerate(logits["ax"].argmax(1))]
    assert lines["AX.tsv"][1:] == expected
    scores = load_file(layout.run(Cell("p", "no_kd", "stsb"), 1).with_suffix(".safetensors"))["test"][:, 0]
    written = [float(line.split("\t")[1]) for line in lines["STS-B.tsv"][1:]]
    assert written == pytest.approx(np.clip(scores, 0, 5).tolist(), abs=5e-4)
    first = out.read_bytes()
    leaderboard_submission.write(benchmark, layout, "p", "no_kd", 1, out)
    assert out.read_bytes() == first

    text, written_before = benchmark.path.read_text(), out.read_bytes()
    edited = yaml.safe_load(text)
    edited["training"]["student"]["epochs"] += 1
    benchmark.path.write_text(yaml.safe_dump(edited))
    assert cli.main([*asked, "--seed", "1", "--out", str(out)]) == 1  # runs of before an edit are not handed in
    said = capsys.readouterr().err
    assert f"mnli/seed-1.json: is not the run that {benchmark.path} asks for (training differ)" in said
    benchmark.path.write_text(text)
    run_record.write(path, {**record, "method": "pkd"})
    assert cli.main([*asked, "--seed", "1", "--out", str(out)]) == 1
    assert "mnli/seed-1.json: 'method' is 'pkd', expected 'no_kd' in this place" in capsys.readouterr().err
    run_record.write(path, record)
    assert out.read_bytes() == written_before

    assert cli.main([*asked, "--seed", "7", "--out", str(out)]) == 1
    assert "seed-7.json: no such file" in capsys.readouterr().err
    save_file({"test": logits["test"]}, path.with_suffix(".safetensors"))
    assert cli.main([*asked, "--seed", "1", "--out", str(out)]) == 1
    assert "not what was written (checksum)" in capsys.readouterr().err


def test_without_hidden_test_sets_there_is_nothing_to_submit(pipeline: Any, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for task in ("mrpc", "stsb"):
        runs_made = layout.run(Cell("bert2", "no_kd", task), 1)
        record = run_record.read(pipeline.layout.teacher("bert4", task) / "record.json")
        record["predictions"]["file"] = "seed-1.safetensors"
        run_record.write(runs_made, record)
        shutil.copy(
            pipeline.layout.teacher("bert4", task) / "record.safetensors", runs_made.with_suffix(".safetensors")
        )
    with pytest.raises(UserError, match="data.test is 'heldout' and no run predicted .* expected data.test: hidden"):
        leaderboard_submission.write(pipeline.benchmark, layout, "bert2", "no_kd", 1, tmp_path / "no.zip")
    assert not (tmp_path / "no.zip").exists()


def test_predictions_of_other_data_are_refused() -> None:
    file = leaderboard_submission.SUBMISSION_FILES[0]
    with pytest.raises(UserError, match=r"CoLA.tsv: 7 predictions, but GLUE's test file has 1,063 rows"):
        leaderboard_submission.spelled(file, np.zeros((7, 2), np.float32))
    bad = np.zeros((file.rows, 2), np.float32)
    bad[5, 1] = np.nan
    with pytest.raises(UserError, match=r"CoLA.tsv: row 5: prediction is not finite"):
        leaderboard_submission.spelled(file, bad)
    stsb = replace(leaderboard_submission.SUBMISSION_FILES[3], rows=3)
    assert leaderboard_submission.spelled(stsb, np.array([[-1.0], [2.34567], [9.0]], np.float32)) == [
        "0.000",
        "2.346",
        "5.000",
    ]


def made(path: Path, **changes: bytes | None) -> Path:
    """A valid submission with some files replaced (by stem), or left out."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in leaderboard_submission.SUBMISSION_FILES:
            stem = file.name.removesuffix(".tsv")
            content = changes.pop(stem, leaderboard_submission.tsv(file.filled()))
            if content is not None:
                archive.writestr(file.name, content)
        for name, content in changes.items():
            archive.writestr(name, content or b"")
    return path


def test_checker_accepts_the_real_row_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tmp_path / "good.zip")
    assert cli.main(["check-submission", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid\n"


HEAD = b"index\tprediction\n"
FAULTS: dict[str, tuple[dict[str, bytes | None], str]] = {
    "file missing": ({"AX": None}, "has 0 files AX.tsv, expected one"),
    "another file": ({"README.txt": b"hello"}, "README.txt is no file of a submission"),
    "rows": ({"WNLI": HEAD + b"0\t0\n"}, "WNLI.tsv: 1 rows, expected 2"),
    "header": ({"WNLI": b"id\tlabel\n0\t0\n1\t0\n"}, "WNLI.tsv: the header is 'id\\tlabel', expected"),
    "index": ({"WNLI": HEAD + b"1\t0\n2\t0\n"}, "WNLI.tsv: row 0: index '1', expected 0"),
    "class as number": ({"RTE": HEAD + b"0\t0\n1\t1\n"}, "RTE.tsv: row 0: prediction '0', expected one of entailment"),
    "class as word": ({"SST-2": HEAD + b"0\t1\n1\tpositive\n"}, "SST-2.tsv: row 1: prediction 'positive'"),
    "three classes in QNLI": ({"QNLI": HEAD + b"0\tneutral\n1\tentailment\n"}, "QNLI.tsv: row 0: prediction 'neutral'"),
    "score above 5": ({"STS-B": HEAD + b"0\t5.01\n1\t2\n"}, "STS-B.tsv: row 0: prediction '5.01', expected a number"),
    "score not a number": ({"STS-B": HEAD + b"0\tnan\n1\t2\n"}, "STS-B.tsv: row 0: prediction 'nan'"),
    "last line cut": ({"WNLI": HEAD + b"0\t0\n1\t0"}, "WNLI.tsv: expected lines that end with a newline"),
    "Windows lines": ({"WNLI": b"index\tprediction\r\n0\t0\r\n1\t0\r\n"}, "WNLI.tsv: expected lines that end"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_checker_names_the_first_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    monkeypatch.setattr(
        leaderboard_submission,
        "SUBMISSION_FILES",
        tuple(replace(file, rows=2) for file in leaderboard_submission.SUBMISSION_FILES),
    )
    leaderboard_submission.check(made(tmp_path / "good.zip"))
    changes, expected = FAULTS[fault]
    with pytest.raises(UserError) as caught:
        leaderboard_submission.check(made(tmp_path / "bad.zip", **changes))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_checker_on_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no zip")
    for name in ("a.zip", "missing.zip"):
        with pytest.raises(UserError, match="not a readable zip"):
            leaderboard_submission.check(tmp_path / name)
