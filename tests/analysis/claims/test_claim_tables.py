"""claims.md and the HTML report show the same tables behind the verdicts."""

import copy
import re
from pathlib import Path

import made_answers
import pytest
import reading
from made_records import BERT, spec

from analysis.claims import claim_tables, verdicts
from analysis.report import claims_html
from analysis.reported_benchmark import read
from analysis.tables import formats


def test_both_reports_have_every_comparison_and_every_statistic(tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(spec()), encoding="utf-8")
    content = made_answers.claims()
    for claim in content["claims"]:
        claim["label"] = claim["label"] or ""  # as evaluation.py writes it where nothing is compared
    page = claims_html.verdicts(read(file), content)
    assert page is not None
    claims = {claim["id"]: claim for group in page["groups"] for claim in group["claims"]}
    assert set(claims) | {claim["id"] for claim in page["not_run"]} == {claim["id"] for claim in content["claims"]}
    tables = [claims[claim["id"]]["table"] for claim in content["claims"] if claim["verdict"] != "not run"]
    shown = [table for table in tables if table] + page["statistics"]
    heads = [[formats.md(title) for title in (table.head, *table.columns)] for table in shown]
    written = [table for table in reading.tables(verdicts.claims_markdown(content)) if table[0] in heads]
    assert len(shown) == len(written) == sum(bool(claim["parts"]) for claim in content["claims"]) + 4
    for table, (head, *rows) in zip(shown, written, strict=True):
        assert head == [formats.md(title) for title in (table.head, *table.columns)]  # in the same order
        ((_, expected),) = table.sections
        for (name, cells), row in zip(expected, rows, strict=True):
            assert row == [formats.md(text) for text in (name, *(cell.text for cell in cells))]


def test_a_comparison_has_its_numbers_in_their_unit() -> None:
    (claim,) = [c for c in made_answers.claims()["claims"] if c["id"] == "spread"]
    ((_, [(name, cells)]),) = claim_tables.comparisons(claim).sections
    row = dict(zip(claim_tables.COMPARISONS, cells, strict=True))
    assert name == f"RAIL-KD^l − PKD, {BERT}"
    assert (row["Estimate"].text, row["Low"].text, row["High"].text) == ("−1.23 points", "−2.50", "0.03")
    assert row["SE of examples"].text == "–" and row["p, Holm"].text == "0.062" and row["Seeds to decide"].text == "11"
    assert float(row["Estimate"].sort) == pytest.approx(-1.234) and "columns: cola, rte" in row["Estimate"].tip
    other = copy.deepcopy(claim)
    other["parts"][0]["paper"] = None
    ((_, [(_, cells)]),) = claim_tables.comparisons(other).sections
    assert cells[4].text == "+0.65 points"  # of the printed columns, where the printed average does not compare


def test_errors_are_medians_over_methods_and_the_file_has_each() -> None:
    content = made_answers.claims()
    first = content["errors"][0]
    content["errors"] = [{**first, "method": m, "se_seeds": v} for m, v in (("a", 0.1), ("b", 0.5), ("c", None))]
    content["errors"].append({**first, "method": "d", "se_seeds": 0.9})
    table = claim_tables.errors(content)
    assert table is not None
    ((_, [(_, cells)]),) = table.sections
    assert [cell.text for cell in cells] == ["DEV", "CoLA", "1.25", "0.50", "2.50"]
    assert re.search(r"^data:application/gzip", table.csv) and claim_tables.errors({"errors": []}) is None
