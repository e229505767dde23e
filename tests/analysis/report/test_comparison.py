"""Two results folders compared: equal ones agree, a real difference is found, chance is not."""

import re
import shutil
from pathlib import Path

import pytest
from made_records import BERT, Folder

from analysis.__main__ import main
from analysis.report import comparison
from analysis.reported_benchmark import read
from railkd.records.sealed_files import seal


@pytest.fixture
def other(small: Folder, tmp_path: Path) -> Path:
    """A second folder with the same records, both with their tables."""
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    shutil.copytree(small.results, tmp_path / "other")
    return tmp_path / "other"


def run(folder: Folder, other: Path, *more: str) -> int:
    tables = ["tables", str(folder.file), "--results", str(folder.results)]
    return main(tables) or main(
        ["compare", str(folder.file), "--results", str(folder.results), "--against", str(other), *more]
    )


def test_equal_folders_agree(small: Folder, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small, other) == 0
    said = capsys.readouterr().out
    assert "0 differ" in said and "0 only in the first, 0 only in the second" in said
    text = (small.results / "comparison.html").read_text(encoding="utf-8")
    assert "They agree." in text and "default-src 'none'" in text and 'id="different"' not in text


def test_a_real_difference_is_named(small: Folder, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        small.edit(lambda r: r["scores"]["dev"].update(matthews=0.2 + r["seed"] / 1000), BERT, "pkd", "cola", seed)
    out = small.root / "made.html"
    assert run(small, other, "--out", str(out)) == 2
    said = capsys.readouterr().out
    rows = [re.split(r" {2,}", line) for line in said.partition("What differs:\n")[2].splitlines()]
    assert rows[0] == ["Table", "Pair", "Block", "Row", "Column", "First", "Second"]
    rows = [row for row in rows[2:] if len(row) == 7]
    assert any(row[:6] == ["2", "bert12-distilbert6", "DEV", "PKD", "CoLA", "20.2 ± 0.1"] for row in rows)
    assert all((row[2], row[3]) == ("DEV", "PKD") for row in rows)
    assert "They differ." in out.read_text(encoding="utf-8")
    assert run(small, other, "--tolerance", "99") == 0


def test_averages_of_two_tables_are_two_tests(small: Folder, tmp_path: Path) -> None:
    """Table 4 leaves STS-B out, so that only Table 2's average differs; CoLA, which both have, is one test."""
    small.spec["data"].update(tasks=["cola", "stsb"], out_of_domain=[])
    small.spec["pairs"][BERT]["tables"] = [2, 4]
    small.save()
    small.fill()
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    shutil.copytree(small.results, tmp_path / "other")
    for seed in (1, 2, 3):
        small.edit(lambda r: r["scores"]["dev"].update(pearson_spearman=0.2), BERT, "pkd", "stsb", seed)
        small.edit(lambda r: r["scores"]["test"].update(pearson_spearman=0.2), BERT, "pkd", "stsb", seed)
    assert run(small, tmp_path / "other") == 2
    cells = {c.key: c for c in comparison.compare(small.results, tmp_path / "other")}
    assert cells[2, BERT, "test", "pkd", "avg"].p < 0.001
    assert cells[2, BERT, "test", "pkd", "avg"].verdict == "differs"
    assert cells[4, BERT, "test", "pkd", "avg"].verdict == cells[4, BERT, "test", "pkd", "cola"].verdict == "same"
    # two students: Table 2 has three columns in two blocks, and Table 4 adds the average without STS-B
    assert comparison.rule(list(cells.values()), 0).startswith("14 means over seeds")


def test_single_runs_agree_only_within_a_tolerance(
    small: Folder, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.spec["seeds"] = [1]
    small.save()
    for results in (small.results, other):
        assert main(["tables", str(small.file), "--results", str(results)]) == 0
    assert run(small, other) == 2 and "Nothing could be tested" in capsys.readouterr().out
    assert run(small, other, "--tolerance", "0.5") == 0
    small.edit(lambda r: r["scores"]["dev"].update(matthews=0.2), BERT, "pkd", "cola", 1)
    assert run(small, other, "--tolerance", "0.5") == 2 and "2 differ" in capsys.readouterr().out  # the average too


def test_folders_without_a_common_cell_do_not_agree_whatever_the_tolerance(
    small: Folder, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for table in (other / "tables").glob("*.csv"):
        table.write_text(table.read_text().replace(BERT, "another-pair"))
    names = [f"tables/{path.name}" for path in (other / "tables").iterdir()]
    seal(other, names, other / "checksums" / "tables.json")
    for tolerance in ("0", "9"):
        assert run(small, other, "--tolerance", tolerance) == 2
        said = capsys.readouterr().out
        assert "0 cells the same" in said and "No cell is in both folders" in said
        assert "give the tolerance" not in said


def test_tables_of_other_records_than_the_folders_are_not_compared(
    small: Folder, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After one job by hand, or after records were deleted, the tables are old; those of either folder are refused."""
    for folder in (small.results, other):
        path = next(folder.glob("runs/*/pkd/cola/seed-1.json"))
        content = path.read_bytes()
        path.unlink()
        against = ["compare", str(small.file), "--results", str(small.results), "--against", str(other)]
        assert main(against) == 1
        error = capsys.readouterr().err
        assert f"{folder}: made of other records than those that are present: tables" in error
        assert f"railkd report {folder}" in error and len(error.splitlines()) == 1
        path.write_bytes(content)
        assert main(against) == 0
    shutil.rmtree(other / "runs")
    shutil.rmtree(other / "teachers")
    assert main(against) == 0  # published tables alone


def test_missing_runs_and_other_data_differ(small: Folder, other: Path) -> None:
    benchmark = read(small.file)
    for seed in (1, 2, 3):
        small.path(BERT, "pkd", "cola", seed).unlink()
    assert run(small, other) == 2
    cells = {c.key: c for c in comparison.compare(small.results, other)}
    assert cells[2, BERT, "dev", "pkd", "cola"].verdict == "second_only"
    assert cells[2, BERT, "dev", "teacher", "cola"].verdict == "untested"  # one run on each side
    assert cells[2, BERT, "dev", "no_kd", "mnli"].verdict == "same"
    for method in ("teacher", "no_kd", "pkd"):
        for seed in (1, 2, 3) if method != "teacher" else (1,):
            small.edit(lambda r: r["baselines"]["dev"].update(accuracy=0.4), BERT, method, "mnli", seed)
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    cells = {c.key: c for c in comparison.compare(small.results, other)}
    assert cells[2, BERT, "dev", "constant", "mnli"].verdict == "differs"  # other labels, so other data
    assert "only second" in comparison.compose(benchmark, list(cells.values()), small.results, other, 0)


def test_mistakes_are_one_line(small: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small, tmp_path / "nowhere") == 1
    assert "nowhere: no such results folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(small, tmp_path / "empty") == 1
    said = capsys.readouterr().err
    assert f"empty/tables: no table to compare; 'railkd report {tmp_path / 'empty'}' writes those" in said
    assert main(["compare", str(small.file), "--results", str(small.results)]) == 1
    assert "--against: names the folder to compare with" in capsys.readouterr().err
    (tmp_path / "bad" / "tables").mkdir(parents=True)
    (tmp_path / "bad" / "tables" / "table2.csv").write_text("table,value\nx,1\n")
    assert run(small, tmp_path / "bad") == 1
    assert "table2.csv: not a table of this suite" in capsys.readouterr().err
