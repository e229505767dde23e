"""What a benchmark asks wrongly of its jobs is one line before any compute."""

from dataclasses import replace
from typing import Any

import pytest

from railkd import cli
from railkd.commands.checking import check
from railkd.errors import UserError


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
