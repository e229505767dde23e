"""What is asked of the workflow and cannot be done: one line, before any job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
MICRO = ROOT / "tests" / "micro.yaml"
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
for _name in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
    ENVIRONMENT.pop(_name, None)


def snakemake(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "1", *flags]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def refused(done: subprocess.CompletedProcess[str], expected: str) -> None:
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert done.returncode != 0 and len(errors) == 1 and expected in errors[0], done.stderr
    assert "Traceback" not in done.stderr and "jobs done" not in done.stderr


def test_a_benchmark_given_as_snakemakes_configuration(tmp_path: Path) -> None:
    refused(snakemake(tmp_path, "-n", "--configfile", str(MICRO)), "expected --config benchmark=FILE")
    settings = tmp_path / "settings.yaml"  # what a configuration may hold
    settings.write_text(f"benchmark: {MICRO}\nresults: {tmp_path / 'r'}\n")
    assert snakemake(tmp_path, "-n", "--quiet", "--configfile", str(settings)).returncode == 0


def test_a_device_that_no_machine_has(tmp_path: Path) -> None:
    config = ["--config", f"benchmark={MICRO}", "device=CUDA"]
    refused(snakemake(tmp_path, "-n", *config), "device 'CUDA': expected auto, cpu, cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    """A dry run may plan for another machine."""
    config = ["--config", f"benchmark={MICRO}", "device=cuda:7", f"results={tmp_path / 'r'}"]
    refused(snakemake(tmp_path, *config), "device cuda:7: no CUDA device is visible; expected auto or cpu")
    assert not (tmp_path / "r").exists()
    assert snakemake(tmp_path, "-n", "--quiet", *config).returncode == 0


def test_a_results_folder_that_snakemake_reads_as_a_number(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "-n", "--config", f"benchmark={MICRO}", "results=2024")
    refused(done, "results=2024 is read as no text; expected a path such as results=./2024")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_results_folder_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    done = snakemake(tmp_path, "--config", f"benchmark={MICRO}", f"results={tmp_path / place}")
    refused(done, f"{tmp_path / place}: the folder cannot be made (a file has that name)")
