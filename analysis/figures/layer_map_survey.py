"""Draws the layer-map survey: the scores of all fixed layer maps, and where a random map lies among them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from analysis.figures import draw, style
from analysis.figures.ablation import interval, unlearned
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import summaries
from analysis.tables import captions
from analysis.tables.html_tables import PageCell, PageTable, full, number_cell
from analysis.tables.numbers import signed
from analysis.tables.paper_tables import compared_block
from analysis.validity.decisions import failing, over_tasks
from analysis.validity.evidence import Evidence

FIXED, ANEW = "fixed maps", "drawn anew in each epoch"
MARKED = {"random_once": "drawn once a run", "skip": "evenly spaced", "last": "last layers"}


@dataclass(frozen=True)
class Survey:
    """One entry's maps, in percent. A score is a mean over the pair's tasks."""

    pair: Pair
    entry: str
    maps_MRT: np.ndarray  # (maps × runs × tasks): the fixed maps that have every run
    own_RT: np.ndarray  # (runs × tasks): the entry itself, which draws its map
    marked: dict[str, np.ndarray]  # named mapping -> (runs × tasks)
    planned: int  # fixed maps asked for
    names: tuple[str, ...]  # of the maps: the variants that fix them
    open: str  # which questions of validity the runs fail, in a few words; empty where they can decide

    @cached_property
    def scores_M(self) -> np.ndarray:
        return self.maps_MRT.mean(axis=(1, 2))

    @cached_property
    def variance(self) -> summaries.Variance | None:
        """Of the maps' scores, (maps × runs)."""
        return summaries.variance_shares(self.maps_MRT.mean(axis=2)) if len(self.maps_MRT) else None

    @property
    def own(self) -> float:
        return float(self.own_RT.mean())

    def rank(self, score: float) -> float:
        """Percent of the maps that score lower; a tie counts half."""
        return 100 * float(((self.scores_M < score) + 0.5 * (self.scores_M == score)).mean())

    @property
    def difference(self) -> tuple[float, float, float]:
        """The entry minus the mean of the fixed maps, and its 95 % interval; a run's noise is taken to be theirs."""
        mean = self.own - float(self.scores_M.mean())
        if self.variance is None:
            return mean, math.nan, math.nan
        maps, runs, _ = self.maps_MRT.shape
        error = self.variance.noise_sd * math.sqrt((1 + 1 / maps) / runs)
        half = float(stdtrit(self.variance.freedom, 0.975)) * error
        return mean, mean - half, mean + half


def surveys(benchmark: ReportedBenchmark, runs: Runs) -> Iterator[Survey]:
    """Each entry of each pair of the figure that has fixed maps among its variants."""
    evidence, block = Evidence(benchmark, runs, runs.root), compared_block(benchmark, runs)
    for pair in benchmark.drawn_from("layer_maps"):

        def scores(method: str, pair: Pair = pair) -> np.ndarray:
            rows = runs.row(pair.name, method, block)
            table = summaries.matrix(rows, list(pair.tasks)).reindex(sorted(benchmark.seeds))
            return 100 * table.to_numpy(dtype=float)

        for entry, variants in benchmark.families(pair).items():
            mapping = {v: benchmark.variants[v].changed["mapping"] for v in variants
                       if list(benchmark.variants[v].changed) == ["mapping"]}  # fmt: skip
            fixed = [v for v, value in mapping.items() if isinstance(value, list)]
            complete = {v: values for v in fixed if not np.isnan(values := scores(v)).any()}
            named = {value: scores(v) for v, value in mapping.items() if isinstance(value, str) and value in MARKED}
            marked = {name: values for name, values in named.items() if not np.isnan(values).any()}
            if fixed:
                shape = (len(complete), len(benchmark.seeds), len(pair.tasks))
                maps_MRT = np.array(list(complete.values())).reshape(shape)
                open_ = failing(evidence, over_tasks(pair, block, (entry, *complete)))
                yield Survey(pair, entry, maps_MRT, scores(entry), marked, len(fixed), tuple(complete), open_)


def summary(benchmark: ReportedBenchmark, survey: Survey) -> str:
    """What the survey shows of random mapping, in words and numbers."""
    title = benchmark.title_of(survey.entry)
    maps = len(survey.maps_MRT)
    if maps < 2 or np.isnan(survey.own_RT).any():
        return f"{title}: missing ({maps} of {survey.planned} maps have every run)."
    if np.ptp(survey.maps_MRT.mean(axis=2), axis=0).max() < 1e-9:
        level = float(survey.scores_M.mean())
        return f"{title}: all {maps} fixed maps score {level:.1f}% alike, a map drawn anew {survey.own:.1f}%."
    return " ".join([_random(survey, title), _spread(survey)])


