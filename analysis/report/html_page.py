"""report.html: the whole result on one page that needs no network, no server and no other file."""

from typing import Any

from markupsafe import Markup

from analysis.benchmark import Benchmark, Pair
from analysis.figures import inline_svg, report_plots
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.report import claims_html, failures, provenance
from analysis.report.contents import SECTIONS, SOURCES, Contents
from analysis.report.templates import render
from analysis.tables import formats, html_tables
from analysis.tables.cells import CONSTANT, Table, row_title
from analysis.tables.paper_tables import compared_block


def compose(contents: Contents) -> str:
    """The report as one HTML file; the verdicts and the audit are left out where they have not been written."""
    benchmark, runs = contents.benchmark, contents.runs
    run_table, machines = provenance.run_table(benchmark, runs)
    common, settings = provenance.settings_table(runs)
    return render(
        "report.html.j2",
        heading=contents.title,
        title=benchmark.title,
        name=benchmark.name,
        sections=SECTIONS,
        warning=contents.warning,
        seeds=len(benchmark.seeds),
        complete=contents.completeness.sentence,
        missing=[f"{failures.listed(benchmark, keys)}: {why}" for why, keys in contents.completeness.reasons.items()],
        reading=contents.reading(),
        glance=[line for table in contents.tables if table.number in (2, 3) for line in _averages(benchmark, table)],
        methods=_methods(benchmark),
        marks=inline_svg.symbols(benchmark),
        beside=contents.beside,
        verdicts=claims_html.verdicts(benchmark, contents.claims),
        audit=claims_html.audit(contents.audit),
        tables=[html_tables.of_table(table) for table in contents.tables],
        figures=_figures(contents),
        curves=_curves(benchmark, runs),
        tradeoffs=_tradeoffs(benchmark, runs),
        costs=provenance.cost_table(benchmark, runs),
        draws=_draws(benchmark, runs),
        runs=run_table,
        machines=machines,
        common=common,
        settings=settings,
        sources=SOURCES,
    )


def _methods(benchmark: Benchmark) -> list[tuple[str, str]]:
    """The title of each method that is no variant of another, and what it does, in a sentence."""
    methods = [m for m in benchmark.methods if m not in benchmark.variants]
    return [(benchmark.title_of(m), benchmark.summary_of(m)) for m in methods if benchmark.summary_of(m)]


def _averages(benchmark: Benchmark, table: Table) -> list[dict[str, Any]]:
    """The averages of Table 2 or 3 as a drawing; empty where no row is complete."""
    sheet = report_plots.averages(benchmark, table)
    if sheet is None:
        return []
    floors = [(section.title, cells[-1]) for section in table.sections for _, cells in section.rows]
    scores = [
        f"{title} {formats.cell_parts(c)[0]}" for title, c in floors if (c.row, c.status) == (CONSTANT, "complete")
    ]
    caption = f"{row_title(benchmark, CONSTANT)}: {'; '.join(scores)}." if scores else ""
    return [_drawing(sheet, f"averages{table.number}", table.title, caption)]


def _drawing(sheet: Sheet, name: str, title: str, caption: str) -> dict[str, Any]:
    text = " ".join(part for part in (caption, sheet.note()) if part)
    svg = Markup(inline_svg.svg(sheet, name, title))
    return {"name": name, "title": title, "caption": text, "csv": "", "svg": svg}


def _figures(contents: Contents) -> list[dict[str, Any]]:
    """The figures that a pair names, with what they find and their numbers."""
    benchmark, runs = contents.benchmark, contents.runs
    return [
        {
            **_drawing(
                inline_svg.on_page(benchmark, runs, drawing.draw), name, drawing.title, drawing.about(benchmark, runs)
            ),
            "findings": drawing.findings(benchmark, runs),
            "page_tables": drawing.page_tables(benchmark, runs),
            "csv": html_tables.data_uri(drawing.csv(benchmark, runs)),
            "file": f"{name}.csv",
        }
        for name, drawing in contents.drawings.items()
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


def _tradeoffs(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    """Cost against quality for each pair, with the methods that cannot be placed."""
    block, drawn = compared_block(benchmark, runs), []
    for i, pair in enumerate(benchmark.pairs):
        points = report_plots.trade_off(benchmark, runs, pair, block)
        figure = report_plots.pareto(benchmark, pair, block, points)
        if figure is None:
            continue
        front = [
            benchmark.title_of(p["method"]) for p in sorted(points, key=lambda p: float(p["seconds"])) if p["front"]
        ]
        caption = f"On the line, because no method is both cheaper and better: {', '.join(front)}."
        left = " ".join([caption, *_not_placed(benchmark, pair, {p["method"] for p in points})])
        drawn.append(_drawing(figure, f"pareto{i}", pair.title, f"{left} {_left_out(benchmark, pair)}".strip()))
    return drawn


def _not_placed(benchmark: Benchmark, pair: Pair, placed: set[str]) -> list[str]:
    """A sentence for each reason why methods of a pair have no place among cost and quality."""
    reasons: dict[str, list[str]] = {}
    for method in benchmark.entries(pair):
        if method not in placed:
            tasks = [benchmark.task(task).title for task in pair.tasks if benchmark.undefined(method, task)]
            why = f"undefined for {', '.join(tasks)}" if tasks else "not every task has every run"
            reasons.setdefault(why, []).append(benchmark.title_of(method))
    return [f"Not placed, {why}: {', '.join(titles)}." for why, titles in reasons.items()]


def _draws(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, report_plots.draws(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"draws{i}", pair.title, _left_out(benchmark, pair))
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]
