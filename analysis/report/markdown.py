"""The report: tables and figures on one page, how to read them, and what stands behind them."""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.benchmark import TABLES, Benchmark
from analysis.claims import verdicts
from analysis.load import Runs
from analysis.report import catalogue, failures
from analysis.report.provenance import origin
from analysis.tables import captions
from analysis.tables.formats import md, md_table
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.records.sealed_files import read_json, require

HEADINGS = {
    1: "The methods, and what a step costs",
    2: "GLUE",
    3: "GLUE, a deeper teacher",
    4: "Against CoDIR",
    5: "Spread over seeds",
    6: "Out of domain",
}
READING = """\
- A cell is `mean ± standard deviation (paper's value)`. The standard deviation is of single runs (divisor n − 1); the
  standard error of the mean is smaller by √n, and knows nothing of which test examples were drawn.
- **Constant answer** is the best score of answering always the same, from the labels alone. † marks a cell that does
  not exceed it by two standard errors. That error combines the spread over runs, sd²/n, with the sampling of the
  examples: accuracy √(p(1−p)/N); F1 by the delta method, √(F(1−F)²(2−F)/(N(1−accuracy))); correlations
  √((1−r²)/(N−2)).
- **Bold** is the best student of a column and everything that prints the same. It is not a test: where the standard
  deviations of two cells overlap, the order of the two rows is not established.
- An average is taken within a run over the tasks of the row, then over runs. It is printed only if every cell has every
  run; averages kept as the paper prints them are not always the mean of its columns.
- **missing**: no run, and nothing stands in for it; the lines under a table say which. **–**: not defined, or not asked
  for. ‡: fewer runs than planned.
- `tables/*.csv` holds every cell at full precision, with number of runs, baseline and interval; `*.tex` is for papers.
"""


def compose(benchmark: Benchmark, runs: Runs, results: Path) -> str:
    """The report as Markdown. Raises UserError when a part of it has not been written yet."""
    warning = captions.synthetic(benchmark, runs)
    parts = [f"# {md(benchmark.title)}: results of benchmark {md(benchmark.name)}\n"]
    if warning:
        parts.append(f"> **{md(warning)}** It shows that every step runs, from text to table.\n")
    parts.append(_completeness(benchmark, runs, results))
    for name, heading, summary in (
        ("claims", "The paper's claims", verdicts.claims_summary),
        ("audit", "The paper's own numbers", verdicts.audit_summary),
    ):
        data = _json(results / f"{name}.json", name)
        parts.append(f"## {heading}\n\n{summary(data)}\nIn full: [{name}.md]({name}.md).\n")
    parts.append("## How to read the tables\n\n" + READING)
    for number in TABLES:
        if benchmark.drawn_from(number):
            parts.append(f"## Table {number}: {HEADINGS[number]}\n\n{_text(results / 'tables' / f'table{number}.md')}")
    for name, drawing in catalogue.drawings_of(benchmark).items():
        picture = results / "figures" / f"{name}.png"
        if not picture.is_file():
            raise UserError(f"{picture}: not there; run 'python -m analysis figures' first")
        title = f"{drawing.label}: {drawing.heading}"
        parts.append(
            f"## {title}\n\n![{title}](figures/{name}.png)\n\n"
            f"**{drawing.label}.** {md(drawing.caption(benchmark, runs))} [PDF](figures/{name}.pdf), "
            f"[data](figures/{name}.csv)\n"
        )
    parts.append(_provenance(runs))
    return "\n".join(parts)


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: not there; run 'python -m analysis tables' first")
    results = path.parent.parent
    require(results, f"tables/{path.name}", file=Layout(results).checksums("tables"))
    return path.read_text(encoding="utf-8")


def _json(path: Path, step: str) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: not there; run 'python -m analysis {step}' first")
    require(path.parent, path.name, file=Layout(path.parent).checksums(step))
    return dict(read_json(path))


def planned(benchmark: Benchmark) -> list[tuple[str, str, str, int]]:
    """Every student run that the benchmark file asks for."""
    return [
        (pair.name, method, task, seed)
        for pair in benchmark.pairs
        for method in pair.rows()
        for task in pair.tasks
        if not benchmark.undefined(method, task)
        for seed in benchmark.seeds
    ]


def _completeness(benchmark: Benchmark, runs: Runs, results: Path) -> str:
    wanted = planned(benchmark)
    teachers = list(dict.fromkeys((pair.teacher, task) for pair in benchmark.pairs for task in pair.tasks))
    gone = [key for key in wanted if key not in runs.students]
    have = f"{len(wanted) - len(gone)} of {len(wanted)} student runs"
    lines = [f"{have} and {sum(t in runs.teachers for t in teachers)} of {len(teachers)} teachers are there.\n"]
    absent = [f"{md(teacher)}: {md(task)}" for teacher, task in teachers if (teacher, task) not in runs.teachers]
    if absent:
        lines.append(f"Missing teachers: {'; '.join(absent)}.\n")
    if gone:
        counts = Counter((pair, method) for pair, method, _, _ in gone)
        rows = []
        for (pair, method), count in counts.items():
            tasks = dict.fromkeys(task for p, m, task, _ in gone if (p, m) == (pair, method))
            title = md(benchmark.title_of(method))
            rows.append((md(pair), title, str(count), md(", ".join(tasks))))
        lines.append(md_table(("pair", "method", "missing runs", "tasks"), rows, "llrl") + "\n")
        for why, keys in failures.grouped(benchmark, results, gone).items():
            lines.append(f"- {md(failures.listed(benchmark, keys))}: {md(why)}")
        lines.append("")
    return "\n".join(lines)


def _provenance(runs: Runs) -> str:
    found = runs.everything
    if not found:
        return "## Provenance\n\nNo run yet.\n"
    counted: dict[str, Counter[str]] = {}
    for record in found:
        for key, value in origin(record).items():
            counted.setdefault(key, Counter())[value] += 1
    rows = []
    for key, counts in counted.items():
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            rows.append((key, md(value), str(count)))
    seconds = sum(float(r["cost"].get("train_seconds") or 0) for r in found)
    spent = f"{seconds / 3600:.1f} h" if seconds > 7200 else f"{seconds / 60:.1f} min"
    started = sorted(str(r["provenance"]["started"]) for r in found if r["provenance"].get("started"))
    finished = sorted(str(r["provenance"]["finished"]) for r in found if r["provenance"].get("finished"))
    rows.append(("Training time, summed", spent, str(len(found))))
    if started and finished:
        rows.append(("Run between", f"{md(started[0])} and {md(finished[-1])}", str(len(found))))
    return (
        f"## Provenance\n\n{md_table(('', '', 'records'), rows, 'llr')}\n\n"
        "Every number comes from a record under `runs/` or `teachers/`, which names its configuration, data and "
        "model fingerprints and predictions; the paper's numbers come from `benchmarks/reference/`.\n"
    )
