"""The ablation: what it plots and says, recomputed from the records."""

import base64
import csv
import io
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reading
from made_records import Folder, spec
from matplotlib.text import Text
from scipy import stats as reference
from varied_entries import PAIR, TASKS, described, loaded, score, set_scores

from analysis.__main__ import main
from analysis.figures import ablation, ablation_findings, layer_map_survey, style
from analysis.report import contents, html_page, markdown, provenance
from analysis.reported_benchmark import read
from analysis.statistics import inference, summaries
from analysis.statistics.differences import Difference
from analysis.validity.decisions import Decision, decide
from analysis.validity.evidence import Evidence
from analysis.validity.questions import Answer

ROOT = Path(__file__).parents[3]


# ---- statistics ----


def test_one_stratum_is_a_t_interval_and_equal_strata_pool_their_freedom() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    mean, low, high = summaries.stratified_interval(values)
    expected = reference.t.interval(0.95, 2, np.mean(values), reference.sem(values[:, 0]))
    assert (mean, low, high) == pytest.approx((7 / 3, *expected))
    _, low2, high2 = summaries.stratified_interval(np.hstack([values, values + 5]))
    half = reference.t.ppf(0.975, 4) * reference.sem(values[:, 0]) / math.sqrt(2)
    assert (high2 - low2) / 2 == pytest.approx(half)


def test_stratified_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    means, scales = np.array([0.0, 3.0, -1.0, 5.0]), np.array([1.0, 2.0, 0.5, 4.0])
    hits = 0
    for _ in range(2000):
        _, low, high = summaries.stratified_interval(means + scales * rng.standard_normal((3, 4)))
        hits += low <= means.mean() <= high
    assert 0.93 < hits / 2000 < 0.98


def test_intervals_with_missing_runs() -> None:
    one = summaries.stratified_interval(np.array([[1.0, 2.0]]))
    assert one[0] == 1.5 and math.isnan(one[1])
    gap = summaries.stratified_interval(np.array([[1.0, np.nan], [3.0, np.nan]]))
    assert all(map(math.isnan, gap))
    assert all(map(math.isnan, summaries.stratified_interval(np.empty((0, 2)))))
    assert summaries.stratified_interval(np.ones((3, 2))) == (1.0, 1.0, 1.0)


def test_variance_shares_find_what_was_put_in() -> None:
    rng = np.random.default_rng(1)
    items, shift = 2.0 * rng.standard_normal((3000, 1)), np.array([[10.0, -3.0, 0.0]])
    found = summaries.variance_shares(items + shift + 1.0 * rng.standard_normal((3000, 3)))
    assert found is not None and found.freedom == 2999 * 2
    assert found.item_sd == pytest.approx(2, rel=0.05) and found.noise_sd == pytest.approx(1, rel=0.05)
    assert found.low < 0.8 < found.high and found.share == pytest.approx(0.8, abs=0.02)
    inside = 0
    for _ in range(400):
        noise = summaries.variance_shares(rng.standard_normal((30, 2)))
        assert noise is not None
        inside += noise.low <= 0 <= noise.high
    assert 0.92 < inside / 400 < 0.98
    assert summaries.variance_shares(np.ones((1, 3))) is None and summaries.variance_shares(np.ones((3, 1))) is None


# ---- ablation ----


def test_rows_show_the_block_then_each_option_alone(varied: Folder) -> None:
    benchmark = read(varied.file)
    rows = ablation.rows(benchmark, benchmark.pairs[0], "rail_kd_l")
    assert [(row.option, row.value) for row in rows] == [
        ("mapping", "random_sorted"), ("mapping", "random_once"), ("mapping", "skip"), ("mapping", "last"),
        ("pooling", "mean"), ("pooling", "cls"),
    ]  # fmt: skip
    assert rows[0].dots == [("learned", "rail_kd_l"), ("none", "rail_kd_l.none")]
    assert rows[2].dots == [("learned", "rail_kd_l.skip"), ("none", "rail_kd_l.skip.none")]
    assert rows[4].dots == [("", "rail_kd_l")] and rows[5].dots == [("", "rail_kd_l.cls")]
    assert benchmark.title_of("rail_kd_l.skip.none") == "RAIL-KD^l, skip, none"


