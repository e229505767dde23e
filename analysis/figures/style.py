"""Gives every figure one style: sizes, fonts, and a colour and a marker for each method, the same everywhere.

Figures for a paper are drawn at one column's width with letters of 7 points, so that nobody has to scale them. Seaborn
is imported where something is drawn and not before: it takes a second.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.reported_benchmark import ReportedBenchmark

if TYPE_CHECKING:
    pass

COLUMN = 3.3  # inches: one column of a two-column paper
PAGE = 6.8  # inches: both columns, and the report's own plots
FONT = 7.0  # points, the smallest letters and all but the titles of panels
DPI = 200
INK = "#0b1c2d"  # text and axes; a page replaces it by the colour of its text
PAPER, GRID, EDGE = "#ffffff", "#e6e6e6", "#cccccc"  # replaced as well
NEUTRAL = "#7f7f7f"  # what belongs to no method: legible on white and on a dark page
TITLE = FONT + 0.5
CHARACTERS = 17.5  # of text at FONT in an inch


@dataclass(frozen=True)
class Mark:
    """How a method is drawn."""

    colour: str
    marker: Any  # a filled marker of matplotlib
    prominent: bool = False
    method: str = field(default="", compare=False)  # whose it is, so that a page can show one method alone


# Colours of seaborn's "colorblind" palette (after Okabe and Ito) for the paper's methods and greys for the baselines;
# for the others, those farthest from these and from one another for every kind of colour vision. No two methods share
# a marker either.
MARKS = {
    "teacher": Mark(INK, "d"),
    "no_kd": Mark("#949494", "v"),
    "vanilla_kd": Mark("#6b6b6b", "^"),
    "pkd": Mark("#029e73", "s"),
    "ckd": Mark("#de8f05", "P"),
    "alp_kd": Mark("#cc78bc", "X"),
    "codir": Mark("#56b4e9", "p"),
    "rail_kd_l": Mark("#d55e00", "o", prominent=True),
    "rail_kd_c": Mark("#0173b2", "D", prominent=True),
    "tinybert": Mark("#8c4c26", "<"),
    "minilm_v2": Mark("#bfa659", ">"),
    "mixkd": Mark("#990df2", "h"),
    "cr_ild": Mark("#7f66e6", "*"),
    "distilbert_cos": Mark("#a60d8c", "8"),
}
# For a user's own methods, in the order of the benchmark file; 35 of them before a mark comes back.
OWN_COLOURS = ("#990df2", "#8c4c26", "#bfa659", "#7f66e6", "#a60d8c")
OWN_MARKERS: tuple[Any, ...] = ((4, 1, 0), (3, 1, 0), (6, 1, 0), (4, 1, 45), (3, 1, 180), (8, 1, 0), (7, 0, 0))
# For the values of an option of a method, which differ in marker and shade of the method's colour.
VALUES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def marks(methods: Iterable[str]) -> dict[str, Mark]:
    """The mark of each method, in the order given; those that the suite does not know take the next of their own."""
    methods = list(methods)
    own = [m for m in methods if m not in MARKS]
    spare = {m: Mark(OWN_COLOURS[i % 5], OWN_MARKERS[i % 7]) for i, m in enumerate(own)}
    return {m: MARKS.get(m) or spare[m] for m in methods}


def marks_of(benchmark: ReportedBenchmark) -> dict[str, Mark]:
    """The mark of every entry of a benchmark and of the teacher; a variant has that of its entry."""
    by_entry = marks(["teacher", *(m for m in benchmark.methods if m not in benchmark.variants)])
    by_method = by_entry | {name: by_entry[variant.entry] for name, variant in benchmark.variants.items()}
    return {method: replace(mark, method=method) for method, mark in by_method.items()}


def values(names: Sequence[str], colour: str) -> dict[str, Mark]:
    """The marks of an option's values, in the order given: shades of one colour, the first the fullest."""
    import seaborn as sns

    shades = sns.light_palette(colour, n_colors=len(names) + 3).as_hex()[:2:-1]
    return {name: Mark(shades[i], VALUES[i % len(VALUES)]) for i, name in enumerate(names)}


def theme(page: bool = False) -> dict[Any, Any]:
    """Matplotlib's settings; with ``page`` those of a drawing inside a web page, which shows through."""
    import seaborn as sns

    sizes = {f"{part}size": FONT for part in ("font.", "axes.label", "xtick.label", "ytick.label", "legend.font")}
    lines = {"xtick.major.": 0.6, "ytick.major.": 0.6, "axes.line": 0.6, "grid.line": 0.5, "lines.line": 1.0}
    ink = {f"{part}.color": INK for part in ("text", "xtick", "ytick")}
    ink |= {f"axes.{part}": INK for part in ("edgecolor", "labelcolor", "titlecolor")}
    made: dict[Any, Any] = {
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper"),
        **sizes,
        **{f"{part}width": width for part, width in lines.items()},
        **{f"{side}tick.major.size": 2.5 for side in "xy"},
        **ink,
        "axes.titlesize": TITLE,
        "legend.title_fontsize": FONT,
        "figure.titlesize": TITLE,
        "figure.labelsize": FONT,
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "pdf.fonttype": 42,  # text stays text
        "svg.fonttype": "none",
        "figure.dpi": 100,
    }
    return {**made, **{f"{part}.facecolor": "none" for part in ("figure", "axes", "savefig")}} if page else made


