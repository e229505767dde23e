"""A job run in a fork of the fork server is the job run in a process of its own."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
STEP = [sys.executable, "-m", "railkd"]


@pytest.fixture(scope="module", params=["short", "longer than a socket's name"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("forked")
    if request.param != "short":
        folder = folder / ("long" * 20) / ("long" * 20)
        folder.mkdir(parents=True)
    place = str(folder / "socket")
    server = subprocess.Popen([sys.executable, "-m", "railkd.fork_server", place], cwd=ROOT)
    until(lambda: Path(place).exists(), "the process listens")
    yield place
    server.kill()
    server.wait()


def until(seen: Callable[[], object], what: str) -> None:
    """Waits for something to come about, however busy the machine is; ten minutes are a failure."""
    end = time.monotonic() + 600
    while not seen():
        assert time.monotonic() < end, f"not in ten minutes: {what}"
        time.sleep(0.05)


def run(address: str | None, *argv: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAILKD_WARM", None)
    if address:
        environment["RAILKD_WARM"] = address
    return subprocess.run([*STEP, *argv], capture_output=True, text=True, env=environment, cwd=folder, timeout=600)


def test_same_words_and_status_as_a_process_of_its_own(address: str, tmp_path: Path) -> None:
    for argv in (["record", "none.json"], ["check", str(ROOT / "tests/micro.yaml")], ["record"]):
        forked, alone = run(address, *argv, folder=tmp_path), run(None, *argv, folder=tmp_path)
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr), argv


def test_without_the_process_the_step_runs_itself(tmp_path: Path) -> None:
    done = run(str(tmp_path / "nobody"), "record", "none.json")
    assert done.returncode == 1 and "none.json: no such file" in done.stderr


START = "from railkd import fork_client; import os, subprocess, sys; fork_client.start(); "
START += "print(subprocess.run([sys.executable, '-m', 'railkd', 'record', 'none.json']).returncode)"


@pytest.mark.parametrize("place", ["long", "missing", "a file"])
def test_no_folder_for_temporary_files_stops_a_workflow(tmp_path: Path, place: str) -> None:
    """Nor is there a word of it: of a long name the process is used, without a folder the step runs by itself."""
    folder = tmp_path / "/".join(["t" * 60] * 3)
    if place == "long":
        folder.mkdir(parents=True)
    elif place == "a file":
        folder.parent.mkdir(parents=True)
        folder.write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
    )
    assert (done.stdout, done.stderr) == ("1\n", "railkd: error: none.json: no such file\n")


@pytest.mark.parametrize("when", ["before it takes the step", "before it binds"])
def test_a_process_that_ends_early_leaves_the_job_to_its_caller(tmp_path: Path, when: str) -> None:
    """Such as one whose libraries cannot be imported; it says nothing itself."""
    (tmp_path / "broken" / "transformers").mkdir(parents=True)
    (tmp_path / "broken" / "transformers" / "__init__.py").write_text("raise OSError('broken on purpose')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'broken'}:{ROOT}"}
    place = tmp_path / ("socket" if when == "before it takes the step" else "no folder/socket")
    server = subprocess.Popen(
        [sys.executable, "-m", "railkd.fork_server", str(place)],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if place.exists() or server.poll() is not None:
            break
        time.sleep(0.02)
    done = run(str(place), "record", "none.json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "railkd: error: none.json: no such file\n")
    assert server.communicate(timeout=60)[1] == "" and server.returncode == 1


def long_step(address: str, folder: Path) -> tuple["subprocess.Popen[bytes]", psutil.Process]:
    """A step that would go on for minutes, once it is at work, and the process that it was forked from."""
    results, benchmark = folder / "results", folder / "long.yaml"
    spec = yaml.safe_load((ROOT / "benchmarks" / "mini.yaml").read_text())
    spec["data"]["sizes"] = {"train": 200, "corpus_sentences": 2_000_000}  # the corpus comes last
    benchmark.write_text(yaml.safe_dump(spec))
    environment = {**os.environ, "RAILKD_WARM": address, "PYTHONPATH": str(ROOT)}
    caller = subprocess.Popen([*STEP, "data", str(benchmark), "--results", str(results)], env=environment, cwd=ROOT)
    living = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    (server,) = [p for p in living if address in p.cmdline()]
    until(lambda: list(results.rglob("*.parquet")), "the step's first file")
    return caller, server


def test_a_job_dies_with_its_caller(address: str, tmp_path: Path) -> None:
    """The step is found by its results folder, and is there no more."""
    results = tmp_path / "results"
    caller, server = long_step(address, tmp_path)
    assert len(server.children()) == 1 and caller.poll() is None
    caller.kill()
    caller.wait()
    until(lambda: not server.children(), "the step ends")
    assert server.is_running() and not (results / "data/corpus/corpus.parquet").exists()


def test_a_job_dies_with_the_process_that_it_was_forked_from(tmp_path: Path) -> None:
    """Else it would go on writing while its caller, which says that it was killed, lets the workflow begin it again."""
    place = str(tmp_path / "socket")
    process = subprocess.Popen([sys.executable, "-m", "railkd.fork_server", place], cwd=ROOT)
    until(lambda: Path(place).exists(), "the process listens")
    caller, server = long_step(place, tmp_path)
    (job,) = server.children()
    server.kill()
    process.wait()
    assert caller.wait(timeout=600) == 1
    until(lambda: not job.is_running() or job.status() == psutil.STATUS_ZOMBIE, "the step ends")
    assert not (tmp_path / "results/data/corpus/corpus.parquet").exists()


def test_an_edited_module_of_the_suite_is_not_forked(tmp_path: Path) -> None:
    """A record would name the source as it is on disk, and not the one that it was made with."""
    suite = shutil.copytree(ROOT / "railkd", tmp_path / "railkd")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    place = str(tmp_path / "socket")
    process = subprocess.Popen([sys.executable, "-m", "railkd.fork_server", place], cwd=tmp_path, env=environment)
    until(lambda: Path(place).exists(), "the process listens")
    shown = {"env": {**environment, "RAILKD_WARM": place}, "cwd": tmp_path, "text": True, "capture_output": True}

    def said() -> str:
        return str(subprocess.run([*STEP, "record", "none.json"], timeout=600, **shown).stderr)

    before, module = said(), suite / "records" / "sealed_files.py"
    module.write_text(module.read_text().replace("no such file", "nothing of that name"))
    assert before == "railkd: error: none.json: no such file\n"
    assert said() == "railkd: error: none.json: nothing of that name\n"
    process.kill()
    process.wait()
