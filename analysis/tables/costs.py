"""Builds Tables 1 and 4: what each method is, and what it costs, measured here."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from statistics import geometric_mean, mean, median, stdev
from typing import Any

import pandas as pd

from analysis.load import Runs, paper_table
from analysis.reported_benchmark import WITHOUT_KD, Pair, ReportedBenchmark
from analysis.tables import captions, speed
from analysis.tables.cells import BASELINE, COSTS, Section, Table, TableCell, column_title
from analysis.tables.paper_tables import (
    caption,
    compared_block,
    paper_setting,
    paper_values,
    partial_test,
    prefix,
    score_rows,
    titles_of,
)
from railkd.benchmark.variants import spell
from railkd.method_facts import facts

BY_RUNS = (
    "Speedup: training time of CoDIR over that of the row, whole runs without any search, geometric mean over the "
    "tasks."
)
FACTS = ("layer_mapping", "complexity", "limitation")
Costs = dict[int, tuple[float, str, str]]  # seed -> cost, regime, device


def ratios(
    tasks: list[str],
    numerator: Callable[[str], Costs],
    denominator: Callable[[str], Costs],
    summary: Callable[[list[float]], float],
) -> tuple[dict[str, float], list[str], list[str]]:
    """task -> ratio of two cells' costs over their seeds; tasks without one; tasks measured on different devices.

    costs: (runs × tasks) on both sides; summarised over the runs first.
    """
    by_task, missing, mixed = {}, [], []
    for task in tasks:
        over, under = numerator(task), denominator(task)
        if not over or not under:
            missing.append(task)
        elif len({device for _, _, device in (*over.values(), *under.values())}) > 1:
            mixed.append(task)
        else:
            by_task[task] = summary([c for c, _, _ in over.values()]) / summary([c for c, _, _ in under.values()])
    return by_task, missing, mixed


def over_tasks(
    runs: Runs, pair: str, method: str, tasks: Collection[str], key: str, device: str | None = None
) -> tuple[float, float]:
    """A cost summed over tasks: its mean over the runs of each, and its standard deviation over the seeds.

    The latter is of seeds that every task has, NaN with fewer than two; both are NaN where a task has no such cost.
    With ``device`` only the runs on it count. The sums are exact, so that the order of the tasks changes no digit.
    """
    by_task = [
        {seed: cost for seed, (cost, _, on) in runs.costs(pair, method, task, key).items() if device in (None, on)}
        for task in tasks
    ]
    if not by_task or not all(by_task):
        return math.nan, math.nan
    shared = set.intersection(*(set(by_seed) for by_seed in by_task))
    totals = [math.fsum(by_seed[seed] for by_seed in by_task) for seed in shared]
    total = math.fsum(mean(by_seed.values()) for by_seed in by_task)
    return total, stdev(totals) if len(totals) > 1 else math.nan


def measured(runs: Runs, pairs: list[Pair], benchmark: ReportedBenchmark, key: str) -> str:
    """Regime and device of the costs of some pairs, as a sentence."""
    devices: set[str] = set()
    regimes: dict[str, list[str]] = {}
    for pair in pairs:
        for method in pair.rows():
            for task in pair.tasks:
                for _, regime, device in runs.costs(pair.name, method, task, key).values():
                    devices.add(device)
                    if regime == "none":  # no teacher in the training loop
                        continue
                    if benchmark.title_of(method) not in regimes.setdefault(regime, []):
                        regimes[regime].append(benchmark.title_of(method))
    if not devices:
        return ""
    how = "".join(f", teacher signals {regime}" for regime in regimes)
    if len(regimes) > 1:
        how = ", teacher signals " + "; ".join(f"{r} for {', '.join(m)}" for r, m in regimes.items())
    return f"Measured here on {' and '.join(sorted(devices))}{how}."


def characteristics(benchmark: ReportedBenchmark, runs: Runs) -> Table:
    """Table 1: the paper's facts on each method, and its cost per training step relative to none."""
    pairs = benchmark.drawn_from(1)
    printed = paper_table(1).set_index("method")
    titles, rows, missing, notes, apart = titles_of(benchmark), [], [], [], []
    units = dict.fromkeys(titles[m] for pair in pairs if (m := benchmark.without_kd(pair)))
    for method in _rows_of_characteristics(benchmark, pairs, printed):
        stated = {key: _stated(benchmark, printed, method, key) for key in FACTS}
        row = [TableCell("", "facts", method, k, "text", "text", "", text=text or "–") for k, text in stated.items()]
        for pair in pairs:
            cell, unmeasured, mixed = _step_cost(benchmark, runs, pair, method, titles)
            row.append(cell)
            where = prefix(pairs, pair) + titles[method]
            missing.append((where, [column_title("dev", t) for t in unmeasured]))
            notes += _mixed_note(where, mixed)
            if cell.n:
                apart += _apart(runs, pair, method, str(benchmark.without_kd(pair)), where)
        rows.append((titles[method], row))
    if apart:
        notes.append(
            f"Trained at another commit than {' or '.join(units)}, so perhaps on another day and under another load: "
            f"{'; '.join(apart)}."
        )
    text = caption(
        "Characteristics of the methods as the paper states them, or this suite where the paper has no row (n, m: "
        "layers of teacher and student; K: negative samples), and the cost of a training step relative to "
        f"{' or '.join(units) or titles[WITHOUT_KD]} on {benchmark.title}: median over tasks of the ratio of median "
        "step times, with the least and the greatest task in brackets. The runs followed each other, so what else the "
        "machine did is in it; Table 4 and the claims rest on steps timed in turn where speed.json has them.",
        captions.synthetic(benchmark, runs),
        captions.outdated(runs),
        measured(runs, pairs, benchmark, "step_seconds"),
    )
    head = ["Layer mapping", "Complexity", "Limitation", *(f"{COSTS['step_seconds']}, {pair.title}" for pair in pairs)]
    table = Table(1, text, head, [Section("", rows)], [])
    legend = captions.notes(benchmark, table.cells, missing, titles, planned="tasks")
    undefined = dict.fromkeys(f"– {cell.text}." for cell in table.cells if cell.status == "undefined")
    return replace(table, notes=[*legend, *undefined, *notes])