def test_the_control_stands_beside_what_it_controls() -> None:
    """In the suite's own ablation the block's maps come before those that are varied alone."""
    benchmark = read(ROOT / "benchmarks" / "ablation.yaml")
    rows = ablation.rows(benchmark, benchmark.pairs[0], "rail_kd_c")
    assert [row.value for row in rows if row.option == "mapping"] == [
        "random_sorted", "skip", "last", "random_sorted_step", "random_once", "random_unsorted", "reverse",
        "all_to_one",
    ]  # fmt: skip
    assert [second for second, _ in rows[0].dots] == ["learned", "none", "learned_student", "frozen_random"]
    assert [second for second, _ in rows[1].dots] == ["learned", "none"]


def test_effects_are_paired_differences(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    found = ablation.effect(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip", "vanilla_kd")
    pairs = [[score(varied, "rail_kd_l.skip", t, s) - score(varied, "vanilla_kd", t, s) for t in TASKS]
             for s in (1, 2, 3)]  # fmt: skip
    assert found[0] == pytest.approx(statistics.mean(v for row in pairs for v in row))
    assert found == pytest.approx(summaries.stratified_interval(np.array(pairs)))
    varied.path(PAIR, "vanilla_kd", "cola", 3).unlink()
    benchmark, runs = loaded(varied)
    fewer = ablation.effect(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip", "vanilla_kd")
    by_task = [statistics.mean([pairs[0][0], pairs[1][0]]), statistics.mean(row[1] for row in pairs)]
    assert fewer[0] == pytest.approx(statistics.mean(by_task))


def test_intervals_hold_the_error_of_examples_where_predictions_are_at_hand(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    assert ablation.errors(benchmark, runs) == "of seeds alone"
    assert "95% intervals, of seeds alone, each" in ablation.about(benchmark, runs)
    varied.predict(lambda method, split: 0.7)
    benchmark, runs = loaded(varied)
    assert ablation.errors(benchmark, runs) == "of seeds and examples together"
    found = ablation.difference(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip", "vanilla_kd")
    assert found is not None and found.estimate is not None and found.estimate.examples > 0.5  # of 400 examples
    assert ablation.effect(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip", "vanilla_kd")[1:] == found.interval
    for table in ablation_findings.page_tables(benchmark, runs)[:2]:
        assert "of seeds and examples together" in table.caption


def test_the_figure_plots_the_effects(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    figure = ablation.figure(benchmark, runs)
    left, right = figure.axes
    labels = [t.get_text() for t in left.get_yticklabels()]
    assert labels == ["mapping", "random_sorted", "random_once", "skip", "last", "pooling", "mean", "cls"]
    marks = style.values(["learned", "none"], style.marks_of(benchmark)["rail_kd_l"].colour)
    learned, none = (reading.dots(left, mark, across=True) for mark in marks.values())
    assert len(learned) == 4 + 2 and len(none) == 4  # the last two options have no second
    (own,) = style.values([""], style.marks_of(benchmark)["rail_kd_c"].colour).values()
    assert len(reading.dots(right, own, across=True)) == 3 + math.comb(8, 5)
    assert len({*learned, *none}) == len(learned) + len(none)  # none hides another
    expected = ablation.effect(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip.none", "vanilla_kd")
    (place,) = (place for place in none if round(place) == labels.index("skip"))
    assert none[place] == pytest.approx(expected)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["learned", "none", "the paper's choice"]
    data = ablation.frame(benchmark, runs)
    assert len(data) == len(learned) + len(none) + 3 + math.comb(8, 5)


@pytest.mark.parametrize(
    ("gain", "said"), [(0.0, "(undecided; detectable: "), (0.1, "(decided: higher)"), (-0.1, "(decided: lower)")]
)
def test_the_caption_says_whether_random_mapping_helps(varied: Folder, gain: float, said: str) -> None:
    noise = [[0.01, -0.01], [-0.02, 0.0], [0.01, 0.01]]
    set_scores(varied, "rail_kd_l.skip", [[0.5, 0.88]] * 3)
    set_scores(varied, "rail_kd_l", [[0.5 + gain + a, 0.88 + gain + b] for a, b in noise])
    benchmark, runs = loaded(varied)
    text = described("ablation", benchmark, runs)
    mean = f"{100 * gain:+.1f}".replace("-", "−")
    decided = re.search(r"Does drawing the layer map anew help\? (\d) of 6 differences are decided\.", text)
    assert decided and (int(decided[1]) > 0 or not gain)
    first = f"RAIL-KD^l less itself with its mean map held fixed: {mean} points ["
    assert (first in text) == bool(gain)  # what is not decided stands in the table
    table, _ = ablation_findings.page_tables(benchmark, runs)
    (question, rows), *_ = table.sections
    assert table.columns == ["RAIL-KD^l", "RAIL-KD^c"] and question == "Does drawing the layer map anew help?"
    cell = dict(rows)["its mean map held fixed"][0]
    assert cell.text == mean and re.fullmatch(rf"\[.\d+\.\d, .\d+\.\d\] {re.escape(said)}.*", cell.after)
    assert dict(rows)["a map drawn once a run"][1].text == ""  # not in the benchmark
    assert "Holm's correction over the differences of a question" in text
    assert "says nothing about English" in text


def test_the_table_has_the_figures_numbers_in_words_too(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    (grid,) = ablation.page_tables(benchmark, runs)
    (title, rows), (_, others) = grid.sections
    assert title == "RAIL-KD^l" and len(rows) == 4 * 2 + 1 and len(others) == 3 + math.comb(8, 5)
    by_name = dict(rows)
    own = [score(varied, "rail_kd_l.skip.none", t, s) for t in TASKS for s in (1, 2, 3)]
    average, over, said, against, _ = by_name["mapping skip, projection none"]
    assert float(average.sort) == pytest.approx(statistics.mean(own))
    expected = ablation.effect(benchmark, runs, benchmark.pairs[0], "rail_kd_l.skip.none", "vanilla_kd")
    assert float(over.sort) == pytest.approx(expected[0]) and over.after == ablation.interval(expected)
    assert said.text == (
        "interval above 0" if expected[1] > 0 else "interval below 0" if expected[2] < 0 else "interval holds 0"
    )
    published = statistics.mean(score(varied, "rail_kd_l", t, s) for t in TASKS for s in (1, 2, 3))
    assert float(against.sort) == pytest.approx(statistics.mean(own) - published)
    assert [view.text for view in by_name["as it is"][3:]] == ["", ""]
    shown = ablation.frame(benchmark, runs)  # the page offers the figure's own data as CSV
    assert shown["method"].nunique() == len(rows) + len(others)


def test_cells_that_learned_nothing_are_counted(varied: Folder) -> None:
    """Matthews 0 and F1 .7 are what a constant prediction scores in the made-up records."""
    said = []
    for scores in ([[0.9, 0.9]] * 3, [[0.0, 0.9]] * 3, [[0.0, 0.7]] * 3):
        set_scores(varied, "rail_kd_l.skip", scores)
        benchmark, runs = loaded(varied)
        said.append(ablation.unlearned(benchmark, runs, benchmark.pairs[0], ["rail_kd_l.skip"]))
    rest = "of 2 cells do not exceed the majority-class baseline by two standard errors."
    assert said == ["", f"1 {rest}", f"2 {rest}"]
    assert "cells do not exceed the majority-class baseline" in described("ablation", benchmark, runs)


def test_what_is_asked_are_the_choices_against_what_could_stand_in_their_place(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    found = {
        entry: list(ablation_findings.contrasts(benchmark, runs, benchmark.pairs[0], entry))
        for entry in ("rail_kd_l", "rail_kd_c")
    }
    assert [c.instead for c in found["rail_kd_l"]] == [
        "its mean map held fixed", "its mean map held fixed, both without projections", "the last layers held fixed",
        "a map drawn once a run", "no projection", "the first token instead of the mean",
    ]  # fmt: skip
    assert [c.instead for c in found["rail_kd_c"]] == ["its mean map held fixed", "the last layers held fixed"]
    pair = benchmark.pairs[0]
    sides = [("", ".skip"), (".none", ".skip.none"), ("", ".last"), ("", ".random_once"), ("", ".none"), ("", ".cls")]
    for contrast, (method, other) in zip(found["rail_kd_l"], sides, strict=True):
        assert contrast.compared.methods == (f"rail_kd_l{method}", f"rail_kd_l{other}")
        expected = ablation.effect(benchmark, runs, pair, *contrast.compared.methods)
        (decision,) = decide(Evidence(benchmark, runs, runs.root), [contrast.compared])
        assert ablation.effect_of(decision.difference) == expected
    text = " ".join(ablation_findings.findings(benchmark, runs))
    assert text.index("layer map anew help?") < text.index("learned projection help?") < text.index("pooling matter?")


def test_a_difference_that_is_clear_by_itself_is_not_decided_among_many(varied: Folder) -> None:
    """Holm's correction: as many differences as a question asks are taken together."""
    rng = np.random.default_rng(0)
    benchmark = read(varied.file)
    for method in ("rail_kd_l", "rail_kd_c", *benchmark.variants):
        set_scores(varied, method, 0.8 + 0.001 * rng.standard_normal((3, 2)))
    set_scores(varied, "rail_kd_l", [[0.810, 0.812], [0.802, 0.803], [0.815, 0.809]])
    asked = ablation_findings.asked(*loaded(varied))["Does drawing the layer map anew help?"]
    found = asked[0][1].difference
    assert found is not None and found.estimate is not None and asked[0][1].tests == len(asked) == 6
    p = float(found.estimate.p_differs())
    assert found.interval[0] > 0 and p < 0.05 < 6 * p
    cell = ablation_findings.page_tables(*loaded(varied))[0].sections[0][1][0][1][0]
    assert cell.text == f"+{found.value:.1f}" and re.match(r"\[\+.* \(undecided; detectable", cell.after)


def test_what_was_stopped_too_early_is_not_decided(varied: Folder) -> None:
    """Whatever its p: the figure says what the questions above it say."""
    set_scores(varied, "rail_kd_l.skip", [[0.5, 0.8]] * 3)
    set_scores(varied, "rail_kd_l", [[0.6, 0.9], [0.61, 0.9], [0.6, 0.91]])
    assert "RAIL-KD^l less itself with its mean map held fixed: +10" in " ".join(
        ablation_findings.findings(*loaded(varied))
    )

    def stop(record: dict[str, Any]) -> None:
        first = {**record["epochs"][0], "dev": {**record["epochs"][0]["dev"], record["shown"]: 0.2}}
        last = {**record["epochs"][-1], "dev": {**record["epochs"][-1]["dev"], record["shown"]: 0.9}, "epoch": 2}
        record["epochs"], record["best_epoch"] = [first, last], 2

    for task in TASKS:
        for seed in (1, 2, 3):
            varied.edit(stop, PAIR, "rail_kd_l", task, seed)
    text = " ".join(ablation_findings.findings(*loaded(varied)))
    assert "RAIL-KD^l less itself with its mean map held fixed: " not in text
    assert "5 cannot be, because of what their runs fail above: training ended too early, students do not clear" in text
    cell = ablation_findings.page_tables(*loaded(varied))[0].sections[0][1][0][1][0]
    assert cell.text.startswith("+10") and cell.after.endswith("(not decided: training ended too early)")


def test_verdicts() -> None:
    def said(runs: list[float], p_holm: float | None = 1.0, failed: tuple[Any, ...] = ()) -> str:
        values = np.array([[value] for value in runs])
        difference = Difference(("cola",), float(values.mean()), inference.paired(values), False)
        return ablation_findings.verdict(Decision(difference, failed, p_holm, 1))

    assert said([-0.5, 1.0, 2.0]) == "[−2.3, +4.0] (undecided; detectable: 4.1)"
    assert said([-0.04] * 3) == "(the same in every run)"
    assert said([-1.0, -2.0, -1.5], 0.01) == "[−2.7, −0.3] (decided: lower)"
    assert said([1.0, 2.0, 1.5], 0.01) == "[+0.3, +2.7] (decided: higher)"
    why = (None, Answer("converged", False, ""))
    assert said([1.0, 2.0, 1.5], 0.01, (why,)) == "[+0.3, +2.7] (not decided: training ended too early)"
    assert said([2.0], None) == "(one run, so no interval)"
    assert ablation.established((1.25, -0.5, 3.0)) == "interval holds 0"


def test_what_variants_cost_is_in_the_file_alone(varied: Folder) -> None:
    benchmark, runs = loaded(varied)
    table = provenance.cost_table(benchmark, runs)
    titles = {benchmark.title_of(m) for m in benchmark.methods if m not in benchmark.variants}
    assert {title for _, rows in table.sections for title, _ in rows} == titles
    assert f"The CSV has {len(benchmark.variants)} variants too." in table.caption
    text = base64.b64decode(table.csv.partition("base64,")[2]).decode()
    assert set(benchmark.variants) < {row["method"] for row in csv.DictReader(io.StringIO(text))}


# ---- layer-map survey ----


@pytest.mark.parametrize("draw", [ablation.figure, layer_map_survey.figure])
def test_both_fit_one_column_in_large_enough_letters(varied: Folder, draw: Any) -> None:
    with style.themed():
        sheet = draw(*loaded(varied))
        sheet.draw_without_rendering()
    assert sheet.get_figwidth() == style.COLUMN == 3.3
    assert min(t.get_fontsize() for t in sheet.findobj(Text) if t.get_text().strip() and t.get_visible()) >= 7
    box, edge = sheet.get_tightbbox(), 0.06  # inches
    assert box.x0 > -edge and box.x1 < sheet.get_figwidth() + edge
    assert len([t for t in sheet.get_supxlabel().split("\n") if t]) <= 4  # the long caption is the report's


def test_panels_with_the_same_rows_name_them_once(varied: Folder) -> None:
    varied.spec = spec()
    entry = {"mapping": "random_sorted", "pool_padding": False, "vary": {"pool_padding": [True]}}
    varied.spec["data"]["tasks"], varied.spec["data"]["out_of_domain"] = TASKS, []
    varied.spec["methods"] = {"vanilla_kd": {}, "rail_kd_l": entry, "rail_kd_c": entry}
    methods = ["vanilla_kd", "rail_kd_l", "rail_kd_l.*", "rail_kd_c", "rail_kd_c.*"]
    varied.spec["pairs"] = {PAIR: {**varied.spec["pairs"][PAIR], "methods": methods, "tables": ["ablation"]}}
    varied.save()
    figure = ablation.figure(*loaded(varied))
    (grid,) = ablation.page_tables(*loaded(varied))
    assert [name for name, _ in grid.sections[0][1]] == ["as it is", "pool_padding true"]
    labels = [[t.get_text() for t in axis.get_yticklabels()] for axis in figure.axes]
    assert labels == [["pool_padding", "false", "true"], []]


def test_both_figures_are_in_the_report(varied: Folder) -> None:
    for step in ("figures", "claims", "audit"):
        assert main([step, str(varied.file), "--results", str(varied.results)]) == 0
    for name in ("ablation", "layer_maps"):
        assert (varied.results / "figures" / f"{name}.png").stat().st_size > 10_000
        assert (varied.results / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    gathered = contents.gather(*loaded(varied), varied.results)
    page = html_page.compose(gathered)
    assert "None of the paper&#39;s 25 claims is evaluated" in page and "0 reproduced" not in page
    text = markdown.compose(gathered)
    assert (
        "## Ablation: which part does the work" in text
        and "![Layer-map survey: every fixed layer map](figures/layer_maps.png)" in text
    )
    assert "\n- Does drawing the layer map anew help?" in text and "| its mean map held fixed " in text
    assert "None of the paper's 25 claims is evaluated" in text and "– not run" not in text
    assert "## How to read the tables" not in text  # there are none
    assert text.index("## Ablation") < text.index("## Audit")
