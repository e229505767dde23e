"""The census figure: the scores of all fixed layer maps, and where a map drawn at random falls among them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from analysis import captions, stats
from analysis.ablation import _signed, block, interval, unlearned
from analysis.benchmark import Benchmark, Pair
from analysis.figures import COLOURS, _footer, _plain
from analysis.grid import Grid, View, full, number_view
from analysis.load import Runs
from railkd.tasks import TASKS

MARKED = {"random_once": "drawn once a run", "skip": "evenly spaced", "last": "last layers"}
STYLES = {"random_once": (COLOURS[3], "^"), "skip": (COLOURS[0], "s"), "last": (COLOURS[1], "D")}


@dataclass(frozen=True)
class Census:
    """One entry's maps, in percent. A score is a mean over the pair's tasks."""

    pair: Pair
    entry: str
    maps_MRT: np.ndarray  # (maps × runs × tasks): the fixed maps that have every run
    own_RT: np.ndarray  # (runs × tasks): the entry itself, which draws its map
    marked: dict[str, np.ndarray]  # named mapping -> (runs × tasks)
    planned: int  # fixed maps asked for

    @cached_property
    def scores_M(self) -> np.ndarray:
        return self.maps_MRT.mean(axis=(1, 2))

    @cached_property
    def variance(self) -> stats.Variance | None:
        """Of the maps' scores, (maps × runs)."""
        return stats.variance_shares(self.maps_MRT.mean(axis=2)) if len(self.maps_MRT) else None

    @property
    def own(self) -> float:
        return float(self.own_RT.mean())

    def rank(self, score: float) -> float:
        """Percent of the maps that score lower; a tie counts half."""
        return 100 * float(((self.scores_M < score) + 0.5 * (self.scores_M == score)).mean())

    @property
    def difference(self) -> tuple[float, float, float]:
        """The entry minus the mean map, and its 95 % interval; a run's noise is taken to be the fixed maps' own."""
        mean = self.own - float(self.scores_M.mean())
        if self.variance is None:
            return mean, math.nan, math.nan
        maps, runs, _ = self.maps_MRT.shape
        error = self.variance.noise_sd * math.sqrt((1 + 1 / maps) / runs)
        half = float(stdtrit(self.variance.freedom, 0.975)) * error
        return mean, mean - half, mean + half


def census(benchmark: Benchmark, runs: Runs) -> Iterator[Census]:
    """Each entry of each pair of the figure that has fixed maps among its variants."""
    for pair in benchmark.drawn_from("census"):

        def scores(method: str, pair: Pair = pair) -> np.ndarray:
            rows = runs.row(pair.name, method, block(benchmark))
            table = stats.matrix(rows, list(pair.tasks)).reindex(sorted(benchmark.seeds))
            return 100 * table.to_numpy(dtype=float)

        for entry, variants in benchmark.families(pair).items():
            mapping = {v: benchmark.variants[v].changed["mapping"] for v in variants
                       if list(benchmark.variants[v].changed) == ["mapping"]}  # fmt: skip
            fixed = [v for v, value in mapping.items() if isinstance(value, list)]
            found = [values for values in map(scores, fixed) if not np.isnan(values).any()]
            named = {value: scores(v) for v, value in mapping.items() if isinstance(value, str) and value in MARKED}
            marked = {name: values for name, values in named.items() if not np.isnan(values).any()}
            if fixed:
                shape = (len(found), len(benchmark.seeds), len(pair.tasks))
                maps_MRT = np.array(found).reshape(shape)
                yield Census(pair, entry, maps_MRT, scores(entry), marked, len(fixed))


def says(benchmark: Benchmark, found: Census) -> str:
    """What the census says of random mapping, in words and numbers."""
    title = benchmark.title_of(found.entry)
    maps = len(found.maps_MRT)
    if maps < 2 or np.isnan(found.own_RT).any():
        return f"{title}: missing ({maps} of {found.planned} maps have every run)."
    if np.ptp(found.maps_MRT.mean(axis=2), axis=0).max() < 1e-9:
        level = float(found.scores_M.mean())
        return f"{title}: all {maps} fixed maps score {level:.1f}% alike, a map drawn anew {found.own:.1f}%."
    mean, low, high = found.difference
    text = f"{title}, a map drawn anew in each epoch: {found.own:.1f}%, {_signed(mean)} points from the mean map"
    if math.isnan(low):
        text += ", one run, so no interval"
    else:
        said = "better than a fixed map is on average" if low > 0 else "worse than a fixed map is on average"
        text += f" [{_signed(low)}, {_signed(high)}], {said if low > 0 or high < 0 else 'no difference established'}"
    text += f"; {found.rank(found.own):.0f}% of the {maps} fixed maps score lower"
    others = [f"{MARKED[name]} {found.rank(float(values.mean())):.0f}%" for name, values in found.marked.items()]
    text += f" ({', '.join(others)})" if others else ""
    text += f". The maps' scores spread with a standard deviation of {found.scores_M.std(ddof=1):.2f} points"
    if found.variance is not None:
        runs = found.maps_MRT.shape[1]
        v = found.variance
        text += f"; the noise of a mean of {runs} runs alone gives {v.noise_sd / math.sqrt(runs):.2f}, and the map "
        text += f"explains {100 * v.share:.0f}% [{100 * v.low:.0f}, {100 * v.high:.0f}] of a run's variance"
        text += ", which may be nothing" if v.low <= 0 else ""
    return text + (f". {found.planned - maps} maps lack a run." if maps < found.planned else ".")


