"""The audit of the paper's tables, and that it flags nothing in tables that add up."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_records import Folder

from analysis.claims import audit, ledger, printed_tables
from analysis.load import paper_table


@pytest.fixture(scope="module")
def findings() -> dict[str, dict[str, Any]]:
    return {c["id"]: c for c in audit.examine()["checks"] if not c["holds"]}


def test_it_finds_the_averages_that_are_none(findings: dict[str, dict[str, Any]]) -> None:
    """Recomputed here with plain pandas: every row off by more than rounding can explain, and no other."""
    wanted = set()
    for number, columns in ((2, 8), (3, 8), (4, 7), (5, 3), (6, 3)):
        for _, row in paper_table(number).iterrows():
            scores = row.drop(["avg", "speedup", "split", "method", "teacher_model"], errors="ignore").astype(float)
            assert len(scores) == columns
            if abs(row["avg"] - scores.mean()) > (0.01 if number == 5 else 0.1) + 1e-9:
                keys = [str(row[k]) for k in ("split", "teacher_model", "method") if k in row]
                wanted.add("-".join(["average", str(number), *keys]))
    assert {f for f in findings if f.startswith("average-")} == wanted
    test = [c["difference"] for f, c in findings.items() if f.startswith("average-2-test")]
    assert len(test) == 7 and 0.29 < min(test) <= max(test) < 0.43
    four = [c["difference"] for f, c in findings.items() if f.startswith("average-4-test")]
    assert len(four) == 3 and 0.29 < min(four) <= max(four) < 0.38
    assert findings["average-3-test-teacher"]["recomputed"] == "88.91"


@pytest.mark.parametrize(
    ("name", "recomputed"),
    [
        ("repeat-3-teacher", ""),
        ("wins-over-codir", "4 of 7"),
        ("twice-as-fast-24", "not printed"),
        ("less-training-time", "not printed"),
        ("training-time-absolute", "not printed"),
        ("ood-above-all-bert12", "20 of 24"),
        ("ood-above-all-roberta24", "20 of 24"),
        ("ood-c-over-l-12", "2.2"),
    ],
)
def test_it_finds_each_other_inconsistency(findings: dict[str, dict[str, Any]], name: str, recomputed: str) -> None:
    assert findings[name]["recomputed"] == recomputed


def test_it_finds_nothing_else(findings: dict[str, dict[str, Any]]) -> None:
    assert sum(not f.startswith("average-") for f in findings) == 8
    for part in (
        "39 on PAWS is not above Vanilla KD 42.2, PKD 39.9, ALP-KD 40.7",
        "MNLI 90.1 and 90.2",
        "1 tied, 2 lost",
    ):
        assert any(part in c["detail"] for c in findings.values())


def consistent(seed: int) -> dict[int, pd.DataFrame]:
    """Tables like the paper's, printed from scores drawn here: every average is right before rounding."""
    draw, tables = np.random.default_rng(seed), {}
    for number in audit.NUMERIC:
        table = paper_table(number)
        columns = [c for c in table if c not in (*printed_tables.KEYS, *printed_tables.NO_SCORE)]
        values = (
            draw.uniform(0.5, 3, (len(table), len(columns)))
            if number == 5
            else draw.uniform(40, 95, (len(table), len(columns)))
        )
        decimals = 2 if number == 5 else 1
        table[columns], table["avg"] = values.round(decimals), values.mean(axis=1).round(decimals)
        tables[number] = table
    return tables


def test_it_flags_no_consistent_row() -> None:
    book = ledger.read()
    bare = ledger.Ledger((), (), book.teacher_layers, book.dev_examples)
    for seed in range(40):
        result = audit.examine(consistent(seed), bare)
        assert result["counts"]["findings"] == 0 and result["counts"]["checks"] > 50


def test_one_wrong_digit_is_found() -> None:
    book = ledger.read()
    bare = ledger.Ledger((), (), book.teacher_layers, book.dev_examples)
    tables = consistent(0)
    tables[6].loc[3, "avg"] += 0.3
    found = [c for c in audit.examine(tables, bare)["checks"] if not c["holds"] and c["kind"] == "average"]
    assert [c["difference"] > 0.15 for c in found] == [True]


SPREADS = [((146, 147, 147, 147, 148), True), ((146, 146, 146, 146, 147), True), ((146,) * 5, True), (None, False)]


@pytest.mark.parametrize(("right", "holds"), SPREADS)
def test_a_spread_that_whole_examples_can_have_is_no_finding(right: tuple[int, ...] | None, holds: bool) -> None:
    """Of five runs on the 277 dev examples of RTE, with n as with n - 1; .10 is less than any that differ can have."""
    book = ledger.read()
    for freedom in (0, 1):
        table = paper_table(5)
        table["rte"] = 0.1 if right is None else round(float(np.std(np.array(right) / 2.77, ddof=freedom)), 2)
        steps = [c for c in printed_tables.table_checks(5, table, book) if c.kind == "step" and "-rte-" in c.id]
        assert steps and {c.holds for c in steps} == {holds}


def test_what_rounding_may_have_turned_round_is_no_finding() -> None:
    """Rows whose means are less than a printed unit apart, and a tie where the text says above."""
    table = paper_table(2)
    columns = printed_tables.score_columns(table)
    rows = table.index[(table["split"] == "test") & table["method"].isin(["rail_kd_l", "rail_kd_c"])]
    for extra, found in ((0.0, 0), (0.2 * len(columns), 1)):
        table.loc[rows, columns], table.loc[rows, "avg"] = 70.0, 75.0
        table.loc[rows[0], columns[0]] += 0.2 + extra
        table.loc[rows[1], "avg"] += 0.1
        orders = [c for c in printed_tables.table_checks(2, table, ledger.read()) if c.kind == "order"]
        assert sum("rail_kd_l" in c.id and "rail_kd_c" in c.id for c in orders) == found


def test_the_files(full: Folder) -> None:
    data = json.loads((full.results / "audit.json").read_text(encoding="utf-8"))
    assert data == audit.examine()
    text = (full.results / "audit.md").read_text(encoding="utf-8")
    assert f"{data['counts']['findings']} do not add up" in text and "## What adds up" in text
    assert "4 of 7" in (full.results / "report.md").read_text(encoding="utf-8")
