"""leaderboard.csv: returned scores fill the TEST blocks, and a line that fits no run is named."""

from collections.abc import Callable

import pytest
from made_records import BERT, Folder, cells, markdown

from analysis.__main__ import main
from analysis.load import read as load
from analysis.reported_benchmark import read
from analysis.tables.paper_tables import compared_block
from railkd.tasks import GLUE_TEST_ROWS

HEAD = "pair,method,seed,task,score\n"


@pytest.fixture
def hidden(small: Folder) -> Callable[[str], int]:
    """Writes a leaderboard file for a benchmark whose test sets are hidden, and makes the tables."""
    small.spec["data"]["test"] = "hidden"
    small.save()

    def make(text: str) -> int:
        (small.results / "leaderboard.csv").write_text(text, encoding="utf-8")
        return main(["tables", str(small.file), "--results", str(small.results)])

    return make


def test_no_test_block_before_a_score_came_back(small: Folder, hidden: Callable[[str], int]) -> None:
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    assert "**TEST**" not in markdown(small, 2)


def test_returned_scores_fill_the_test_block(small: Folder, hidden: Callable[[str], int]) -> None:
    lines = [f"{BERT},pkd,{seed},cola,{score}\n" for seed, score in ((1, 50.5), (2, 51.5), (3, 52.5))]
    assert hidden(HEAD + "".join(lines) + f"{BERT},teacher,1,mnli,84.25\n{BERT},no_kd,2,mnli,70\n") == 0
    found = cells(small, 2)
    row = found[BERT, "test", "pkd", "cola"]
    assert (float(row["mean"]), row["n"], row["status"]) == (51.5, "3", "complete")
    assert float(row["sd"]) == pytest.approx(1.0)
    assert float(row["examples"]) == GLUE_TEST_ROWS["cola"]
    assert float(found[BERT, "test", "teacher", "mnli"]["value"]) == 84.25
    assert found[BERT, "test", "no_kd", "mnli"]["status"] == "partial"
    assert found[BERT, "test", "no_kd", "cola"]["status"] == "missing"
    assert "scored by the GLUE server" in markdown(small, 2)
    dev = {key: row["value"] for key, row in found.items() if key[1] == "dev"}
    (small.results / "leaderboard.csv").unlink()
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    assert {key: row["value"] for key, row in cells(small, 2).items()} == dev


def test_a_teacher_has_one_row_of_scores_whatever_seeds_its_lines_name(
    small: Folder, hidden: Callable[[str], int]
) -> None:
    assert hidden(f"{HEAD}{BERT},teacher,1,cola,60\n{BERT},teacher,2,mnli,20\n") == 0
    average = cells(small, 2)[BERT, "test", "teacher", "avg"]
    assert (average["value"], average["n"], average["sd"]) == ("40.0", "1", "")


