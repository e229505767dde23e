"""Benchmark folders for the tests of the analysis."""

from pathlib import Path

import pytest
from made_records import Folder, spec


@pytest.fixture()
def folder(tmp_path: Path) -> Folder:
    """A full benchmark folder, to be changed at will."""
    return Folder(tmp_path, spec()).fill()


@pytest.fixture()
def small(tmp_path: Path) -> Folder:
    """One pair, two tasks, two methods, Tables 2 and 6."""
    content = spec()
    content["data"] |= {"tasks": ["cola", "mnli"], "out_of_domain": ["scitail"]}
    name = "bert12-distilbert6"
    content["pairs"] = {name: {**content["pairs"][name], "methods": ["no_kd", "pkd"], "tables": [2, 6]}}
    return Folder(tmp_path, content).fill()


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A full benchmark folder with its tables, figures and report; for reading only."""
    from analysis.__main__ import main

    made = Folder(tmp_path_factory.mktemp("full"), spec()).fill()
    assert main(["all", str(made.file), "--results", str(made.results)]) == 0
    return made
