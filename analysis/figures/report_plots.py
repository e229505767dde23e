"""Draws the HTML report's own figures: averages, learning curves, cost against quality, the teacher layers drawn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import draw, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import summaries
from analysis.tables.cells import BASELINE, Table, score_cells
from analysis.tables.costs import over_tasks


def averages_frame(tables: Sequence[Table]) -> pd.DataFrame:
    """The averages of Tables 2 and 3 with Student's 95 % intervals over seeds (NaN: one run), in percent.

    ``paper`` is the number that the paper prints in the same cell (NaN: none).
    """
    rows = []
    for section in (section for table in tables for section in table.sections):
        for _, cells in section.rows:
            c = cells[-1]
            if c.status == "complete" and c.row != BASELINE:
                low, high = summaries.mean_interval(c.mean, c.sd, c.n) if c.n > 1 else (math.nan, math.nan)
                rows.append((c.pair, c.block, c.row, c.mean, low, high, c.paper))
    return pd.DataFrame(rows, columns=["pair", "block", "method", "mean", "low", "high", "paper"])


def averages(benchmark: ReportedBenchmark, data: pd.DataFrame, page: bool = True) -> Sheet:
    """The averages of Tables 2 and 3, a row of panels for each pair, a dot for each method; the best on test first.

    ``data`` is from ``averages_frame``; ``page``: for the HTML report, else for a file.
    """
    if data.empty:
        with style.themed(page):
            sheet = Sheet(style.PAGE, 1.0)
            draw.missing(sheet.subplots(1, 1), "no method has a score on every task")
        return sheet
    pairs = [p for p in benchmark.pairs if (data["pair"] == p.name).any()]
    blocks = list(data["block"].unique())  # dev before test
    with style.themed(page):
        orders = [_best_first(data[data["pair"] == pair.name]) for pair in pairs]
        heights = [len(order) for order in orders]
        sheet = Sheet(style.PAGE, 0.3 + sum(0.7 + 0.17 * height for height in heights))
        axes = sheet.subplots(len(pairs), len(blocks), squeeze=False, sharex="row", sharey="row", height_ratios=heights)
        for (r, c), axis in np.ndenumerate(axes):
            axis.set_title(f"{style.plain(pairs[r].title)}, {blocks[c].upper()}")
            style.tag(axis, "panel", pairs[r].name)
            own = data[(data["pair"] == pairs[r].name) & (data["block"] == blocks[c])]
            _averages_panel(axis, benchmark, own, orders[r])
        for axis in axes.flat:  # the panels of a pair share the axis, so after all are drawn
            sheet.measures(axis, "x")
            starts = "" if axis.get_xlim()[0] <= 0 else "; the axis does not start at 0"
            axis.set_xlabel(f"average score, %{starts}")
        key: dict[str, Any] = {"these runs: mean, 95 % interval": _sample(style.NEUTRAL)}
        if data["paper"].notna().any():
            key["the paper's number"] = _paper_mark([], [])
        sheet.key(key)
    return sheet


def _averages_panel(axis: Axes, benchmark: ReportedBenchmark, own: pd.DataFrame, order: list[str]) -> None:
    """One pair on one split: the methods in their order from above, each with its interval and the paper's number."""
    marks = style.marks_of(benchmark)
    printed = own.dropna(subset="paper")
    for method, number in zip(printed["method"], printed["paper"], strict=True):
        style.tag(axis.add_line(_paper_mark([number], [order.index(method)])), method=method)
    axis.update_datalim([(x, 0) for x in printed["paper"]])
    draw.dots(axis, own, {m: marks[m] for m in order}, draw.Dots("method", "method", order, across=True, lanes=False))
    axis.set_yticks(range(len(order)), [style.plain(benchmark.title_of(m)) for m in order])
    for method, label in zip(order, axis.get_yticklabels(), strict=False):  # none where the panel to the left has them
        style.tag(label, method=method)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.autoscale_view(scaley=False)


def _paper_mark(x: list[float], y: list[float]) -> Line2D:
    """The paper's numbers: upright strokes, which no method has for its mark."""
    return Line2D(x, y, color=style.NEUTRAL, marker="|", markersize=7, markeredgewidth=1.4, linestyle="none")


def _sample(colour: str) -> Line2D:
    """A legend's sample of a mean and its interval, of no method."""
    return Line2D([], [], color=colour, marker="o", markersize=3.6, linewidth=0.9)


