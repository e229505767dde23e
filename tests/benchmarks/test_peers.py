"""The comparison with other tools, at toy size: the work is shared out fairly, and its mistakes are lines."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from benchmarks.speed import peers
from railkd import cli
from railkd.data.batches import Prepared, Split
from railkd.tasks import TASKS

ROOT = Path(__file__).parents[2]


def split(lengths: list[int]) -> Split:
    offsets = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    tokens = torch.arange(int(offsets[-1]), dtype=torch.int32)
    return Split(tokens, offsets, torch.ones(len(lengths), dtype=torch.int32), torch.arange(len(lengths)) % 2)


def test_a_short_run_has_the_same_share_of_dev() -> None:
    train, dev = split([3, 5, 4, 6, 2, 7, 3, 5]), split([4, 4, 6, 2])
    prepared = Prepared(TASKS["mrpc"], {"train": train, "dev": dev}, {"max_length": 8, "pad_id": 0})
    cut = peers._cut(prepared, 4).splits
    assert cut["train"].lengths.tolist() == [3, 5, 4, 6] and cut["dev"].lengths.tolist() == [4, 4]
    assert cut["train"].tokens.tolist() == list(range(18)) and cut["train"].labels.tolist() == [0, 1, 0, 1]
    whole = peers._cut(Prepared(TASKS["mrpc"], {"train": train, "dev": dev}, {}), 100).splits
    assert len(whole["train"]) == 8 and len(whole["dev"]) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tools", "trainr"], "trainer"),
        (["--tasks", "mnlli"], "--tasks"),
        (["--pair", "bert4"], "bert4-distilbert2"),
        (["--steps", "0"], "--steps: 0, expected a number of at least 1"),
    ],
)
def test_mistakes_are_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    micro = str(ROOT / "tests" / "micro.yaml")
    assert peers.main([micro, "--tasks", "mrpc", "--results", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not list(tmp_path.iterdir())


def test_every_tool_has_a_row(tmp_path: Path) -> None:
    """This suite trains from its own cache; a tool that is not installed is named, and ratios are to this suite."""
    micro, results = str(ROOT / "tests" / "micro.yaml"), ["--results", str(tmp_path)]
    assert cli.main(["data", micro, *results]) == 0
    for model in ("bert4", "distilbert2"):
        assert cli.main(["pretrain", micro, *results, "--model", model, "--threads", "1"]) == 0
    tools = ["--tasks", "mrpc", "--tools", "railkd", "trainer", "--steps", "2", "--threads", "1"]
    assert peers.main([micro, *results, *tools]) == 0
    result = json.loads((tmp_path / "peers.json").read_text())
    ours, documented, best = result["rows"]
    assert ours["tool"] == "railkd" and 0 < ours["cache_seconds"] < ours["seconds"] and ours["steps"] == 2
    assert (documented["settings"], best["settings"]) == ("documented", "best")
    shown = (tmp_path / "peers.md").read_text()
    assert "A short run" in shown and "\n\n\n" not in shown
    for row in (documented, best):
        if importlib.util.find_spec("accelerate") is None:
            assert "accelerate" in row["error"] and "not run: " in shown
        else:
            assert f"{row['seconds'] / ours['seconds']:.2f}" in shown
