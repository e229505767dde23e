"""What the workflow knows of its jobs from Snakemake's inside."""

from types import SimpleNamespace
from typing import Any

import pytest

from workflow import engine


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