def _best_first(own: pd.DataFrame) -> list[str]:
    """The methods of one pair by their average in the last block that they have."""
    last = own.drop_duplicates("method", keep="last")
    return list(last.sort_values("mean", ascending=False, kind="stable")["method"])


def curve_data(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str, task: str) -> np.ndarray | None:
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


def learning_curves(benchmark: ReportedBenchmark, runs: Runs, pair: Pair) -> Sheet | None:
    """Dev score by epoch, mean over runs: one panel a task, one line a method, the teacher's score dotted."""
    import seaborn as sns

    rows = []
    for method in benchmark.entries(pair):
        for task in pair.tasks:
            values = curve_data(benchmark, runs, pair, method, task)
            for epoch, score in enumerate([] if values is None else values.mean(axis=0), start=1):
                rows.append((method, task, epoch, float(score)))
    data = pd.DataFrame(rows, columns=["method", "task", "epoch", "score"])
    if data.empty:
        return None
    marks = style.marks_of(benchmark)
    methods = [m for m in benchmark.entries(pair) if (data["method"] == m).any()]
    columns = min(4, len(pair.tasks))
    with style.themed(page=True):
        sheet = Sheet(max(style.COLUMN, style.PAGE * columns / 4), 0.6 + 1.35 * math.ceil(len(pair.tasks) / columns))
        axes = sheet.subplots(math.ceil(len(pair.tasks) / columns), columns, squeeze=False).ravel()
        keys: dict[str, Any] = {}
        for axis, task in zip(axes, pair.tasks, strict=False):
            teacher = runs.teachers.get((pair.teacher, task))
            if teacher:
                score = 100 * float(teacher["scores"]["dev"][teacher["shown"]])
                axis.axhline(score, color=style.INK, linewidth=1, linestyle=":")
                keys["Teacher"] = Line2D([], [], color=style.INK, linestyle=":")
            style.tag(axis, "panel", pair.name, task=task)
            axis.set_title(benchmark.task(task).title)
            own = data[data["task"] == task]
            if own.empty:
                draw.missing(axis)
                continue
            sns.lineplot(
                own, x="epoch", y="score", hue="method", hue_order=methods, style="method", style_order=methods,
                palette={m: marks[m].colour for m in methods}, markers={m: marks[m].marker for m in methods},
                dashes=False, errorbar=None, linewidth=0.9, markersize=3.2, markeredgewidth=0, legend=False, ax=axis,
            )  # fmt: skip
            draw.emphasise(axis, {m: marks[m] for m in methods})
            longest = max(own["epoch"])
            axis.set(xticks=range(1, longest + 1, max(1, longest // 5)), xlabel="", ylabel="")
            sheet.measures(axis)
        for axis in axes[len(pair.tasks) :]:
            axis.set_axis_off()
        style.tag(sheet.supxlabel("epoch"), "below")
        style.tag(sheet.supylabel("dev score, %"), "beside")
        sheet.key(keys | {benchmark.title_of(m): marks[m] for m in methods})
    return sheet


def trade_off(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, block: str) -> list[dict[str, Any]]:
    """What each method's whole row costs and is worth: seconds of training summed over the pair's tasks with their sd
    over the seeds, the average score with its sd, in percent, and whether no other method is both cheaper and better.

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
        seconds, spread = over_tasks(runs, pair.name, method, pair.tasks, "train_seconds")
        regimes = sorted({regime for cost in costs for _, regime, _ in cost.values()})
        points.append(
            {"method": method, "seconds": seconds, "seconds_sd": 0.0 if math.isnan(spread) else spread}
            | {"mean": average.mean, "sd": average.sd, "regime": ", ".join(regimes)}
        )
    for p in points:
        p["front"] = not any(o["seconds"] <= p["seconds"] and o["mean"] >= p["mean"] and o is not p for o in points)
    return points if len(devices) == 1 else []


def pareto(benchmark: ReportedBenchmark, pair: Pair, block: str, points: list[dict[str, Any]]) -> Sheet | None:
    """Cost against quality: one point a method, a line through those that no other method beats on both."""
    if len(points) < 2:
        return None
    marks = {p["method"]: style.marks_of(benchmark)[p["method"]] for p in points}
    data = pd.DataFrame(points)
    with style.themed(page=True):
        sheet = Sheet(style.COLUMN, 2.7)
        axis = sheet.subplots()
        front = data[data["front"]].sort_values("seconds")
        axis.step(front["seconds"], front["mean"], where="post", color=style.INK, linewidth=0.8, alpha=0.5)
        for p, mark in zip(points, marks.values(), strict=True):  # one artist each, so that a page can show it alone
            x, y = p["seconds"], p["mean"]
            bars = [
                axis.vlines(x, y - p["sd"], y + p["sd"], color=mark.colour, linewidth=0.9),
                axis.hlines(y, x - p["seconds_sd"], x + p["seconds_sd"], color=mark.colour, linewidth=0.9),
            ]
            dot = axis.scatter(
                x, y, s=34, color=mark.colour, marker=mark.marker, linewidth=0.5, edgecolor=style.PAPER, zorder=3
            )
            for artist in (*bars, dot):
                style.tag(artist, method=mark.method)
        sheet.measures(axis, least=2.0)  # points, and a tenth of the time: what differs by less hardly differs
        sheet.measures(axis, "x", least=0.1 * float(data["seconds"].max()))
        axis.set_xlabel("seconds of training, all tasks (left is cheaper)")
        axis.set_ylabel(f"average {block.upper()} score, % (up is better)")
        sheet.key({benchmark.title_of(m): mark for m, mark in marks.items()})
    return sheet


def drawn_layers(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str) -> tuple[np.ndarray, int] | None:
    """How often student layer i was given teacher layer j, and the number of draws: (student × teacher layers).

    A draw is an epoch of a run, or a step where the mapping is drawn anew in each. None where nothing is drawn.
    """
    total: dict[tuple[int, int], int] = {}
    for (p, m, _, _), record in runs.students.items():
        if (p, m) != (pair.name, method):
            continue
        drawn = record["method_record"]
        for layers in drawn.get("layers") or []:
            for i, layer in enumerate(layers):
                total[i, layer - 1] = total.get((i, layer - 1), 0) + 1
        for i, row in enumerate(drawn.get("layer_counts") or []):
            for j, count in enumerate(row):
                total[i, j] = total.get((i, j), 0) + int(count)
    if not total:
        return None
    student = 1 + max(i for i, _ in total)
    counts = np.zeros((student, 1 + max(j for _, j in total)), dtype=int)
    for place, count in total.items():
        counts[place] = count
    return counts, int(counts[0].sum())


def repeated(runs: Runs, pair: Pair, method: str) -> int:
    """The number of draws where every task has the same ones, one for each seed and epoch; 0 where tasks differ."""
    by_epoch: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    for (p, m, _, seed), record in runs.students.items():
        if (p, m) == (pair.name, method):
            if record["method_record"].get("layer_counts"):
                return 0
            for epoch, layers in enumerate(record["method_record"].get("layers") or []):
                by_epoch.setdefault((seed, epoch), set()).add(tuple(layers))
    return len(by_epoch) if all(len(layers) == 1 for layers in by_epoch.values()) else 0


def draws(benchmark: ReportedBenchmark, runs: Runs, pair: Pair) -> Sheet | None:
    """The share of draws in which a student layer was given a teacher layer; one panel for methods that drew alike."""
    panels: list[tuple[list[str], np.ndarray, str]] = []  # methods, counts, how many draws
    for method in benchmark.entries(pair):
        drawn = drawn_layers(benchmark, runs, pair, method)
        if drawn is None:
            continue
        same = repeated(runs, pair, method) if len(pair.tasks) > 1 else 0
        words = f"{same} draws, the same in every task" if same else f"{drawn[1]} draws"
        for names, counts, other in panels:
            if other == words and np.array_equal(counts, drawn[0]):
                names.append(method)
                break
        else:
            panels.append(([method], drawn[0], words))
    if not panels:
        return None
    with style.themed(page=True):
        sheet = Sheet(style.PAGE if len(panels) > 1 else style.COLUMN, 1.7)
        shares = [counts / counts.sum(axis=1, keepdims=True) for _, counts, _ in panels]
        top = max(float(share.max()) for share in shares)
        axes = sheet.subplots(1, len(panels), squeeze=False)[0]
        for axis, share, (names, _, words) in zip(axes, shares, panels, strict=True):
            image = draw.heat(axis, share, top)
            axis.set_title(f"{', '.join(style.plain(benchmark.title_of(m)) for m in names)}\n{words}")
            style.tag(axis, "panel", pair.name, " ".join(names))
            axis.set(xlabel="teacher layer", ylabel="student layer")
        bar = sheet.colorbar(image, ax=list(axes), label="share of draws", aspect=15, pad=0.03)
        bar.outline.set_visible(False)
        style.tag(bar.ax, "scale")
    return sheet
