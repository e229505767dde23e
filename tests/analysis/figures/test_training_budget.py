"""The training-budget figure: what it plots and says, recomputed from the records."""

import io
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reading
from made_records import Folder, number, spec
from matplotlib.text import Text

from analysis import load
from analysis.__main__ import main
from analysis.figures import style, training_budget
from analysis.load import Runs
from analysis.report import contents, html_page, markdown
from analysis.report.catalogue import DRAWINGS
from analysis.reported_benchmark import ReportedBenchmark, read
from analysis.statistics import summaries

TASKS = ["cola", "mnli", "rte"]
METHODS = ["no_kd", "vanilla_kd", "pkd", "alp_kd", "rail_kd_l", "rail_kd_c"]
EPOCHS = {"long": 48, "short": 3, "middle": 12}  # not in their order: the figure sorts them
SORTED = ["short", "middle", "long"]
STEPS = {"cola": 40, "mnli": 20, "rte": 20}  # of an epoch
Level = Callable[[str, str], float]  # pair, method -> a fraction


@pytest.fixture()
def trained(tmp_path: Path) -> Folder:
    """One teacher and student at three budgets, every run present; its files are the test's own."""
    content = spec()
    content["data"] |= {"tasks": TASKS, "out_of_domain": []}
    content["training"] = {"student": {"batch_size": 16, "epochs": 12}}
    pair = {"teacher": "bert12", "student": "distilbert6", "methods": METHODS, "tables": ["budget"]}
    content["pairs"] = {name: {**pair, "training": {"epochs": epochs}} for name, epochs in EPOCHS.items()}
    folder = Folder(tmp_path, content).fill()
    for task in TASKS:  # a teacher above its students, so that there is something to gain
        folder.edit(lambda record: record["scores"]["test"].update({record["shown"]: 0.97}), "long", "teacher", task)
    set_scores(folder, lambda pair, method: 0.65 + 0.04 * METHODS.index(method))
    return folder


def set_scores(folder: Folder, level: Level, noise: float = 0.01) -> None:
    """Test scores around a level, and the steps that belong to the budget."""
    for pair in EPOCHS:
        for method in METHODS:
            for task in TASKS:
                for seed in (1, 2, 3):
                    value = level(pair, method) + noise * (number(pair, method, task, seed) - 0.5)

                    def put(record: dict, value: float = value, steps: int = EPOCHS[pair] * STEPS[task]) -> None:
                        record["scores"]["test"][record["shown"]] = value
                        record["cost"]["steps"] = steps

                    folder.edit(put, pair, method, task, seed)


def loaded(folder: Folder) -> tuple[ReportedBenchmark, Runs]:
    benchmark = read(folder.file)
    return benchmark, load.read(benchmark, folder.results)


def described(name: str, benchmark: ReportedBenchmark, runs: Runs) -> str:
    """All that stands below a figure."""
    drawing = DRAWINGS[name]
    return " ".join([drawing.about(benchmark, runs), *drawing.findings(benchmark, runs)])


def score(folder: Folder, pair: str, method: str, task: str, seed: int) -> float:
    record = folder.read(pair, method, task, seed)
    return 100 * record["scores"]["test"][record["shown"]]


def text_of(folder: Folder) -> str:
    return " ".join(training_budget.findings(*loaded(folder)))


def test_the_data_are_scores_and_steps_of_the_records(trained: Folder) -> None:
    data = training_budget.frame(*loaded(trained)).set_index(["pair", "method", "task"])
    assert list(dict.fromkeys(pair for pair, *_ in data.index)) == SORTED
    values = [[score(trained, "middle", "pkd", task, seed) for task in TASKS] for seed in (1, 2, 3)]
    whole, one = data.loc["middle", "pkd", ""], data.loc["middle", "pkd", "rte"]
    assert tuple(whole[["mean", "low", "high"]]) == pytest.approx(summaries.stratified_interval(np.array(values)))
    assert one["mean"] == pytest.approx(statistics.mean(row[2] for row in values))
    assert one["steps"] == 12 * 20 and whole["steps"] == pytest.approx(12 * (40 + 20 + 20) / 3)
    teacher = [trained.read("long", "teacher", task)["scores"]["test"] for task in TASKS]
    shown = [trained.read("long", "teacher", task)["shown"] for task in TASKS]
    mean = statistics.mean(100 * scores[metric] for scores, metric in zip(teacher, shown, strict=True))
    assert data.loc["short", "teacher", ""]["mean"] == pytest.approx(mean)


