"""Draws what each option of a varied method does, as the difference to vanilla KD, with intervals."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import draw, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import differences
from analysis.tables import captions, formats
from analysis.tables.cells import score_cells
from analysis.tables.html_tables import PageCell, PageTable, full, text_cell
from analysis.tables.numbers import signed
from analysis.tables.paper_tables import compared_block
from railkd.benchmark.variants import spell

Effect = tuple[float, float, float]  # points: mean, and the limits of its 95 % interval (NaN with one run)


@dataclass(frozen=True)
class Row:
    """One value of one option: the entries that have it, by the value of the block's second option."""

    option: str
    value: str
    dots: list[tuple[str, str]]  # (value of the second option or "", method)


def compared_with(benchmark: ReportedBenchmark, pair: Pair, entry: str) -> str:
    """What the entries are compared with: vanilla KD where the pair runs it, else the entry as published."""
    return next((m for m in pair.methods if benchmark.base(m) == "vanilla_kd"), entry)


def difference(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str, other: str
) -> differences.Difference | None:
    """Method − other, paired over seeds and tasks, mean over the pair's tasks; None where runs are missing."""
    return differences.between(benchmark, runs, pair.name, compared_block(benchmark, runs), pair.tasks, method, other)


def effect(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str, other: str) -> Effect:
    """The effect of a ``difference``."""
    return effect_of(difference(benchmark, runs, pair, method, other))


def effect_of(found: differences.Difference | None) -> Effect:
    """The mean of a difference and its limits; all NaN where runs are missing."""
    return (math.nan, math.nan, math.nan) if found is None else (found.value, *found.interval)


