"""What the workflow knows of its jobs from Snakemake's inside."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from railkd.errors import UserError
from workflow import engine

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [
        ({"gpu": 4, "_cores": 16}, 4),
        ({"gpu": 4, "_cores": 2}, 2),
        ({"_cores": 2}, 2),
        ({"gpu": 3, "_cores": None}, 3),
        ({}, 1),
    ],
)
def test_jobs_that_are_on_gpus_at_once(limits: dict[str, Any], jobs: int) -> None:
    resources = {name: SimpleNamespace(value=value) for name, value in limits.items()}
    assert engine.jobs_at_once(SimpleNamespace(global_resources=resources)) == jobs


def test_what_is_asked_of_a_method_holds_for_all_its_rules() -> None:
    """Where several pairs have a method, or seeds have jobs of their own, no rule has the method's name."""
    given = {"distil_pkd": {"runtime": 9}, "distil_ckd.b": {"runtime": 5}, "distil_ckd": {"runtime": 7}}
    workflow = SimpleNamespace(resource_settings=SimpleNamespace(_parsed_overwrite_resources=given))
    for method in ("pkd", "ckd", "no_kd"):
        for pair in ("a", "b"):
            engine.share_resources(workflow, f"distil_{method}", f"distil_{method}.{pair}")
    assert {rule: of["runtime"] for rule, of in given.items() if "." in rule} == {
        "distil_pkd.a": 9, "distil_pkd.b": 9, "distil_ckd.a": 7, "distil_ckd.b": 5,
    }  # fmt: skip


SQUEUE = """#!/bin/sh
echo "$@" >> {folder}/asked
cat {folder}/queue
test ! -e {folder}/down || {{ echo "squeue: error: Unable to contact" >&2; exit 1; }}
"""


def test_a_run_waits_for_the_queue_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note, queue, squeue = (tmp_path / name for name in ("results/.queued", "queue", "squeue"))
    note.parent.mkdir()
    submitting, local = (
        SimpleNamespace(scheduler=SimpleNamespace(_executor=executor))
        for executor in (SimpleNamespace(run_uuid="abc-1"), SimpleNamespace())
    )
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", str(tmp_path))
        engine.enter_queue(submitting, note)
        assert note.read_text() == "abc-1\n"
        engine.enter_queue(submitting, note)  # no squeue here: a copied folder
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue.write_text(SQUEUE.format(folder=tmp_path))
    squeue.chmod(0o755)
    queue.write_text("41\n42\n")
    for workflow in (submitting, local):
        with pytest.raises(UserError, match=r"results: 2 jobs .* queue \(41\); .* `scancel --name=abc-1`"):
            engine.enter_queue(workflow, note)
    assert "--name=abc-1" in (tmp_path / "asked").read_text()
    (tmp_path / "down").touch()
    with pytest.raises(UserError, match="squeue does not say .squeue: error: Unable to contact.; try again"):
        engine.enter_queue(submitting, note)
    assert note.is_file()
    (tmp_path / "down").unlink()
    queue.write_text("")
    engine.enter_queue(local, note)
    assert not note.exists()


def test_a_cluster_runs_by_the_same_rules_as_one_machine() -> None:
    """--workflow-profile stands in for profiles/default, so what keeps a killed run going has to be in both."""
    places = ("profiles/default", "benchmarks/profiles/slurm")
    default, slurm = (yaml.safe_load((ROOT / place / "profile.yaml").read_text()) for place in places)
    kept = {key: value for key, value in default.items() if key not in ("cores", "resources")}
    assert kept.keys() >= {"nolock", "rerun-incomplete", "keep-going"} and kept.items() <= slurm.items()
