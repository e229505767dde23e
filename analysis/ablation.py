"""The ablation figure: what each option of a varied method does, as the difference to vanilla KD, with intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis import captions, layout, stats
from analysis.benchmark import Benchmark, Pair
from analysis.cells import score_cells
from analysis.figures import COLOURS, MARKERS, _footer, _plain
from analysis.grid import Grid, View, data_uri, full, text_view
from analysis.load import Runs
from railkd.variants import spell

Effect = tuple[float, float, float]  # points: mean, and the limits of its 95 % interval (NaN with one run)


@dataclass(frozen=True)
class Row:
    """One value of one option: the entries that have it, by the value of the block's second option."""

    option: str
    value: str
    dots: list[tuple[str, str]]  # (value of the second option or "", method)


def block(benchmark: Benchmark) -> str:
    """Which scores are compared: test where there is one, because dev chose each run's epoch."""
    return "dev" if benchmark.test == "none" else "test"


def reference(benchmark: Benchmark, pair: Pair, entry: str) -> str:
    """What the entries are compared with: vanilla KD where the pair runs it, else the entry as published."""
    return next((m for m in pair.methods if benchmark.base(m) == "vanilla_kd"), entry)


def effect(benchmark: Benchmark, runs: Runs, pair: Pair, method: str, other: str) -> Effect:
    """Method − other, paired over seeds and tasks, mean over the pair's tasks, in points."""
    columns = list(pair.tasks)
    a, b = (stats.matrix(runs.row(pair.name, m, block(benchmark)), columns) for m in (method, other))
    difference = 100 * (a - b)  # pairs by seed; NaN where one of the two is missing
    return stats.stratified_interval(difference.to_numpy(dtype=float))


def rows(benchmark: Benchmark, pair: Pair, entry: str) -> list[Row]:
    """The figure's rows for one entry: the block of two crossed options, then each other option alone.

    The entry itself stands in the row of each option's own value. Entries that change three options or more, or two
    that are no block, are left out.
    """
    variants = benchmark.families(pair)[entry]
    changed = {v: benchmark.variants[v].changed for v in variants}
    found = {_key(change): v for v, change in changed.items()} | {_key({}): entry}
    own = benchmark.methods[entry]
    values: dict[str, list[Any]] = {}
    for change in changed.values():
        for option, value in change.items():
            seen = values.setdefault(option, [own[option]])
            if value not in seen:
                seen.append(value)
    crossed = next((list(change)[:2] for change in changed.values() if len(change) > 1), [])
    made = []
    for option in [*crossed[:1], *(o for o in values if o not in crossed)]:
        second = crossed[1] if option in crossed else ""
        for value in values[option]:
            dots = []
            for other in values.get(second, [None]):
                change = {option: value, **({second: other} if second else {})}
                method = found.get(_key({k: v for k, v in change.items() if v != own[k]}))
                if method:
                    dots.append((spell(second, other) if second else "", method))
            made.append(Row(option, spell(option, value), dots))
    return made