def _rows_of_characteristics(benchmark: ReportedBenchmark, pairs: list[Pair], printed: pd.DataFrame) -> list[str]:
    """The paper's rows, then the pairs' other methods; of those without KD none that is its pair's unit."""
    compared = [m for pair in pairs for m in pair.rows() if m != benchmark.without_kd(pair)]
    return list(dict.fromkeys([*printed.index, *compared]))


def _step_cost(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str, titles: dict[str, str]
) -> tuple[TableCell, list[str], list[str]]:
    """A method's cost per step relative to its pair's method without KD; tasks without it; tasks of several devices."""
    cell = TableCell(pair.name, "cost", method, "step_seconds", "missing", "median", "ratio", decimals=2)
    if method not in pair.methods:
        return replace(cell, status="absent", text=titles[method]), [], []
    without = benchmark.without_kd(pair)
    if without is None:
        why = f"{pair.title} has no method without KD that a cost could be relative to"
        return replace(cell, status="undefined", text=why), [], []
    tasks = [t for t in pair.tasks if not benchmark.undefined(method, t)]
    if not tasks:
        why = f"{titles[method]} is undefined for every task of {pair.title}"
        return replace(cell, status="undefined", text=why), [], []

    def costs(of: str) -> Callable[[str], Costs]:
        return lambda task: runs.costs(pair.name, of, task, "step_seconds")

    by_task, unmeasured, mixed = ratios(tasks, costs(method), costs(without), median)
    if by_task:
        values = list(by_task.values())
        cell = replace(cell, value=median(values), low=min(values), high=max(values), n=len(values))
        cell = replace(cell, n_expected=len(tasks), status="partial" if unmeasured or mixed else "complete")
    return cell, unmeasured, mixed


def _stated(benchmark: ReportedBenchmark, printed: pd.DataFrame, method: str, key: str) -> str:
    """What the paper states of a method or of the one it varies, else what the method's class does.

    A method that draws its layers at random, held to a fixed map by its options, draws none.
    """
    options, base = benchmark.methods.get(method, {}), benchmark.base(method)
    known = next((name for name in (method, base) if name in printed.index), None)
    if options.get("external"):
        return "" if known is None else str(printed.loc[known, key])
    mapping = options.get("mapping") if key == "layer_mapping" else None
    fixed = mapping is not None and not str(mapping).startswith("random")
    if fixed and str(facts(base).defaults.get("mapping", "")).startswith("random"):
        return f"Fixed map: {spell('', mapping)}"
    return str(getattr(facts(base), key) if known is None else printed.loc[known, key])


def _mixed_note(where: str, tasks: list[str]) -> list[str]:
    if not tasks:
        return []
    named = ", ".join(column_title("dev", t) for t in tasks)
    return [f"Not compared, because the two sides ran on different devices: {where}: {named}."]


def _apart(runs: Runs, pair: Pair, method: str, without: str, where: str) -> list[str]:
    """A method's tasks whose runs are not of the commits of the runs without KD."""
    both = [t for t in pair.tasks if runs.cell(pair.name, method, t) and runs.cell(pair.name, without, t)]
    tasks = [t for t in both if runs.commits(pair.name, method, t) != runs.commits(pair.name, without, t)]
    return [f"{where}: {', '.join(column_title('dev', t) for t in tasks)}"] if tasks else []


