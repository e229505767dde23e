"""The benchmark of costs, at toy size: that it times what it says, and that ratios are taken within a round."""

import copy
import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import show
from benchmarks.speed.measure import Memory
from railkd.errors import UserError

ROOT = Path(__file__).parents[2]
QUICK = ["--rounds", "3", "--steps", "1", "--warmup", "1", "--batch-size", "4", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The micro benchmark's pair, timed."""
    folder = tmp_path_factory.mktemp("speed")
    arguments = [str(ROOT / "tests" / "micro.yaml"), "--results", str(folder), "--max-length", "32"]
    arguments += ["--mean-length", "10", "--groups", "bert4-distilbert2", "bert4-distilbert2, n = 12"]
    assert speed.main([*arguments, *QUICK]) == 0
    return folder


@pytest.fixture
def result(results: Path) -> dict[str, Any]:
    return json.loads((results / "speed.json").read_text())


def test_every_job_is_timed_in_every_round(results: Path, result: dict[str, Any]) -> None:
    assert {path.name for path in results.iterdir()} == {f"speed.{k}" for k in ("json", "csv", "md", "png", "pdf")}
    assert [g["teacher_layers"] for g in result["groups"]] == [4, 12]
    for group in result["groups"]:
        jobs = {(job["method"], job["regime"]) for job in group["jobs"]}
        assert jobs == {
            ("no_kd", "none"), ("rail_kd_l", "cached"), ("rail_kd_l", "live"), ("teacher", "forward"),
        }  # fmt: skip
        assert all(len(job["seconds"]) == 3 and min(job["seconds"]) > 0 for job in group["jobs"])
        assert len(group["matrix_rate"]) == 3 and group["operations"]["student"] > 0
    shallow, deep = (group["operations"] for group in result["groups"])
    assert deep["student"] == shallow["student"]
    # all layers but the last, which is cut to one position, cost the same
    assert 11 / 4 < deep["teacher"] / shallow["teacher"] < 11 / 3
    assert result["environment"]["threads"] == 1 and result["environment"]["versions"]["torch"]


def test_ratios_are_paired_within_a_round(results: Path, result: dict[str, Any]) -> None:
    seconds = {(j["method"], j["regime"]): j["seconds"] for j in result["groups"][0]["jobs"]}
    pairs = zip(seconds["rail_kd_l", "live"], seconds["no_kd", "none"], strict=True)
    wanted = statistics.median(own / unit for own, unit in pairs)
    rows = list(csv.DictReader((results / "speed.csv").open()))
    (row,) = (r for r in rows if (r["group"], r["method"], r["regime"]) == ("bert4-distilbert2", "rail_kd_l", "live"))
    assert float(row["ratio"]) == pytest.approx(wanted)
    assert float(row["ratio_low"]) <= wanted <= float(row["ratio_high"])


def test_memory_that_an_earlier_method_has_freed_counts_for_the_next() -> None:
    pinned = []  # a piece at the end of the heap: what is freed below it stays with the process
    for _ in range(2):
        memory = Memory(torch.device("cpu"), 1_000)
        pieces = [torch.ones(20_000) for _ in range(1_000)]  # 80 MB
        pinned.append(pieces.pop())
        peak = memory.peak()
        assert peak is None or 70e6 < peak < 120e6
        del pieces


def test_negatives_are_jobs_of_their_own() -> None:
    from benchmarks.speed import work
    from railkd.benchmark import config

    found = work.timed_methods(config.load(ROOT / "benchmarks" / "paper.yaml"))
    codir = [(j.negatives, j.own) for j in found if j.method == "codir" and j.regime == "cached"]
    assert codir == [(100, True), (1000, False), (4000, False)]
    assert len(found) == 1 + 2 * (7 + 2) and len(set(found)) == len(found)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--groups", "bert5"], "--groups: unknown group 'bert5'; available: bert4-distilbert2"),
        (["--against", "nowhere.json"], "nowhere.json: no such file"),
        (["--tolerance", "-1"], "--tolerance: -1, expected a number of at least 0"),
        (["--rounds", "0"], "--rounds: 0, expected a number of at least 1"),
        (["--mean-length", "3"], "--mean-length: 3, expected a number from 6 to --max-length"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main([str(ROOT / "tests" / "micro.yaml"), "--device", "cpu", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_what_has_become_dearer_is_named(results: Path, result: dict[str, Any]) -> None:
    before = copy.deepcopy(result)
    assert show.dearer(result, before, 0.0) == []
    for job in before["groups"][0]["jobs"]:
        if (job["method"], job["regime"]) == ("rail_kd_l", "live"):
            job["seconds"] = [s / 10 for s in job["seconds"]]
    (line,) = show.dearer(result, before, 0.1)
    assert line.startswith("bert4-distilbert2, rail_kd_l live: ")
    assert show.dearer(before, result, 0.1) == []  # cheaper is no regression
    before["settings"]["batch_size"] = 8
    with pytest.raises(UserError, match="--against: its --batch-size is 8, this one's 4"):
        show.dearer(result, before, 0.1)


def test_against_decides_the_exit_status(results: Path, result: dict[str, Any], tmp_path: Path) -> None:
    for job in result["groups"][0]["jobs"]:
        if job["method"] != "no_kd":
            job["seconds"] = [s / 100 for s in job["seconds"]]
    (tmp_path / "before.json").write_text(json.dumps(result))
    arguments = [str(ROOT / "tests" / "micro.yaml"), "--results", str(tmp_path), "--max-length", "32"]
    arguments += ["--mean-length", "10", "--groups", "bert4-distilbert2", "--against", str(tmp_path / "before.json")]
    assert speed.main([*arguments, *QUICK]) == 2


def test_another_measurement_is_refused_before_the_time_is_spent(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.speed.measure.measure", lambda *given: pytest.fail("it was measured"))
    arguments = [str(ROOT / "tests" / "micro.yaml"), "--results", str(tmp_path), "--against", str(tmp_path / "b.json")]
    for before, said in (
        (result, "its --mean-length is 10.0, this one's 40.0"),
        ({"schema": 1, "benchmark": result["benchmark"]}, "its shapes is None, this one's own"),
    ):
        (tmp_path / "b.json").write_text(json.dumps(before))
        assert speed.main([*arguments, *QUICK]) == 1
        assert f"error: --against: {said}" in capsys.readouterr().err