def _random(survey: Survey, title: str) -> str:
    """Whether a map drawn anew scores other than a fixed map does on average, and where it falls among them."""
    mean, low, high = survey.difference
    text = f"{title}, a map drawn anew in each epoch, scores {survey.own:.1f}%: {signed(mean)} points from the mean of "
    text += "the fixed maps"
    if math.isnan(low):
        text += ", one run, so no interval"
    elif survey.open:
        text += f" {interval(survey.difference)}, not decided: {survey.open}"
    elif low > 0 or high < 0:
        side = "better" if low > 0 else "worse"
        text += f" {interval(survey.difference)}, decided: {side} than a fixed map is on average"
    else:
        text += f" {interval(survey.difference)}, no difference is decided"
    others = [f"{MARKED[name]} {survey.rank(float(values.mean())):.0f}%" for name, values in survey.marked.items()]
    listed = f" ({', '.join(others)})" if others else ""
    return f"{text}. Of the {len(survey.maps_MRT)} fixed maps {survey.rank(survey.own):.0f}% score lower{listed}."


def _spread(survey: Survey) -> str:
    """Whether it matters which map is fixed: how far the maps' scores lie apart, and how far noise alone does."""
    maps, runs, _ = survey.maps_MRT.shape
    text = f"The maps' scores spread with a standard deviation of {survey.scores_M.std(ddof=1):.2f} points"
    if survey.variance is not None:
        v = survey.variance
        text += f"; the noise of a mean of {runs} runs alone gives {v.noise_sd / math.sqrt(runs):.2f}. "
        share = f"{100 * v.share:.0f}% [{signed(100 * v.low, 0)}, {signed(100 * v.high, 0)}]"
        text += f"The map explains {share} of a run's variance, "
        if survey.open:
            text += f"not decided: {survey.open}"
        else:
            text += "so that it is decided: the map matters" if v.low > 0 else "which may be nothing: undecided"
    return text + (f". {survey.planned - maps} maps lack a run." if maps < survey.planned else ".")


def findings(benchmark: ReportedBenchmark, runs: Runs) -> list[str]:
    """What the figure shows of random mapping, a sentence for each entry with fixed maps."""
    return [summary(benchmark, survey) for survey in surveys(benchmark, runs)]


