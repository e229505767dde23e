"""What the workflow knows of its jobs from Snakemake's inside."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

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


def test_a_cluster_runs_by_the_same_rules_as_one_machine() -> None:
    """--workflow-profile stands in for profiles/default, so what keeps a killed run going has to be in both."""
    places = ("profiles/default", "benchmarks/profiles/slurm")
    default, slurm = (yaml.safe_load((ROOT / place / "profile.yaml").read_text()) for place in places)
    kept = {key: value for key, value in default.items() if key not in ("cores", "resources")}
    assert kept.keys() >= {"nolock", "rerun-incomplete", "keep-going"} and kept.items() <= slurm.items()
