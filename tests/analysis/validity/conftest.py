"""Runs whose validity is judged."""

from pathlib import Path

import pytest
from made_records import BERT, Folder, spec
from sound_runs import METHODS, TASKS, skill


@pytest.fixture()
def sound(tmp_path: Path) -> Folder:
    """One pair, four tasks, three seeds: runs that pass every question."""
    content = spec()
    content["data"] |= {"tasks": TASKS, "out_of_domain": []}
    drawn = [table for table in content["pairs"][BERT]["tables"] if table != 6]
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": METHODS, "tables": drawn}}
    return Folder(tmp_path, content).fill().predict(skill)