def about(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Caption of the figure, without what it finds."""
    pairs = benchmark.drawn_from("layer_maps")
    tasks = ", ".join(benchmark.task(t).title for t in dict.fromkeys(t for pair in pairs for t in pair.tasks))
    n = len(benchmark.seeds)
    over, block = f"mean of {n} runs" if n > 1 else "one run", compared_block(benchmark, runs)
    return " ".join(
        part
        for part in (
            f"Sorted maps of student to teacher layers, each fixed for whole runs, by their {block} score "
            f"({over}), {benchmark.title}, {captions.backbones(pairs)}; first panel: mean over {tasks}.",
            "Line: 95% interval of the random map's score, with the run-to-run noise of the fixed maps."
            if n > 1
            else "",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            *(unlearned(benchmark, runs, pair, list(pair.methods)) for pair in pairs),
        )
        if part
    )


def page_tables(benchmark: ReportedBenchmark, runs: Runs) -> list[PageTable]:
    """Where the map drawn anew and the named ones stand among the fixed maps."""
    sections = []
    for one in surveys(benchmark, runs):
        if len(one.maps_MRT) < 2:
            continue
        centre = float(one.scores_M.mean())
        named = {ANEW: float(one.own_RT.mean())}
        named |= {MARKED[name]: float(values.mean()) for name, values in one.marked.items()}
        fixed = {"best fixed map": one.scores_M.max(), "mean of the fixed maps": centre, "worst": one.scores_M.min()}
        made = []
        for k, (name, score) in enumerate([*named.items(), *((n, float(v)) for n, v in fixed.items())]):
            gap = score - centre
            limits = interval(one.difference) if k == 0 else ""
            apart = PageCell("–" if math.isnan(gap) else signed(gap), limits, sort=full(gap))
            lower = number_cell(one.rank(score) if k < len(named) and not math.isnan(score) else None, 0)
            made.append((name, [number_cell(score, 1), apart, lower]))
        sections.append((f"{benchmark.title_of(one.entry)}, {len(one.maps_MRT)} fixed maps", made))
    if not sections:
        return []
    caption = (
        f"{compared_block(benchmark, runs).upper()} score, mean over tasks and runs, in percent; the 95 % interval "
        "takes a run's noise to be that of the fixed maps. The best and the worst of many maps are so partly by chance."
    )
    columns = ["Score", "Points from the mean of the fixed maps", "Fixed maps that score lower, %"]
    return [PageTable("layer-maps-table", "Layer-map survey: the numbers", caption, columns, sections, "Layer map")]


def frame(benchmark: ReportedBenchmark, runs: Runs) -> pd.DataFrame:
    """What the figure shows: the score of each map, mean over runs, on average over the tasks ("") and on each.

    ``map`` is how the layers are chosen; the entry itself has, on average, the interval of ``Survey.difference``.
    """
    rows = []
    for one in surveys(benchmark, runs):
        blocks = [(FIXED, name, values) for name, values in zip(one.names, one.maps_MRT, strict=True)]
        blocks += [(MARKED[name], "", values) for name, values in one.marked.items()]
        if not np.isnan(one.own_RT).any():
            blocks.append((ANEW, one.entry, one.own_RT))
        for k, task in enumerate(["", *one.pair.tasks]):
            for name, method, values in blocks:
                score = float(values.mean() if task == "" else values[:, k - 1].mean())
                limits = [math.nan, math.nan]
                if name == ANEW and task == "" and len(one.maps_MRT):
                    limits = [float(one.scores_M.mean()) + limit for limit in one.difference[1:]]
                rows.append((one.pair.name, one.entry, task, name, method, score, *limits))
    return pd.DataFrame(rows, columns=["pair", "entry", "task", "map", "method", "mean", "low", "high"])


def figure(benchmark: ReportedBenchmark, runs: Runs) -> Sheet:
    """For each entry with fixed maps: their scores' histogram, on average over the tasks and below by task."""
    data, shown_surveys = frame(benchmark, runs), list(surveys(benchmark, runs))
    below = [math.ceil(len(one.pair.tasks) / 2) for one in shown_surveys]
    sheet = Sheet(style.COLUMN, 1.0 + sum(1.9 + 1.25 * rows for rows in below))
    grid = sheet.add_gridspec(max(len(shown_surveys), 1), hspace=0.1)
    shown = [name for name in (ANEW, *MARKED.values()) if (data["map"] == name).any()]
    for k, one in enumerate(shown_surveys):
        inner = grid[k].subgridspec(1 + below[k], 2, height_ratios=[1.4, *[1.0] * below[k]])
        own = data[(data["pair"] == one.pair.name) & (data["entry"] == one.entry)]
        for t, task in enumerate(["", *one.pair.tasks]):
            axis = sheet.add_subplot(inner[0, :] if t == 0 else inner[(t + 1) // 2, (t + 1) % 2])
            _panel(axis, own[own["task"] == task], shown, style.marks_of(benchmark)[one.entry])
            style.tag(axis, "panel", one.pair.name, one.entry, task)
            axis.set_title("mean over tasks" if t == 0 else benchmark.task(task).title)
            if axis.texts:
                continue
            sheet.measures(axis, "x")
            if t == 0:
                axis.set_xlabel(f"{compared_block(benchmark, runs)} score, %")
                axis.set_ylabel(f"{style.plain(benchmark.title_of(one.entry))}\nnumber of maps")
    if shown_surveys:
        entries = list(dict.fromkeys(one.entry for one in shown_surveys))
        key: dict[str, Any] = {FIXED: Patch(color=style.EDGE)}
        for entry in entries if ANEW in shown else []:
            title = f"{benchmark.title_of(entry)}, {ANEW}" if len(entries) > 1 else ANEW
            key[title] = style.marks_of(benchmark)[entry]
        sheet.key(key | {name: _mark(name, style.MARKS["no_kd"]) for name in shown if name != ANEW})
    else:
        draw.missing(sheet.add_subplot(grid[0]), "no map is fixed")
    sheet.foot(captions.warnings(benchmark, runs))
    return sheet


def _mark(name: str, own: style.Mark) -> style.Mark:
    """The entry's own mark where it draws its map, a neutral one for each named map."""
    places = list(MARKED.values())
    return own if name == ANEW else style.Mark(style.NEUTRAL, style.VALUES[1 + places.index(name)])


def _panel(axis: Axes, own: pd.DataFrame, shown: list[str], mark: style.Mark) -> None:
    """The histogram of the fixed maps; the others below it, a line each, so that none hides another."""
    import seaborn as sns

    fixed = own[own["map"] == FIXED]
    if fixed.empty:
        draw.missing(axis)
        return
    bins = max(5, round(math.sqrt(len(fixed))))
    sns.histplot(fixed, x="mean", bins=bins, color=style.EDGE, edgecolor=style.PAPER, linewidth=0.5, alpha=1, ax=axis)
    top = axis.get_ylim()[1]
    step = 0.16 * top
    for k, name in enumerate(shown):
        some = own[own["map"] == name].assign(height=-step * (k + 0.8))
        marks = {name: _mark(name, mark)}
        sns.scatterplot(
            some, x="mean", y="height", hue="map", style="map", palette={name: marks[name].colour},
            markers={name: marks[name].marker}, s=20, linewidth=0, legend=False, ax=axis, zorder=3,
        )  # fmt: skip
        known = some.dropna(subset="low")
        axis.hlines(known["height"], known["low"], known["high"], color=marks[name].colour, linewidth=0.9)
        if name == ANEW:
            axis.vlines(some["mean"], some["height"], top, color=mark.colour, linewidth=1)
    axis.axhline(0, color=style.INK, linewidth=0.6)
    axis.set_ylim(-step * (len(shown) + 0.4), top)
    axis.set_yticks([tick for tick in MaxNLocator(4, integer=True).tick_values(0, top) if tick <= top])
    axis.set(xlabel="", ylabel="")
