"""What the analysis writes stays no longer than the benchmark file names it."""

import json
from pathlib import Path

import pytest
from made_records import Folder, spec

from analysis.__main__ import main
from railkd.records import sealed_files

PAIR = "bert12-distilbert6"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A pair on one task, with nothing written yet."""
    content = spec()
    content["data"]["tasks"], content["data"]["out_of_domain"] = ["cola"], []
    content["methods"] = {"no_kd": {}, "vanilla_kd": {}}
    content["pairs"] = {PAIR: {**content["pairs"][PAIR], "methods": ["no_kd", "vanilla_kd"]}}
    return Folder(tmp_path, content).fill()


def shown(folder: Folder, tables: list[object]) -> set[str]:
    """Asks for these tables and figures, and gives the files that are there then, without their kinds."""
    folder.spec["pairs"][PAIR]["tables"] = tables
    folder.save()
    assert main(["all", str(folder.file), "--results", str(folder.results)]) == 0
    return {path.stem for name in ("tables", "figures") for path in (folder.results / name).glob("*")}


def broken(folder: Folder) -> list[str]:
    checksums = folder.results / "checksums"
    return [line for file in checksums.glob("*.json") for line in sealed_files.broken(folder.results, file=file)]


def test_what_the_file_no_longer_names_is_deleted(folder: Folder) -> None:
    assert shown(folder, [1, 2, "figure2"]) == {"table1", "table2", "figure2", "averages"}
    own = folder.results / "tables" / "mine.csv"
    own.write_text("a user's")
    assert shown(folder, [1]) == {"table1", "mine"} and not broken(folder)
    assert shown(folder, [1, 2]) == {"table1", "table2", "averages", "mine"}
    assert own.read_text() == "a user's" and not broken(folder)


def test_the_report_alone_deletes_what_has_no_job(folder: Folder) -> None:
    """A workflow has no job that writes no file, so nothing else would delete the last table and figure."""
    shown(folder, [2])
    folder.spec["pairs"][PAIR]["tables"] = []
    folder.save()
    assert main(["report", str(folder.file), "--results", str(folder.results)]) == 0
    assert not [*folder.results.glob("tables/*"), *folder.results.glob("figures/*")] and not broken(folder)
    assert not {"tables.json", "figures.json"} & {path.name for path in folder.results.glob("checksums/*")}


@pytest.mark.parametrize("name", ["../outside.txt", "tables/../../outside.txt", "runs/outside.txt"])
def test_nothing_else_is_deleted(folder: Folder, name: str) -> None:
    shown(folder, [1])
    outside = folder.results / name
    outside.write_text("kept")
    file = folder.results / "checksums" / "tables.json"
    content = json.loads(file.read_text())
    content["files"][name] = "0" * 64
    file.write_text(json.dumps(sealed_files.sealed(content)))
    assert shown(folder, [1, 2]) >= {"table2"} and outside.read_text() == "kept"
