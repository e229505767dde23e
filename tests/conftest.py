"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest import Item

REAL_DATA = os.environ.get("RAILKD_DATA")


@pytest.fixture(autouse=True, scope="session")
def own_environment() -> Iterator[None]:
    """The mirrors, hub and workflow of whoever runs the tests must not decide how they end."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
            patch.delenv(variable, raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The local mirror of the real data sets."""
    if not REAL_DATA:
        pytest.skip("needs the real data sets: set RAILKD_DATA to a local mirror")
    return Path(REAL_DATA).resolve()


def pytest_collection_modifyitems(items: list[Item]) -> None:
    """The workflow's tests first: they take minutes in one process, and other workers go through the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


@pytest.fixture(params=[pytest.param(30, id="quick"), pytest.param(1000, id="long", marks=pytest.mark.trust)])
def examples(request: pytest.FixtureRequest) -> int:
    """How many strange inputs a fuzz test tries."""
    return int(request.param)
