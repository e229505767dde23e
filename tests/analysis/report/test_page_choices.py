"""What a reader chooses to see on report.html: the filter of the runs, a pair, a method, a task."""

import re
from typing import Any

import pytest
from browsing import SIZES, choose, shown, size, soon, visit
from made_records import BERT, GLUE, LARGE, Folder, spec

from analysis.figures import style
from analysis.reported_benchmark import read

UNFOLD = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


def test_filter_of_the_runs(opened: Any) -> None:
    opened.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    field = opened.find_element("css selector", "input[data-filter=runs]")
    field.send_keys("rail-kd")
    script = "return [...document.querySelectorAll('#runs tbody tr')].filter((r) => !r.hidden).length"
    rail = sum(len(p.get("tasks", GLUE)) * 3 for p in spec()["pairs"].values() for m in p["methods"] if "rail" in m)
    soon(opened, lambda: opened.execute_script(script) <= rail)  # each letter leaves fewer
    assert opened.execute_script(script) == rail


def test_choosing_leaves_the_comparison_of_a_method_and_a_pair(opened: Any, made: Folder) -> None:
    rows, headings = "#differences tbody.rows tr", "#differences tbody.heading"
    before = shown(opened, rows)
    assert [row.split("\t")[0].strip() for row in before] == ["Vanilla KD", "PKD", "RAIL-KDl"]
    choose(opened, "method", "pkd")  # rows of others name it too, among those that they are above
    assert [row.split("\t")[0].strip() for row in shown(opened, rows)] == ["PKD"]
    assert [text.strip() for text in shown(opened, headings)] == ["bert12 → distilbert6, TEST: MRPC, RTE"]
    choose(opened, "pair", BERT)
    assert len(shown(opened, rows)) == 1
    choose(opened, "pair", LARGE)
    assert shown(opened, rows) == shown(opened, headings) == []
    opened.execute_script("document.querySelector('form.filters').reset()")
    soon(opened, lambda: shown(opened, rows) == before)


def test_choosing_a_pair_a_method_and_a_task_leaves_their_rows_and_columns(opened: Any, made: Folder) -> None:
    opened.execute_script(UNFOLD)
    before = {rows: shown(opened, f"{rows} tbody.rows tr") for rows in ("#table2", "#table3", "#costs", "#runs")}
    choose(opened, "method", "pkd")
    for rows, all_rows in before.items():
        after = shown(opened, f"{rows} tbody.rows tr")
        assert after == [row for row in all_rows if re.search(r"(^|\s)PKD\s", row)] and 0 < len(after) < len(all_rows)
    assert opened.find_element("id", "said").get_attribute("textContent") == "Shown: PKD."
    choose(opened, "pair", LARGE)
    assert shown(opened, "#table2 tbody.rows tr") == [] and shown(opened, "#table2 tbody.heading") == []
    assert len(shown(opened, "#table3 tbody.rows tr")) == 2  # dev and test
    drawings = opened.execute_script(  # a drawing that has nothing of PKD leaves as well
        "return [...document.querySelectorAll('figure[data-pair]')].map((f) => [f.checkVisibility(),"
        " f.dataset.pair === arguments[0] && Boolean(f.querySelector('[data-method~=pkd]'))])",
        LARGE,
    )
    assert drawings and all(visible == wanted for visible, wanted in drawings)
    assert shown(opened, "tbody.claim") == []  # all claims are of the other pair
    choose(opened, "pair", "")
    assert len(shown(opened, "tbody.claim")) == 4  # those with a comparison of PKD
    choose(opened, "task", "rte")
    heads = opened.execute_script("return [...document.querySelectorAll('#table2 thead tr:last-child th')]"
                                  ".filter((h) => h.checkVisibility()).map((h) => h.innerText.trim())")  # fmt: skip
    assert [re.sub(r"\W+$", "", head) for head in heads] == ["Model", "RTE", "Avg"]
    assert all(len(row.split("\t")) == 3 for row in shown(opened, "#table2 tbody.rows tr"))
    choose(opened, "method", "")
    assert {row.split("\t")[2] for row in shown(opened, "#runs tbody.rows tr")} == {"rte"}
    opened.execute_script("document.querySelector('form.filters').reset()")
    soon(opened, lambda: shown(opened, "#runs tbody.rows tr") == before["#runs"])
    assert {rows: shown(opened, f"{rows} tbody.rows tr") for rows in before} == before


PARTS = """const shown = (e) => e.getClientRects().length && getComputedStyle(e).visibility === "visible";
return [...document.querySelectorAll(`${arguments[0]} svg ${arguments[1]}`)].filter(shown)
.map((e) => [e.dataset[arguments[2]], Number(getComputedStyle(e).opacity)])"""


def parts(browser: Any, figure: str, part: str, kind: str) -> list[tuple[str, float]]:
    """The names and opacities of the parts of a drawing that are shown."""
    return [(name, opacity) for name, opacity in browser.execute_script(PARTS, figure, part, kind)]


def place(browser: Any, selector: str) -> dict[str, float]:
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    return dict(browser.execute_script(script, selector))


