"""report.html in use: opened in a headless browser from disk, read, filtered, sorted, unfolded and copied."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import SIZES, drawn, size, soon, visit
from made_records import BERT, GLUE, LARGE, Folder, spec

from analysis.figures import style
from analysis.reported_benchmark import read

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
UNFOLD = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
SHOWN_ROWS = (
    "return [...document.querySelectorAll(arguments[0])].filter((r) => r.checkVisibility()).map((r) => r.innerText)"
)


def test_no_console_error_and_no_request_leaves_the_file(opened: Any, made: Folder) -> None:
    opened.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    drawn(opened)
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    own = (made.results / "report.html").as_uri()
    assert own in asked
    assert [url for url in asked if url != own and not url.startswith("data:")] == []


def test_sorting(opened: Any) -> None:
    def column() -> list[list[str]]:
        return opened.execute_script(
            "return [...document.querySelectorAll('#table2 tbody.rows')].map((b) =>"
            " [...b.rows].map((r) => r.cells[1].dataset.sort))"
        )

    button = opened.find_elements("css selector", "#table2 button.sort")[1]
    printed = column()
    assert len(printed) == 2 and len(printed[0]) == 11
    for order, reverse in (("descending", True), ("ascending", False)):
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        drawn(opened)
        button.click()
        soon(opened, lambda order=order: button.find_element("xpath", "..").get_attribute("aria-sort") == order)
        for before, after in zip(printed, column(), strict=True):
            known = sorted((float(v) for v in before if v), reverse=reverse)
            assert [float(v) for v in after if v] == known and after[len(known) :] == [""] * (len(after) - len(known))
    button.send_keys("\ue007")  # Enter: as printed again
    soon(opened, lambda: button.find_element("xpath", "..").get_attribute("aria-sort") is None)
    assert column() == printed


def test_details_on_hover_and_by_keyboard(opened: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    tip = opened.find_element("id", "tip")
    assert not tip.is_displayed()
    stops = opened.find_elements("css selector", "#table2 td[tabindex='0']")
    assert len(stops) == 1  # one stop of the Tab key for the whole table
    cell = opened.find_element("css selector", f"#table2 td[data-key='{BERT}|dev|pkd|cola']")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    drawn(opened)  # scrolling hides the details
    ActionChains(opened).move_to_element(cell).perform()
    soon(opened, tip.is_displayed)
    assert "PKD, CoLA" in tip.text and "the paper prints" in tip.text
    opened.execute_script("arguments[0].focus({preventScroll: true})", cell)
    ActionChains(opened).send_keys(Keys.ARROW_RIGHT).perform()
    soon(opened, lambda: opened.switch_to.active_element.get_attribute("data-key") == f"{BERT}|dev|pkd|sst2")
    assert tip.is_displayed() and "PKD, SST-2" in tip.text
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    soon(opened, lambda: not tip.is_displayed())


@pytest.mark.parametrize("width", SIZES)
def test_only_tables_and_figures_scroll_sideways(browser: Any, made: Folder, width: str) -> None:
    size(browser, width)
    visit(browser, made)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[width][0]


def test_dark_and_light_differ_and_text_is_legible(browser: Any, made: Folder) -> None:
    found = {}
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        visit(browser, made)
        colours = browser.execute_script(
            "const b = getComputedStyle(document.body), t = document.querySelector('#curves0 svg text');"
            " return [b.backgroundColor, b.color, getComputedStyle(t).fill]"
        )
        found[scheme] = [[int(v) for v in re.findall(r"\d+", c)[:3]] for c in colours]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["light"] != found["dark"]
    for page_colour, ink, fill in found.values():
        assert fill == ink  # a figure's text takes the page's colour
        assert abs(sum(page_colour) - sum(ink)) > 450


def test_filter_of_the_runs(opened: Any) -> None:
    opened.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    field = opened.find_element("css selector", "input[data-filter=runs]")
    field.send_keys("rail-kd")
    script = "return [...document.querySelectorAll('#runs tbody tr')].filter((r) => !r.hidden).length"
    rail = sum(len(p.get("tasks", GLUE)) * 3 for p in spec()["pairs"].values() for m in p["methods"] if "rail" in m)
    soon(opened, lambda: opened.execute_script(script) <= rail)  # each letter leaves fewer
    assert opened.execute_script(script) == rail


def choose(browser: Any, kind: str, value: str) -> None:
    """Chooses what is shown; an empty value shows everything."""
    script = "const f = document.querySelector(`select[data-choose=${arguments[0]}]`); f.value = arguments[1];"
    browser.execute_script(script + " f.dispatchEvent(new Event('change', {bubbles: true}))", kind, value)


def shown(browser: Any, rows: str) -> list[str]:
    return list(browser.execute_script(SHOWN_ROWS, rows))


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


def test_details_are_folded_until_asked_for_and_a_link_unfolds_them(opened: Any) -> None:
    why = opened.find_element("css selector", "#spread details")
    assert "About 11 seeds" not in opened.find_element("id", "spread").text
    why.find_element("css selector", "summary").send_keys("\ue007")  # Enter
    soon(opened, lambda: "About 11 seeds" in opened.find_element("id", "spread").text)
    runs = opened.find_element("id", "runs")
    assert not runs.is_displayed()
    opened.execute_script("location.hash = '#runs'")
    soon(opened, runs.is_displayed)


def test_every_table_figure_and_claim_has_a_link_to_itself(opened: Any) -> None:
    missing = opened.execute_script(
        "return [...document.querySelectorAll('figure[id], .claim')].filter((f) =>"
        " !f.querySelector(`a.anchor[href='#${f.id}']`)).map((f) => f.id)"
    )
    assert missing == []


def test_a_table_is_copied_as_it_is_shown(opened: Any) -> None:
    opened.execute_script(
        "window.kept = []; navigator.clipboard.writeText = async (text) => { window.kept.push(text); }"
    )
    choose(opened, "task", "rte")
    choose(opened, "method", "rail_kd_l")

    def copy(kind: str) -> str:
        button = opened.find_element("css selector", f"#table2 button[data-copy={kind}]")
        opened.execute_script("window.kept = []; arguments[0].click()", button)
        soon(opened, lambda: opened.execute_script("return window.kept.length") == 1)
        return str(opened.execute_script("return window.kept[0]"))

    values = [row.split("\t")[1:] for row in shown(opened, "#table2 tbody.rows tr")]
    assert len(values) == 2
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in copy("markdown").splitlines()]
    assert lines[0] == ["Model", "RTE", "Avg."] and lines[1] == [":--", "--:", "--:"]
    own = [line for line in lines if line[0] == "RAIL-KD<sup>l</sup>"]
    plain = [[" ".join(re.sub(r"[*\\]", "", cell).split()) for cell in line[1:]] for line in own]
    assert plain == [[" ".join(cell.split()) for cell in row] for row in values]
    tex = copy("latex").splitlines()
    assert tex[0] == "\\begin{tabular}{lrr}" and tex[-1] == "\\end{tabular}"
    assert sum(line.startswith("RAIL-KD$^{l}$ & ") and line.endswith(" \\\\") for line in tex) == 2
    assert all("±" not in line for line in tex) and any("$\\pm$" in line for line in tex)
    opened.execute_script(  # a browser that keeps a page from disk off the clipboard
        "navigator.clipboard.writeText = () => Promise.reject(new Error());"
        " document.execCommand = () => window.kept.push(document.activeElement.value)"
    )
    assert copy("latex").splitlines() == tex


@pytest.mark.parametrize("width", SIZES)
def test_claims_of_a_kind_share_one_axis_with_a_zero(browser: Any, made: Folder, width: str) -> None:
    """Read from what is drawn: one place on the screen for no difference, equally many pixels a point in each row."""
    size(browser, width)
    visit(browser, made)
    script = """return [...document.querySelectorAll('svg.interval[data-kind]')].map((s) => {
        const at = (part) => { const e = s.querySelector(part); if (!e) return null;
            const box = e.getBoundingClientRect(); return [box.left, (box.left + box.right) / 2, box.right]; };
        return {kind: s.dataset.kind, zero: at('.zero'), range: at('.range'), estimate: at('.estimate'),
                paper: at('.printed'), label: s.getAttribute('aria-label')}; })"""
    found = browser.execute_script(script)
    points = [row for row in found if row["kind"] == "points"]
    assert len(points) == 3 and {row["kind"] for row in found} == {"points", "ratio"}
    assert len({round(row["zero"][1], 1) for row in points}) == 1
    scales = []
    for row in points:
        estimate, low, high, paper = (
            float(v.replace("−", "-")) for v in re.findall(r"[+−-]?\d+\.\d+", row["label"].replace("95 %", ""))
        )
        assert low < estimate < high
        for value, place in ((estimate, row["estimate"][1]), (low, row["range"][0]), (high, row["range"][2]),
                             (paper, row["paper"][1])):  # fmt: skip
            if abs(value) > 0.3:
                scales.append((place - row["zero"][1]) / value)
    assert len(scales) >= 9 and max(scales) == pytest.approx(min(scales), rel=0.05) and min(scales) > 5


def test_a_method_has_one_colour_everywhere_on_the_page(opened: Any, made: Folder) -> None:
    """Read from the page: the marks beside names in tables, the legends of figures, and the rows at a glance."""
    marks = opened.execute_script(
        "return [...document.querySelectorAll('th[scope=row] > svg.mark')].map((s) =>"
        " [s.parentElement.textContent.trim(), getComputedStyle(s.querySelector('path')).fill])"
    )
    tables: dict[str, set[str]] = {}
    for title, colour in marks:
        tables.setdefault(title, set()).add(colour)
    assert len(tables) >= 8 and all(len(colours) == 1 for colours in tables.values())
    legends = opened.execute_script(
        """return [...document.querySelectorAll(':is(#figures, #curves, #cost) figure.drawing svg text')]
        .map((t) => [t.textContent, t]).filter(([text]) => arguments[0].includes(text)).map(([text, t]) => {
            const group = t.parentElement, before = group.previousElementSibling;
            const drawn = before && before.querySelector('use');
            return [text, drawn ? getComputedStyle(drawn).fill : null]; })""",
        ["PKD", "ALP-KD", "CKD", "CoDIR", "RAIL-KDˡ", "RAIL-KDᶜ", "Vanilla KD", "w/o KD"],
    )
    spelled = {"RAIL-KDˡ": "RAIL-KDl", "RAIL-KDᶜ": "RAIL-KDc"}
    seen = [(spelled.get(text, text), colour) for text, colour in legends if colour not in (None, "none")]
    assert len(seen) >= 20 and {title for title, _ in seen} >= {"PKD", "RAIL-KDl", "RAIL-KDc"}
    assert [(title, colour) for title, colour in seen if {colour} != tables[title]] == []
    wanted = style.marks_of(read(made.file))["pkd"].colour
    assert tables["PKD"] == {f"rgb({', '.join(str(int(wanted[i : i + 2], 16)) for i in (1, 3, 5))})"}


def test_what_scrolls_sideways_says_so(browser: Any, made: Folder) -> None:
    for width, wide in (("phone", True), ("desktop", False)):
        size(browser, width)
        visit(browser, made)
        sign = browser.find_element("css selector", "#averages .swipe")
        soon(browser, lambda sign=sign, wide=wide: sign.is_displayed() is wide)
        stop = browser.find_element("css selector", "#averages .scroll").get_attribute("tabindex")
        assert stop == ("0" if wide else "-1")  # what does not scroll is no stop of the Tab key


def published_page() -> Path:
    """The published page of the whole miniature."""
    page = REFERENCE / "mini" / "report.html"
    if not page.is_file():
        pytest.skip("the published results are not in this checkout")
    return page


def test_on_a_phone_the_answers_stand_beside_the_questions(browser: Any) -> None:
    """Whether the runs can decide is read before the verdicts: no answer of the first pair may lie off the screen."""
    page = published_page()
    size(browser, "phone")
    browser.get(page.as_uri())
    answers = "#validity tbody td:nth-child(2) b"
    ends = f"return [...document.querySelectorAll('{answers}')].map((b) => b.getBoundingClientRect().right)"
    soon(browser, lambda: len(browser.execute_script(ends)) == 5)
    assert max(browser.execute_script(ends)) < SIZES["phone"][0]


NAMED = {"button", "link", "combobox", "searchbox", "textbox", "image", "img", "region", "navigation", "table", "form",
         "columnheader", "rowheader", "DisclosureTriangle"}  # fmt: skip


@pytest.mark.parametrize("width", SIZES)
def test_a_screen_reader_finds_a_name_for_everything(browser: Any, made: Folder, width: str) -> None:
    """The roles and names that the browser computes for assistive programs, and the order of headings."""
    size(browser, width)
    visit(browser, made)
    browser.execute_script(UNFOLD)
    drawn(browser)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    known = [n for n in nodes if not n.get("ignored")]
    nameless = [
        (n["role"]["value"], n.get("backendDOMNodeId"))
        for n in known
        if n["role"]["value"] in NAMED - {"table"} and not n.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    roles = [n["role"]["value"] for n in known]
    assert roles.count("main") == 1 and roles.count("navigation") == 1 and roles.count("status") == 1
    assert roles.count("rowheader") > 100 and roles.count("columnheader") > 100
    assert sum(role == "DisclosureTriangle" for role in roles) >= 10  # each part that is folded
    headings = [n for n in known if n["role"]["value"] == "heading"]
    levels = [int(p["value"]["value"]) for n in headings for p in n["properties"] if p["name"] == "level"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert browser.execute_script("return document.documentElement.lang") == "en"


CONTRAST = """
const linear = (x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
const light = (c) => { const v = c.map((x) => linear(x / 255));
  return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const numbers = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const ground = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] > .99) return c.slice(0, 3); } return [255, 255, 255]; };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = new Set();
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || e.matches('script, .skip')) continue;
  if (!e.checkVisibility({opacityProperty: true})) continue;
  const s = getComputedStyle(e), c = numbers(e.closest('svg') ? s.fill : s.color).slice(0, 3);
  const [a, b] = [light(c), light(ground(e))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  const what = e.className.baseVal ?? e.className;
  if (ratio < 4.5) poor.add(`${e.tagName} ${what} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
}
return [...poor];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(opened: Any, made: Folder, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, of every text that is shown, in figures too."""
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    opened.execute_script(UNFOLD)
    drawn(opened)
    poor = opened.execute_script(CONTRAST)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert poor == []


def test_the_keyboard_reaches_everything_in_order(opened: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(45):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        reached.append(opened.execute_script(
            "const a = document.activeElement, r = a.getBoundingClientRect(), s = getComputedStyle(a);"
            " return [a.tagName, a.className, s.outlineStyle, r.width > 0]"))  # fmt: skip
    assert reached[0][:2] == ["A", "skip"]
    kinds = [tag for tag, *_ in reached]
    assert {"SUMMARY", "A", "SELECT", "BUTTON"} <= set(kinds)
    assert all(outline != "none" and seen for _, _, outline, seen in reached)


def test_the_published_page_is_light_and_quick(browser: Any) -> None:
    """At most 1.5 MB for the whole miniature, and a first view in less than a second."""
    page = published_page()
    assert page.stat().st_size <= 1.5e6
    size(browser, "desktop")
    browser.get(page.as_uri())
    paint = "return performance.getEntriesByType('paint').map((p) => p.startTime)"
    soon(browser, lambda: len(browser.execute_script(paint)) == 2)
    assert max(browser.execute_script(paint)) < 1000 * (1 + os.getloadavg()[0])  # a busy machine has less of a second
