"""Reads scores that the GLUE server returned (``results/<benchmark>/leaderboard.csv``): they fill the TEST blocks.

A benchmark with ``data.test: hidden`` has test sets without labels; ``railkd submission`` writes what the server
scores.
The file has one row for each score, and the columns

    pair, method    as in the benchmark file; method ``teacher`` for a teacher's own submission
    seed            the run's seed; a teacher has one run a task, so that its seed plays no role
    task            the GLUE task as in the benchmark file; mnli: the matched test set
    score           in percent, as the server prints it: CoLA Matthews correlation; MRPC F1; STS-B the mean of its
                    Pearson and Spearman correlations; QQP, SST-2, MNLI, QNLI, RTE accuracy
"""

import csv
from pathlib import Path
from typing import Any

from analysis.reported_benchmark import TEACHER_SEED, ReportedBenchmark
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.tasks import GLUE_TEST_ROWS, TASKS

COLUMNS = ("pair", "method", "seed", "task", "score")


def read(benchmark: ReportedBenchmark, results: Path) -> list[dict[str, Any]]:
    """The file's scores as rows of ``load.Runs.scores``; none without the file.

    Raises UserError naming file and line for anything that no run of the benchmark could have been given.
    """
    path = Layout(results).leaderboard()
    if not path.is_file():
        return []
    if benchmark.test != "hidden":
        raise UserError(
            f"{path}: fills the TEST blocks of a benchmark with data.test: hidden; here it is {benchmark.test}"
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            lines = [(reader.line_num, line) for line in reader]  # of which a blank line is none
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None
    if columns != COLUMNS:
        raise UserError(f"{path}: columns {', '.join(columns)[:200] or 'none'}; expected {', '.join(COLUMNS)}")
    rows = {number: _row(benchmark, line, f"{path}: line {number}") for number, line in lines}
    _check_once(rows, path)
    return list(rows.values())


def _check_once(rows: dict[int, dict[str, Any]], path: Path) -> None:
    """Raises UserError for a run that has two scores on a task. ``rows``: by the number of their line."""
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in rows.items():
        teacher = row["method"] == "teacher"
        key = tuple(row[k] for k in ("pair", "method", "seed", "task") if not (teacher and k == "seed"))
        if key in seen:
            why = "; a teacher has one run a task, expected one line" if teacher else ""
            raise UserError(f"{path}: line {number}: {', '.join(map(str, key))} is already on line {seen[key]}{why}")
        seen[key] = number


def _row(benchmark: ReportedBenchmark, line: dict[str | Any, Any], place: str) -> dict[str, Any]:
    if None in line:  # where the reader puts fields beyond the last column
        raise UserError(
            f"{place}: has {len(COLUMNS) + len(line[None])} fields, expected {len(COLUMNS)}; the decimals of a score "
            "follow a point, as in 71.3"
        )
    given = {key: (line.get(key) or "").strip()[:100] for key in COLUMNS}
    pairs = {pair.name: pair for pair in benchmark.pairs}
    if given["pair"] not in pairs:
        raise UserError(f"{place}: pair '{given['pair']}', expected one of {', '.join(pairs)}")
    pair = pairs[given["pair"]]
    own = [task for task in pair.tasks if benchmark.task(task).own]
    scored = [task for task in pair.tasks if task not in own]
    if given["task"] in own:
        raise UserError(
            f"{place}: task '{given['task']}' is one of your own, and only GLUE's tasks have a leaderboard; expected "
            + (f"one of {', '.join(scored)}" if scored else "no line, because this pair has no task of GLUE's")
        )
    for key, known in (("method", ("teacher", *pair.methods)), ("task", scored)):
        if given[key] not in known:
            raise UserError(f"{place}: {key} '{given[key]}', expected one of {', '.join(known)}")
    seeds = [str(seed) for seed in benchmark.seeds]
    if given["method"] != "teacher" and given["seed"] not in seeds:
        raise UserError(f"{place}: seed '{given['seed']}', expected one of {', '.join(seeds)}")
    task = TASKS[given["task"]]
    return {
        "pair": pair.name,
        "method": given["method"],
        "block": "test",
        "column": task.name,
        "task": task.name,
        "seed": TEACHER_SEED if given["method"] == "teacher" else int(given["seed"]),
        "metric": task.shown,
        "score": _score(given["score"], task.shown, place) / 100,
        "accuracy": None,
        # the best constant class is as hidden as the labels
        "baseline": None if task.shown in ("accuracy", "f1") else 0.0,
        "examples": GLUE_TEST_ROWS[task.name],
        "sampling_error": None,
    }


def _score(text: str, metric: str, place: str) -> float:
    """A score in percent. Raises UserError for a text that is no such number, or one that is plainly a fraction."""
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not -100 <= score <= 100:
        raise UserError(f"{place}: score '{text}', expected a number in percent, such as 71.3")
    if _is_fraction(score, text, metric):
        raise UserError(f"{place}: score '{text}' is a fraction, expected a number in percent, such as {100 * score:g}")
    return score


def _is_fraction(score: float, text: str, metric: str) -> bool:
    """Whether a score cannot be in percent.

    No classifier is right on at most one text in a hundred. F1 and correlations can be as low as that, but then the
    server prints one decimal, and the mean of STS-B's two correlations has two.
    """
    if metric == "accuracy":
        return 0 < abs(score) <= 1
    return 0 < abs(score) < 1 and len(text.partition(".")[2].rstrip("0")) > 2
