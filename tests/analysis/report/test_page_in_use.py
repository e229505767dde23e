"""report.html in use: opened in a headless browser from disk, read, filtered, sorted, unfolded and copied."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import SIZES, choose, drawn, shown, size, soon, visit
from made_records import BERT, Folder

from analysis.figures import style
from analysis.reported_benchmark import read

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
UNFOLD = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


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
            " [...b.rows].map((r) => r.cells[1].dataset.sort ?? r.cells[1].textContent.trim()))"
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
        turned = browser.execute_script(
            "return ['.heat', '.scale image'].map((part) => [...document.querySelectorAll(`#figure3 ${part}`)]"
            ".map((e) => getComputedStyle(e).filter !== 'none'))"
        )
        assert all(map(len, turned)) and {each for part in turned for each in part} == {
            scheme == "dark"
        }  # else the greatest value is a hole in the page
        found[scheme] = [[int(v) for v in re.findall(r"\d+", c)[:3]] for c in colours]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["light"] != found["dark"]
    for page_colour, ink, fill in found.values():
        assert fill == ink  # a figure's text takes the page's colour
        assert abs(sum(page_colour) - sum(ink)) > 450


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


@pytest.mark.parametrize("name", ["table1", "differences", "costs"])
def test_on_a_phone_costs_and_differences_are_read_without_scrolling(browser: Any, made: Folder, name: str) -> None:
    size(browser, "phone")
    visit(browser, made)
    cells = f"[...document.querySelectorAll('#{name} tbody.rows td')]"
    soon(browser, lambda: browser.execute_script(f"return {cells}.length") > 3)
    rights = browser.execute_script(f"return {cells}.map((cell) => cell.getBoundingClientRect().right)")
    assert max(rights) <= SIZES["phone"][0]
    labels = browser.execute_script(f"return {cells}.map((cell) => getComputedStyle(cell, '::before').content)")
    headings = browser.execute_script(
        f"return [...document.querySelectorAll('#{name} thead th .sort')].map((b) => b.textContent)"
    )
    assert labels[: len(headings) - 1] == [f'"{heading}: "' for heading in headings[1:]]


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
