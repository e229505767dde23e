"""What all tests share."""

import pytest
from pytest import Item


def pytest_collection_modifyitems(items: list[Item]) -> None:
    """The workflow's tests first: they take minutes in one process, and other workers go through the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


@pytest.fixture(params=[pytest.param(30, id="quick"), pytest.param(1000, id="long", marks=pytest.mark.trust)])
def examples(request: pytest.FixtureRequest) -> int:
    """How many strange inputs a fuzz test tries."""
    return int(request.param)
