"""Draws score against training steps, and says from which training budget on the order of methods stays."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import draw, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.statistics import summaries
from analysis.statistics.training_budgets import Agreement, Budgets, Decided, Sides, all_budgets
from analysis.tables import captions
from analysis.tables.html_tables import PageCell, PageTable, full, number_cell
from analysis.tables.numbers import number, signed
from analysis.tables.paper_tables import compared_block
from analysis.validity.decisions import decide, over_tasks, why_not
from analysis.validity.evidence import Evidence
from analysis.validity.judgement import counted

TEACHER = "teacher"
LANE = 1.05  # factor of steps between two methods, so that no interval hides another


def _budgets(benchmark: ReportedBenchmark, runs: Runs) -> list[Budgets]:
    """The budgets, with what is decided at each: by the same rule as everywhere, over the tasks that count at the
    largest; at the smaller ones without asking whether training had ended, which it has not on purpose."""
    evidence, block = Evidence(benchmark, runs, runs.root), compared_block(benchmark, runs)

    def decided(pairs: tuple[Pair, ...], pair: Pair, sides: Sequence[Sides]) -> Decided:
        tasks = counted(evidence, "score", [over_tasks(pairs[-1], block, pairs[-1].methods)])
        asked = [over_tasks(pair, block, two, tasks) for two in sides]
        decisions = decide(evidence, asked, early=benchmark.stopped_early(pair))
        return Decided({two: one.sign for two, one in zip(sides, decisions, strict=True)}, why_not(decisions))

    return list(all_budgets(benchmark, runs, block, decided))


def frame(benchmark: ReportedBenchmark, runs: Runs) -> pd.DataFrame:
    """What the figure shows: a row for each budget and method, on average over the tasks ("") and on each.

    ``steps`` of a run, mean over runs and tasks; score in percent, mean over runs, with its 95 % interval; the teacher
    stands beside each budget.
    """
    rows = []
    for one in _budgets(benchmark, runs):
        for k, task in enumerate(["", *one.tasks]):
            chosen = slice(None) if k == 0 else slice(k - 1, k)
            for b, pair in enumerate(one.pairs):
                for m, method in enumerate(one.methods):
                    interval = summaries.stratified_interval(one.scores_BMRT[b, m][:, chosen])
                    rows.append((pair.name, method, task, float(one.steps_BMT[b, m, chosen].mean()), *interval))
                teacher = float(one.teacher_T[chosen].mean())
                rows.append((pair.name, TEACHER, task, math.nan, teacher, math.nan, math.nan))
    return pd.DataFrame(rows, columns=["pair", "method", "task", "steps", "mean", "low", "high"])


def findings(benchmark: ReportedBenchmark, runs: Runs) -> list[str]:
    """What the figure shows of the order of methods, in sentences."""
    found = []
    for one in _budgets(benchmark, runs):
        settling = f"At which budget does the order of methods settle? {_settling(benchmark, one)}"
        found += [_apart(benchmark, one), settling, _correlation(one)]
    return [sentence for sentence in found if sentence]


def _apart(benchmark: ReportedBenchmark, one: Budgets) -> str:
    """How far the methods lie apart at each budget, and which is highest."""
    parts = []
    for b, complete in enumerate(one.complete_BM):
        means = {m: float(one.scores_BMRT[b, k].mean()) for k, m in enumerate(one.methods) if complete[k]}
        if len(means) > 1:
            best = max(means, key=lambda m: means[m])
            apart = number(max(means.values()) - min(means.values()), 1)
            parts.append(f"{apart} at {one.name(b)} (highest: {benchmark.title_of(best)}, {number(means[best], 1)} %)")
    return f"Points between the highest and the lowest method: {'; '.join(parts)}." if parts else ""


def _settling(benchmark: ReportedBenchmark, one: Budgets) -> str:
    """From which budget on the order of methods stays, as far as the runs decide it."""
    *shorter, last = one.agreements
    largest = one.name(len(shorter))
    lacking = [one.name(b) for b, agreement in enumerate(one.agreements) if agreement.methods < 2]
    if lacking:
        return f"That cannot be said yet: fewer than two methods have every run at {' and '.join(lacking)}."
    correction = f"after Holm's correction over {last.pairs} pairs of methods"
    if len(benchmark.seeds) < 2:
        return "That cannot be decided: one run a cell shows no error."
    if one.settled is None and one.decided_B[-1].open:
        return f"That is not decided, because of what the runs at {largest} fail above: {one.decided_B[-1].open}."
    if one.settled is None:
        return f"That cannot be decided: at {largest} no two methods differ by more than their error {correction}."
    text = f"At {largest}, the largest budget, {last.decided} of {last.pairs} differences are decided {correction}. "
    if one.settled == len(shorter):
        text += "At no smaller budget has the order settled"
    elif not shorter[one.settled].same:
        text += f"None of these is decided at {one.name(one.settled)}, so that it cannot be decided whether the order "
        text += "has settled there"
    else:
        text += f"From {one.name(one.settled)} on, none of these is decided the other way"
    return f"{text}. {' '.join(_counted(benchmark, one, b) for b in range(len(shorter)))}"


def _counted(benchmark: ReportedBenchmark, one: Budgets, b: int) -> str:
    """What becomes of the differences decided at the largest budget, at a smaller one."""
    agreement = one.agreements[b]
    turned = [f"{benchmark.title_of(i)} above {benchmark.title_of(j)}" for i, j in agreement.reversed_pairs]
    listed = f" ({', '.join(turned)})" if turned else ""
    return (
        f"At {one.name(b)} {agreement.same} of {agreement.decided} are decided the same way, {len(turned)} the other "
        f"way{listed} and {agreement.undecided} not at all."
    )


def _correlation(one: Budgets) -> str:
    """Kendall's τ-b of each smaller budget with the largest."""
    parts = [
        f"{signed(a.tau, 2)} at {one.name(b)}"
        + _unchanged(a, " (an order that does not change: {} to {} in 95 % of draws)")
        for b, a in enumerate(one.agreements[:-1])
        if not math.isnan(a.tau)
    ]
    if not parts:
        return ""
    return (
        f"Kendall's τ-b with the order at {one.name(len(one.pairs) - 1)} (1: the same order; noise lowers it): "
        f"{', '.join(parts)}."
    )


