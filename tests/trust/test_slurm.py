"""The SLURM profile on a real SLURM of this machine: requests, a killed job, a requeued one, same tables."""

import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from test_workflow import ENVIRONMENT, MICRO, ROOT, micro  # noqa: F401

from railkd.records import run_record

pytestmark = pytest.mark.trust
PROFILE = ROOT / "benchmarks" / "profiles" / "slurm"


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of this machine while the tests last; skips, with the reason, where there can be none."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="no SLURM here: pip install -e .[slurm]")
    script = Path(__file__).with_name("slurm.sh")
    process = subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = process.stdout.readline().strip()
    if said != "ready":
        assert process.wait(60) == 77, "its daemons did not start: see standard error"
        pytest.skip(said)
    yield
    process.stdin.close()
    assert process.wait(120) == 0
    assert not Path("/etc/slurm/slurm.conf").exists()
    left = [p.info for p in psutil.process_iter(["name", "status"]) if p.info["name"] in ("slurmctld", "slurmd")]
    assert all(process["status"] == psutil.STATUS_ZOMBIE for process in left)  # dead, and init will notice


@contextmanager
def going(results, *flags):
    """The workflow through the profile, ended with the block; no accounting here, and jobs are asked after at once."""
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--workflow-profile", PROFILE, "--latency-wait", "5"]
    command += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1", *flags]
    command += ["--config", f"benchmark={MICRO}", f"results={results}", "gres=shard:1", "device=cpu"]
    environment = {**ENVIRONMENT, "RAILKD_MODELS": str(results.parent / "models")}
    with (results.parent / "said.log").open("w") as said:
        workflow = subprocess.Popen(
            list(map(str, command)), cwd=results.parent, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield workflow
    finally:
        workflow.kill()
        workflow.wait()


def queue(*fields):
    """A row for each job that this SLURM has had."""
    listed = ["squeue", "--states=all", "--noheader", "--array", "--format=" + "|".join(fields)]
    done = subprocess.run(listed, capture_output=True, text=True, check=True)
    return [line.split("|") for line in done.stdout.splitlines()]


def until(found, workflow, seconds=600):
    """What ``found`` returns as soon as it is true; the workflow must be going on meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and workflow.poll() is None:
        if result := found():
            return result
        time.sleep(0.1)
    raise AssertionError(f"not seen; the workflow ended with {workflow.poll()}")


def trainer(results, method):
    """The process in which a SLURM job trains this method."""
    wanted = {"distil", method, f"--results={results}"}
    for process in psutil.process_iter(["cmdline"]):
        if wanted <= set(process.info["cmdline"] or []):
            return process
    return None


def running(rule):
    """The SLURM jobs of a rule that are running."""
    return [job for job, state, said in queue("%i", "%T", "%k") if state == "RUNNING" and rule in said]


def released(job):
    """SLURM holds a requeued job back for two minutes: whether it lets this one go now."""
    return subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True).returncode == 0


def test_a_cluster_gives_the_tables_of_one_machine(slurm, micro, tmp_path):  # noqa: F811
    """All but pre-training and teachers goes through SLURM, with one trainer killed and one job requeued."""
    results = tmp_path / "results"
    shutil.copytree(micro[0], results)
    for part in (".kept", "signals", "runs", "tables", "figures", "report.md", "report.html"):
        path = results / part
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with going(results) as workflow:
        environment, requeued = {}, []

        def disturbed():
            """Both, in the order in which they come: a trainer without KD is killed, a job of RAIL-KD is requeued."""
            if not environment and (trained := trainer(results, "no_kd")):
                environment.update(trained.environ())
                trained.kill()
            if not requeued and (jobs := running("distil_rail_kd_l")):
                subprocess.run(["scontrol", "requeue", jobs[0]], check=True)
                requeued.append(jobs[0])
            return environment and requeued

        until(disturbed, workflow)
        (job,) = requeued
        until(lambda: [job, "PENDING"] in queue("%i", "%T") and released(job), workflow)
        status = workflow.wait(timeout=900)
    assert status == 0, (tmp_path / "said.log").read_text()[-3000:]
    assert environment["RAILKD_MODELS"] == str(tmp_path / "models")  # the caller's reaches a node
    assert "SLURM_JOB_ID" in environment and "RAILKD_WARM" not in environment  # and it computes in its allocation

    jobs = queue("%i", "%T", "%k", "%l", "%b")
    print(*map(" ".join, jobs), sep="\n")
    ended = sorted(state for _, state, *_ in jobs)
    assert ended == ["COMPLETED"] * 6 + ["FAILED"]  # 2 teachers' signals and 4 cells, and the killed one's first try
    assert {gres for *_, gres in jobs} == {"gres:shard:1"}
    first = {limit for _, state, said, limit, *_ in jobs if state == "FAILED" and "distil_no_kd" in said}
    limits = [limit for _, state, said, limit, *_ in jobs if state == "COMPLETED" and "distil_no_kd" in said]
    assert first == {"4:00:00"} and len(limits) == 2 and "8:00:00" in limits  # the retry has more time
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    assert "Restarts=1" in shown and "JobState=COMPLETED" in shown

    tables = [t for t in sorted((micro[0] / "tables").iterdir()) if t.stem != "table1"]  # it prints times
    assert tables
    for table in tables:
        assert (results / "tables" / table.name).read_bytes() == table.read_bytes(), table.name
    runs = sorted((micro[0] / "runs").rglob("seed-*.json"))
    assert len(runs) == 8
    for run in runs:
        there, here = run_record.read(results / run.relative_to(micro[0])), run_record.read(run)
        for key in ("scores", "predictions", "best_epoch", "method_record", "similarity", "config_hash"):
            assert json.dumps(there[key]) == json.dumps(here[key]), (run, key)


def test_arrays_are_refused(slurm, micro, tmp_path):  # noqa: F811
    """With the plugin's arrays jobs that are done count as failed: one line instead, before any job."""
    results = tmp_path / "results"
    shutil.copytree(micro[0], results)
    shutil.rmtree(results / "runs")
    before = len(queue("%i"))
    with going(results, "--slurm-array-jobs", "all") as workflow:
        assert workflow.wait(timeout=300) != 0
    said = (tmp_path / "said.log").read_text()
    assert "railkd: error: --slurm-array-jobs all: the plugin would call jobs" in said, said[-2000:]
    assert len(queue("%i")) == before and "Traceback" not in said


def test_jobs_that_outlive_their_workflow_are_not_submitted_twice(slurm, micro, tmp_path):  # noqa: F811
    """The main process is killed, as with its login node; the same command goes on once the queue is empty."""
    results = tmp_path / "results"
    shutil.copytree(micro[0], results)
    shutil.rmtree(results / "runs")
    earlier = len(queue("%i"))
    with going(results) as workflow:
        until(lambda: len(queue("%i")) > earlier, workflow)
    time.sleep(3)  # an sbatch on its way
    submitted = queue("%i")
    with going(results) as workflow:
        assert workflow.wait(timeout=300) == 1
    said = (tmp_path / "said.log").read_text()
    found = re.search(r"railkd: error: .*results: \d+ jobs of an earlier run .* `scancel --name=(\S+)`", said)
    assert found and "Traceback" not in said and queue("%i") == submitted, said[-2000:]
    subprocess.run(["scancel", f"--name={found[1]}"], check=True)
    while subprocess.run(["squeue", "--noheader", f"--name={found[1]}"], capture_output=True, check=True).stdout:
        time.sleep(0.1)
    with going(results) as workflow:
        until(lambda: len(queue("%i")) > len(submitted), workflow)
    subprocess.run(["scancel", "--user=root"], check=True)