def test_drawings_say_whose_every_line_is(opened: Any, made: Folder) -> None:
    """Read from the page: each panel of the learning curves has one line for each method of its pair, and no other."""
    for k, pair in enumerate(spec()["pairs"].values()):
        panels = opened.execute_script(
            "return [...document.querySelectorAll(`#curves${arguments[0]} g.panel`)].map((p) => [p.dataset.task,"
            " [...p.querySelectorAll('[data-method]')].map((line) => line.dataset.method)])", k)  # fmt: skip
        assert [task for task, _ in panels] == pair.get("tasks", GLUE)
        for task, lines in panels:
            wanted = [m for m in pair["methods"] if (m, task) != ("codir", "stsb")]  # undefined there
            assert sorted(lines) == sorted(wanted)
    own_marks = style.marks_of(read(made.file))
    for figure in ("#averages", "#figure2", "#pareto0"):
        marks = parts(opened, figure, "[data-method]", "method")
        colours = opened.execute_script(
            "return [...document.querySelectorAll(`${arguments[0]} svg [data-method]`)].map((g) => [g.dataset.method,"
            " getComputedStyle(g.querySelector('use') ?? g).fill, Boolean(g.querySelector('use'))])",
            figure,
        )
        assert len(marks) == len(colours) > 8
        for method, fill, dot in colours:
            if dot and method != "teacher":  # a dot has the colour of the method that it is said to be of
                wanted = tuple(int(own_marks[method].colour[i : i + 2], 16) for i in (1, 3, 5))
                assert fill in (f"rgb{wanted}", "rgb(127, 127, 127)")  # or is the paper's grey number


def test_choosing_a_method_dims_the_others_in_drawings(opened: Any) -> None:
    choose(opened, "method", "pkd")
    for figure in ("#averages", "#figure2", "#curves0", "#curves1", "#pareto0"):
        marks = parts(opened, figure, "[data-method]", "method")
        assert {name for name, _ in marks} > {"pkd"}
        assert all((opacity == 1) == (name == "pkd") for name, opacity in marks)
    assert not opened.find_element("id", "figure3").is_displayed()  # of ALP-KD alone
    assert not opened.find_element("id", "draws0").is_displayed()
    assert "No drawing of this section shows what is chosen above." in opened.find_element("id", "draws").text
    choose(opened, "method", "alp_kd")
    assert opened.find_element("id", "figure3").is_displayed()
    opened.execute_script("document.querySelector('form.filters').reset()")
    soon(opened, lambda: opened.find_element("id", "draws0").is_displayed())
    assert "No drawing" not in opened.find_element("id", "draws").text
    assert {opacity for _, opacity in parts(opened, "#curves0", "[data-method]", "method")} == {1}


def test_choosing_a_pair_leaves_its_panels(opened: Any) -> None:
    both = parts(opened, "#averages", "g.panel", "pair")
    first, tall = place(opened, "#averages g.panel"), place(opened, "#averages svg")
    assert [pair for pair, _ in both] == [BERT, BERT, LARGE, LARGE]
    choose(opened, "pair", LARGE)
    assert [pair for pair, _ in parts(opened, "#averages", "g.panel", "pair")] == [LARGE, LARGE]
    moved, short = place(opened, "#averages g.panel:not([hidden])"), place(opened, "#averages svg")
    assert moved["top"] - short["top"] == pytest.approx(first["top"] - tall["top"], abs=2)  # no gap above it
    assert short["width"] == pytest.approx(tall["width"]) and short["height"] < tall["height"] - 50
    assert moved["bottom"] <= short["bottom"] + 1
    choose(opened, "pair", "")
    assert parts(opened, "#averages", "g.panel", "pair") == both
    assert place(opened, "#averages svg")["height"] == pytest.approx(tall["height"])


@pytest.mark.parametrize("width", SIZES)
def test_choosing_a_task_leaves_its_panel_at_the_first_place(browser: Any, made: Folder, width: str) -> None:
    size(browser, width)
    visit(browser, made)
    before = parts(browser, "#curves0", "g.panel", "task")
    assert [task for task, _ in before] == GLUE
    first, tall = place(browser, "#curves0 g.panel"), place(browser, "#curves0 svg")
    choose(browser, "task", GLUE[-1])
    assert [task for task, _ in parts(browser, "#curves0", "g.panel", "task")] == GLUE[-1:]
    chosen, low = place(browser, f"#curves0 g.panel[data-task={GLUE[-1]}]"), place(browser, "#curves0 svg")
    assert chosen["left"] - low["left"] == pytest.approx(first["left"] - tall["left"], abs=2)
    assert chosen["top"] - low["top"] == pytest.approx(first["top"] - tall["top"], abs=2)
    label = place(browser, "#curves0 svg .below")
    assert low["height"] < 0.75 * tall["height"] and label["bottom"] <= low["bottom"] + 1
    assert chosen["bottom"] <= label["top"] + 1 and chosen["left"] < label["left"] < label["right"] < chosen["right"]
    if GLUE[-1] == "rte":
        assert [task for task, _ in parts(browser, "#figure3", "g.panel", "task")] == ["rte"]
        row = place(browser, "#figure3 .row")  # the label of the row stays, though its panel has left
        assert row["width"] > 0 and row["right"] <= place(browser, "#figure3 g.panel[data-task=rte]")["left"] + 1
        assert parts(browser, "#figure3", ".row", "task") != []
    assert not browser.find_element("id", "figure2").is_displayed()  # of SST-2 alone
    choose(browser, "task", "")
    assert parts(browser, "#curves0", "g.panel", "task") == before
    assert place(browser, "#curves0 svg")["height"] == pytest.approx(tall["height"])
