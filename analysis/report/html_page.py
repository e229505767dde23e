"""report.html: the whole result on one page that needs no network, no server and no other file."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis.benchmark import Benchmark, Pair
from analysis.figures import report_plots
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.report import catalogue, claims_html, failures, provenance
from analysis.report.markdown import HEADINGS, planned
from analysis.report.templates import render
from analysis.tables import captions, formats, html_tables
from analysis.tables.paper_tables import Table


def compose(benchmark: Benchmark, runs: Runs, results: Path) -> str:
    """The report as one HTML file; with the verdicts and the audit where they have been written."""
    tables = catalogue.tables_of(benchmark, runs, results)
    gone = [key for key in planned(benchmark) if key not in runs.students]
    teachers = list(dict.fromkeys((pair.teacher, task) for pair in benchmark.pairs for task in pair.tasks))
    run_grid, machines = provenance.run_table(benchmark, runs)
    common, settings = provenance.settings_table(runs)
    return render(
        "report.html.j2",
        title=benchmark.title,
        name=benchmark.name,
        warning=captions.synthetic(benchmark, runs),
        seeds=len(benchmark.seeds),
        complete=f"{len(planned(benchmark)) - len(gone):,} of {len(planned(benchmark)):,} student runs and "
        f"{sum(t in runs.teachers for t in teachers)} of {len(teachers)} teachers are there.",
        missing=[
            f"{failures.listed(benchmark, keys)}: {why}"
            for why, keys in failures.grouped(benchmark, results, gone).items()
        ],
        glance=[line for table in tables if table.number in (2, 3) for line in _averages(benchmark, table)],
        methods=_methods(benchmark),
        verdicts=claims_html.verdicts(benchmark, claims_html.read(results / "claims.json")),
        audit=claims_html.audit(claims_html.read(results / "audit.json")),
        tables=[html_tables.of_table(table, HEADINGS[table.number]) for table in tables],
        figures=_figures(benchmark, runs),
        curves=_curves(benchmark, runs),
        tradeoffs=_tradeoffs(benchmark, runs),
        costs=provenance.cost_table(benchmark, runs),
        draws=_draws(benchmark, runs),
        runs=run_grid,
        machines=machines,
        common=common,
        settings=settings,
    )


def _methods(benchmark: Benchmark) -> list[tuple[str, str]]:
    """The title of each method that is no variant of another, and what it does, in a sentence."""
    found = [(benchmark.title_of(m), benchmark.summary_of(m)) for m in benchmark.methods if m not in benchmark.variants]
    return [(title, summary) for title, summary in found if summary]


def _averages(benchmark: Benchmark, table: Table) -> list[dict[str, Any]]:
    """The averages of Table 2 or 3 as a drawing; empty where no row is complete."""
    sheet = report_plots.averages(benchmark, table)
    if sheet is None:
        return []
    floors = [(section.title, cells[-1]) for section in table.sections for _, cells in section.rows]
    said = [
        f"{title} {formats.cell_parts(c)[0]}" for title, c in floors if (c.row, c.status) == ("constant", "complete")
    ]
    caption = f"Constant answer: {'; '.join(said)}." if said else ""
    return [_drawing(sheet, f"averages{table.number}", f"Table {table.number}: {HEADINGS[table.number]}", caption)]


def _drawing(sheet: Sheet, name: str, title: str, caption: str) -> dict[str, Any]:
    said = " ".join(part for part in (caption, sheet.note()) if part)
    return {"name": name, "title": title, "caption": said, "svg": Markup(report_plots.svg(sheet, name, title))}


def _figures(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    """The figures that a pair names, with what they find and their numbers."""
    return [
        {
            **_drawing(
                report_plots.printed_figure(benchmark, runs, drawing.draw),
                name,
                f"{drawing.label}: {drawing.heading}",
                drawing.about(benchmark, runs),
            ),
            "findings": drawing.findings(benchmark, runs),
            "grids": drawing.grids(benchmark, runs),
        }
        for name, drawing in catalogue.drawings_of(benchmark).items()
    ]


def _left_out(benchmark: Benchmark, pair: Pair) -> str:
    """Which methods a plot does not show."""
    families = benchmark.families(pair).items()
    counts = [f"{len(variants)} of {benchmark.title_of(entry)}" for entry, variants in families]
    return f"Variants are left out: {', '.join(counts)}." if counts else ""


def _curves(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, report_plots.learning_curves(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"curves{i}", pair.title, _left_out(benchmark, pair))
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]


def _block(benchmark: Benchmark, runs: Runs, pair: Pair) -> str:
    """What a pair's averages are taken on: test where there is one."""
    return "test" if not runs.row(pair.name, pair.methods[0], "test").empty else "dev"


def _tradeoffs(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    """Cost against quality for each pair, with the methods that cannot be placed."""
    found = []
    for i, pair in enumerate(benchmark.pairs):
        block = _block(benchmark, runs, pair)
        points = report_plots.trade_off(benchmark, runs, pair, block)
        figure = report_plots.pareto(benchmark, pair, block, points)
        if figure is None:
            continue
        front = [
            benchmark.title_of(p["method"]) for p in sorted(points, key=lambda p: float(p["seconds"])) if p["front"]
        ]
        absent = [m for m in benchmark.entries(pair) if m not in {p["method"] for p in points}]
        caption = f"On the line, because no method is both cheaper and better: {', '.join(front)}."
        for why, gone in (
            ("undefined for a task", [m for m in absent if any(benchmark.undefined(m, t) for t in pair.tasks)]),
            (
                "not every task has every run",
                [m for m in absent if not any(benchmark.undefined(m, t) for t in pair.tasks)],
            ),
        ):
            caption += f" Not placed, {why}: {', '.join(map(benchmark.title_of, gone))}." if gone else ""
        found.append(_drawing(figure, f"pareto{i}", pair.title, f"{caption} {_left_out(benchmark, pair)}".strip()))
    return found


def _draws(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, report_plots.draws(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"draws{i}", pair.title, _left_out(benchmark, pair))
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]
