"""A file system that refuses hard links, locks and folder syncs: the workflow completes, a killed one goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from test_faults import ENVIRONMENT, descendants, snakemake

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.records import run_record

pytestmark = pytest.mark.trust
ROOT = Path(__file__).parent.parent.parent
MICRO = ROOT / "tests" / "micro.yaml"


class Place(NamedTuple):
    """A folder on a poor file system, and what a process needs to see it so."""

    folder: Path
    environment: dict[str, str]
    refused: Path  # a file with a line for each refusal


@pytest.fixture
def poor(tmp_path: Path) -> Place:
    """By a library that stands before the system's own: a mount would need a kernel or a daemon of its own."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to build what refuses the calls")
    library, folder = tmp_path / "refusing.so", tmp_path / "poor"
    source = Path(__file__).with_name("refusing.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    folder.mkdir()
    added = {"LD_PRELOAD": str(library), "REFUSE_UNDER": str(folder), "REFUSED": str(tmp_path / "refused")}
    return Place(folder, {**ENVIRONMENT, **added}, tmp_path / "refused")


def run(place: Place, log: Path, benchmark: Path = MICRO) -> subprocess.Popen[bytes]:
    with open(log, "w", encoding="utf-8") as output:
        return subprocess.Popen(
            snakemake(benchmark, place.folder / "results"),
            stderr=output,
            stdout=output,
            env=place.environment,
            start_new_session=True,
        )


def trained(results: Path) -> dict[tuple[str, ...], str]:
    """When each finished run was trained, wherever its record lies now."""
    found = {}
    for path in results.rglob("seed-*.json"):
        with contextlib.suppress(UserError):
            record = run_record.read(path)
            key = (record["pair"], record["method"], record["task"], str(record["seed"]))
            found[key] = str(record["provenance"]["finished"])
    return found


def test_nothing_is_lost_where_links_locks_and_syncs_are_refused(poor: Place, tmp_path: Path) -> None:
    """Killed with all its processes while seeds are trained, then run to its end, then again with nothing to do."""
    results, log = poor.folder / "results", tmp_path / "log"
    first = run(poor, log)
    for _ in range(6000):
        if first.poll() is not None or len(trained(results)) >= 3:
            break
        time.sleep(0.05)
    assert first.poll() is None, log.read_text()
    os.killpg(first.pid, signal.SIGKILL)
    for pid in descendants(first.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    first.wait()
    before = trained(results)
    assert run(poor, log).wait(900) == 0, log.read_text()[-3000:]
    said = log.read_text()
    assert "Traceback" not in said and "another run is writing" not in said and "cannot be written" not in said
    after = trained(results)
    assert len(after) == 8 and {key: after[key] for key in before} == before and len(before) >= 3
    counted = Counter(poor.refused.read_text().split())
    assert counted["link"] >= 8 and counted["flock"] >= 2 and counted["fsync"] >= 20, counted
    assert said.count("no locks there (No locks available)") == 1, said  # each job says so too, in its own log
    command = [sys.executable, "-m", "railkd", "verify", str(MICRO), "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, env=poor.environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(poor, log).wait(300) == 0 and "railkd: nothing to do:" in log.read_text()
    assert not [p for p in results.rglob("*") if p.name.endswith(".tmp")]


def test_a_job_made_again_finds_its_seeds(poor: Place, tmp_path: Path) -> None:
    """Of a job of two seeds that is killed after the first: Snakemake deletes its outputs, the kept copy comes back."""
    benchmark, layout = config.load(MICRO), Layout(poor.folder / "results")
    (cell,) = [c for c in benchmark.cells() if (c.method, c.task) == ("no_kd", "sst2")]
    railkd = [sys.executable, "-m", "railkd"]

    def step(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*railkd, name, str(MICRO), "--results", str(layout.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=poor.environment, cwd=ROOT, timeout=600)

    teacher = ["--teacher", "bert4", "--task", "sst2"]
    steps: list[list[str]] = [["data"], ["pretrain", "--model", "bert4"], ["pretrain", "--model", "distilbert2"]]
    for name in ("prepare", "teacher", "signals"):
        steps.append([name, *teacher])
    for name, *arguments in steps:
        done = step(name, *arguments)
        assert done.returncode == 0, done.stderr
    distil = ["--pair", cell.pair, "--method", cell.method, "--task", cell.task, "--seeds"]
    assert step("distil", *distil, "1").returncode == 0
    path = layout.run(cell, 1)
    content = path.read_bytes()
    layout.kept(path).parent.mkdir(parents=True, exist_ok=True)
    for name in (path, path.with_suffix(".safetensors")):  # as if the job had been killed in its second seed
        shutil.copyfile(name, layout.kept(path).with_name(name.name))
        name.unlink()
    done = step("distil", *distil, "1", "2")
    assert done.returncode == 0 and "seed 1: kept from before" in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == content and layout.run(cell, 2).is_file()
