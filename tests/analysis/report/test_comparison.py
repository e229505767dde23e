"""Two results folders compared: equal ones agree, a real difference is found, chance is not."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import BERT, Folder
from scipy import stats as scipy_stats

from analysis.__main__ import main
from analysis.report import comparison
from analysis.report.comparison import Side, welch
from analysis.reported_benchmark import read
from analysis.statistics import inference


def side(values: Any) -> Side:
    """The runs of a cell, as a table has them: (runs,) -> mean, sd, n."""
    return Side(float(np.mean(values)), float(np.std(values, ddof=1)), len(values), "mean", "percent")


def holm(p: list[float]) -> list[bool]:
    """Which of several hypotheses are rejected at 5 %."""
    return [bool(adjusted <= 0.05) for adjusted in inference.holm(np.array(p))]


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(70, 1, 3), rng.normal(72, 3, 5)
    difference, half, p = welch(side(a), side(b))
    expected = scipy_stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert p == pytest.approx(expected.pvalue)
    assert (difference - half, difference + half) == pytest.approx((interval.low, interval.high))
    assert welch(side([5.0, 5.0]), side([5.0, 5.0])) == (0, 0, 1)
    assert welch(side([5.0, 5.0]), side([6.0, 6.0])) == (-1, 0, 0)


def test_holm_on_the_textbook_steps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # .005 ≤ .05/4, .01 ≤ .05/3, .03 > .05/2
    assert holm([]) == [] and holm([0.05]) == [True]


def test_chance_is_found_in_at_most_one_comparison_of_twenty() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        sides = [(side(rng.normal(70, 1, 4)), side(rng.normal(70, 1, 4))) for _ in range(10)]
        wrong += any(holm([welch(a, b)[2] for a, b in sides]))
    assert wrong / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


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
    assert "nowhere/tables: no table here; run 'python -m analysis tables' first" in capsys.readouterr().err
    assert main(["compare", str(small.file), "--results", str(small.results)]) == 1
    assert "--against: names the folder to compare with" in capsys.readouterr().err
    (tmp_path / "bad" / "tables").mkdir(parents=True)
    (tmp_path / "bad" / "tables" / "table2.csv").write_text("table,value\nx,1\n")
    assert run(small, tmp_path / "bad") == 1
    assert "table2.csv: not a table of this suite" in capsys.readouterr().err