def test_the_figure_plots_them_over_the_logarithm_of_steps(trained: Folder) -> None:
    benchmark, runs = loaded(trained)
    sheet = training_budget.figure(benchmark, runs)
    whole, *by_task = sheet.axes
    assert [axis.get_title() for axis in by_task] == ["CoLA", "MNLI", "RTE"] and whole.get_xscale() == "log"
    assert [t.get_text() for t in whole.get_xticklabels()] == ["80", "320", "1,280"]
    assert [t.get_text() for t in by_task[0].get_xticklabels()] == ["120", "480", "1,920"]
    data = training_budget.frame(benchmark, runs)
    marks = style.marks_of(benchmark)
    places: set[float] = set()
    for method in METHODS:
        expected = data[(data["method"] == method) & (data["task"] == "")]
        drawn = reading.dots(whole, marks[method])
        assert [value for place, value in sorted(drawn.items())] == [
            pytest.approx(row) for row in expected[["mean", "low", "high"]].to_numpy().tolist()
        ]
        for place, steps in zip(sorted(drawn), sorted(expected["steps"]), strict=True):
            assert place == pytest.approx(steps, rel=0.2)
        places |= set(drawn)
    assert len(places) == len(METHODS) * 3  # no interval hides another
    (teacher,) = (line for line in whole.lines if line.get_linestyle() == ":")
    assert teacher.get_ydata()[0] == pytest.approx(data.loc[data["method"] == "teacher", "mean"].iloc[0])
    texts = [t.get_text() for t in sheet.legends[0].get_texts()]
    assert texts == [*(style.plain(benchmark.title_of(m)) for m in METHODS), "Teacher"]


def test_an_order_that_stays_has_settled_at_the_smallest_budget(trained: Folder) -> None:
    text = text_of(trained)
    assert "At 1,280 steps, the largest budget, 15 of 15 differences are decided after Holm's correction" in text
    assert "From 80 steps on, none of these is decided the other way." in text
    assert "At 320 steps 15 of 15 are decided the same way, 0 the other way and 0 not at all." in text
    assert "with the order at 1,280 steps (1: the same order; noise lowers it): +1.00 at 80 steps (an order" in text
    best, worst = (
        statistics.mean(score(trained, "short", method, task, seed) for task in TASKS for seed in (1, 2, 3))
        for method in ("rail_kd_c", "no_kd")
    )
    assert f"{best - worst:.1f} at 80 steps (highest: RAIL-KD^c, {best:.1f} %); " in text


def test_an_order_that_turns_round_settles_where_it_stays(trained: Folder) -> None:
    set_scores(trained, lambda pair, m: 0.65 + (-0.04 if pair == "short" else 0.04) * METHODS.index(m))
    text = text_of(trained)
    assert "From 320 steps on, none of these is decided the other way. At 80 steps 0 of 15 are" in text
    assert (
        "15 the other way (w/o KD above Vanilla KD, " in text
        and "−1.00 at 80 steps (an order that does not change: +1.00 to +1.00 in" in text
    )
    set_scores(trained, lambda pair, m: 0.65 + (0.04 if pair == "long" else -0.04) * METHODS.index(m))
    assert "At no smaller budget has the order settled. At 80 steps" in text_of(trained)
    assert "At 320 steps 0 of 15 are decided the same way, 15 the other way" in text_of(trained)
    # what stays from the smallest on has to stay: one that turns round in between has not settled
    set_scores(trained, lambda pair, m: 0.65 + (-0.04 if pair == "middle" else 0.04) * METHODS.index(m))
    text = text_of(trained)
    assert "At no smaller budget has the order settled. At 80 steps 15 of 15 are decided the same way" in text


def test_noise_decides_nothing(trained: Folder) -> None:
    set_scores(trained, lambda pair, method: 0.65, noise=0.1)
    text = text_of(trained)
    assert "That cannot be decided: at 1,280 steps no two methods differ by more than their error after Holm's" in text
    limits = re.search(r"does not change: ([+−][\d.]+) to ([+−][\d.]+) in", text)
    assert limits and float(limits[1].replace("−", "-")) < 0.2 < float(limits[2])
    # decided at the largest alone: the smaller ones say nothing for or against
    set_scores(trained, lambda pair, m: 0.65 + 0.04 * METHODS.index(m) * (pair == "long"), noise=0.02)
    text = text_of(trained)
    assert "None of these is decided at 80 steps, so that it cannot be decided whether the order has settled" in text


def test_runs_that_fail_a_question_settle_nothing(trained: Folder) -> None:
    """Also where their differences are large: the teacher is not above them, so that there is nothing to gain."""
    for task in TASKS:
        trained.edit(lambda record: record["scores"]["test"].update({record["shown"]: 0.6}), "long", "teacher", task)
    assert "not decided, because of what the runs at 1,280 steps fail above: there is too little to gain." in text_of(
        trained
    )