def _key(change: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((key, repr(value)) for key, value in change.items())


def contrasts(benchmark: Benchmark, runs: Runs, pair: Pair, entry: str) -> list[tuple[str, Effect]]:
    """The entry, which draws its layer map at random, minus the same loss with other maps: (map, effect)."""
    if not str(benchmark.methods[entry].get("mapping", "")).startswith("random"):
        return []
    alone = {benchmark.variants[v].changed.get("mapping"): v for v in benchmark.families(pair)[entry]
             if list(benchmark.variants[v].changed) == ["mapping"]
             and isinstance(benchmark.variants[v].changed["mapping"], str)}  # fmt: skip
    names = {"skip": "evenly spaced and fixed", "last": "the last layers, fixed", "random_once": "drawn once a run"}
    return [(says, effect(benchmark, runs, pair, entry, alone[m])) for m, says in names.items() if m in alone]


def verdict(found: Effect) -> str:
    """An effect in words: estimate, interval, and what it establishes."""
    if math.isnan(found[0]):
        return "missing"
    return f"{_signed(found[0])} points{' ' * (interval(found) != '')}{interval(found)}, {established(found)}"


def interval(found: Effect) -> str:
    """``[−0.5, +3.0]``; empty where one run, or runs that all say the same, give none."""
    return "" if math.isnan(found[1]) or found[1] == found[2] else f"[{_signed(found[1])}, {_signed(found[2])}]"


def established(found: Effect) -> str:
    """What an effect's interval says of its sign."""
    _, low, high = found
    if math.isnan(low):
        return "one run, so no interval"
    if low == high:
        return "the same in every run"
    return "higher" if low > 0 else "lower" if high < 0 else "no difference established"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no "−0.0"


def unlearned(benchmark: Benchmark, runs: Runs, pair: Pair, methods: list[str]) -> str:
    """How many cells do not clear the constant answer, in words: there, no option can make a difference."""
    cells = [
        cell
        for method in methods
        for cell in score_cells(benchmark, runs, pair, block(benchmark), method, list(pair.tasks))[0][:-1]
    ]
    count = sum(cell.clears_baseline is False for cell in cells)
    if not count:
        return ""
    return f"{count} of {len(cells)} cells do not exceed the constant answer by two standard errors."


def findings(benchmark: Benchmark, runs: Runs) -> list[str]:
    """What the figure says of random mapping, a sentence for each entry that draws its map."""
    found = []
    for pair in benchmark.drawn_from("ablation"):
        for entry in benchmark.families(pair):
            said = [f"{what}: {verdict(e)}" for what, e in contrasts(benchmark, runs, pair, entry)]
            if said:
                found.append(f"{benchmark.title_of(entry)}, a map drawn anew minus one {'; '.join(said)}.")
    return [f"Does random mapping help here? {text}" if k == 0 else text for k, text in enumerate(found)]


def about(benchmark: Benchmark, runs: Runs) -> str:
    """Caption of the figure, without what it finds."""
    pairs = benchmark.drawn_from("ablation")
    gone = []
    for pair in pairs:
        for entry, variants in benchmark.families(pair).items():
            other = reference(benchmark, pair, entry)
            missing = [m for m in (entry, *variants) if math.isnan(effect(benchmark, runs, pair, m, other)[0])]
            if missing:
                gone.append(f"{len(missing)} of {len(variants) + 1} entries of {benchmark.title_of(entry)}")
    n, tasks = len(benchmark.seeds), max((len(pair.tasks) for pair in pairs), default=0)
    over = (f"{n} runs" if n > 1 else "one run") + (" and tasks" if tasks > 1 else "")
    return " ".join(
        part
        for part in (
            f"Difference in {block(benchmark)} score to {_reference_titles(benchmark)}, in points, "
            f"{f'mean over {tasks} tasks, ' if tasks > 1 else ''}paired over {over}, {benchmark.title}, "
            f"{captions.backbones(pairs)}.",
            "Bars: 95% intervals of the mean over runs on these tasks, each by itself; of many, some miss their true "
            "value. Ringed: the paper's choice, the same runs in each group."
            if n > 1
            else "",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            *(
                unlearned(benchmark, runs, pair, [m for f in benchmark.families(pair).items() for m in (f[0], *f[1])])
                for pair in pairs
            ),
            f"Missing: {'; '.join(gone)}." if gone else "",
        )
        if part
    )


def grids(benchmark: Benchmark, runs: Runs) -> list[Grid]:
    """The figure's numbers: each entry against the reference, and against itself as it stands in the file."""
    sections, lines = [], ["pair,method,score,over_reference,low,high,over_entry,low,high"]
    for pair in benchmark.drawn_from("ablation"):
        for entry in benchmark.families(pair):
            made = []
            for method in dict.fromkeys(m for row in rows(benchmark, pair, entry) for _, m in row.dots):
                average = score_cells(benchmark, runs, pair, block(benchmark), method, list(pair.tasks))[0][-1]
                effects = [effect(benchmark, runs, pair, method, o) for o in (reference(benchmark, pair, entry), entry)]
                views = [View(*layout.cell_parts(average)[:2], sort=full(average.value))]
                for found in effects[: 1 if method == entry else 2]:
                    missing = math.isnan(found[0])
                    views.append(View("–" if missing else _signed(found[0]), interval(found), sort=full(found[0])))
                    views.append(text_view("–" if missing else established(found)))
                changed = benchmark.variants[method].changed if method in benchmark.variants else {}
                name = ", ".join(f"{key} {spell(key, value)}" for key, value in changed.items())
                made.append((name or "as it is", [*views, View(""), View("")][:5]))
                numbers = [average.value, *effects[0], *effects[1]]
                lines.append(",".join([pair.name, f'"{method}"', *map(full, numbers)]))
            where = f", {pair.title}" if len(benchmark.drawn_from("ablation")) > 1 else ""
            sections.append((benchmark.title_of(entry) + where, made))
    if not sections:
        return []
    say = (
        f"{block(benchmark).upper()} score, mean over the tasks in percent, and differences in points with their 95 % "
    )
    say += "intervals, paired over runs and tasks; each by itself: of many, some miss their true value."
    columns = ["Score", f"Over {_reference_titles(benchmark)}", "In words", "Over the entry as it is", "In words"]
    data = data_uri("\n".join(lines) + "\n")
    return [
        Grid("ablation-table", "Ablation: the numbers", say, columns, sections, "Varied", csv=data, file="ablation.csv")
    ]


def _reference_titles(benchmark: Benchmark) -> str:
    found = [
        benchmark.title_of(reference(benchmark, pair, entry))
        for pair in benchmark.drawn_from("ablation")
        for entry in benchmark.families(pair)
    ]
    return " and ".join(dict.fromkeys(found)) or "vanilla KD"


def figure(benchmark: Benchmark, runs: Runs) -> Figure:
    """One panel for each entry that varies: a row for each value, a dot and its interval for each entry."""
    panels = [(pair, entry) for pair in benchmark.drawn_from("ablation") for entry in benchmark.families(pair)]
    tallest = max((len(rows(benchmark, *panel)) for panel in panels), default=1)
    made = Figure(figsize=(max(6.3, 0.9 + 3.6 * len(panels)), 1.9 + 0.48 * tallest), layout="constrained")
    axes = made.subplots(1, max(len(panels), 1), squeeze=False, sharex=True)[0]
    handles: dict[str, Any] = {}
    if not panels:
        axes[0].text(0.5, 0.5, "no method varies", ha="center", va="center", transform=axes[0].transAxes, color="0.4")
    for axis, (pair, entry) in zip(axes, panels, strict=False):
        drawn = rows(benchmark, pair, entry)
        colours = list(dict.fromkeys(second for row in drawn for second, _ in row.dots if second)) or [""]
        labels, place, group = {}, 0.0, ""
        for row in drawn:
            if row.option != group:  # a gap between groups, whose first row names the option
                place += 0.7 if group else 0.0
            labels[place] = row.value if row.option == group else f"{row.option}: {row.value}"
            group = row.option
            for k, (second, method) in enumerate(row.dots):
                mean, low, high = effect(benchmark, runs, pair, method, reference(benchmark, pair, entry))
                y = place + (k - (len(row.dots) - 1) / 2) * 0.18
                c = colours.index(second) if second else 0
                if math.isnan(mean):
                    continue
                limits = None if math.isnan(low) else np.array([[mean - low], [high - mean]])
                bars = axis.errorbar(
                    [mean], [y], xerr=limits, fmt=MARKERS[c], color=COLOURS[c], markersize=4.5, linewidth=1, capsize=0
                )
                handles.setdefault(second, bars)
                if method == entry:
                    axis.plot([mean], [y], "o", markersize=9.5, markerfacecolor="none", markeredgecolor="black")
            place += 1
        axis.axvline(0, color="0.4", linewidth=0.8)
        axis.set_yticks(list(labels), [_plain(label) for label in labels.values()])
        axis.set_ylim(place - 0.4, -0.6)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_title(_plain(benchmark.title_of(entry)) + (f"\n{_plain(pair.title)}" if len(panels) > 2 else ""))
        axis.set_xlabel(f"points above {_plain(benchmark.title_of(reference(benchmark, pair, entry)))}")
    shown = {second: bars for second, bars in handles.items() if second}
    if shown:
        made.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=len(shown), frameon=False)
    _footer(made, " ".join([about(benchmark, runs), *findings(benchmark, runs)]))
    return made