def findings(benchmark: Benchmark, runs: Runs) -> list[str]:
    """What the figure says of random mapping, a sentence for each entry with fixed maps."""
    return [says(benchmark, found) for found in census(benchmark, runs)]


def about(benchmark: Benchmark, runs: Runs) -> str:
    """Caption of the figure, without what it finds."""
    pairs = benchmark.drawn_from("census")
    tasks = ", ".join(TASKS[t].title for t in dict.fromkeys(t for pair in pairs for t in pair.tasks))
    n = len(benchmark.seeds)
    over = f"mean of {n} runs" if n > 1 else "one run"
    return " ".join(
        part
        for part in (
            f"Sorted maps of student to teacher layers, each fixed for whole runs, by their {block(benchmark)} score "
            f"({over}), {benchmark.title}, {captions.backbones(pairs)}; left: mean over {tasks}.",
            "Band: 95% interval of the random map's score, with the run-to-run noise of the fixed maps."
            if n > 1
            else "",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            *(unlearned(benchmark, runs, pair, list(pair.methods)) for pair in pairs),
        )
        if part
    )


def grids(benchmark: Benchmark, runs: Runs) -> list[Grid]:
    """Where the map drawn anew and the named ones stand among the fixed maps."""
    sections = []
    for one in census(benchmark, runs):
        if len(one.maps_MRT) < 2:
            continue
        centre = float(one.scores_M.mean())
        named = {"drawn anew in each epoch": float(one.own_RT.mean())}
        named |= {MARKED[name]: float(values.mean()) for name, values in one.marked.items()}
        fixed = {"best fixed map": one.scores_M.max(), "mean of the fixed maps": centre, "worst": one.scores_M.min()}
        made = []
        for k, (name, score) in enumerate([*named.items(), *((n, float(v)) for n, v in fixed.items())]):
            gap = score - centre
            said = interval(one.difference) if k == 0 else ""
            apart = View("–" if math.isnan(gap) else _signed(gap), said, sort=full(gap))
            lower = number_view(one.rank(score) if k < len(named) and not math.isnan(score) else None, 0)
            made.append((name, [number_view(score, 1), apart, lower]))
        sections.append((f"{benchmark.title_of(one.entry)}, {len(one.maps_MRT)} fixed maps", made))
    if not sections:
        return []
    say = f"{block(benchmark).upper()} score, mean over tasks and runs, in percent; the 95 % interval takes a run's "
    say += "noise to be that of the fixed maps. The best and the worst of many maps are so partly by chance."
    columns = ["Score", "Points from the mean map", "Fixed maps that score lower, %"]
    return [Grid("census-table", "Census: the numbers", say, columns, sections, "Layer map")]


def figure(benchmark: Benchmark, runs: Runs) -> Figure:
    """For each entry with fixed maps: their scores' histogram, on average (left) and by task."""
    found = list(census(benchmark, runs))
    tasks = max((len(c.pair.tasks) for c in found), default=1)
    columns = 2 + math.ceil(tasks / 2)
    made = Figure(figsize=(2.1 * columns, 1.4 + 3.3 * max(len(found), 1)), layout="constrained")
    grid = made.add_gridspec(2 * max(len(found), 1), columns)
    handles: dict[str, Any] = {}
    for k, one in enumerate(found):
        panels: list[tuple[Any, int | None]] = [(made.add_subplot(grid[2 * k : 2 * k + 2, :2]), None)]
        panels += [(made.add_subplot(grid[2 * k + t % 2, 2 + t // 2]), t) for t in range(len(one.pair.tasks))]
        for axis, t in panels:
            chosen = slice(None) if t is None else slice(t, t + 1)
            values = one.maps_MRT[:, :, chosen].mean(axis=(1, 2))
            axis.set_title("mean over tasks" if t is None else TASKS[one.pair.tasks[t]].title)
            if not len(values):
                axis.text(0.5, 0.5, "missing", ha="center", va="center", transform=axis.transAxes, color="0.4")
                continue
            bars = axis.hist(values, bins=max(5, round(math.sqrt(len(values)))), color="0.8", edgecolor="white")[2]
            handles.setdefault("fixed maps", bars[0])
            if not np.isnan(one.own_RT).any():
                line = axis.axvline(float(one.own_RT[:, chosen].mean()), color=COLOURS[2], linewidth=2)
                handles.setdefault("drawn anew in each epoch", line)
                _, low, high = one.difference
                if t is None and not math.isnan(low):
                    centre = float(one.scores_M.mean())
                    axis.axvspan(centre + low, centre + high, color=COLOURS[2], alpha=0.15, linewidth=0)
            top = axis.get_ylim()[1]
            for j, (name, scored) in enumerate(one.marked.items()):
                colour, marker = STYLES[name]
                score = float(scored[:, chosen].mean())
                height = top * (1.0 - 0.06 * j)
                mark = axis.plot([score], [height], marker, color=colour, markersize=6, clip_on=False)[0]
                axis.vlines(score, 0, height, color=colour, linewidth=0.8, linestyle=":")
                handles.setdefault(MARKED[name], mark)
            axis.set_ylim(0, top * 1.05)
            axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            if t is None:
                axis.set_xlabel(f"{block(benchmark)} score, %")
                axis.set_ylabel(f"{_plain(benchmark.title_of(one.entry))}: number of maps")
    if handles:
        made.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper center",
            ncols=5 if columns > 3 else 3,
            frameon=False,
        )
    _footer(made, " ".join([about(benchmark, runs), *findings(benchmark, runs)]))
    return made
