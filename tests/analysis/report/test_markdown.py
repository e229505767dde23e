"""report.md: what it holds, and that it names what is missing."""

import shutil

import reading
from made_records import Folder

from analysis.__main__ import main

PAIR = "bert12-distilbert6"


def test_report(full: Folder) -> None:
    text = (full.results / "report.md").read_text(encoding="utf-8")
    for part in (
        "# MiniGLUE: results of benchmark tiny",
        "420 of 420 student runs and 23 of 23 teachers are present.",
        "> **Generated text (MiniGLUE): says nothing about English.**",
        "![Figure 2: Layer similarity](figures/figure2.png)",
        r"Some\_CPU &lt;2&gt;, 2 cores",
        "torch 2.5.0",
        "commit 0123456789ab",
        "## How to read the tables",
    ):
        assert part in text
    provenance = {row[0]: row[1:] for row in reading.tables(text)[-1]}
    assert provenance["Run between"] == ["2026-01-01T00:00:00Z and 2026-01-01T00:01:00Z", "443"]
    for number in range(1, 7):
        assert (full.results / "tables" / f"table{number}.md").read_text(encoding="utf-8") in text
    assert text.count("says nothing about English") == 1 + 6 + 2


def test_report_lists_missing_runs(full: Folder, folder: Folder) -> None:
    for made in ("tables", "figures"):
        shutil.copytree(full.results / made, folder.results / made)
    for made in ("claims.json", "audit.json"):
        shutil.copy(full.results / made, folder.results)
    folder.path(PAIR, "pkd", "cola", 3).unlink()
    folder.path(PAIR, "teacher", "rte").unlink()
    assert main(["report", str(folder.file), "--results", str(folder.results)]) == 0
    text = (folder.results / "report.md").read_text(encoding="utf-8")
    assert "419 of 420 student runs and 22 of 23 teachers" in text
    assert reading.tables(text)[0][1:] == [["bert12-distilbert6", "PKD", "1", "cola"]]
    assert "Missing teachers: bert12: rte." in text
