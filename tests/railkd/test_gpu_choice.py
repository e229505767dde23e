"""Which GPU a job takes, with a list of GPUs that ``nvidia-smi`` is made to print: no GPU is needed."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from railkd import gpu_choice
from railkd.benchmark import config

TWO = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-aaaa-2)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
"""
JOB = """
import os, sys
from pathlib import Path
from railkd import gpu_choice
card = gpu_choice.take(sys.argv[1], Path(sys.argv[2]))
print(card, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``nvidia-smi`` that prints the content of the returned file; it fails without one."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = "-L" ] && exec cat "{tmp_path}/answer"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "answer"


def test_the_gpus_of_a_machine(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_choice.listed() == []  # it fails, as where there is no driver
    smi.write_text(TWO)
    assert gpu_choice.listed() == ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]
    smi.write_text(MIG)
    assert gpu_choice.listed() == ["MIG-aaaa-1", "MIG-aaaa-2", "GPU-22222222-bbbb"]
    for given, expected in (("2, 0", ["2", "0"]), ("1,-1,0", ["1"]), ("", []), ("MIG-x", ["MIG-x"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert gpu_choice.listed() == expected
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(smi.parent / "nothing"))
    assert gpu_choice.listed() == []


class Job:
    """Another process that takes a GPU and lives until it is ended."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        command = [sys.executable, "-c", JOB, device, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.card, self.sees = self.process.stdout.readline().split()

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


def test_each_job_takes_the_gpu_with_the_fewest_jobs_on_it(
    smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.write_text(TWO)
    first, second = gpu_choice.listed()
    monkeypatch.setenv(gpu_choice.CARDS, ",".join(gpu_choice.listed()))
    folder, jobs = tmp_path / "locks", []
    try:
        jobs = [Job(folder) for _ in range(4)]
        assert [job.card for job in jobs] == [first, second, first, second] == [job.sees for job in jobs]
        jobs[1].end(kill=True)  # its lock goes with it
        jobs[3].end()
        jobs += [Job(folder, "cuda"), Job(folder)]
        assert [job.card for job in jobs[4:]] == [second, second]
        assert len(list(folder.glob("*.job"))) == 4  # those of the ended jobs are removed
    finally:
        for job in jobs:
            job.end()


@pytest.mark.parametrize(
    ("named", "device"), [("0,1", "cpu"), ("0,1", "cuda:1"), ("0", "auto"), ("", "cuda"), (None, "auto")]
)
def test_a_job_that_has_no_choice_sees_what_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, device: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setenv(gpu_choice.CARDS, named) if named is not None else monkeypatch.delenv(
        gpu_choice.CARDS, raising=False
    )
    assert gpu_choice.take(device, tmp_path / "locks") is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6" and not (tmp_path / "locks").exists()


@pytest.mark.parametrize(
    ("jobs", "device", "most"),
    [(0, "auto", 1), (1, "auto", 1), (2, "cuda", 1), (3, "auto", 2), (8, "cuda", 4), (3, "cuda:1", 3)],
)
def test_a_workflow_says_how_many_jobs_share_a_gpu(
    smi: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, device: str, most: int
) -> None:
    smi.write_text(TWO)
    for name in (gpu_choice.CARDS, gpu_choice.SHARE):
        monkeypatch.setenv(name, "of the time before")
    assert gpu_choice.jobs_on_a_card() == 1
    gpu_choice.share_out(jobs, device)
    assert gpu_choice.jobs_on_a_card() == most
    assert os.environ[gpu_choice.CARDS] == ("GPU-11111111-aaaa,GPU-22222222-bbbb" if jobs else "")


def test_without_a_list_all_jobs_share_one_gpu(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (gpu_choice.CARDS, gpu_choice.SHARE):
        monkeypatch.setenv(name, "")
    gpu_choice.share_out(3, "auto")  # nvidia-smi fails
    assert (os.environ[gpu_choice.CARDS], gpu_choice.jobs_on_a_card()) == ("", 3)


def test_a_jobs_part_of_the_memory_is_its_part_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from railkd.commands import jobs

    limits: list[tuple[int, str]] = []
    monkeypatch.setattr("railkd.devices.device_for", torch.device)
    monkeypatch.setattr("railkd.devices.limit_memory", lambda device, jobs: limits.append((jobs, str(device))))
    monkeypatch.delenv(gpu_choice.CARDS, raising=False)
    monkeypatch.setenv(gpu_choice.SHARE, "3")
    assert jobs._device(argparse.Namespace(device="cuda:0")) == torch.device("cuda:0")
    assert limits == [(3, "cuda:0")]


def test_a_gpu_that_is_hidden_holds_up_no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run on the CPU, so none of them may wait for the GPU."""
    monkeypatch.setattr(config, "NVIDIA", tmp_path / "nvidia0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not config.has_gpu()
    config.NVIDIA.touch()
    assert config.has_gpu()
    for visible, seen in (("0", True), ("1,0", True), ("GPU-7", True), ("", False), ("-1", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert config.has_gpu() is seen
