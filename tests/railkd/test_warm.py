"""A step run in a fork of the warm process is the step run in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
STEP = [sys.executable, "-m", "railkd"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = str(tmp_path_factory.mktemp("warm") / "socket")
    server = subprocess.Popen([sys.executable, "-m", "railkd.warm", place], cwd=ROOT)
    for _ in range(600):
        if Path(place).exists():
            break
        time.sleep(0.1)
    yield place
    server.kill()
    server.wait()


def run(address: str | None, *argv: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAILKD_WARM", None)
    if address:
        environment["RAILKD_WARM"] = address
    return subprocess.run([*STEP, *argv], capture_output=True, text=True, env=environment, cwd=folder, timeout=120)


def test_same_words_and_status_as_a_process_of_its_own(address: str, tmp_path: Path) -> None:
    for argv in (["record", "none.json"], ["check", str(ROOT / "tests/micro.yaml")], ["record"]):
        warm, cold = run(address, *argv, folder=tmp_path), run(None, *argv, folder=tmp_path)
        assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr), argv


def test_without_the_process_the_step_runs_itself(tmp_path: Path) -> None:
    done = run(str(tmp_path / "nobody"), "record", "none.json")
    assert done.returncode == 1 and "none.json: no such file" in done.stderr


def test_a_step_dies_with_its_asker(address: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    environment = {**os.environ, "RAILKD_WARM": address, "PYTHONPATH": str(ROOT)}
    command = [*STEP, "data", str(ROOT / "benchmarks/mini.yaml"), "--results", str(results)]
    asker = subprocess.Popen(command, env=environment, cwd=ROOT)
    for _ in range(600):
        if list(results.rglob("*.parquet")):
            break
        time.sleep(0.1)
    asker.kill()
    asker.wait()
    time.sleep(0.5)
    made = len(list(results.rglob("*.parquet")))
    time.sleep(1.5)
    assert 0 < len(list(results.rglob("*.parquet"))) == made < 30
    assert not (results / "data/corpus/corpus.parquet").exists()  # the last file of the step
