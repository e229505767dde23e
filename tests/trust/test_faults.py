"""A killed, powerless, full or starved run continues after the same command and ends as if nothing had happened."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import faults
import pytest
import yaml
from conftest import SPEC, Undisturbed

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.cli import main
from railkd.records import run_record

pytestmark = pytest.mark.trust
ROOT = faults.ROOT
KILLS = 4  # of each step; twice as many of one that trains
SAME = ("scores", "predictions", "best_epoch", "method_record", "similarity", "diagnostics", "config_hash")


def printed(results: Path) -> dict[str, bytes]:
    """The tables and drawings, by name."""
    files = [*(results / "tables").glob("table*"), *(results / "figures").glob("*")]
    return {str(p.relative_to(results)): p.read_bytes() for p in files}


def said(results: Path) -> dict[str, str]:
    """What every record says that does not depend on the clock, by its path."""
    found = {}
    for path in [*Layout(results).present(), *sorted((results / "search").rglob("point-*.json"))]:
        record = run_record.read(path)
        losses = [{k: e[k] for k in ("dev", "loss", "learning_rate")} for e in record["epochs"]]
        found[str(path.relative_to(results))] = json.dumps([{k: record[k] for k in SAME}, losses])
    return found


def left_over(results: Path, states: bool = True) -> list[str]:
    """What nothing will ever read: unfinished files, and the states of finished runs."""
    return [str(p) for p in results.rglob("*") if p.name.endswith(".tmp") or (states and ".state" in p.name)]


def test_nothing_a_finished_step_wrote_is_only_in_memory(undisturbed: Undisturbed) -> None:
    assert not any(undisturbed.floating), undisturbed.floating
    assert min(undisturbed.places) >= 5, undisturbed.places  # they are there to be counted


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
def test_killed_anywhere_it_ends_with_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, power: bool, record_property: Any
) -> None:
    """Every step is killed at seeded places, and started again as Snakemake does (outputs deleted) or by hand."""
    results, copy, rng = tmp_path / "results", tmp_path / "copy", Random(17 + power)
    results.mkdir()
    kills = losses = resumes = 0
    for step, places in zip(faults.workflow(undisturbed.benchmark, results), undisturbed.places, strict=True):
        wanted = KILLS * (2 if step.command[0] in ("teacher", "distil") else 1)
        for place in sorted(rng.sample(range(1, places + 1), min(wanted, places))):
            before = faults.looks(results)
            if power:
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(results, copy)
            ending = faults.run(step, results, kill_at=place)
            assert ending.status in (0, -signal.SIGKILL), (step, ending.said)
            kills += ending.status != 0
            resumes += ending.said.count("resumed after epoch")
            if power and ending.status:
                losses += faults.lose_power(results, copy, before, ending, rng)
            if rng.random() < 0.5:
                for path in step.outputs:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        ending = faults.run(step, results)
        if ending.status:  # refused by name, with what to do; nothing damaged was read
            assert re.search(r"^(railkd: )?error: \S+: .*(checksum|no such file)", ending.said, re.M), ending.said
            assert "Traceback" not in ending.said
            for path in step.outputs:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            ending = faults.run(step, results)
        assert ending.status == 0, (step, ending.said)
        resumes += ending.said.count("resumed after epoch")
    assert printed(results) == printed(undisturbed.results) and len(printed(results)) == 12
    assert said(results) == said(undisturbed.results)
    assert main(["verify", str(undisturbed.benchmark.path), "--results", str(results)]) == 0
    print(f"kills {kills}, files lost or torn {losses}, places {sum(undisturbed.places)}, resumed {resumes} times")
    assert kills >= 50 and resumes >= 5 and (losses >= 10) == power
    assert not left_over(results)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def free(place: Path) -> int:
    look = os.statvfs(place)
    return look.f_bavail * look.f_frsize


WRITERS = [
    "data",
    "pretrain",
    "prepare",
    "teacher",
    "signals",
    "distil",
    "select",
    "tables",
    "figures",
    "claims",
    "report",
]


def without(step: faults.Step, results: Path) -> None:
    for path in step.outputs:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_no_torn_file(undisturbed: Undisturbed, small_disk: Path, name: str) -> None:
    results = small_disk / "results"
    shutil.copytree(undisturbed.results, results)
    step = [s for s in faults.workflow(undisturbed.benchmark, results) if s.command[0] == name][-1]
    before = free(small_disk)
    without(step, results)
    room = free(small_disk) - before  # what the step needs
    kept = {p: p.read_bytes() for p in results.rglob("*") if p.is_file() and p.name != "seen.json"}
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * (free(small_disk) - room // 3))
    check_shortage(faults.run(step, results), results, kept)
    filler.unlink()
    ending = faults.run(step, results)
    assert ending.status == 0, ending.said
    assert said(results) == said(undisturbed.results) and printed(results) == printed(undisturbed.results)


@pytest.mark.parametrize("name", ["data", "pretrain", "prepare", "teacher", "signals", "distil", "tables"])
def test_a_file_that_may_not_grow_is_one_line_and_no_torn_file(
    undisturbed: Undisturbed, copy: Layout, name: str
) -> None:
    step = [s for s in faults.workflow(undisturbed.benchmark, copy.root) if s.command[0] == name][-1]
    without(step, copy.root)
    kept = {p: p.read_bytes() for p in copy.root.rglob("*") if p.is_file() and p.name != "seen.json"}
    check_shortage(faults.run(step, copy.root, FSIZE=1024), copy.root, kept)
    assert faults.run(step, copy.root).status == 0
    assert said(copy.root) == said(undisturbed.results) and printed(copy.root) == printed(undisturbed.results)


def check_shortage(ending: faults.Ending, results: Path, kept: dict[Path, bytes]) -> None:
    """It failed with one line that names a file, changed no finished file and left nothing behind."""
    errors = [line for line in ending.said.splitlines() if "error" in line.lower()]
    assert ending.status == 1 and len(errors) == 1 and "Traceback" not in ending.said, (ending.status, ending.said)
    place = rf"(railkd: )?error: (\S+ \S+ \S+ seed \d+: )?{re.escape(str(results))}/\S+: "
    assert re.fullmatch(place + r".*(No space left|too large).*", errors[0]), errors
    assert all(path.read_bytes() == content for path, content in kept.items() if path.exists())
    assert not left_over(results, states=False)


def test_out_of_memory_is_one_line(undisturbed: Undisturbed, copy: Layout) -> None:
    step = [s for s in faults.workflow(undisturbed.benchmark, copy.root) if s.command[0] == "teacher"][0]
    without(step, copy.root)
    ending = faults.run(step, copy.root, AS=1 << 20)
    assert ending.status, ending.said  # a library that cannot say so aborts
    assert ending.status != 1 or re.search(r"^railkd: error: ", ending.said, re.M)
    assert not left_over(copy.root, states=False)
    assert faults.run(step, copy.root).status == 0
    assert said(copy.root) == said(undisturbed.results)


# --- the workflow itself -------------------------------------------------------------------------------------------

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
for _name in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
    ENVIRONMENT.pop(_name, None)


def snakemake(benchmark: Path, results: Path) -> list[str]:
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(results.parent), "--cores", "1"]
    return [*command, "--config", f"benchmark={benchmark}", f"results={results}", "device=cpu"]


def descendants(pid: int) -> dict[int, str]:
    """Process -> command line, of everything that a process has started."""
    found: dict[int, str] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            line = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if parent == pid:
            found |= {int(status.parent.name): line} | descendants(int(status.parent.name))
    return found


def test_the_workflow_is_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """One job, or Snakemake with all that it has started, in a seeded job of each attempt; then the same command."""
    results, rng, log = tmp_path / "results", Random(5), tmp_path / "log"
    command, kills = snakemake(undisturbed.benchmark.path, results), []
    for attempt in range(20):
        target = ("job", "all")[attempt % 2]
        with open(log, "w") as output:
            run = subprocess.Popen(command, stderr=output, stdout=output, env=ENVIRONMENT, start_new_session=True)
        begun, chosen, wait = set[int](), rng.randint(1, 6), rng.uniform(0.0, 0.5)  # a job is a shell and a Python
        while run.poll() is None and len(kills) < 4:
            victims = [pid for pid, line in descendants(run.pid).items() if "-m railkd " in line]
            begun.update(victims)
            if victims and len(begun) >= chosen and wait <= 0:
                kills.append(target)
                if target == "all":
                    os.killpg(run.pid, signal.SIGKILL)
                for pid in victims if target == "job" else []:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                break
            wait -= 0.02 if len(begun) >= chosen else 0
            time.sleep(0.02)
        if run.wait(600) == 0:
            if len(kills) == 4:
                break
            assert printed(results) == printed(undisturbed.results)
            shutil.rmtree(results)  # it was done before enough was killed: once more from the start
            continue
        assert "Traceback" not in log.read_text() and "locked" not in log.read_text(), log.read_text()[-2000:]
    assert run.returncode == 0, log.read_text()[-3000:]
    print(f"kills {len(kills)}: {', '.join(kills)}")
    assert len(kills) == 4 and "all" in kills
    assert printed(results) == printed(undisturbed.results) and said(results) == said(undisturbed.results)
    assert not left_over(results)


METHODS = """
import os, signal, torch
from railkd.methods.no_kd import NoKD
class Killed(NoKD):
    def start_training(self, generator):
        os.kill(os.getpid(), signal.SIGKILL)
