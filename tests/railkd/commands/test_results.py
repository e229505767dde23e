"""``railkd report`` and ``railkd compare``: the analysis, run on a results folder whose benchmark file is looked up."""

import shutil
import sys
from pathlib import Path

import pytest

from railkd import cli
from railkd.benchmark import config
from railkd.commands.results import benchmark_file
from railkd.errors import UserError

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "results" / "reference" / "mini"


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """The tables of the published results, in a folder of the benchmark's name."""
    for part in ("tables", "checksums"):
        shutil.copytree(REFERENCE / part, tmp_path / "mini" / part)
    return tmp_path / "mini"


def test_equal_folders_are_0_and_different_ones_1(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", "mini", str(REFERENCE), "--out", "same.html"]) == 0
    assert "0 differ" in capsys.readouterr().out and (tmp_path / "same.html").is_file()
    checksums = mini / "checksums" / "tables.json"
    table = mini / "tables" / "table2.csv"
    lines = table.read_text().splitlines(keepends=True)
    moved = next(i for i, line in enumerate(lines) if ",no_kd,mrpc," in line)
    cells = lines[moved].split(",")
    header = lines[0].strip().split(",")
    cells[header.index("value")] = str(float(cells[header.index("value")]) + 50)
    table.write_text("".join([*lines[:moved], ",".join(cells), *lines[moved + 1 :]]))
    checksums.unlink()
    assert cli.main(["compare", "mini", str(REFERENCE)]) == 1
    assert "1 differ" in capsys.readouterr().out and (mini / "comparison.html").is_file()


def test_report_writes_everything_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    results.mkdir()
    assert cli.main(["report", str(results), "--benchmark", str(ROOT / "tests" / "micro.yaml")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(results / "report.html")
    assert {"report.html", "report.md", "claims.json", "tables", "figures"} <= {p.name for p in results.iterdir()}


def test_the_benchmark_file_is_looked_up_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By that of the records, and before it by that of the benchmark which took them over."""
    shutil.copytree(REFERENCE / "teachers" / "bert12" / "rte", tmp_path / "other" / "teachers" / "bert12" / "rte")
    monkeypatch.chdir(tmp_path)
    assert benchmark_file(Path("other")) == config.ROOT / "benchmarks" / "mini.yaml"
    shutil.copy(ROOT / "benchmarks" / "mini.yaml", tmp_path / "mini.yaml")
    assert benchmark_file(Path("other")) == Path("mini.yaml")
    (tmp_path / "other" / "claims.json").write_text('{"benchmark": "quick"}')
    assert benchmark_file(Path("other")) == config.ROOT / "benchmarks" / "quick.yaml"
    (tmp_path / "nobody").mkdir()
    with pytest.raises(UserError, match="^nobody: its benchmark file was not found; expected nobody.yaml, .* or --ben"):
        benchmark_file(Path("nobody"))
    with pytest.raises(UserError, match="^none: no such results folder$"):
        benchmark_file(Path("none"))


def test_a_file_of_the_name_without_the_rows_of_the_folder_is_not_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own mini.yaml, elsewhere, has pairs that the suite's has not: a report by that one left out their rows."""
    kept = tmp_path / "mine" / "runs" / "my-pair" / "pkd" / "rte"
    shutil.copytree(REFERENCE / "runs" / "bert12-distilbert6" / "pkd" / "rte", kept)
    monkeypatch.chdir(tmp_path)
    said = "^mine: its benchmark file was not found; .*mini.yaml has no my-pair pkd rte; expected mini.yaml, "
    with pytest.raises(UserError, match=said):
        benchmark_file(Path("mine"))
    text = (ROOT / "benchmarks" / "mini.yaml").read_text()
    (tmp_path / "mini.yaml").write_text(text.replace("bert12-distilbert6:", "my-pair:"))
    assert benchmark_file(Path("mine")) == Path("mini.yaml")


@pytest.mark.parametrize("given", ["-1", "nan", "inf"])
def test_a_tolerance_is_a_number_of_points(given: str, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(mini), str(REFERENCE), f"--tolerance={given}"]) == 1
    assert capsys.readouterr().err == f"railkd: error: --tolerance: {given}, expected a number of at least 0\n"


def test_an_installation_says_that_it_has_no_analysis(
    mini: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "in_checkout", lambda: False)
    for line in (["report", str(mini)], ["compare", str(mini), str(REFERENCE)]):
        assert cli.main(line) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith(f"railkd: error: {line[0]}: the package 'analysis', which")
    assert "analysis" in sys.modules or not list(mini.glob("*.html"))


def test_a_benchmark_file_and_a_results_folder_that_are_exchanged_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """report, compare and export take a results folder, verify, check and plan a benchmark file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "my.yaml").touch()
    for command in ("verify", "check", "plan"):
        assert cli.main([command, "results"]) == 1
        assert "results: is a folder; expected a benchmark file" in capsys.readouterr().err
    for words in (["report", "my.yaml"], ["compare", "my.yaml", "results"]):
        assert cli.main(words) == 1
        assert "my.yaml: is a file; expected a results folder" in capsys.readouterr().err