def test_equal_scores_are_no_difference(trained: Folder) -> None:
    set_scores(trained, lambda pair, method: 0.1 + 0.7 if method == "pkd" else 0.8, noise=0)
    text = text_of(trained)
    assert "no two methods differ by more than their error" in text and "Kendall" not in text


def test_runs_that_are_missing_are_left_out_and_said(trained: Folder) -> None:
    trained.path("short", "pkd", "rte", 2).unlink()
    caption = described("budget", *loaded(trained))
    assert "Not every run is present: PKD at epochs 3." in caption
    assert "At 80 steps 10 of 10 are decided the same way" in caption  # the pairs of the five others
    for method in METHODS[1:]:
        trained.path("long", method, "cola", 3).unlink()
    caption = described("budget", *loaded(trained))
    assert (
        "That cannot be said yet: fewer than two methods have every run at 80 steps and 320 steps and 1,280" in caption
    )
    for method in METHODS:
        for task in TASKS:
            for seed in (1, 2, 3):
                trained.path("long", method, task, seed).unlink(missing_ok=True)
    benchmark, runs = loaded(trained)
    assert "fewer than two methods have every run at 80 steps and 320 steps and epochs 48" in text_of(trained)
    sheet = training_budget.figure(benchmark, runs)
    assert [t.get_text() for t in sheet.axes[0].get_xticklabels()] == ["80", "320"]
    (scores, order) = training_budget.page_tables(benchmark, runs)
    assert scores.columns == ["80 steps (epochs 3)", "320 steps (epochs 12)", "epochs 48 (epochs 48)"]
    assert scores.sections[0][1][0][1][2].text == "–" and order.sections[0][1][0][1][1].text == "–"


def test_without_any_run(trained: Folder) -> None:
    for path in trained.results.rglob("*.json"):
        path.unlink()
    benchmark, runs = loaded(trained)
    training_budget.figure(benchmark, runs).savefig(io.BytesIO(), format="png", dpi=30)
    assert "That cannot be said yet" in described("budget", benchmark, runs)


def test_one_seed_has_no_interval(trained: Folder) -> None:
    trained.spec["seeds"] = [1]
    trained.save()
    benchmark, runs = loaded(trained)
    text = text_of(trained)
    assert "That cannot be decided: one run a cell shows no error." in text and "+1.00 at 80 steps" in text
    assert training_budget.frame(benchmark, runs)["low"].isna().all()
    training_budget.figure(benchmark, runs).savefig(io.BytesIO(), format="png", dpi=30)


def test_the_tables_hold_the_figures_numbers(trained: Folder) -> None:
    set_scores(trained, lambda pair, m: 0.65 + (-0.04 if pair == "short" else 0.04) * METHODS.index(m))
    benchmark, runs = loaded(trained)
    scores, order = training_budget.page_tables(benchmark, runs)
    assert scores.columns == ["80 steps (epochs 3)", "320 steps (epochs 12)", "1,280 steps (epochs 48)"]
    rows = dict(scores.sections[0][1])
    own = [score(trained, "long", "pkd", task, seed) for task in TASKS for seed in (1, 2, 3)]
    assert float(rows["PKD"][2].sort) == pytest.approx(statistics.mean(own)) and rows["PKD"][2].after.startswith("[")
    short, middle, largest = (cells for _, cells in order.sections[0][1])
    assert [cell.text for cell in short] == ["6", "−1.00", "0", "15", "0"]
    assert [cell.text for cell in middle] == ["6", "+1.00", "15", "0", "0"]
    assert [cell.text for cell in largest] == ["6", "+1.00", "15", "0", "0"] and largest[1].after == ""


def test_it_fits_one_column_in_large_enough_letters(trained: Folder) -> None:
    with style.themed():
        sheet = training_budget.figure(*loaded(trained))
        sheet.draw_without_rendering()
    assert sheet.get_figwidth() == style.COLUMN
    assert min(t.get_fontsize() for t in sheet.findobj(Text) if t.get_text().strip() and t.get_visible()) >= 7
    box, edge = sheet.get_tightbbox(), 0.06  # inches
    assert box.x0 > -edge and box.x1 < sheet.get_figwidth() + edge


def test_the_figure_is_in_the_reports(trained: Folder) -> None:
    for step in ("figures", "claims", "audit"):
        assert main([step, str(trained.file), "--results", str(trained.results)]) == 0
    assert (trained.results / "figures" / "budget.png").stat().st_size > 10_000
    gathered = contents.gather(*loaded(trained), trained.results)
    text = markdown.compose(gathered)
    assert "## Training budget: the order of methods as students train for longer" in text
    assert "At which budget does the order of methods settle?" in text
    page = html_page.compose(gathered)
    assert "Scores at each training budget" in page and "bert12 → distilbert6, epochs 3" in page
    assert not math.isnan(training_budget.frame(*loaded(trained))["mean"].iloc[0])
