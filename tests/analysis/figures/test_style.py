"""One style for every figure: a method's colour and marker, letters, widths, what an axis says of itself."""

import itertools
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reading
import seaborn as sns
from made_records import BERT, LARGE, Folder
from matplotlib.colors import to_hex, to_rgb
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from pytest import approx

from analysis import load
from analysis.figures import paper_figures, report_plots, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.report import catalogue
from analysis.reported_benchmark import ReportedBenchmark, read
from analysis.tables import formats
from analysis.tables.cells import Table
from railkd.method_sources import available

ROOT = Path(__file__).parents[3]
# Machado, Oliveira and Fernandes (2009), severity 1: what a colour is to an eye that lacks one kind of cone
VISION = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    """sRGB -> linear light, (3,)."""
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """Linear light -> CIELAB, in which a distance is what an eye sees."""
    x = TO_XYZ @ np.clip(light, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(scope="module")
def shown(full: Folder) -> tuple[ReportedBenchmark, Runs]:
    benchmark = read(full.file)
    return benchmark, load.read(benchmark, full.results)


def sheets(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> Iterator[tuple[str, Sheet]]:
    """Every figure of a report."""
    with style.themed():
        for name, drawing in catalogue.drawings_of(benchmark).items():
            yield name, drawing.draw(benchmark, runs)
    data = report_plots.averages_frame(averaged(benchmark, runs, results))
    if made := report_plots.averages(benchmark, data):
        yield "averages", made
    for pair in benchmark.pairs:
        for name, sheet in (
            ("curves", report_plots.learning_curves(benchmark, runs, pair)),
            (
                "pareto",
                report_plots.pareto(benchmark, pair, "test", report_plots.trade_off(benchmark, runs, pair, "test")),
            ),
            ("draws", report_plots.draws(benchmark, runs, pair)),
        ):
            if sheet is not None:
                yield f"{name} {pair.name}", sheet


def averaged(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> list[Table]:
    """The tables whose averages are shown at a glance."""
    return [table for table in catalogue.tables_of(benchmark, runs, results) if table.number in (2, 3)]


@pytest.fixture(scope="module")
def drawn(shown: tuple[ReportedBenchmark, Runs], full: Folder) -> dict[str, Sheet]:
    """Every figure, laid out."""
    found = dict(sheets(*shown, full.results))
    for sheet in found.values():
        sheet.draw_without_rendering()
    return found


@pytest.mark.filterwarnings("error")
def test_a_task_without_a_run_has_a_panel_that_says_so(shown: tuple[ReportedBenchmark, Runs]) -> None:
    benchmark, runs = shown
    pair = benchmark.pairs[0]
    some = {key: record for key, record in runs.students.items() if key[2] != pair.tasks[-1]}
    sheet = report_plots.learning_curves(benchmark, replace(runs, students=some), pair)
    assert sheet is not None
    (*others, last) = [axis for axis in sheet.axes if axis.get_title()]
    assert [text.get_text() for text in last.texts] == ["missing"] and all(axis.lines for axis in others)


def test_no_two_methods_look_alike_to_any_eye() -> None:
    assert set(style.MARKS) == {*available(), "teacher"}
    markers = [str(mark.marker) for mark in style.MARKS.values()]
    assert len(set(markers)) == len(markers)
    assert all(MarkerStyle(mark.marker).is_filled() for mark in style.MARKS.values())
    for name, matrix in VISION.items():
        seen = {m: lab(np.array(matrix) @ linear(mark.colour)) for m, mark in style.MARKS.items()}
        apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2)}
        assert min(apart.values()) > 10, (name, min(apart, key=lambda key: apart[key]))


def test_rail_kd_stands_out_and_baselines_are_grey() -> None:
    assert {m for m, mark in style.MARKS.items() if mark.prominent} == {"rail_kd_l", "rail_kd_c"}
    grey = {m for m, mark in style.MARKS.items() if len(set(to_rgb(mark.colour))) == 1}
    assert grey == {"no_kd", "vanilla_kd"}
    known = sns.color_palette("colorblind").as_hex()
    assert {style.MARKS[m].colour for m in ("pkd", "ckd", "alp_kd", "codir", "rail_kd_l", "rail_kd_c")} <= set(known)


def test_own_methods_have_their_own_marks_and_variants_their_entrys(small: Folder) -> None:
    own = [f"own{i}" for i in range(35)]
    found = style.marks([*own, "pkd"])
    assert found["pkd"] is style.MARKS["pkd"] and len(set(found.values())) == 36
    assert not {str(found[m].marker) for m in own} & {str(mark.marker) for mark in style.MARKS.values()}
    assert style.marks(own[:3]) == {m: found[m] for m in own[:3]}  # whatever stands beside them
    small.spec["methods"] = {
        "no_kd": {},
        "mine": {"method": "pkd"},
        "rail_kd_l": {"pooling": "mean", "vary": {"pooling": ["cls"]}},
    }
    small.spec["pairs"][BERT]["methods"] = ["no_kd", "rail_kd_l", "rail_kd_l.*", "mine"]
    small.save()
    marks = style.marks_of(read(small.file))
    assert marks["rail_kd_l.cls"] == marks["rail_kd_l"] and marks["rail_kd_l.cls"].method == "rail_kd_l.cls"
    assert marks["mine"] == found["own0"]


def test_a_method_has_one_colour_and_marker_in_every_figure(
    shown: tuple[ReportedBenchmark, Runs], drawn: dict[str, Sheet]
) -> None:
    """Read from what is drawn and from the legends: a colour of a method never comes with another's marker."""
    benchmark, _ = shown
    marks = style.marks_of(benchmark)
    by_colour = {mark.colour: mark for mark in marks.values()}
    by_title = {style.plain(benchmark.title_of(m)): mark for m, mark in marks.items()}
    seen: dict[str, set[str]] = {}
    for name, sheet in drawn.items():
        for axis in sheet.axes:
            for line in axis.lines:
                colour, marker = to_hex(line.get_color()), line.get_marker()
                if colour in by_colour and marker not in ("None", "", None, ">") and colour != style.INK:
                    assert str(marker) == str(by_colour[colour].marker), name
                    seen.setdefault(colour, set()).add(name.split()[0])
        for legend in sheet.legends:
            for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True):
                if name == "averages":  # of no method: its rows are named
                    assert to_hex(line.get_color()) == style.NEUTRAL and to_hex(style.NEUTRAL) not in by_colour
                    continue
                mark = by_title[text.get_text()]
                assert to_hex(line.get_color()) == mark.colour, (name, text)
                assert text.get_text() == "Teacher" or str(line.get_marker()) == str(mark.marker), (name, text)
    assert seen[marks["pkd"].colour] == {"figure2", "averages", "curves"}  # pareto: in the legend


