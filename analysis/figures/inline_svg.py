"""Turns figures and marks into <svg> elements of an HTML page.

Text stays text and takes the page's colour, so that one drawing serves light and dark, screen and print.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from analysis.figures import style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark

if TYPE_CHECKING:
    from markupsafe import Markup

_THEME = {style.INK: "currentColor", "#000000": "currentColor"}
_THEME |= {style.GRID: "var(--grid)", style.EDGE: "var(--line)", style.PAPER: "var(--page)"}
ON_SCREEN = 1.5  # letters of 7 points are small on a screen
_FONT_DRAWN = "font-size: 7px; font-family: 'DejaVu Sans', sans-serif; "
_FONT = "font:7px 'DejaVu Sans',sans-serif"  # named once for a drawing


def svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an <svg> element for a page; ``name`` keeps its ids apart from other drawings' on the page."""
    from markupsafe import escape

    buffer = io.StringIO()
    with matplotlib.rc_context({**style.theme(page=True), "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, count=1, flags=re.DOTALL)  # would hold for the whole page
    for colour, themed in _THEME.items():
        text = text.replace(colour, themed)
    width, height = (float(side) for side in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    opening = f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}" style="'
    opening += f"--own:{ON_SCREEN * width * 4 / 3:.0f}px;aspect-ratio:{width:g}/{height:g};{_FONT};"
    opening += 'fill:currentColor;stroke-linejoin:round">'
    return opening + _compact(text[text.index(">") + 1 :], name)


def _compact(drawn: str, name: str) -> str:
    """What matplotlib drew, without what a page does not need: a third of the weight, the same picture.

    Ids are kept where something refers to them, as ``name`` and a number; numbers are rounded, those of
    a path to a twentieth of a pixel.
    """
    drawn = drawn.replace("xlink:href", "href")
    used = dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    short = {long: f"{name}-{number}" for number, long in enumerate(used)}
    drawn = re.sub(r' id="~\|([^"]*)"', _shown, drawn)
    drawn = re.sub(r' id="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", drawn)
    drawn = re.sub(r'(href="#|url\(#)([^")]+)', lambda found: found[1] + short[found[2]], drawn)
    drawn = re.sub(r"<!--.*?-->|<defs>\s*</defs>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<path [^>]*style="fill: none"/>', "", drawn)  # neither filled nor stroked
    drawn = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", drawn)
    drawn = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", _compact_tag, drawn))
    drawn = re.sub(r"<g/>|<g></g>", "", drawn.replace("> <", "><")).strip()
    return re.sub(r"<g((?: clip-path=[^ >]*)?)>((?:<use [^>]*/>)+)</g>", _styled_once, drawn)


def _styled_once(group: re.Match[str]) -> str:
    """A group of markers, with the style on the group where all of them have the same."""
    styles = set(re.findall(r'<use [^>]*?( style="[^"]*")?/>', group[2]))
    if len(styles) > 1:
        return group[0]
    style = styles.pop()
    return f"<g{group[1]}{style}>{group[2].replace(style, '')}</g>"


def _shown(tag: re.Match[str]) -> str:
    """What ``style.tag`` says of a part, as attributes, which the choices on the page read."""
    named = zip(("class", "data-pair", "data-method", "data-task"), tag[1].split("|"), strict=True)
    return "".join(f' {name}="{value}"' for name, value in named if value)


def _compact_tag(tag: re.Match[str]) -> str:
    """A tag with short numbers, without the font that the whole drawing has; what stands between tags is text."""
    short = re.sub(r' d="([^"]*)"', lambda path: f' d="{_path(_rounded(path[1], 1))}"', tag[0])
    short = re.sub(r"(?<=[:;]) ", "", _rounded(short, 2).replace(_FONT_DRAWN, ""))
    return re.sub(r"(?<=[\";])fill:currentColor(?:;|(?=\"))", "", short).replace(' style=""', "")


def _path(drawn: str) -> str:
    """A path without the spaces around letters."""
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", drawn)


def _rounded(text: str, places: int) -> str:
    """The text with every number of more decimals rounded to so many."""
    longer = rf"-?\d+\.\d{{{places + 1},}}"
    return re.sub(longer, lambda n: f"{float(n[0]):.{places}f}".rstrip("0").rstrip("."), text)


def symbols(benchmark: ReportedBenchmark) -> "dict[str, Markup]":
    """Title of a method -> its mark as a small <svg>, for the tables of a page: as in every figure."""
    return {benchmark.title_of(method): symbol(mark) for method, mark in style.marks_of(benchmark).items()}


def symbol(mark: style.Mark) -> "Markup":
    """A mark as an <svg> of the height of a letter."""
    from markupsafe import Markup

    shape = MarkerStyle(mark.marker)
    path = shape.get_path().transformed(shape.get_transform())
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    drawn = "".join(
        letters[code] + ("" if code == Path.CLOSEPOLY else " ".join(f"{v:.2f}" for v in vertices))
        for vertices, code in path.iter_segments(simplify=False)
    )
    kind = "mark prominent" if mark.prominent else "mark"
    opening = f'<svg class="{kind}" viewBox="-.75 -.75 1.5 1.5" aria-hidden="true">'
    template = Markup(opening + '<path transform="scale(1 -1)" fill="{}" d="{}"/></svg> ')
    return template.format(_THEME.get(mark.colour, mark.colour), drawn)


def on_page(benchmark: ReportedBenchmark, runs: Runs, draw: Callable[[ReportedBenchmark, Runs], Sheet]) -> Sheet:
    """A figure in the page's colours, without the words below, which the page prints as text."""
    with style.themed(page=True):
        sheet = draw(benchmark, runs)
        sheet.supxlabel("")
    return sheet
