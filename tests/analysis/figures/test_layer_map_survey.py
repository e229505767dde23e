"""The layer-map survey: what it plots and says, recomputed from the records."""

import io
import math
import re
import statistics

import numpy as np
import pytest
from made_records import Folder
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from scipy import stats as reference
from varied_entries import PAIR, TASKS, described, loaded, score, set_scores

from analysis.figures import ablation, ablation_findings, layer_map_survey, style
from analysis.reported_benchmark import ReportedBenchmark, read
from analysis.statistics import summaries


def one_survey(folder: Folder) -> tuple[ReportedBenchmark, layer_map_survey.Survey]:
    benchmark, runs = loaded(folder)
    (found,) = layer_map_survey.surveys(benchmark, runs)  # rail_kd_l has named maps alone
    return benchmark, found


def test_the_survey_places_the_random_map_among_the_fixed(varied: Folder) -> None:
    benchmark, found = one_survey(varied)
    names = [v for v, of in benchmark.variants.items() if isinstance(of.changed.get("mapping"), list)]
    assert found.maps_MRT.shape == (math.comb(8, 5), 3, 2) and found.planned == 56 == len(names)
    means = [statistics.mean(score(varied, v, t, s) for t in TASKS for s in (1, 2, 3)) for v in names]
    own = statistics.mean(score(varied, "rail_kd_c", t, s) for t in TASKS for s in (1, 2, 3))
    assert found.scores_M == pytest.approx(means) and found.own == pytest.approx(own)
    assert found.rank(own) == pytest.approx(100 * sum(m < own for m in means) / 56)
    assert set(found.marked) == {"skip", "last"}
    mean, low, high = found.difference
    assert mean == pytest.approx(own - statistics.mean(means)) and low < mean < high
    assert found.variance is not None
    half = reference.t.ppf(0.975, 110) * found.variance.noise_sd * math.sqrt((1 + 1 / 56) / 3)
    assert (high - low) / 2 == pytest.approx(half)


def test_the_survey_figure_shows_them(varied: Folder) -> None:
    benchmark, found = one_survey(varied)
    figure = layer_map_survey.figure(benchmark, loaded(varied)[1])
    whole, *by_task = figure.axes
    assert len(by_task) == 2 and sum(bar.get_height() for bar in whole.containers[0]) == 56
    mark = style.marks_of(benchmark)["rail_kd_c"]
    drawn = [c for c in whole.collections if isinstance(c, PathCollection)]
    scores = [float(c.get_offsets()[0][0]) for c in drawn]
    assert scores == pytest.approx([found.own, *(float(values.mean()) for values in found.marked.values())])
    assert len({float(c.get_offsets()[0][1]) for c in drawn}) == 3  # none hides another
    assert to_hex(drawn[0].get_facecolor()[0]) == mark.colour
    ends = [float(found.scores_M.mean()) + limit for limit in found.difference[1:]]
    bars = [s for c in whole.collections if isinstance(c, LineCollection) for s in c.get_segments() if len(s)]
    assert [bar[:, 0].tolist() for bar in bars] == [pytest.approx(ends), pytest.approx([found.own] * 2)]
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["fixed maps", "drawn anew in each epoch", "evenly spaced", "last layers"]


