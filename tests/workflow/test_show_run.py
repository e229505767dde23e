"""Which lines a user gets: the suite's, Snakemake's, or another logger's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
for _name in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
    ENVIRONMENT.pop(_name, None)
SNAKEMAKES = "Building DAG of jobs..."
LOGGER = """
from snakemake_interface_logger_plugins.base import LogHandlerBase

class LogHandler(LogHandlerBase):
    writes_to_stream, writes_to_file = True, False
    has_filter = has_formatter = True
    needs_rulegraph = False

    def emit(self, record):
        print("mine:", getattr(record, "event", None), flush=True)
"""


def snakemake(
    folder: Path, *flags: str, benchmark: Path = ROOT / "tests" / "micro.yaml"
) -> subprocess.CompletedProcess[str]:
    plugin = folder / "plugins" / "snakemake_logger_plugin_mine"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(LOGGER)
    paths = os.pathsep.join([str(plugin.parent), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])])
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "1", *flags]
    command += ["--config", f"benchmark={benchmark}", "device=cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": paths}, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_a_dry_run_lists_each_job_once(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "-n")
    lines = done.stdout.splitlines()
    assert lines.index("Job stats:") == 21 and "teacher bert4 sst2" in lines[:21]
    assert len(lines) <= 40 and SNAKEMAKES not in done.stdout + done.stderr
    assert "railkd: 21 jobs to do; this was a dry run" in done.stderr


@pytest.mark.parametrize("flag", ["--printshellcmds", "--verbose"])
def test_who_asks_for_snakemakes_text_gets_it(tmp_path: Path, flag: str) -> None:
    done = snakemake(tmp_path, "-n", flag)
    text = done.stdout + done.stderr
    assert SNAKEMAKES in text and "reason: Missing output files" in text and "railkd: 21 jobs" not in text


def test_who_asks_for_another_logger_gets_it(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "-n", "--logger", "mine")
    assert done.stdout.count("mine: job_info") == 21
    assert SNAKEMAKES not in done.stdout and "railkd: 21 jobs" not in done.stderr


def test_a_method_that_no_pair_names_is_told_before_anything_runs(tmp_path: Path) -> None:
    text = (ROOT / "tests" / "micro.yaml").read_text()
    benchmark = tmp_path / "mine.yaml"
    benchmark.write_text(text.replace("\nmethods:\n", "\nmethods:\n  mine: {method: no_kd, title: Mine}\n"))
    done = snakemake(tmp_path, "-n", benchmark=benchmark)
    line = f"railkd: warning: {benchmark}: methods.mine: no pair names it, so it is never trained; add mine to a pair"
    assert done.stderr.count(line) == 1
