"""Which methods differ: every number recomputed from the records, and what is decided."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import BERT, GLUE, LARGE, Folder, scores, spec
from scipy import stats

from analysis.__main__ import main
from analysis.claims import decided, difference_tables, errors_of_intervals, evaluation, oriented
from analysis.load import read as load
from analysis.report import summary
from analysis.reported_benchmark import read

TASKS = ["mnli", "rte"]


@pytest.fixture()
def three(tmp_path: Path) -> Folder:
    """One pair, two tasks, three seeds; without KD at 64, the teacher at 98."""
    content = spec()
    content["data"] |= {"tasks": TASKS, "out_of_domain": []}
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": ["no_kd", "vanilla_kd", "pkd"], "tables": [2]}}
    folder = Folder(tmp_path, content).fill()
    noise = np.array([[0.0, 0.1], [0.2, -0.1], [-0.1, 0.1]])
    for turn, (method, level) in enumerate((("no_kd", 64.0), ("vanilla_kd", 74.0), ("pkd", 75.0))):
        put(folder, method, (level + np.roll(noise, turn, axis=0)).tolist())
    return folder


def put(folder: Folder, method: str, percents: list[list[float]]) -> None:
    """Test scores (seeds × tasks) into the records of a method."""
    for s, row in enumerate(percents):
        for task, value in zip(TASKS, row, strict=True):

            def change(record: dict[str, Any], value: float = value) -> None:
                record["scores"]["test"][record["shown"]] = value / 100

            folder.edit(change, BERT, method, task, s + 1)


def evaluated(folder: Folder) -> dict[str, Any]:
    benchmark = read(folder.file)
    return evaluation.evaluate(benchmark, load(benchmark, folder.results), folder.results)


def panel(folder: Folder, pair: str = BERT, block: str = "test") -> dict[str, Any]:
    (found,) = [p for p in evaluated(folder)["differences"] if (p["pair"], p["block"]) == (pair, block)]
    return dict(found)


def test_every_two_methods_of_every_pair_are_compared_as_the_records_say(full: Folder) -> None:
    found = json.loads((full.results / "claims.json").read_text())["differences"]
    assert [(p["pair"], p["block"]) for p in found] == [(p, b) for p in full.spec["pairs"] for b in ("test", "ood")]
    first = found[0]
    assert len(first["differences"]) == first["tests"] == len(first["methods"]) * (len(first["methods"]) - 1) / 2
    assert "my_kd" in first["methods"] and first["reference"] == "vanilla_kd"
    assert first["methods"]["my_kd"] == "My|KD_1"
    for difference in first["differences"]:
        methods = difference["methods"]
        columns = [c for c in first["columns"] if c != "stsb" or "codir" not in methods]
        assert difference["columns"] == columns
        a, b = (np.array([scores(full, BERT, m, t, "test") for t in columns]) for m in methods)
        assert difference["estimate"] == pytest.approx((a - b).mean())
        errors = (a - b).var(axis=1, ddof=1) / 3
        freedom = errors.sum() ** 2 / (errors**2 / 2).sum()
        half = stats.t.ppf(0.975, freedom) * np.sqrt(errors.sum()) / len(columns)
        assert difference["high"] - difference["estimate"] == pytest.approx(half)
        p = 2 * stats.t.sf(abs((a - b).mean()) / (np.sqrt(errors.sum()) / len(columns)), freedom)
        assert difference["p"] == pytest.approx(p, rel=1e-6, abs=1e-12) and difference["se_examples"] is None
    assert first["columns"] + first["not_counted"] == sorted(first["columns"] + first["not_counted"], key=GLUE.index)
    ps = sorted((d["p"], d["p_holm"]) for d in first["differences"])
    step = np.maximum.accumulate([min(1.0, p * (len(ps) - i)) for i, (p, _) in enumerate(ps)])
    assert [holm for _, holm in ps] == pytest.approx(list(step))


def test_a_method_without_runs_on_a_task_is_said_to_be_compared_with_no_other(three: Folder) -> None:
    for seed in (1, 2, 3):
        three.path(BERT, "pkd", "rte", seed).unlink()
    found = panel(three)
    assert found["missing"] == {"pkd": ["rte"]} and [d["methods"] for d in found["differences"]] == [
        ["vanilla_kd", "no_kd"]
    ]
    assert "PKD has no run on RTE, so it is compared with no other." in difference_tables.sentence(found)


def test_what_is_clear_is_decided_and_what_is_not_stays_open(three: Folder) -> None:
    found = panel(three)
    verdicts = {tuple(d["methods"]): d["verdict"] for d in found["differences"]}
    assert verdicts == {("vanilla_kd", "no_kd"): "higher", ("pkd", "no_kd"): "higher", ("pkd", "vanilla_kd"): "higher"}
    assert decided(found) == (
        "bert12 → distilbert6, test: 3 of 3 differences between methods are decided; above Vanilla KD: PKD; below "
        "Vanilla KD: w/o KD."
    )
    put(three, "pkd", [[73.0, 76.0], [77.0, 73.5], [74.2, 74.4]])
    found = panel(three)
    (open_one,) = [d for d in found["differences"] if d["methods"] == ["pkd", "vanilla_kd"]]
    assert open_one["verdict"] == "undecided" and open_one["low"] < 0 < open_one["high"] and open_one["detectable"] > 1


def test_one_clear_by_itself_is_not_decided_among_many(three: Folder) -> None:
    put(three, "vanilla_kd", [[64.5, 64.3], [65.6, 64.4], [64.4, 65.0]])
    put(three, "pkd", [[64.8, 64.2], [64.1, 64.6], [64.0, 64.9]])
    (one,) = [d for d in panel(three)["differences"] if d["methods"] == ["vanilla_kd", "no_kd"]]
    assert one["p"] < 0.05 < one["p_holm"] and one["low"] > 0 and one["verdict"] == "undecided"


def test_runs_that_ended_too_early_decide_nothing(three: Folder) -> None:
    for task in TASKS:
        for seed in (1, 2, 3):

            def rising(record: dict[str, Any]) -> None:
                best = record["scores"]["dev"][record["shown"]]
                record["epochs"] = [
                    {**record["epochs"][0], "epoch": e + 1, "dev": {record["shown"]: best * share}}
                    for e, share in enumerate((0.7, 0.8, 0.9, 1.0))
                ]
                record["best_epoch"] = 4

            three.edit(rising, BERT, "pkd", task, seed)
    found = panel(three)
    verdicts = {tuple(d["methods"]): d["verdict"] for d in found["differences"]}
    assert verdicts[("vanilla_kd", "no_kd")] == "higher"
    assert {v for m, v in verdicts.items() if "pkd" in m} == {"not decided"}
    (row,) = [d for d in found["differences"] if d["methods"] == ["pkd", "vanilla_kd"]]
    assert {reason["question"] for reason in row["validity"]} == {"converged"} and row["estimate"] == pytest.approx(1.0)


def test_where_there_is_nothing_to_gain_nothing_is_decided(three: Folder) -> None:
    for task in TASKS:
        three.edit(lambda record: record["scores"]["test"].update({record["shown"]: 0.64}), BERT, "teacher", task)
    found = panel(three)
    assert {d["verdict"] for d in found["differences"]} == {"not decided"}
    assert found["too_little_to_gain"].startswith("The teacher's score less that of the student without KD is")
    table = difference_tables.table(evaluated(three))
    assert table is not None and found["too_little_to_gain"] in table.notes[0]


def test_without_a_student_without_kd_the_others_are_compared_all_the_same(three: Folder) -> None:
    three.spec["pairs"][BERT]["methods"] = ["vanilla_kd", "pkd"]
    three.save()
    (one,) = panel(three)["differences"]
    assert one["verdict"] == "higher" and one["methods"] == ["pkd", "vanilla_kd"]


def test_a_single_seed_has_a_difference_and_no_interval(three: Folder) -> None:
    three.spec["seeds"] = [1]
    three.save()
    found = panel(three)
    assert found["tests"] == 0 and {d["verdict"] for d in found["differences"]} <= {"undecided", "not decided"}
    assert [d["low"] for d in found["differences"]] == [None] * 3
    assert found["differences"][0]["estimate"] == pytest.approx(9.95)


def test_runs_that_are_missing_leave_out_what_cannot_be_paired(three: Folder) -> None:
    for seed in (1, 2, 3):
        three.path(BERT, "pkd", "rte", seed).unlink()
    assert [d["methods"] for d in panel(three)["differences"]] == [["vanilla_kd", "no_kd"]]


def test_a_difference_turned_round(three: Folder) -> None:
    found = panel(three)
    one, other = (oriented(found, *methods) for methods in (("pkd", "no_kd"), ("no_kd", "pkd")))
    assert one is not None and other is not None
    assert (other["estimate"], other["low"], other["high"]) == (-one["estimate"], -one["high"], -one["low"])
    assert (one["verdict"], other["verdict"]) == ("higher", "lower") and oriented(found, "pkd", "ckd") is None


def test_intervals_say_which_errors_they_hold(three: Folder) -> None:
    data = evaluated(three)
    assert errors_of_intervals(data).startswith("Intervals of scores are of seeds alone, because the predictions")
    three.predict(lambda method, split: {"no_kd": 0.6, "vanilla_kd": 0.7, "pkd": 0.72}[method])
    data = evaluated(three)
    (held,) = data["differences"]
    assert all(d["se_examples"] > 0 for d in held["differences"])
    assert errors_of_intervals(data) == "Intervals of scores are of seeds and examples together."
    held["differences"][0]["se_examples"] = None
    assert errors_of_intervals({"claims": [], "differences": [held]}).startswith("2 of 3 intervals of scores are of")
    assert errors_of_intervals({"claims": []}) == ""


def test_both_reports_and_the_terminal_say_it(three: Folder) -> None:
    assert main(["all", str(three.file), "--results", str(three.results)]) == 0
    report, page, claims = (
        (three.results / name).read_text(encoding="utf-8") for name in ("report.md", "report.html", "claims.md")
    )
    for text in (report, claims):
        assert "## Which methods differ?" in text and "Intervals of scores are of seeds alone" in text
        (line,) = [line for line in text.splitlines() if line.startswith("| PKD ") and "higher" in line]
        assert "+1.0" in line and "Vanilla KD" in line
    assert '<section id="compared">' in page and f'data-key="{BERT}|test|pkd|difference"' in page
    assert "Intervals of scores are of seeds alone" in page
    said = " ".join(summary.summary(three.results).split())
    assert "3 of 3 differences between methods are decided; above Vanilla KD: PKD; below Vanilla KD: w/o KD." in said


def test_a_pair_without_vanilla_kd_is_held_against_the_student_without_kd(full: Folder) -> None:
    found = json.loads((full.results / "claims.json").read_text())
    by_pair = {p["pair"]: p["methods"][p["reference"]] for p in found["differences"]}
    assert by_pair[LARGE] == "Vanilla KD" and "w/o KD" in by_pair.values()
    table = difference_tables.table(found)
    assert table is not None and table.columns[0] == "Less the reference"
