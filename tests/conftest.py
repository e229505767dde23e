"""What all tests share."""

from pytest import Item


def pytest_collection_modifyitems(items: list[Item]) -> None:
    """The workflow's tests first: they take minutes in one process, and other workers go through the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")
