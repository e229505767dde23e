"""docs/validity.md states the thresholds and the questions as they are in the code."""

import re
from pathlib import Path

import pytest

from analysis.tables.measures import MEASURES
from analysis.validity import questions, thresholds

TEXT = (Path(__file__).parents[3] / "docs" / "validity.md").read_text(encoding="utf-8")
CONSTANTS = {name: value for name, value in vars(thresholds).items() if name.isupper()}


def test_the_table_holds_every_threshold() -> None:
    stated = {name: float(value) for name, value in re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \|", TEXT, re.MULTILINE)}
    assert stated == {name: pytest.approx(value, abs=5e-4) for name, value in CONSTANTS.items()}


def test_every_question_is_explained_and_asked_of_every_measure() -> None:
    for title, _ in questions.QUESTIONS.values():
        assert f"**{title}**" in TEXT
    assert set(questions.ASKED) == set(MEASURES)
    assert all(set(asked) <= set(questions.QUESTIONS) for asked in questions.ASKED.values())
    rows = "\n".join(re.findall(r"^\| .*`.*\|$", TEXT, re.MULTILINE))
    assert all(f"`{measure}`" in rows for measure in MEASURES)