def _unchanged(agreement: Agreement, words: str) -> str:
    """What an unchanged order gives, in words with a place for each limit; "" where it is not known."""
    limits = signed(agreement.low, 2), signed(agreement.high, 2)
    return "" if math.isnan(agreement.low) else words.format(*limits)


def about(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Caption of the figure, without what it finds."""
    ladders, n, block = _budgets(benchmark, runs), len(benchmark.seeds), compared_block(benchmark, runs)
    tasks = ", ".join(benchmark.task(t).title for t in dict.fromkeys(t for one in ladders for t in one.tasks))
    models = "; ".join(f"{one.models} (student: {one.pairs[-1].initialisation})" for one in ladders)
    budgets = "; ".join(", ".join(one.settings) for one in ladders)
    missing = [
        f"{benchmark.title_of(method)} at {one.settings[b]}"
        for one in ladders
        for b, complete in enumerate(one.complete_BM)
        for method, known in zip(one.methods, complete, strict=True)
        if not known
    ]
    sentences = (
        f"{block.capitalize()} score of students trained at several budgets ({budgets}), "
        f"{benchmark.title}, {models}; first panel: mean over {tasks}, steps likewise.",
        f"Bars: 95 % intervals of the mean over {n} runs on these tasks." if n > 1 else "One run a cell.",
        "Each method's settings are searched on dev at each budget anew." if benchmark.file.search else "",
        captions.synthetic(benchmark, runs),
        captions.outdated(runs),
        f"Not every run is present: {'; '.join(missing)}." if missing else "",
    )
    return " ".join(sentence for sentence in sentences if sentence)


def page_tables(benchmark: ReportedBenchmark, runs: Runs) -> list[PageTable]:
    """The scores at each budget, and how far each orders the methods as the largest does."""
    ladders, block = _budgets(benchmark, runs), compared_block(benchmark, runs).upper()
    tables = []
    for k, one in enumerate(ladders):
        title = f", {one.models}" if len(ladders) > 1 else ""
        columns = [f"{one.name(b)} ({settings})" for b, settings in enumerate(one.settings)]
        scores = [(benchmark.title_of(method), _score_cells(one, m)) for m, method in enumerate(one.methods)]
        tables += [
            PageTable(
                f"budget-scores{k}",
                f"Scores at each training budget{title}",
                f"{block} score, mean over the tasks in percent, with its 95 % interval.",
                columns,
                [("", scores)],
                "Method",
            ),
            PageTable(
                f"budget-order{k}",
                f"The order of methods at each budget against that at the largest{title}",
                "Kendall's τ-b of the mean scores; in brackets what an order that does not change gives in 95 % of "
                "draws with the noise of these seeds. Then the differences "
                "between two methods that are decided at the largest budget: how many of them are decided here (paired "
                "over runs and the tasks with something to gain, Holm's correction over all pairs, 5 %).",
                ["Methods", "Kendall's τ-b", "Decided the same way", "Decided the other way", "Not decided"],
                [("", [(columns[b], _order_cells(a)) for b, a in enumerate(one.agreements)])],
                "Budget",
            ),
        ]
    return tables


def _score_cells(one: Budgets, m: int) -> list[PageCell]:
    cells = []
    for scores_RT in one.scores_BMRT[:, m]:
        mean, low, high = summaries.stratified_interval(scores_RT)
        limits = "" if math.isnan(low) else f"[{number(low, 1)}, {number(high, 1)}]"
        cells.append(PageCell("–" if math.isnan(mean) else number(mean, 1), limits, sort=full(mean)))
    return cells


def _order_cells(agreement: Agreement) -> list[PageCell]:
    known = agreement.methods > 1
    counts = (agreement.same, len(agreement.reversed_pairs), agreement.undecided)
    tau = "–" if math.isnan(agreement.tau) else signed(agreement.tau, 2)
    return [
        number_cell(agreement.methods, 0),
        PageCell(tau, _unchanged(agreement, "[{}, {}]"), sort=full(agreement.tau)),
        *(number_cell(count if known else None, 0) for count in counts),
    ]


def figure(benchmark: ReportedBenchmark, runs: Runs) -> Sheet:
    """For each teacher and student: test score against steps, on average over the tasks and below on each."""
    data, ladders = frame(benchmark, runs), _budgets(benchmark, runs)
    below = [math.ceil(len(one.tasks) / 3) for one in ladders]
    sheet = Sheet(style.COLUMN, 1.2 + sum(2.3 + 1.4 * rows for rows in below))
    grid = sheet.add_gridspec(max(len(ladders), 1), hspace=0.1)
    marks = style.marks_of(benchmark)
    for k, one in enumerate(ladders):
        width = min(3, len(one.tasks))
        inner = grid[k].subgridspec(1 + below[k], width, height_ratios=[1.7, *[1.0] * below[k]])
        own = data[data["pair"].isin([pair.name for pair in one.pairs])]
        for t, task in enumerate(["", *one.tasks]):
            axis = sheet.add_subplot(inner[0, :] if t == 0 else inner[1 + (t - 1) // width, (t - 1) % width])
            _panel(axis, own[own["task"] == task], {method: marks[method] for method in one.methods})
            style.tag(axis, "panel", " ".join(pair.name for pair in one.pairs), task=task)
            axis.set_title("mean over tasks" if t == 0 else benchmark.task(task).title)
            if axis.texts:
                continue
            sheet.measures(axis)
            if t == 0:
                axis.set_xlabel("training steps")
                axis.set_ylabel(f"{compared_block(benchmark, runs)} score, %")
    methods = dict.fromkeys(method for one in ladders for method in one.methods)
    key: dict[str, Any] = {benchmark.title_of(method): marks[method] for method in methods}
    if ladders:
        sheet.key(key | {benchmark.title_of(TEACHER): Line2D([], [], color=style.INK, linestyle=":")})
    sheet.foot(captions.warnings(benchmark, runs))
    return sheet


def _panel(axis: Axes, own: pd.DataFrame, marks: dict[str, style.Mark]) -> None:
    """One line a method over its budgets; the methods stand side by side at a budget, so that no interval is hidden."""
    students = own[own["method"] != TEACHER].dropna(subset=["mean", "steps"])
    if students.empty:
        draw.missing(axis)
        return
    axis.set_xscale("log")
    for k, (method, mark) in enumerate(marks.items()):
        some = students[students["method"] == method]
        place = some["steps"] * LANE ** (k - (len(marks) - 1) / 2)
        axis.plot(
            place, some["mean"], color=mark.colour, marker=mark.marker, markersize=3.8, linewidth=0.9, markeredgewidth=0
        )
        for x, low, high in zip(place, some["low"], some["high"], strict=True):
            axis.plot([x, x], [low, high], color=mark.colour, linewidth=0.7, zorder=1.9)
    teacher = own.loc[own["method"] == TEACHER, "mean"].dropna()
    for score in teacher[:1]:
        axis.axhline(score, color=style.INK, linewidth=1, linestyle=":")
    draw.emphasise(axis, marks)
    steps = sorted(students.groupby("pair")["steps"].mean())
    axis.set_xticks(steps, [f"{n:,.0f}" for n in steps])
    axis.minorticks_off()