def test_methods_are_compared_on_dev_until_every_one_has_test_scores(
    small: Folder, hidden: Callable[[str], int]
) -> None:
    """Two methods with a test score on one task would leave one difference in the place of all."""
    small.spec["pairs"][BERT]["tables"] = [2, 4]
    small.save()
    benchmark, text = read(small.file), f"{HEAD}{BERT},teacher,1,cola,60\n"
    note, why = "Test scores are partial: methods are compared on DEV", "DEV (test scores are partial, so"
    lines = [(method, task) for task in ("cola", "mnli") for method in ("pkd", "no_kd")]
    for method, task in lines:
        text += f"{BERT},{method},1,{task},50\n"
        assert hidden(text) == 0
        last = (method, task) == lines[-1]
        assert compared_block(benchmark, load(benchmark, small.results)) == ("test" if last else "dev")
        assert (note in markdown(small, 2), note in markdown(small, 4), why in markdown(small, 4)) == (not last,) * 3
    assert markdown(small, 4).startswith("**Table 4.** TEST scores")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nobody,pkd,1,cola,50", "line 2: pair 'nobody', expected one of bert12-distilbert6"),
        (f"{BERT},ckd,1,cola,50", "line 2: method 'ckd', expected one of teacher, no_kd, pkd"),
        (f"{BERT},pkd,1,wnli,50", "line 2: task 'wnli', expected one of cola, mnli"),
        (f"{BERT},pkd,9,cola,50", "line 2: seed '9', expected one of 1, 2, 3"),
        (f"{BERT},pkd,1,cola,high", "line 2: score 'high', expected a number in percent"),
        (f"{BERT},pkd,1,mnli,71\n{BERT},pkd,2,mnli,0.70", "line 3: score '0.70' is a fraction, expected a number in"),
        (f"{BERT},pkd,1,mnli,1.0", "line 2: score '1.0' is a fraction, expected a number in percent, such as 100"),
        (f"{BERT},pkd,1,cola,0.523", "line 2: score '0.523' is a fraction, expected a number in percent, such as 52.3"),
        (f"{BERT},pkd,1,cola,-0.523", "line 2: score '-0.523' is a fraction"),
        (f"{BERT},pkd,1,cola,", "line 2: score '', expected a number in percent"),
        (f"{BERT},pkd,1,cola,51,3", "line 2: has 6 fields, expected 5; the decimals of a score follow a point"),
        (f"\n\n{BERT},pkd,1,cola,high", "line 4: score 'high', expected a number in percent"),
        (
            f"{BERT},pkd,1,cola,50\n{BERT},pkd,1,cola,51",
            "line 3: bert12-distilbert6, pkd, 1, cola is already on line 2",
        ),
        (
            f"{BERT},teacher,1,cola,50\n{BERT},teacher,2,cola,51",
            "line 3: bert12-distilbert6, teacher, cola is already on line 2; a teacher has one run a task",
        ),
    ],
)
def test_a_line_that_fits_no_run(
    hidden: Callable[[str], int], capsys: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    assert hidden(f"{HEAD}{line}\n") == 1
    assert f"leaderboard.csv: {expected}" in capsys.readouterr().err


def test_a_low_score_in_percent_is_no_fraction(small: Folder, hidden: Callable[[str], int]) -> None:
    """A student that has learned nothing has a Matthews correlation near 0."""
    for lines in (("cola,0.6", "cola,-0.57", "cola,0.600"), ("mnli,0", "mnli,32.5", "mnli,1.1")):
        text = "".join(f"{BERT},pkd,{seed},{line}\n" for seed, line in enumerate(lines, 1))
        assert hidden(HEAD + text) == 0
        found = cells(small, 2)[BERT, "test", "pkd", lines[0].partition(",")[0]]
        assert float(found["value"]) == pytest.approx(sum(float(line.partition(",")[2]) for line in lines) / 3)


def test_a_task_of_ones_own_has_no_leaderboard(
    small: Folder, hidden: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    reviews = {"files": "reviews.csv", "text": "review", "labels": ["bad", "good"]}
    small.spec["data"]["tasks"] = {"cola": None, "mnli": None, "reviews": reviews}
    small.save()
    for task, expected in (
        (
            "reviews",
            "task 'reviews' is one of your own, and only GLUE's tasks have a leaderboard; expected one of cola, ",
        ),
        ("wnli", "task 'wnli', expected one of cola, mnli\n"),
    ):
        assert hidden(f"{HEAD}{BERT},pkd,1,{task},50\n") == 1
        assert f"leaderboard.csv: line 2: {expected}" in capsys.readouterr().err


def test_other_columns_or_labelled_test_sets(
    small: Folder, hidden: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert hidden("a,b\n1,2\n") == 1
    assert "columns a, b; expected pair, method, seed, task, score" in capsys.readouterr().err
    small.spec["data"]["test"] = "labels"
    small.save()
    assert hidden(HEAD) == 1
    assert "fills the TEST blocks of a benchmark with data.test: hidden; here it is labels" in capsys.readouterr().err
