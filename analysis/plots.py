"""The report's own figures as inline SVG: learning curves, cost against quality, the layers that RAIL-KD drew.

Text stays text and takes the page's colour, so that one drawing serves light and dark, screen and print.
"""

import io
import math
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis import figures
from analysis.benchmark import Benchmark, Pair
from analysis.cells import score_cells
from analysis.figures import COLOURS, MARKERS, STYLE
from analysis.load import Runs
from railkd.tasks import TASKS

INK = "#0b1c2d"  # replaced by the page's text colour
_THEME = {INK: "currentColor", "#000000": "currentColor", "#666666": "currentColor"}
_THEME |= {"#e6e6e6": "var(--grid)", "#cccccc": "var(--grid)", "#ffffff": "var(--page)"}
SVG_STYLE: dict[Any, Any] = {
    **STYLE,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}": INK for part in ("edgecolor", "labelcolor", "titlecolor")},
}


def svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an <svg> element for a page; ``name`` keeps its ids apart from other drawings' on the page."""
    from markupsafe import escape

    buffer = io.StringIO()
    with matplotlib.rc_context({**SVG_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, count=1, flags=re.DOTALL)  # would hold for the whole page
    for colour, themed in _THEME.items():
        text = text.replace(colour, themed)
    width, height = (float(side) for side in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"|height="[\d.]+pt"|width="[\d.]+pt"', "", text)
    opening = f'<svg role="img" aria-label="{escape(label)}" style="--own:{width * 4 / 3:.0f}px;'
    opening += f'aspect-ratio:{width:.0f}/{height:.0f};stroke-linejoin:round"'
    return text.replace("<svg", opening, 1)


def printed_figure(benchmark: Benchmark, runs: Runs, draw: Callable[[Benchmark, Runs], Figure]) -> Figure:
    """A figure in the page's colours, without the caption below, which the page prints as text."""
    with matplotlib.rc_context(SVG_STYLE):
        figure = draw(benchmark, runs)
        figure.supxlabel("")
    return figure


def curve_data(benchmark: Benchmark, runs: Runs, pair: Pair, method: str, task: str) -> np.ndarray | None:
    """Dev score by epoch, in percent: (runs × epochs that every run reached); None without any."""
    rows = []
    for seed in sorted(benchmark.seeds):
        record = runs.students.get((pair.name, method, task, seed))
        if record and record["epochs"]:
            rows.append([100 * float(epoch["dev"][record["shown"]]) for epoch in record["epochs"]])
    if not rows:
        return None
    reached = min(map(len, rows))
    return np.array([row[:reached] for row in rows])


def learning_curves(benchmark: Benchmark, runs: Runs, pair: Pair) -> Figure | None:
    """Dev score by epoch, mean over runs: one panel a task, one line a method, the teacher's score dotted."""
    methods = benchmark.entries(pair)
    data = {(m, t): curve_data(benchmark, runs, pair, m, t) for m in methods for t in pair.tasks}
    if all(values is None for values in data.values()):
        return None
    columns = min(4, len(pair.tasks))
    rows = math.ceil(len(pair.tasks) / columns)
    with matplotlib.rc_context(SVG_STYLE):
        figure = Figure(figsize=(2.4 * columns + 0.4, 2.0 * rows + 0.7), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for axis, task in zip(axes, pair.tasks, strict=False):
            teacher = runs.teachers.get((pair.teacher, task))
            if teacher:
                score = 100 * float(teacher["scores"]["dev"][teacher["shown"]])
                handles["teacher"] = axis.axhline(score, color=INK, linewidth=1, linestyle=":")
            longest = 1
            for method in methods:
                values = data[method, task]
                if values is None:
                    continue
                mean = values.mean(axis=0)
                longest = max(longest, len(mean))
                handles[method] = axis.plot(range(1, len(mean) + 1), mean, markersize=3.5, **_mark(benchmark, method))[
                    0
                ]
            axis.set_title(TASKS[task].title)
            axis.set_xticks(range(1, longest + 1, max(1, longest // 5)))
            axis.grid(axis="y", color="0.9", linewidth=0.6)
        for axis in axes[len(pair.tasks) :]:
            axis.set_axis_off()
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("dev score, %", fontsize=9)
        shown = [key for key in ("teacher", *methods) if key in handles]
        titles = [figures._plain(benchmark.title_of(key)) for key in shown]
        figure.legend(
            [handles[k] for k in shown], titles, loc="outside upper center", ncols=min(5, len(shown)), frameon=False
        )
    return figure


def _mark(benchmark: Benchmark, method: str) -> dict[str, Any]:
    """Colour and marker of a method, the same for every pair."""
    place = list(dict.fromkeys(m for pair in benchmark.pairs for m in benchmark.entries(pair))).index(method)
    colour = COLOURS[place % len(COLOURS)]
    return {"color": INK if colour == "#000000" else colour, "marker": MARKERS[place % len(MARKERS)], "linewidth": 1.3}


def trade_off(benchmark: Benchmark, runs: Runs, pair: Pair, block: str) -> list[dict[str, Any]]:
    """What each method's whole row costs and is worth: seconds of training summed over the pair's tasks (mean over
    runs), the average score with its sd, in percent, and whether no other method is both cheaper and better.

    Only methods with every run, on one kind of device, are comparable; the others are left out.
    """
    points: list[dict[str, Any]] = []
    devices: set[str] = set()
    for method in benchmark.entries(pair):
        average = score_cells(benchmark, runs, pair, block, method, list(pair.tasks))[0][-1]
        costs = [runs.costs(pair.name, method, task, "train_seconds") for task in pair.tasks]
        if average.status != "complete" or not all(costs):
            continue
        devices |= {device for cost in costs for _, _, device in cost.values()}
        seconds = sum(sum(s for s, _, _ in cost.values()) / len(cost) for cost in costs)
        regimes = sorted({regime for cost in costs for _, regime, _ in cost.values()})
        points.append(
            {"method": method, "seconds": seconds, "mean": average.mean, "sd": average.sd, "regime": ", ".join(regimes)}
        )
    for p in points:
        p["front"] = not any(o["seconds"] <= p["seconds"] and o["mean"] >= p["mean"] and o is not p for o in points)
    return points if len(devices) == 1 else []


def pareto(benchmark: Benchmark, pair: Pair, block: str, points: list[dict[str, Any]]) -> Figure | None:
    """Cost against quality: one point a method, a line through those that no other method beats on both."""
    if len(points) < 2:
        return None
    with matplotlib.rc_context(SVG_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axis = figure.subplots()
        front = sorted((p for p in points if p["front"]), key=lambda p: float(p["seconds"]))
        axis.step(
            [p["seconds"] for p in front], [p["mean"] for p in front], where="post", color=INK, linewidth=1, alpha=0.5
        )
        for p in points:
            mark = _mark(benchmark, p["method"])
            axis.errorbar(
                p["seconds"],
                p["mean"],
                yerr=None if math.isnan(p["sd"]) else p["sd"],
                fmt=mark["marker"],
                color=mark["color"],
                capsize=2,
                linewidth=1,
                label=figures._plain(benchmark.title_of(p["method"])),
            )
        axis.set_xlabel("seconds of training, all tasks (left is cheaper)")
        axis.set_ylabel(f"average {block.upper()} score, % (up is better)")
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def drawn_layers(benchmark: Benchmark, runs: Runs, pair: Pair, method: str) -> tuple[np.ndarray, int] | None:
    """How often student layer i was given teacher layer j, and the number of draws: (student × teacher layers).

    A draw is an epoch of a run, or a step where the mapping is drawn anew in each. None where nothing is drawn.
    """
    total: dict[tuple[int, int], int] = {}
    for (p, m, _, _), record in runs.students.items():
        if (p, m) != (pair.name, method):
            continue
        said = record["method_record"]
        for layers in said.get("layers") or []:
            for i, layer in enumerate(layers):
                total[i, layer - 1] = total.get((i, layer - 1), 0) + 1
        for i, row in enumerate(said.get("layer_counts") or []):
            for j, count in enumerate(row):
                total[i, j] = total.get((i, j), 0) + int(count)
    if not total:
        return None
    student = 1 + max(i for i, _ in total)
    counts = np.zeros((student, 1 + max(j for _, j in total)), dtype=int)
    for place, count in total.items():
        counts[place] = count
    return counts, int(counts[0].sum())


def draws(benchmark: Benchmark, runs: Runs, pair: Pair) -> Figure | None:
    """The share of draws in which a student layer was given a teacher layer: one panel a method that draws."""
    found = [(m, d) for m in benchmark.entries(pair) if (d := drawn_layers(benchmark, runs, pair, m))]
    if not found:
        return None
    with matplotlib.rc_context(SVG_STYLE):
        figure = Figure(figsize=(1.2 + 3.2 * len(found), 2.4), layout="constrained")
        shares = [counts / counts.sum(axis=1, keepdims=True) for _, (counts, _) in found]
        top = max(float(share.max()) for share in shares)
        for axis, share, (method, (counts, n)) in zip(
            figure.subplots(1, len(found), squeeze=False)[0], shares, found, strict=True
        ):
            image = axis.imshow(share, cmap="viridis", vmin=0, vmax=top, aspect="auto")
            layers = counts.shape[1]
            step = 1 if layers <= 12 else 2
            axis.set_xticks(range(0, layers, step), [str(j + 1) for j in range(0, layers, step)], fontsize=7)
            axis.set_yticks(range(len(counts)), [str(i + 1) for i in range(len(counts))], fontsize=7)
            axis.set_title(f"{figures._plain(benchmark.title_of(method))}, {n} draws")
            axis.set_xlabel("teacher layer")
        figure.axes[0].set_ylabel("student layer")
        figure.colorbar(image, ax=figure.axes, label="share of draws")
    return figure