class Starved(NoKD):
    def start_training(self, generator):
        torch.empty(1 << 50)
class Exploding(NoKD):
    def terms(self, batch, student, teacher):
        terms = super().terms(batch, student, teacher)
        steps = int(os.environ.get("STEPS", 0)) + 1  # of all seeds of the job
        os.environ["STEPS"] = str(steps)
        return {name: term * (float("nan") if steps == 7 else 1.0) for name, term in terms.items()}
"""


def test_a_failing_run_stops_no_other_and_the_report_says_why(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A method that is killed as by the kernel when memory is short, one without memory, one whose loss explodes."""
    results, spec = tmp_path / "results", json.loads(json.dumps(SPEC))
    shutil.copytree(undisturbed.results, results)
    for name in ("tables", "figures", "report.md", "report.html", "search", "runs"):
        path = results / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "bad.py").write_text(METHODS)
    del spec["search"]
    bad = {name: {"method": f"{tmp_path / 'bad.py'}:{name.title()}"} for name in ("killed", "starved", "exploding")}
    spec["methods"] = {**bad, "no_kd": {}}
    spec["pairs"]["pair"].update(methods=list(spec["methods"]), tables=[2])
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(spec))
    benchmark = config.load(path)
    command = snakemake(path, results)
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    layout = Layout(results)
    there = [cell.method for cell in benchmark.cells() for s in (1, 2) if layout.run(cell, s).is_file()]
    assert there == ["no_kd", "no_kd"]
    report = (results / "report.md").read_text()
    for why in (
        r"pair, killed: sst2 \(seed 1, 2\): the job was killed by signal 9",
        r"pair, starved: sst2 \(seed 1, 2\): out of memory \(.*allocate",
        r"pair, exploding: sst2 \(seed 1\): loss is not finite at step 7: total nan, ce nan"
        r"; last finite values: step 6: total 0\.",
    ):
        assert re.search(why, report.replace("\\", "")), (why, report[:3000])
    page = (results / "report.html").read_text()
    assert "What is missing, and why" in page and "loss is not finite at step 7" in page
    with open(results / "tables" / "table2.csv", newline="") as file:  # seed 2 is in it, though its job failed
        assert any(row["row"] == "exploding" and row["n"] == "1" for row in csv.DictReader(file))
    good = METHODS.replace("os.kill(", "print(").replace("torch.empty(", "print(").replace("== 7", "== -1")
    (tmp_path / "bad.py").write_text(good)
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "What is missing" not in (results / "report.html").read_text()
