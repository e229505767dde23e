"""Figures 2 and 3: the plotted values read back and recomputed from the records."""

import statistics

import numpy as np
import pandas as pd
import pytest
import reading
from made_records import Folder

from analysis import load
from analysis.__main__ import main
from analysis.figures import paper_figures, style
from analysis.reported_benchmark import read

PAIR = "bert12-distilbert6"


def test_figure_files(full: Folder) -> None:
    for name in ("figure2", "figure3"):
        png, pdf = ((full.results / "figures" / f"{name}.{e}").read_bytes() for e in ("png", "pdf"))
        assert png.startswith(b"\x89PNG") and len(png) > 10_000
        assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf


def test_figure_2_plots_the_means_and_deviations(full: Folder) -> None:
    benchmark = read(full.file)
    runs = load.read(benchmark, full.results)
    with style.themed():
        figure = paper_figures.similarity(benchmark, runs)
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["1 – 2", "2 – 4", "3 – 6"]
    marks, places = style.marks_of(benchmark), set()
    for axis, pooling in zip(figure.axes, ("mean", "cls"), strict=True):
        for method in full.spec["pairs"][PAIR]["methods"]:
            data = [full.read(PAIR, method, "sst2", s)["similarity"][pooling] for s in (1, 2, 3)]
            values = [[d[i - 1][j - 1] for d in data] for i, j in ((1, 2), (2, 4), (3, 6))]
            drawn = reading.dots(axis, marks[method])
            assert [round(place) for place in drawn] == [0, 1, 2]
            means, sds = [statistics.mean(v) for v in values], [statistics.stdev(v) for v in values]
            assert [value for value, _, _ in drawn.values()] == pytest.approx(means)
            assert [low for _, low, _ in drawn.values()] == pytest.approx(np.subtract(means, sds))
            assert [high for _, _, high in drawn.values()] == pytest.approx(np.add(means, sds))
            places |= {(pooling, round(place, 6)) for place in drawn}
    assert len(places) == 2 * 3 * len(full.spec["pairs"][PAIR]["methods"])  # none hides another
    written = pd.read_csv(full.results / "figures" / "figure2.csv")
    assert set(written["method"]) == set(full.spec["pairs"][PAIR]["methods"])
    pd.testing.assert_frame_equal(written, paper_figures.similarity_frame(benchmark, runs), check_dtype=False)


def test_figure_2_without_sst2_is_of_the_first_task(folder: Folder) -> None:
    folder.spec["pairs"][PAIR]["tasks"] = ["cola", "rte", "mrpc", "mnli"]
    folder.save()
    for seed in (1, 2, 3):
        folder.edit(lambda r: r.update(similarity={"mean": [[0.25] * 11] * 5}), PAIR, "pkd", "cola", seed)
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    assert "on dev examples of CoLA," in paper_figures.similarity_caption(benchmark, runs)
    found, layers, missing = paper_figures.similarity_data(benchmark, runs, benchmark.pairs[0], "mean")
    assert list(found) == ["pkd"] and found["pkd"] == pytest.approx(np.full((3, len(layers)), 0.25)) and missing


def test_figure_3_plots_the_mean_attention(full: Folder) -> None:
    benchmark = read(full.file)
    figure = paper_figures.attention(benchmark, load.read(benchmark, full.results))
    limits = set()
    for axis, task, title in zip(figure.axes, ("cola", "rte", "mrpc"), ("CoLA", "RTE", "MRPC"), strict=False):
        data = [full.read(PAIR, "alp_kd", task, s)["method_record"]["attention"] for s in (1, 2, 3)]
        assert reading.heat(axis) == pytest.approx(np.mean(data, axis=0))
        assert axis.get_title() == title and axis.get_xlabel() == "teacher layer"
        assert [t.get_text() for t in axis.get_xticklabels()] == [str(j) for j in range(1, 12, 2)]
        assert list(axis.get_xticks()) == [j - 0.5 for j in range(1, 12, 2)]  # amid the layer's column
        assert [t.get_text() for t in axis.get_yticklabels()] == [str(i) for i in range(1, 6)]
        limits.add(axis.collections[0].get_clim())
    assert len(limits) == 1 and figure.axes[0].get_ylabel() == "student layer"


def test_figures_say_what_is_missing(folder: Folder) -> None:
    for seed in (1, 2, 3):
        folder.path(PAIR, "alp_kd", "rte", seed).unlink()
        for method in folder.spec["pairs"][PAIR]["methods"]:
            folder.edit(lambda r: r.update(similarity={}), PAIR, method, "sst2", seed)
    assert main(["figures", str(folder.file), "--results", str(folder.results)]) == 0
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    assert "Missing (no run, or widths differ): PKD, ALP-KD" in paper_figures.similarity_caption(benchmark, runs)
    assert "Missing: ALP-KD RTE (bert12 → distilbert6)." in paper_figures.attention_caption(benchmark, runs)
    texts = [t.get_text() for axis in paper_figures.similarity(benchmark, runs).axes for t in axis.texts]
    assert texts == ["missing", "missing"]
    assert paper_figures.attention(benchmark, runs).axes[1].texts[0].get_text() == "missing"


def test_figures_of_two_pairs_and_two_alp_methods(folder: Folder) -> None:
    pair = "roberta24-distilroberta6"
    folder.spec["pairs"][pair]["tables"] = ["figure2", "figure3"]
    folder.spec["methods"]["my_kd"] = {"method": "alp_kd"}
    folder.save()
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    assert [m for _, m in paper_figures.attention_rows(benchmark, runs)] == ["alp_kd", "my_kd", "alp_kd"]
    assert len(paper_figures.attention(benchmark, runs).axes) == 10  # nine panels and the colour bar
    axes = paper_figures.similarity(benchmark, runs).axes
    assert [t.get_text() for t in axes[3].get_xticklabels()] == ["1 – 4", "2 – 8", "3 – 12"]
