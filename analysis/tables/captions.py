"""Writes sentences of captions and notes: where the numbers come from, what is missing, what the marks mean."""

from collections.abc import Iterable, Sequence

import pandas as pd

from analysis.load import Runs
from analysis.reported_benchmark import METRICS, Pair, ReportedBenchmark
from analysis.tables.cells import TableCell, column_title
from railkd.tasks import OUT_OF_DOMAIN

DAGGER, DOUBLE = "†", "‡"
LISTED = 6  # rows of runs that a caption names


def synthetic(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """The warning that every caption of generated text carries; empty for real text."""
    if benchmark.source == "miniglue" or any(record["synthetic"] for record in runs.everything):
        return "Generated text (MiniGLUE): says nothing about English."
    return ""


def outdated(runs: Runs) -> str:
    """Which runs are not those that the benchmark file and the methods' source ask for now; empty for none."""
    sentences = []
    for cells, why in (
        (runs.outdated, "another configuration than the benchmark file now says"),
        (runs.edited, "another version of their method's source than the present one"),
        (runs.unchosen, "a setting that was chosen among other points, or on other tasks, than search now names"),
    ):
        if cells:
            rows = [f"{pair} {method}: {', '.join(tasks)}" for (pair, method), tasks in cells.items()]
            more = [f"and {len(rows) - LISTED} more rows, which railkd verify names"] if len(rows) > LISTED else []
            sentences.append(f"Trained with {why}, so not comparable: {'; '.join([*rows[:LISTED], *more])}.")
    if runs.left_out:
        sentences.append(f"Left out, because trained with another configuration or source: {'; '.join(runs.left_out)}.")
    return " ".join(sentences)


def reading(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """The warning of ``synthetic`` with what follows from it, for the head of a report; empty for real text."""
    warning = synthetic(benchmark, runs)
    if not warning:
        return ""
    return f"{warning} It shows that every step runs, from text to table; the order of methods on real text may differ."


def warnings(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """What must not be parted from a figure, in a line or two."""
    old = (
        "Some runs have another configuration than the benchmark file (see the caption)."
        if runs.outdated or runs.unchosen
        else ""
    )
    return " ".join(part for part in (synthetic(benchmark, runs), old) if part)


def backbones(pairs: Sequence[Pair]) -> str:
    """Teacher and student of each pair, and how the student begins."""
    return "; ".join(f"{pair.title} (student: {pair.initialisation})" for pair in pairs)


def over_runs(benchmark: ReportedBenchmark) -> str:
    """What a cell's mean is over."""
    seeds = ", ".join(str(s) for s in benchmark.seeds)
    if len(benchmark.seeds) == 1:
        return f"n = 1 run (seed {seeds}), so no standard deviation"
    return f"mean ± standard deviation over n = {len(benchmark.seeds)} runs (seeds {seeds}; the teacher: one run)"


def metrics(benchmark: ReportedBenchmark, runs: Runs, block: str, columns: Iterable[str]) -> str:
    """Which metric each column shows."""
    declared = benchmark.file.out_of_domain_set if block == "ood" else benchmark.task
    by_metric: dict[str, list[str]] = {}
    for column in columns:
        metric = runs.column.get((block, column), (declared(column).shown, 0))[0]
        by_metric.setdefault(metric, []).append(column_title(block, column) + (" matched" if column == "mnli" else ""))
    if block == "ood" and len(by_metric) == 1:
        return f"Metric: {METRICS.get(metric, metric)}."
    return "Metrics: " + "; ".join(f"{', '.join(t)} {METRICS.get(m, m)}" for m, t in by_metric.items()) + "."


def splits(benchmark: ReportedBenchmark, blocks: Sequence[str]) -> str:
    """Where dev and test examples come from."""
    sentences = []
    if "dev" in blocks:
        sentences.append("DEV: the validation set, which also chose each run's epoch.")
        without = [t for t in benchmark.tasks if benchmark.task(t).own and "dev" not in dict(benchmark.task(t).files)]
        if without:
            sentences.append(f"DEV of {', '.join(without)}: labelled examples held out of the training file.")
    if "test" in blocks:
        sentences.append(
            {
                "labels": "TEST: the test set, whose labels are public here.",
                "heldout": "TEST: labelled examples held out of the training set"
                + (
                    ", because GLUE's test labels are not public (the paper's test scores come from the GLUE server)."
                    if benchmark.source == "glue"
                    else "."
                ),
                "hidden": "TEST: GLUE's hidden test sets, scored by the GLUE server (leaderboard.csv).",
            }.get(benchmark.test, "")
        )
        with_file = [t for t in benchmark.tasks if "test" in dict(benchmark.task(t).files)]
        if with_file and benchmark.test == "heldout":
            sentences.append(f"TEST of {', '.join(with_file)}: a file of its own.")
    return " ".join(sentences)


def partial_test(partial: bool) -> list[str]:
    """A note on test scores that do not cover what dev scores do; none where they do."""
    if not partial:
        return []
    return [
        "Test scores are partial: methods are compared on DEV until leaderboard.csv has a test score of every method "
        "on each task that it has dev scores on."
    ]


def training_sizes(benchmark: ReportedBenchmark, runs: Runs, tasks: Iterable[str]) -> str:
    """How many examples each task was trained on, from the records, else from the benchmark file."""
    sizes: dict[str, set[int]] = {}
    for record in runs.everything:
        if isinstance(record["examples"].get("train"), int):
            sizes.setdefault(record["task"], set()).add(record["examples"]["train"])
    parts = []
    for task in tasks:
        planned = {benchmark.train_examples[task]} if task in benchmark.train_examples else set()
        counts = sorted(sizes.get(task) or planned)
        if counts:
            real = benchmark.source == "glue" or benchmark.task(task).own
            subset = " (a subset)" if task in benchmark.train_examples and real else ""
            parts.append(f"{column_title('dev', task)} {' or '.join(f'{n:,}' for n in counts)}{subset}")
    return f"Training examples: {', '.join(parts)}." if parts else ""


def scored(benchmark: ReportedBenchmark, runs: Runs, columns: Iterable[str]) -> str:
    """How many examples of each out-of-domain set were scored, and how much of each."""
    rows = runs.scores[runs.scores["block"] == "ood"].drop_duplicates("column").set_index("column")["examples"]
    parts = [f"{column_title('ood', c)} {int(rows[c]):,}" for c in columns if c in rows and pd.notna(rows[c])]
    cut = f" Texts are cut to {benchmark.ood_max_length} tokens." if benchmark.ood_max_length else ""
    return f"Examples scored: {', '.join(parts)}.{cut}" if parts else ""


def foreign_sets(benchmark: ReportedBenchmark, columns: Iterable[str]) -> str:
    """Which model is scored on which out-of-domain set, and which PAWS it is."""
    columns = list(columns)
    parts = [
        f"{column_title('dev', benchmark.source_task('ood', c))} models on {column_title('ood', c)}" for c in columns
    ]
    text = f"{', '.join(parts)}."
    paws = [OUT_OF_DOMAIN[c].title for c in columns if c in ("paws_wiki", "paws_qqp")]
    if paws:
        text += f" PAWS is {' and '.join(paws)}; the paper does not say which it used."
    return text


def notes(
    benchmark: ReportedBenchmark,
    cells: Sequence[TableCell],
    missing: Sequence[tuple[str, list[str]]],
    titles: dict[str, str],
    planned: str = "runs",
) -> list[str]:
    """The legend of the marks that occur, the dashes explained, and the runs that are missing."""
    legend = []
    if any(c.clears_baseline is False for c in cells):
        legend.append(
            f"{DAGGER} does not exceed the majority-class baseline by two standard errors (of the test examples and of "
            "the runs together): such a model may have learned nothing."
        )
    if any(c.status == "partial" for c in cells):
        legend.append(f"{DOUBLE} fewer {planned} than planned, see below.")
    return [*legend, *_undefined(benchmark, cells, titles), *_absent(benchmark, cells), *_missing(missing)]


def _undefined(benchmark: ReportedBenchmark, cells: Sequence[TableCell], titles: dict[str, str]) -> list[str]:
    """A note for each method that has no meaning for some tasks."""
    by_row: dict[str, list[str]] = {}
    for cell in cells:
        if cell.status == "undefined" and cell.column in (*benchmark.tasks, *benchmark.out_of_domain):
            title = column_title("dev", benchmark.source_task(cell.block, cell.column))
            tasks = by_row.setdefault(titles[cell.row], [])
            tasks += [title] if title not in tasks else []
    return [
        f"– {row} is undefined for {', '.join(tasks)}, a regression task; an average without it would not compare with "
        "the other rows'."
        for row, tasks in by_row.items()
    ]


def _absent(benchmark: ReportedBenchmark, cells: Sequence[TableCell]) -> list[str]:
    """A note on the cells that the benchmark file does not ask for."""
    by_pair: dict[str, list[str]] = {}
    for cell in cells:
        if cell.status == "absent" and cell.text not in by_pair.setdefault(cell.pair, []):
            by_pair[cell.pair].append(cell.text)
    parts = [f"{', '.join(by_pair[pair.name])} with {pair.title}" for pair in benchmark.pairs if pair.name in by_pair]
    return [f"– not part of this benchmark: {'; '.join(parts)}."] if parts else []


def _missing(missing: Sequence[tuple[str, list[str]]]) -> list[str]:
    """A note on the runs that are missing, rows that lack the same ones together."""
    by_columns: dict[str, list[str]] = {}
    for row, columns in missing:
        if columns:
            by_columns.setdefault(", ".join(columns), []).append(row)
    parts = [f"{', '.join(rows)}: {columns}" for columns, rows in by_columns.items()]
    return [f"Missing: {'; '.join(parts)}."] if parts else []
