"""What a benchmark asks wrongly of its jobs is one line before any compute."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from railkd import cli
from railkd.benchmark import config
from railkd.benchmark.config import ROOT
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.benchmark.unused_entries import unused
from railkd.commands.checking import check
from railkd.errors import UserError, warn

BERT4 = {"layers_of": "bert4", "layers": 2, "keep": "first"}
VARIED = {"beta": 10.0, "vary": {"beta": [20.0]}}


def test_two_stages_in_one_epoch_are_refused_before_any_compute(bench: Any) -> None:
    for epochs, grid, refused in ((1, None, True), (2, None, False), (2, [1, 2], True), (1, [3], False)):

        def edit(spec: dict[str, Any], epochs: int = epochs, grid: Any = grid) -> None:
            spec["training"]["student"]["epochs"] = epochs
            spec["pairs"] = {"bert2": {"teacher": "bert4", "student": "bert2", "methods": ["tinybert"]}}
            if grid:
                spec["search"] = {"seed": 0, "grid": {"epochs": grid}}

        if refused:
            with pytest.raises(UserError, match="first_stage: two stages need at least 2 epochs, this run has 1"):
                check(*bench(edit))
        else:
            check(*bench(edit))


def test_command_line_errors_are_one_line(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, layout = bench()
    base = [str(benchmark.path), "--results", str(layout.root)]
    for arguments, expected in (
        (["distil", *base, "--pair", "distilbert3", "--method", "pkd", "--task", "mrpc", "--seeds", "1"],
         "--pair: unknown pair 'distilbert3'; did you mean 'distilbert2'?"),
        (["prepare", *base, "--teacher", "bert4", "--task", "mprc"],
         "--task: unknown task 'mprc'; did you mean 'mrpc'?"),
        (["signals", *base, "--teacher", "bert2", "--task", "mrpc"], "--teacher: unknown teacher 'bert2'"),
    ):  # fmt: skip
        assert cli.main(arguments) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith(f"railkd: error: {expected}")
    check(benchmark, layout)
    wrong = replace(benchmark, spec={**benchmark.spec, "methods": {**benchmark.spec["methods"], "pkd": {"betta": 1}}})
    with pytest.raises(UserError, match="methods.pkd: unknown option 'betta'; did you mean 'beta'"):
        check(wrong, layout)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"methods.codir": {}}, ["methods.codir: no pair names it, so it is never trained; add codir to a pair, such "
                                 "as pairs.p.methods"]),
        ({"methods.pkd": VARIED}, ["methods.pkd: no pair names a variant of it; add pkd.* to a pair, such as "
                                   "pairs.p.methods"]),
        ({"methods.pkd": VARIED, "pairs.p.methods": ["no_kd", "pkd.*"]}, []),
        ({"methods.pkd": VARIED, "pairs.p.methods": ["no_kd", "pkd.beta-20.0"]}, []),
        ({"models.bert2": BERT4}, ["models.bert2: nothing uses it; add it to a pair, such as pairs.p"]),
        ({"models.bert2": BERT4, "pairs.p.student": "bert2"},
         ["models.distilbert2: nothing uses it; add it to a pair, such as pairs.p"]),
        ({"models.bert2": BERT4, "models.other2": {**BERT4, "layers_of": "bert2"},
          "models.distilbert2": ..., "pairs.p.student": "other2"}, []),
    ],
)  # fmt: skip
def test_what_nothing_uses_is_a_warning(
    make_benchmark: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    expected: list[str],
) -> None:
    """A model of which another is made is used, and so is an entry of which a pair names a variant."""
    path = make_benchmark({"models.bert2": ..., **changes}).path
    assert cli.main(["check", str(path), "--results", str(tmp_path / "results")]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"railkd: warning: {path}: {line}" for line in expected] and "valid" in said.out


def test_an_external_method_without_rules_or_records_is_a_warning(
    make_benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = {"models.bert2": ..., "methods.theirs": {"external": True}, "pairs.p.methods": ["no_kd", "theirs"]}
    changes = {**theirs, "methods.pkd": ...}
    (tmp_path / "theirs.smk").touch()
    benchmark, layout = make_benchmark({**changes, "rules": ["theirs.smk"]}), Layout(tmp_path / "results")
    command = ["check", str(benchmark.path), "--results", str(layout.root)]
    assert cli.main(command) == 0 and capsys.readouterr().err == ""
    make_benchmark(changes)
    line = "rules: none in this file, so nothing can write the missing records of external methods (theirs)"
    assert cli.main(command) == 0 and capsys.readouterr().err == f"railkd: warning: {benchmark.path}: {line}\n"
    warn.cache_clear()
    for task in benchmark.tasks:
        for seed in benchmark.seeds:
            record = layout.run(Cell("p", "theirs", task), seed)
            record.parent.mkdir(parents=True, exist_ok=True)
            record.touch()
    assert cli.main(command) == 0 and capsys.readouterr().err == ""


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/*.yaml")), ids=lambda p: p.stem)
def test_the_suites_files_use_what_they_declare(path: Path, trained_encoders: Path) -> None:
    if path.stem != "claims":
        assert list(unused(config.load(path))) == []