def test_the_survey_table_places_the_named_maps(varied: Folder) -> None:
    benchmark, found = one_survey(varied)
    (grid,) = layer_map_survey.page_tables(*loaded(varied))
    ((title, rows),) = grid.sections
    assert title == "RAIL-KD^c, 56 fixed maps"
    assert [name for name, _ in rows] == [
        "drawn anew in each epoch", "evenly spaced", "last layers", "best fixed map", "mean of the fixed maps", "worst",
    ]  # fmt: skip
    value, apart, lower = rows[0][1]
    assert float(value.sort) == pytest.approx(found.own) and float(lower.sort) == pytest.approx(found.rank(found.own))
    assert float(apart.sort) == pytest.approx(found.difference[0]) and apart.after == ablation.interval(
        found.difference
    )
    assert float(rows[3][1][0].sort) == pytest.approx(max(found.scores_M)) and rows[5][1][2].text == "–"


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.95, "decided: better than a fixed map is"),
        (0.8, "decided: worse than a fixed"),
        (0.6, "not decided: students do not clear the majority-class baseline"),
        (None, "no difference is decided"),
    ],
)
def test_the_survey_says_so(varied: Folder, level: float | None, said: str) -> None:
    benchmark, rng = read(varied.file), np.random.default_rng(0)
    for method in benchmark.families(benchmark.pairs[0])["rail_kd_c"]:
        set_scores(varied, method, 0.88 + 0.01 * rng.standard_normal((3, 2)))
    benchmark, found = one_survey(varied)
    at = float(found.scores_M.mean()) / 100 if level is None else level
    set_scores(varied, "rail_kd_c", [[at, at]] * 3)
    benchmark, found = one_survey(varied)
    text = layer_map_survey.summary(benchmark, found)
    assert said in text and f"scores {100 * at:.1f}%" in text
    assert re.search(r"Of the 56 fixed maps \d+% score lower \(evenly spaced ", text)
    assert "the noise of a mean of 3 runs alone gives" in text
    assert found.variance is not None
    assert ("the map matters" in text) == (found.variance.low > 0 and not found.open)


def test_maps_that_do_not_differ_are_said_to(varied: Folder) -> None:
    """As where no student learned anything: rounding is no difference, and explains nothing."""
    benchmark = read(varied.file)
    for method in ("rail_kd_c", *benchmark.families(benchmark.pairs[0])["rail_kd_c"]):
        set_scores(varied, method, [[0.1, 0.7], [0.2, 0.7], [0.3, 0.7]])
    benchmark, found = one_survey(varied)
    assert (
        layer_map_survey.summary(benchmark, found)
        == "RAIL-KD^c: all 56 fixed maps score 45.0% alike, a map drawn anew 45.0%."
    )
    assert found.variance is None and summaries.variance_shares(np.array([[0.1 + 0.2, 1], [0.3, 1]])) is None
    assert summaries.stratified_interval(np.array([[0.1 + 0.2], [0.3]]))[1:] == pytest.approx((0.3, 0.3), abs=1e-12)


def test_runs_that_are_missing_are_said(varied: Folder) -> None:
    varied.path(PAIR, "rail_kd_c.1-2-3-4-5", "cola", 2).unlink()
    for task in TASKS:
        for seed in (1, 2, 3):
            varied.path(PAIR, "rail_kd_l.none", task, seed).unlink()
    benchmark, found = one_survey(varied)
    assert len(found.maps_MRT) == 55 and "1 maps lack a run" in layer_map_survey.summary(benchmark, found)
    assert "Missing: 1 of 9 entries of RAIL-KD^l." in described("ablation", *loaded(varied))
    shown = [
        v.text for _, rows in ablation_findings.page_tables(*loaded(varied))[0].sections for _, c in rows for v in c
    ]
    assert "missing" in shown and "nan" not in shown
    varied.path(PAIR, "rail_kd_c", "cola", 2).unlink()
    benchmark, found = one_survey(varied)
    assert layer_map_survey.summary(benchmark, found) == "RAIL-KD^c: missing (55 of 56 maps have every run)."
    layer_map_survey.figure(*loaded(varied)).savefig(io.BytesIO(), format="png", dpi=30)


def test_one_seed_has_no_interval(varied: Folder) -> None:
    content = varied.file.read_text().replace("seeds:\n- 1\n- 2\n- 3", "seeds:\n- 1")
    varied.file.write_text(content)
    benchmark, found = one_survey(varied)
    assert benchmark.seeds == (1,) and "one run, so no interval" in layer_map_survey.summary(benchmark, found)
    table, _ = ablation_findings.page_tables(*loaded(varied))
    cells = [cell.after for _, rows in table.sections for _, views in rows for cell in views if cell.text]
    assert cells and set(cells) == {"(one run, so no interval)"}
    for draw in (ablation.figure, layer_map_survey.figure):
        draw(*loaded(varied)).savefig(io.BytesIO(), format="png", dpi=30)
