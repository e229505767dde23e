"""The library installed from its wheel, into an environment and a folder where there is no checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from railkd import __version__
from railkd.benchmark import config

ROOT = Path(__file__).parent.parent
CHECKOUT_ONLY = ("in a checkout of", "not installed with the library")
PAIR, MODELS, TASKS, METHODS = "bert4-distilbert2", ("bert4", "distilbert2"), ("sst2", "mrpc"), ("no_kd", "rail_kd_l")

# Commands in one process, one a line: each is followed by its exit status.
DRIVER = """
import sys
from railkd.cli import main
for line in sys.stdin.read().splitlines():
    print("status", main(line.split()), line, flush=True)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the installation, a benchmark file and a method, and what `.ci/wheel` printed."""
    folder = tmp_path_factory.mktemp("installed")
    done = subprocess.run([ROOT / ".ci" / "wheel", folder, sys.executable], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def use(installed: tuple[Path, str], *lines: str) -> subprocess.CompletedProcess[str]:
    """Runs `railkd` commands with the installed library, in the folder beside it."""
    folder = installed[0]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [str(folder / "environment" / "bin" / "python"), "-c", DRIVER]
    text = "\n".join(lines)
    return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, cwd=folder, timeout=900)


@pytest.mark.slow
def test_the_wheel_installs_railkd_alone_and_it_runs_elsewhere(installed: tuple[Path, str]) -> None:
    lines = installed[1].splitlines()
    assert lines[:2] == [f"railkd {__version__}", "micro.yaml: valid; 1 pair, 4 cells, 2 seeds"]
    assert any(line.startswith("ok   padding invariance") for line in lines) and "FAIL" not in installed[1]


@pytest.mark.slow
def test_every_step_runs_from_the_installation(installed: tuple[Path, str]) -> None:
    """A whole benchmark by hand, its records, and their verification: all that a step reads is in the wheel."""
    steps = ["data micro.yaml", *(f"pretrain micro.yaml --model {model}" for model in MODELS)]
    for task in TASKS:
        steps += [f"{step} micro.yaml --teacher bert4 --task {task}" for step in ("prepare", "teacher", "signals")]
        steps += [
            f"distil micro.yaml --pair {PAIR} --method {method} --task {task} --seeds 1 2 --device cpu"
            for method in METHODS
        ]
        steps.append(f"release micro.yaml --teacher bert4 --task {task}")
    steps.append(f"record results/micro/runs/{PAIR}/no_kd/sst2/seed-1.json")
    steps += [
        "verify micro.yaml",
        "plan micro.yaml --device cpu",
        "methods pkd",
        "keys data",
        "completion bash",
        "init my.yaml",
        "check my.yaml",
    ]
    done = use(installed, *steps)
    said = [line for line in done.stdout.splitlines() if line.startswith("status ")]
    assert said == [f"status 0 {step}" for step in steps], done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
def test_what_only_a_checkout_has_is_one_line(installed: tuple[Path, str]) -> None:
    wrong = {
        "check benchmarks/mini.yaml": ("benchmarks/mini.yaml: no such benchmark file", *CHECKOUT_ONLY),
        "mirror mine": ("mirror: a benchmark file must follow", *CHECKOUT_ONLY),
        "report results/micro": ("report: the package 'analysis'", *CHECKOUT_ONLY),
        "compare results/micro results/micro": ("compare: the package 'analysis'", *CHECKOUT_ONLY),
        "record none.json": ("none.json: no such file",),
        "check-submission none.zip": ("none.zip: not a readable zip",),
        f"submission micro.yaml --pair {PAIR} --method no_kd --seed 7 --out x.zip": ("no such file",),
        "check-method none.py:None": ("no Python file none.py",),
    }
    done = use(installed, *wrong)
    assert done.stdout.splitlines() == [f"status 1 {line}" for line in wrong]
    for line, parts in zip(done.stderr.splitlines(), wrong.values(), strict=True):
        assert line.startswith("railkd: error: ") and all(part in line for part in parts), line


def test_a_checkout_names_its_benchmark_files(tmp_path: Path) -> None:
    assert config.in_checkout() and "mini.yaml" in config._available()


def test_the_command_line_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    from railkd.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and capsys.readouterr().out == f"railkd {__version__}\n"