def errors(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Which errors the intervals of the figure hold."""
    found = [
        difference(benchmark, runs, pair, method, compared_with(benchmark, pair, entry))
        for pair in benchmark.drawn_from("ablation")
        for entry, variants in benchmark.families(pair).items()
        for method in variants
    ]
    held = [one.of_examples for one in found if one is not None and one.estimate is not None]
    if held and all(held):
        return "of seeds and examples together"
    return "of seeds alone" if not any(held) else "of seeds, and of examples where predictions are at hand"


def rows(benchmark: ReportedBenchmark, pair: Pair, entry: str) -> list[Row]:
    """The figure's rows for one entry: the block of two crossed options, then each other option alone.

    The entry itself stands in the row of each option's own value. Entries that change three options or more, or two
    that are no block, are left out.
    """
    variants = benchmark.families(pair)[entry]
    changed = {v: benchmark.variants[v].changed for v in variants}
    entries = {change_key(change): v for v, change in changed.items()} | {change_key({}): entry}
    own = benchmark.methods[entry]
    values: dict[str, list[Any]] = {}
    for change in sorted(changed.values(), key=len, reverse=True):  # the block's values before others
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
                method = entries.get(change_key({k: v for k, v in change.items() if v != own[k]}))
                if method:
                    dots.append((spell(second, other) if second else "", method))
            made.append(Row(option, spell(option, value), dots))
    return made


def change_key(change: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """A change of options as a key of a dict, whatever the values are."""
    return frozenset((key, repr(value)) for key, value in change.items())


def interval(difference: Effect) -> str:
    """``[−0.5, +3.0]``; empty where one run, or runs that all say the same, give none."""
    _, low, high = difference
    return "" if math.isnan(low) or low == high else f"[{signed(low)}, {signed(high)}]"


def established(difference: Effect) -> str:
    """What an effect's interval says of its sign."""
    _, low, high = difference
    if math.isnan(low):
        return "one run, so no interval"
    if low == high:
        return "the same in every run"
    return "interval above 0" if low > 0 else "interval below 0" if high < 0 else "interval holds 0"


def unlearned(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, methods: list[str]) -> str:
    """How many cells do not exceed the baseline, as a sentence: students that learned nothing show no difference."""
    block = compared_block(benchmark, runs)
    rows = [score_cells(benchmark, runs, pair, block, method, list(pair.tasks))[0][:-1] for method in methods]
    cells = [cell for row in rows for cell in row]
    count = sum(cell.clears_baseline is False for cell in cells)
    if not count:
        return ""
    return f"{count} of {len(cells)} cells do not exceed the majority-class baseline by two standard errors."


def about(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Caption of the figure, without what it finds."""
    pairs = benchmark.drawn_from("ablation")
    incomplete = []
    for pair in pairs:
        for entry, variants in benchmark.families(pair).items():
            other = compared_with(benchmark, pair, entry)
            missing = [m for m in (entry, *variants) if math.isnan(effect(benchmark, runs, pair, m, other)[0])]
            if missing:
                incomplete.append(f"{len(missing)} of {len(variants) + 1} entries of {benchmark.title_of(entry)}")
    n, tasks = len(benchmark.seeds), max((len(pair.tasks) for pair in pairs), default=0)
    over = (f"{n} runs" if n > 1 else "one run") + (" and tasks" if tasks > 1 else "")
    return " ".join(
        part
        for part in (
            f"Difference in {compared_block(benchmark, runs)} score to {_compared_titles(benchmark)}, in points, "
            f"{f'mean over {tasks} tasks, ' if tasks > 1 else ''}paired over {over}, {benchmark.title}, "
            f"{captions.backbones(pairs)}.",
            f"Bars: 95% intervals, {errors(benchmark, runs)}, each by itself; of many, some miss their true value."
            if n > 1
            else "",
            "Filled: the paper's choice, the same runs in each group.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            *(
                unlearned(benchmark, runs, pair, [m for f in benchmark.families(pair).items() for m in (f[0], *f[1])])
                for pair in pairs
            ),
            f"Missing: {'; '.join(incomplete)}." if incomplete else "",
        )
        if part
    )


def page_tables(benchmark: ReportedBenchmark, runs: Runs) -> list[PageTable]:
    """The figure's numbers: each entry against the reference, and against itself as it stands in the file."""
    sections: list[tuple[str, list[tuple[str, list[PageCell]]]]] = []
    block = compared_block(benchmark, runs)
    for pair in benchmark.drawn_from("ablation"):
        for entry in benchmark.families(pair):
            made = []
            for method in dict.fromkeys(m for row in rows(benchmark, pair, entry) for _, m in row.dots):
                average = score_cells(benchmark, runs, pair, block, method, list(pair.tasks))[0][-1]
                others = (compared_with(benchmark, pair, entry), entry)
                effects = [effect(benchmark, runs, pair, method, other) for other in others]
                views = [PageCell(*formats.cell_parts(average)[:2], sort=full(average.value))]
                for difference in effects[: 1 if method == entry else 2]:
                    missing = math.isnan(difference[0])
                    text = "–" if missing else signed(difference[0])
                    views.append(PageCell(text, interval(difference), sort=full(difference[0])))
                    views.append(text_cell("–" if missing else established(difference)))
                changed = benchmark.variants[method].changed if method in benchmark.variants else {}
                name = ", ".join(f"{key} {spell(key, value).removeprefix(f'{key}-')}" for key, value in changed.items())
                made.append((name or "as it is", [*views, PageCell(""), PageCell("")][:5]))
            where = f", {pair.title}" if len(benchmark.drawn_from("ablation")) > 1 else ""
            sections.append((benchmark.title_of(entry) + where, made))
    if not sections:
        return []
    caption = (
        f"{block.upper()} score, mean over the tasks in percent, and differences in points with their 95 % intervals, "
    )
    caption += (
        f"paired over runs and tasks, {errors(benchmark, runs)}; each by itself: of many, some miss their true value. "
        "What is decided stands under 'The differences'."
    )
    columns = ["Score", f"Over {_compared_titles(benchmark)}", "In words", "Over the entry as it is", "In words"]
    return [PageTable("ablation-table", "Ablation: the numbers", caption, columns, sections, "Varied")]


def _compared_titles(benchmark: ReportedBenchmark) -> str:
    titles = [
        benchmark.title_of(compared_with(benchmark, pair, entry))
        for pair in benchmark.drawn_from("ablation")
        for entry in benchmark.families(pair)
    ]
    return " and ".join(dict.fromkeys(titles)) or "vanilla KD"


def frame(benchmark: ReportedBenchmark, runs: Runs) -> pd.DataFrame:
    """What the figure shows: a row for each dot, its difference to the reference in points with the interval."""
    shown = []
    for pair in benchmark.drawn_from("ablation"):
        for entry in benchmark.families(pair):
            other = compared_with(benchmark, pair, entry)
            for row in rows(benchmark, pair, entry):
                for second, method in row.dots:
                    shown.append(
                        (pair.name, entry, row.option, row.value, second, method, other,
                         *effect(benchmark, runs, pair, method, other))
                    )  # fmt: skip
    columns = ["pair", "entry", "option", "value", "second", "method", "reference", "mean", "low", "high"]
    return pd.DataFrame(shown, columns=columns)


def figure(benchmark: ReportedBenchmark, runs: Runs) -> Sheet:
    """One panel for each entry that varies: a row for each value, a dot and its interval for each entry.

    Panels with the same rows stand side by side and name them once, others below one another.
    """
    data = frame(benchmark, runs)
    data["row"] = data["option"] + "\n" + data["value"]
    panels = [own for _, own in data.groupby(["pair", "entry"], sort=False)]
    lines = [_lines(own) for own in panels] or [["none"]]
    columns = 2 if len(panels) > 1 and all(own == lines[0] for own in lines) else 1
    heights = [max(map(len, lines[i : i + columns])) for i in range(0, len(lines), columns)]
    sheet = Sheet(
        style.COLUMN, 0.9 + sum(0.4 + max(0.14, 0.045 * data["second"].nunique()) * height for height in heights)
    )
    axes = sheet.subplots(
        len(heights), columns, squeeze=False, sharex=True, sharey="row" if columns > 1 else False, height_ratios=heights
    ).ravel()  # fmt: skip
    for axis, own, order in zip(axes, panels, lines, strict=False):
        _panel(axis, own, order, benchmark)
    for axis in axes[: len(panels)]:
        sheet.measures(axis, "x")  # the panels share it, so after all are drawn
    for axis in axes[len(panels) :]:
        draw.missing(axis, "" if panels else "no method varies")
        axis.set_axis_off()
    shapes = style.values([second for second in dict.fromkeys(data["second"]) if second], style.NEUTRAL)
    handles = {second: style.handle(mark, hollow=True) for second, mark in shapes.items()}
    sheet.key(handles | ({"the paper's choice": style.handle(style.Mark(style.NEUTRAL, "o"))} if panels else {}))
    sheet.foot(captions.warnings(benchmark, runs))
    return sheet


def _lines(own: pd.DataFrame) -> list[str]:
    """The lines of a panel: each option's name, and below it its values."""
    return list(dict.fromkeys(line for pair in zip(own["option"], own["row"], strict=True) for line in pair))


def _panel(axis: Axes, own: pd.DataFrame, lines: list[str], benchmark: ReportedBenchmark) -> None:
    entry, other = own.iloc[0][["entry", "reference"]]
    colour = style.marks_of(benchmark)[entry].colour
    style.tag(axis, "panel", own.iloc[0]["pair"], entry)
    axis.axvline(0, color=style.NEUTRAL, linewidth=0.8)
    for crossed in (True, False):
        marks = style.values([v for v in dict.fromkeys(own["second"]) if bool(v) == crossed], colour)
        for chosen in (False, True):
            some = own[((own["second"] != "") == crossed) & ((own["method"] == entry) == chosen)]
            how = draw.Dots("row", "second", lines, across=True, hollow=not chosen)
            draw.dots(axis, some, marks, how)
    for edge in range(1, len(lines)):
        axis.axhline(edge - 0.5, color=style.GRID, linewidth=0.5, zorder=0)
    axis.set_yticks(range(len(lines)), [style.plain(_label(line)) for line in lines])
    for line, label in zip(lines, axis.get_yticklabels(), strict=False):  # none where the panel to the left has them
        label.set_fontweight("normal" if "\n" in line else "bold")
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_title(style.plain(benchmark.title_of(entry)))
    axis.set_xlabel("points above\n" + style.plain(benchmark.title_of(other)))


def _label(line: str) -> str:
    """``pool_padding`` for an option's name, ``false`` for its value ``pool_padding-false``."""
    option, _, value = line.partition("\n")
    return value.removeprefix(f"{option}-") if value else option
