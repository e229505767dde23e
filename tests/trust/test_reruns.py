"""Edits of a finished benchmark, one after the other in one folder, each with the real workflow behind it."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reruns
import yaml
from reruns import METHODS, PAIR, PER_TASK, ROOT, SHOWN

from railkd import cli
from railkd.records import hashes

pytestmark = pytest.mark.trust
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
for _variable in ("RAILKD_DATA", "RAILKD_MODELS"):
    ENVIRONMENT.pop(_variable, None)
MINE = '''"""A user's method."""

from railkd.methods.vanilla_kd import VanillaKD


class Mine(VanillaKD):
    """(1 - a)·CE + a·KD."""
'''


class Finished:
    """A working folder in which benchmarks are run to the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.spec: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
        (folder / "mine.py").write_text(MINE)
        self.spec["methods"]["mine"] = {"method": "mine.py:Mine"}
        self.spec["pairs"][PAIR]["methods"].append("mine")
        self.seen: set[str] = set()  # digests of every record that there has been
        self.file, self.given = "first.yaml", ()

    def run(self) -> tuple[dict[str, int], set[tuple[str, ...]]]:
        """One call: the jobs that ran, by rule, and the runs that were trained in it, as (method, task, seed)."""
        (self.folder / self.file).write_text(yaml.safe_dump(self.spec, sort_keys=False))
        expected = reruns.jobs(self.file, "results", self.folder)
        command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        command += ["--config", f"benchmark={self.file}", "results=results", *self.given]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=900, cwd=self.folder)
        assert done.returncode == 0, done.stderr[-3000:]
        log = max((self.folder / ".snakemake" / "log").iterdir()).read_text()  # named by the time of the run
        ran = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\S+)\)$", log, re.MULTILINE))
        del ran["all"]
        assert ran == expected  # a dry run tells the truth
        assert reruns.jobs(self.file, "results", self.folder) == {}  # one call is enough
        assert cli.main(["verify", str(self.folder / self.file), "--results", str(self.results)]) == 0
        digests = {path.parts[-3:]: hashes.sha256_file(path) for path in self.results.glob("runs/*/*/*/seed-*.json")}
        trained = {name for name, digest in digests.items() if digest not in self.seen}
        self.seen.update(digests.values())
        return dict(ran), trained


def _of(
    *methods: str, seeds: tuple[int, ...] = (1, 2), tasks: tuple[str, ...] = ("sst2", "mrpc")
) -> set[tuple[str, ...]]:
    return {(method, task, f"seed-{seed}.json") for method in methods for task in tasks for seed in seeds}


def test_edits_of_a_finished_benchmark_one_after_the_other(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    at = Finished(tmp_path)
    methods = {**METHODS, "distil_mine": 2}
    _, trained = at.run()
    assert trained == _of("no_kd", "rail_kd_l", "mine")

    at.file, at.given, at.spec["title"] = "second.yaml", ("device=cpu",), "Another title"
    assert at.run() == (SHOWN, set())

    def method_added() -> None:
        at.spec["methods"]["pkd"] = {}
        at.spec["pairs"][PAIR]["methods"].append("pkd")
        (tmp_path / "mine.py").write_text(MINE + "\n    # edited\n")

    def option() -> None:
        at.spec["methods"]["pkd"] = {"beta": 10.0}

    def seed_added() -> None:
        at.spec["seeds_per_job"] = 3
        at.spec["seeds"] = [1, 2, 3]

    def half_deleted() -> None:
        (at.results / "runs" / PAIR / "pkd" / "sst2" / "seed-2.json").unlink()

    def weights_deleted() -> None:
        (at.results / "teachers" / "bert4" / "mrpc" / "model.safetensors").unlink()

    def renamed() -> None:
        at.spec["pairs"]["renamed"] = at.spec["pairs"].pop(PAIR)

    def back() -> None:
        at.spec["pairs"][PAIR] = at.spec["pairs"].pop("renamed")

    everything = {**methods, "distil_pkd": 2, **PER_TASK, **SHOWN}
    of_mrpc = {**dict.fromkeys([*methods, "distil_pkd"], 1), "teacher": 1, "signals": 1, "release": 1, **SHOWN}
    steps: list[tuple[Callable[[], None], dict[str, int], set[tuple[str, ...]]]] = [
        (method_added, {**PER_TASK, "distil_pkd": 2, "distil_mine": 2, **SHOWN}, _of("pkd", "mine")),
        (option, {**PER_TASK, "distil_pkd": 2, **SHOWN}, _of("pkd")),
        (seed_added, everything, _of("no_kd", "rail_kd_l", "mine", "pkd", seeds=(3,))),
        (half_deleted, {"distil_pkd": 1, "signals": 1, "release": 1, **SHOWN}, _of("pkd", seeds=(2,), tasks=("sst2",))),
        (weights_deleted, of_mrpc, set()),  # the same weights come out, so the students of them stay
        (renamed, everything, _of("no_kd", "rail_kd_l", "mine", "pkd", seeds=(1, 2, 3))),
        (back, everything, set()),
    ]
    for edit, ran, trained in steps:
        edit()
        assert at.run() == (ran, trained), edit.__name__
    assert not list((at.results / ".kept" / "runs" / PAIR).rglob("*.json"))  # back in their place
