"""A benchmark folder with varied entries."""

from pathlib import Path

import pytest
import varied_entries
from made_records import Folder


@pytest.fixture()
def varied(tmp_path: Path) -> Folder:
    """A benchmark with every run of both figures; its files are the test's own."""
    return varied_entries.make(tmp_path)