def tag(artist: Artist, kind: str = "", pair: str = "", method: str = "", task: str = "") -> None:
    """Says what a part of a drawing shows, for the choices on a page: names, or several of them with spaces between.

    ``kind`` is "panel" for what a choice hides, "row" for the label of a row of panels, "below" and "beside" for the
    labels of a whole figure, "scale" for its colour bar, "heat" for what has the colours of a map; a part without
    ``kind`` is dimmed where another method is chosen.
    """
    artist.set_gid("|".join(["~", kind, pair, method, task]))


@contextmanager
def themed(page: bool = False) -> Iterator[None]:
    """The settings of ``theme`` for what is drawn and saved inside."""
    with matplotlib.rc_context(theme(page)):
        yield


class Sheet(Figure):
    """A figure of one of the two widths, which says when an axis that measures something does not start at 0."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.set_constrained_layout_pads(w_pad=0.02, h_pad=0.03, wspace=0.03, hspace=0.03)
        self.measured: list[tuple[Axes, str]] = []

    def set_constrained_layout_pads(self, **pads: float) -> None:
        """Inches around each panel, and shares of a panel between two."""
        engine = self.get_layout_engine()
        if engine is not None:
            engine.set(**pads)

    def measures(self, axis: Axes, side: str = "y", least: float = 0.0, most: float = math.inf) -> None:
        """Says that this side of a panel, drawn already, measures something.

        ``least`` is the range that it shows at least, ``most`` the greatest value that there can be.
        """
        self.measured.append((axis, side))
        low, high = getattr(axis, f"get_{side}lim")()
        wider = max(0.0, least - (high - low)) / 2
        over = max(0.0, high + wider - most - 0.03 * (high - low + 2 * wider))  # room for half a dot
        getattr(axis, f"set_{side}lim")(low - wider - over, high + wider - over)
        getattr(axis, f"{side}axis").set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.grid(axis="y" if side == "y" else "x")

    def note(self) -> str:
        """Whether the measuring axes start at 0, as a sentence; empty where all of them show it."""
        limits = [sorted(getattr(axis, f"get_{side}lim")()) for axis, side in self.measured]
        off = [not low <= 0 <= high for low, high in limits]
        if not any(off):
            return ""
        if not all(off):
            return "Not every axis shows 0."
        return "The axis does not start at 0." if len(off) == 1 else "The axes do not start at 0."

    def foot(self, *sentences: str) -> None:
        """The few words that must not be parted from the picture, below it: warnings, and ``note``."""
        text = " ".join(s for s in (*sentences, self.note()) if s)
        lines = textwrap.wrap(text, int(self.get_figwidth() * CHARACTERS), break_on_hyphens=False)
        self.supxlabel("\n".join(plain(line) for line in lines), fontsize=FONT)

    def key(self, entries: Mapping[str, Mark | Any]) -> Legend | None:
        """The legend above the panels: text -> a method's mark, or any handle; as many columns as fit."""
        if not entries:
            return None
        texts = ["\n".join(textwrap.wrap(plain(text), 34)) for text in entries]
        handles = [handle(e) if isinstance(e, Mark) else e for e in entries.values()]
        widest = max(len(line) for text in texts for line in text.split("\n"))
        columns = max(1, min(len(texts), int(self.get_figwidth() / (0.36 + widest / CHARACTERS))))
        legend = self.legend(
            handles,
            texts,
            loc="outside upper center",
            ncols=columns,
            frameon=False,
            handlelength=1.4,
            handletextpad=0.5,
            columnspacing=1.2,
            borderaxespad=0.1,
        )
        for entry, sample, text in zip(entries.values(), legend.legend_handles, legend.get_texts(), strict=True):
            if isinstance(entry, Mark) and entry.method:
                for artist in filter(None, (sample, text)):
                    tag(artist, method=entry.method)
        return legend


def handle(mark: Mark, hollow: bool = False) -> Line2D:
    """A legend's sample of a dot."""
    face = PAPER if hollow else mark.colour
    return Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="none", markersize=4.5, markerfacecolor=face)


def saved(figure: Figure) -> dict[str, bytes]:
    """A figure as the contents of a PDF and a PNG file, the same bytes for the same figure."""
    figure.draw_without_rendering()  # lays it out, once for both files
    figure.set_layout_engine("none")
    files = {}
    for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files


def plain(text: str) -> str:
    """Text from data as matplotlib prints it: no mathematics, superscripts of the paper's two methods as letters."""
    text = " ".join(text.replace("$", r"\$").split())
    return text.replace("^l", "ˡ").replace("^c", "ᶜ")
