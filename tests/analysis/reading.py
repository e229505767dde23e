"""What figures and Markdown tables hold, read back from what was drawn and written."""

import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from analysis.figures.style import Mark


def dots(axis: Axes, mark: Mark, across: bool = False) -> dict[float, tuple[float, float | None, float | None]]:
    """Place on the axis -> value, and the ends of its interval (None: none drawn), of the dots with this mark."""
    own = [line for line in axis.lines if to_hex(line.get_color()) == mark.colour]
    found: dict[float, tuple[float, float | None, float | None]] = {}
    bars = [line for line in own if line.get_marker() in ("None", "", None)]
    for line in own:
        if str(line.get_marker()) != str(mark.marker):
            continue
        for place, value in zip(*_ordered(line, across), strict=True):
            if np.isnan(value):
                continue
            ends = [v for v in (_ordered(bar, across) for bar in bars) if v[0][0] == place and not np.isnan(v[1]).any()]
            low, high = (float(ends[0][1][0]), float(ends[0][1][1])) if ends else (None, None)
            found[float(place)] = (float(value), low, high)
    return found


def _ordered(line: Any, across: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(data, dtype=float) for data in (line.get_xdata(), line.get_ydata()))
    return (y, x) if across else (x, y)


def heat(axis: Axes) -> np.ndarray:
    """The values of a map."""
    (mesh,) = (c for c in axis.collections if type(c).__name__ == "QuadMesh")
    return np.asarray(mesh.get_array())


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of every table of a Markdown text, the row of rules left out."""
    blocks = re.findall(r"(?:^\|.*\n?)+", markdown, re.MULTILINE)
    return [[cells(line) for line in block.splitlines() if not re.fullmatch(r"\|[-:|]+\|", line)] for block in blocks]


def cells(line: str) -> list[str]:
    """The cells of one line, as Markdown."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
