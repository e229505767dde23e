"""Draws what a figure's panel holds: dots with intervals, a heat map of layers, or that there is nothing to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.style import Mark

if TYPE_CHECKING:
    import pandas as pd

MAP = "mako_r"  # seaborn's; even in lightness, and nothing is nearly white


@dataclass(frozen=True)
class Dots:
    """How ``dots`` draws: the columns that hold the places and the marks' names, and what goes where."""

    place: str
    hue: str
    order: Sequence[Any] | None = None  # of the places; None: as in the data
    across: bool = False  # places on the y axis
    lanes: bool = True  # the marks of one place stand side by side; else all in the middle
    hollow: bool = False


def dots(axis: Axes, data: "pd.DataFrame", marks: Mapping[str, Mark], how: Dots) -> None:
    """A dot and its interval for each place and hue: columns ``mean``, ``low`` and ``high`` (NaN: no interval).

    In lanes none hides another: each of ``marks`` has its own, drawn or not.
    """
    import seaborn as sns

    data = data.dropna(subset="mean")
    if data.empty:
        return
    tall = data.melt(list(dict.fromkeys([how.place, how.hue])), ["mean", "low", "high"], value_name="measured")
    sns.pointplot(
        tall,
        x="measured" if how.across else how.place,
        y=how.place if how.across else "measured",
        hue=how.hue,
        hue_order=list(marks),
        order=how.order,
        palette={key: mark.colour for key, mark in marks.items()},
        markers=[mark.marker for mark in marks.values()],
        orient="h" if how.across else "v",
        estimator=lambda values: values.iloc[0],
        errorbar=lambda values: (values.min(), values.max()),
        linestyles="none",
        dodge=0.8 * (1 - 1 / len(marks)) if how.lanes and len(marks) > 1 else False,
        err_kws={"linewidth": 0.9, "zorder": 1.9},
        legend=False,
        ax=axis,
        markersize=3.6,
        markeredgewidth=0.7,
        **({"markerfacecolor": style.PAPER} if how.hollow else {}),
    )
    axis.set(xlabel="", ylabel="")
    emphasise(axis, marks)


def emphasise(axis: Axes, marks: Mapping[str, Mark]) -> None:
    """Draws the prominent methods larger and over the others, and tags each line, and the intervals after it."""
    known = {(mark.colour, str(mark.marker)): mark for mark in marks.values()}
    current = None
    for line in axis.lines:
        colour, marker = str(line.get_color()).lower(), str(line.get_marker())
        current = current if marker == "None" else known.get((colour, marker))
        if current and current.method and current.colour == colour:
            style.tag(line, method=current.method)
        if current and current.prominent and marker != "None":
            line.set(markersize=1.3 * line.get_markersize(), linewidth=1.5 * line.get_linewidth(), zorder=4)


def heat(axis: Axes, values: np.ndarray, top: float) -> Any:
    """A map of student layers (rows) × teacher layers (columns) from 0 to ``top``, both counted from 1."""
    import seaborn as sns

    sns.heatmap(
        values,
        ax=axis,
        vmin=0,
        vmax=top,
        cmap=MAP,
        cbar=False,
        linewidths=0.4 if values.shape[1] <= 12 else 0,
        linecolor=sns.color_palette(MAP, as_cmap=True)(0.0),
        xticklabels=False,
        yticklabels=False,
    )
    rows, columns = values.shape
    every = 1 if columns <= 6 else 2 if columns <= 12 else -(-columns // 3)
    shown = range(0, columns, every)
    axis.set_xticks([j + 0.5 for j in shown], [str(j + 1) for j in shown])
    axis.set_yticks([i + 0.5 for i in range(rows)], [str(i + 1) for i in range(rows)])
    axis.tick_params(length=0, pad=2)
    style.tag(axis.collections[0], "heat")
    return axis.collections[0]


def missing(axis: Axes, text: str = "missing") -> None:
    """A panel without data says so."""
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, color=style.NEUTRAL)
    axis.set(xticks=[], yticks=[])