def against_codir(benchmark: ReportedBenchmark, runs: Runs, timed: dict[str, Any] | None = None) -> Table:
    """Table 4: scores on the tasks that CoDIR is defined for, and CoDIR's training time relative to each row's.

    ``timed``: the result of ``speed.read``; without it the speed-up is that of the recorded runs.
    """
    pairs = benchmark.drawn_from(4)
    block = compared_block(benchmark, runs)
    columns = [t for t in benchmark.tasks if t != "stsb" and any(t in pair.tasks for pair in pairs)]
    values = paper_values(4, "test")
    # test numbers beside dev numbers would compare two different things
    paper = {k: v for k, v in values.items() if block == "test" or k[1] == "speedup"}
    sections, missing, notes = [], [], []
    models = "RoBERTa-base → DistilRoBERTa; its CoDIR row is copied from CoDIR's paper"
    for pair in pairs:
        order = pair.rows(("codir", "rail_kd_c"))
        rows, lacking = score_rows(benchmark, runs, pair, block, columns, order, paper)
        missing += [(prefix(pairs, pair) + title, columns_of) for title, columns_of in lacking]
        extended = []
        for title, row in rows:
            stated = paper.get((row[0].row, "speedup"), math.nan)
            if timed is not None:
                own, what = speed.cells(timed, benchmark, pair, row[0].row, stated)
                extended.append((title, [*row, *own]))
                missing.append((prefix(pairs, pair) + title, what))
                continue
            cell, what, mixed = _speedup(benchmark, runs, pair, row[0].row, [t for t in columns if t in pair.tasks])
            extended.append((title, [*row, replace(cell, paper=stated)]))
            missing.append((f"{prefix(pairs, pair)}{title}, training time", what))
            notes += _mixed_note(prefix(pairs, pair) + title, mixed)
        sections.append(Section(prefix(pairs, pair) + block.upper(), extended))
    if timed is None and any("codir" not in pair.methods for pair in pairs):
        notes.append("Speedup is relative to CoDIR and missing where CoDIR is not run.")
    heads = [COSTS[c] for c in (["speedup"] if timed is None else speed.COLUMNS)]
    partial = partial_test(benchmark, runs)
    why = "test scores are partial" if partial else "no labelled test set"
    which = "TEST" if block == "test" else f"DEV ({why}, so the paper's test scores are not shown)"
    table = Table(
        4,
        caption(
            f"{which} scores on {benchmark.title}, in percent, {captions.backbones(pairs)}:"
            f" {captions.over_runs(benchmark)}." + ("" if timed is not None else " " + BY_RUNS),
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            speed.caption(timed) if timed is not None else measured(runs, pairs, benchmark, "train_seconds"),
            "Bold: the best student of a column.",
            paper_setting(benchmark, runs, sections, models),
            captions.metrics(benchmark, runs, block, columns),
            captions.splits(benchmark, [block]),
            captions.training_sizes(benchmark, runs, columns),
        ),
        [*(column_title("dev", c) for c in [*columns, "avg"]), *heads],
        sections,
        [],
    )
    notes = [*captions.notes(benchmark, table.cells, missing, titles_of(benchmark)), *notes]
    return replace(table, notes=[*notes, *captions.partial_test(partial)])


def _speedup(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, row: str, tasks: list[str]
) -> tuple[TableCell, list[str], list[str]]:
    cell = TableCell(pair.name, "cost", row, "speedup", "missing", "geometric mean", "ratio", spread=False, decimals=2)
    if row == BASELINE:
        return replace(cell, status="empty"), [], []
    if "codir" not in pair.methods:
        return cell, [], []

    def codir(task: str) -> Costs:
        return runs.costs(pair.name, "codir", task, "train_seconds")

    def own(task: str) -> Costs:
        if row != "teacher":
            return runs.costs(pair.name, row, task, "train_seconds")
        cost = runs.teachers.get((pair.teacher, task), {}).get("cost", {})
        seconds = cost.get("train_seconds")
        return {0: (float(seconds), str(cost.get("regime", "?")), str(cost.get("device", "?")))} if seconds else {}

    by_task, unmeasured, mixed = ratios(tasks, codir, own, mean)
    if unmeasured or mixed:  # a mean over other tasks would not compare
        return cell, [column_title("dev", t) for t in unmeasured], mixed
    values = list(by_task.values())
    counts = {t: min(len(own(t)), len(codir(t))) for t in tasks}
    expected = len(benchmark.seeds)
    complete = all(len(codir(t)) == expected for t in tasks) and (
        row == "teacher" or all(n == expected for n in counts.values())
    )
    cell = replace(cell, status="complete" if complete else "partial", value=geometric_mean(values))
    return replace(cell, low=min(values), high=max(values), n=min(counts.values()), n_expected=expected), [], []