def test_letters_are_large_enough_at_one_columns_width(drawn: dict[str, Sheet]) -> None:
    widths = {}
    for name, sheet in drawn.items():
        widths[name.split()[0]] = sheet.get_figwidth()
        texts = [t for t in sheet.findobj(Text) if t.get_text().strip() and t.get_visible()]
        assert texts and min(t.get_fontsize() for t in texts) >= 7, name
    assert {widths[name] for name in ("figure2", "figure3")} == {3.3} and max(widths.values()) <= 7


def test_nothing_is_cut_off(drawn: dict[str, Sheet]) -> None:
    for name, sheet in drawn.items():
        box, edge = sheet.get_tightbbox(), 0.06  # inches
        assert box is not None and box.x0 > -edge and box.y0 > -edge, name
        assert box.x1 < sheet.get_figwidth() + edge and box.y1 < sheet.get_figheight() + edge, name


def test_text_of_a_pdf_is_text(full: Folder) -> None:
    for name in ("figure2", "figure3"):
        pdf = (full.results / "figures" / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf and b"/CIDFontType2" in pdf and b"/Type3" not in pdf
        assert {n.split(b"+")[-1] for n in re.findall(rb"/BaseFont /([\w+-]+)", pdf)} == {b"DejaVuSans"}
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
        drawn = b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
        assert re.search(rb"\bTj\b|\bTJ\b", drawn)
        png = (full.results / "figures" / f"{name}.png").read_bytes()
        at = png.index(b"pHYs") + 4
        assert round(int.from_bytes(png[at : at + 4], "big") * 0.0254) == 200


@pytest.mark.parametrize(("values", "said"), [((0.2, 0.9), "does not start at 0"), ((-0.1, 0.9), "")])
def test_an_axis_that_does_not_start_at_0_is_said(values: tuple[float, float], said: str) -> None:
    with style.themed():
        sheet = Sheet(style.COLUMN, 2)
        axis = sheet.subplots()
        axis.plot([0, 1], values)
        sheet.measures(axis)
        sheet.foot()
    assert said in sheet.note() and sheet.get_supxlabel() == sheet.note()
    assert bool(sheet.note()) == bool(said)


def test_a_narrow_axis_is_widened_and_figure_2_says_where_it_starts(folder: Folder) -> None:
    """Cosines from .989 to .994 would look like a difference."""
    pooling = {"mean": [[0.99] * 11] * 5, "cls": [[0.991] * 11] * 5}
    for method in folder.spec["pairs"][BERT]["methods"]:
        for seed in (1, 2, 3):
            folder.edit(lambda r: r.update(similarity=pooling), BERT, method, "sst2", seed)
    benchmark = read(folder.file)
    with style.themed():
        sheet = paper_figures.similarity(benchmark, load.read(benchmark, folder.results))
    for axis in sheet.axes:
        low, high = axis.get_ylim()
        assert high - low >= 0.1 - 1e-9 and high <= 1.005  # no cosine is above 1
    assert sheet.get_supxlabel().replace("\n", " ").endswith("The axes do not start at 0.")


def test_the_page_says_it_too(full: Folder) -> None:
    page = (full.results / "report.html").read_text(encoding="utf-8")
    for name in ("averages", "pareto0"):
        figure = page.partition(f'<figure class="drawing" id="{name}"')[2].partition("</figure>")[0]
        assert "do not start at 0." in figure, name


def test_the_averages_are_the_tables_with_students_intervals(
    shown: tuple[ReportedBenchmark, Runs], full: Folder
) -> None:
    benchmark, runs = shown
    tables = averaged(benchmark, runs, full.results)
    data = report_plots.averages_frame(tables)
    sheet = report_plots.averages(benchmark, data)
    panels = [(pair, block) for pair in (BERT, LARGE) for block in ("dev", "test")]
    assert sheet is not None and [a.get_title()[-5:] for a in sheet.axes] == [", DEV", " TEST"] * 2
    checked = 0
    order: list[str] = []
    for axis, (pair, block) in zip(sheet.axes, panels, strict=True):
        own = data[data["pair"] == pair]
        order = [label.get_text() for label in axis.get_yticklabels()] or order  # the first panel of a row has them
        test = own[own["block"] == "test"].sort_values("mean", ascending=False)
        assert order == [style.plain(benchmark.title_of(m)) for m in test["method"]]
        for row in own[own["block"] == block].itertuples():
            ((place, (value, low, high)),) = reading.dots(
                axis, style.marks_of(benchmark)[row.method], across=True
            ).items()
            assert order[round(place)] == style.plain(benchmark.title_of(row.method))
            assert value == approx(row.mean)
            assert (low, high) == ((None, None) if row.method == "teacher" else (approx(row.low), approx(row.high)))
            checked += 1
        printed = [line for line in axis.lines if line.get_marker() == "|"]  # one a method, which a page can dim
        known = own[(own["block"] == block) & own["paper"].notna()]
        places = [order.index(style.plain(benchmark.title_of(m))) for m in known["method"]]
        drawn = [place for line in printed for place in zip(*line.get_data(), strict=True)]
        assert drawn == list(zip(known["paper"], places, strict=True))
        assert [line.get_gid() for line in printed] == [f"~|||{method}|" for method in known["method"]]
        assert len(known) >= 5 and axis.get_xlim()[0] > 0 and "does not start at 0" in axis.get_xlabel()
        assert axis.get_xlim()[0] < min(known["paper"]) and max(known["paper"]) < axis.get_xlim()[1]
    assert checked == len(data)
    paper = load.paper_table(2).set_index(["split", "method"])["avg"]
    assert data.set_index(["pair", "block", "method"])["paper"][BERT, "test", "pkd"] == approx(paper["test", "pkd"])


def test_draws_that_are_the_same_are_said_once(shown: tuple[ReportedBenchmark, Runs], folder: Folder) -> None:
    benchmark, runs = shown
    pair = benchmark.pairs[0]
    assert report_plots.repeated(runs, pair, "rail_kd_l") == 3 * 3  # seeds and epochs; all tasks draw alike
    sheet = report_plots.draws(benchmark, runs, pair)
    assert sheet is not None
    assert [a.get_title() for a in sheet.axes[:-1]] == ["RAIL-KDˡ, RAIL-KDᶜ\n9 draws, the same in every task"]
    folder.edit(lambda r: r["method_record"].update(layers=[[1, 2, 3, 4, 5]]), BERT, "rail_kd_l", "cola", 1)
    benchmark = read(folder.file)
    sheet = report_plots.draws(benchmark, load.read(benchmark, folder.results), benchmark.pairs[0])
    assert sheet is not None
    assert [a.get_title() for a in sheet.axes[:-1]] == [
        "RAIL-KDˡ\n70 draws", "RAIL-KDᶜ\n9 draws, the same in every task"]  # fmt: skip


def test_tables_are_written_without_a_plotting_library(small: Folder) -> None:
    code = (
        "import sys; from analysis.__main__ import main; "
        f"assert main(['tables', {str(small.file)!r}, '--results', {str(small.results)!r}]) == 0; "
        "assert not {'seaborn', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_markdown_tables_read_back_as_the_same_cells(full: Folder, shown: tuple[ReportedBenchmark, Runs]) -> None:
    benchmark, runs = shown
    for table in catalogue.tables_of(benchmark, runs, full.results):
        (read_back,) = reading.tables(formats.to_markdown(table))
        head = 2 if table.groups else 1
        rows = [row for row in read_back[head:] if not row[0].startswith("**")]
        wanted = [(title, cells) for section in table.sections for title, cells in section.rows]
        assert len({len(row) for row in read_back}) == 1 and len(rows) == len(wanted)
        for row, (title, cells) in zip(rows, wanted, strict=True):
            assert row[0] == formats.md(title)
            assert row[1:] == [formats._md_cell(cell) for cell in cells]


@pytest.mark.parametrize("text", ["1.50", "007", "1e3", " ", "a\\|b", "–", "None", "x" * 300, "12.0\xa0± 0.5 (3)"])
def test_a_tables_cells_stay_as_they_are(text: str) -> None:
    """A number is text: nothing is rounded, no zero dropped, no pipe unescaped."""
    made = formats.md_table(("a", "b"), [(text, "y"), ("z", text)], "lr")
    assert reading.tables(made) == [[["a", "b"], [text.strip(), "y"], ["z", text.strip()]]]
    assert re.fullmatch(r"\|:-+\|-+:\|", made.splitlines()[1])
    assert len({len(line) for line in made.splitlines()}) == 1
    plain = formats.plain_table(("a", "b"), [(text, "y")], "lr").splitlines()
    assert plain[0].split() == ["a", "b"] and plain[2].strip().endswith("y") and text.strip() in plain[2]
