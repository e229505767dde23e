"""Writes report.html: the whole result on one page that needs no network, no server and no other file."""

from typing import Any

from markupsafe import Markup

from analysis.claims import difference_tables, errors_of_intervals
from analysis.figures import inline_svg, report_plots
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.report import claims_html, failures, provenance
from analysis.report.contents import SECTIONS, SOURCES, Contents
from analysis.report.templates import render
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.tables import formats, html_tables
from analysis.tables.cells import BASELINE, Table, row_title
from analysis.tables.paper_tables import compared_block


def compose(contents: Contents) -> str:
    """The report as one HTML file; the verdicts and the audit are left out where they have not been written."""
    benchmark, runs = contents.benchmark, contents.runs
    run_table, origins = provenance.run_table(benchmark, runs)
    made_on, made_on_table = provenance.made_on(origins)
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
        glance=_averages(benchmark, [table for table in contents.tables if table.number in (2, 3)]),
        filters=_filters(benchmark),
        methods=_methods(benchmark),
        marks=inline_svg.symbols(benchmark),
        beside=contents.beside,
        verdicts=claims_html.verdicts(benchmark, contents.claims),
        differences=difference_tables.table(contents.claims) if contents.claims else None,
        errors=errors_of_intervals(contents.claims) if contents.claims else "",
        audit=claims_html.audit(contents.audit),
        tables=[html_tables.of_table(table) for table in contents.tables],
        figures=_figures(contents),
        curves=_curves(benchmark, runs),
        tradeoffs=_tradeoffs(benchmark, runs),
        costs=provenance.cost_table(benchmark, runs),
        draws=_draws(benchmark, runs),
        runs=run_table,
        made_on=made_on,
        made_on_table=made_on_table,
        common=common,
        settings=settings,
        sources=SOURCES,
    )


def _methods(benchmark: ReportedBenchmark) -> list[tuple[str, str]]:
    """The title of each method that is no variant of another, and what it does, in a sentence."""
    methods = [m for m in benchmark.methods if m not in benchmark.variants]
    return [(benchmark.title_of(m), benchmark.summary_of(m)) for m in methods if benchmark.summary_of(m)]


def _filters(benchmark: ReportedBenchmark) -> list[tuple[str, list[tuple[str, str]]]]:
    """What a reader can choose to see: pairs, methods and tasks by name and title, where there is more than one."""
    choices = {
        "pair": [(pair.name, pair.title) for pair in benchmark.pairs],
        "method": [(method, benchmark.title_of(method)) for method in benchmark.methods],
        "task": [(task, benchmark.task(task).title) for task in benchmark.tasks],
    }
    return [(kind, entries) for kind, entries in choices.items() if len(entries) > 1]


def _averages(benchmark: ReportedBenchmark, tables: list[Table]) -> dict[str, Any] | None:
    """The averages of Tables 2 and 3 as one drawing; None where no row is complete."""
    shown = report_plots.averages_frame(tables)
    if shown.empty:
        return None
    sheet = report_plots.averages(benchmark, shown)
    sections = [section for table in tables for section in table.sections]
    floors = [
        f"{section.title} {formats.cell_parts(cells[-1])[0]}"
        for section in sections
        for _, cells in section.rows
        if (cells[-1].row, cells[-1].status) == (BASELINE, "complete")
    ]
    caption = [f"{row_title(benchmark, BASELINE)}: {'; '.join(dict.fromkeys(floors))}."] if floors else []
    for pair in benchmark.pairs:
        placed = set(shown.loc[shown["pair"] == pair.name, "method"])
        caption += [f"{pair.title}: {text}" for text in _not_placed(benchmark, pair, placed)] if placed else []
    drawn = _drawing(sheet, "averages", "Average over all tasks", " ".join(caption))
    csv = html_tables.data_uri(shown.to_csv(index=False, lineterminator="\n"))
    return {**drawn, "csv": csv, "file": "averages.csv"}


def _drawing(sheet: Sheet, name: str, title: str, caption: str, pair: str = "") -> dict[str, Any]:
    text = " ".join(part for part in (caption, sheet.note()) if part)
    svg = Markup(inline_svg.svg(sheet, name, title))
    return {"name": name, "title": title, "caption": text, "csv": "", "svg": svg, "pair": pair}


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


def _left_out(benchmark: ReportedBenchmark, pair: Pair) -> str:
    """Which methods a plot does not show."""
    families = benchmark.families(pair).items()
    counts = [f"{len(variants)} of {benchmark.title_of(entry)}" for entry, variants in families]
    return f"Variants are left out: {', '.join(counts)}." if counts else ""


def _curves(benchmark: ReportedBenchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, report_plots.learning_curves(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"curves{i}", f"Learning curves, {pair.title}", _left_out(benchmark, pair), pair.name)
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]


def _tradeoffs(benchmark: ReportedBenchmark, runs: Runs) -> list[dict[str, Any]]:
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
        text = f"{left} {_left_out(benchmark, pair)}".strip()
        drawn.append(_drawing(figure, f"pareto{i}", f"Cost and score, {pair.title}", text, pair.name))
    return drawn


def _not_placed(benchmark: ReportedBenchmark, pair: Pair, placed: set[str]) -> list[str]:
    """A sentence for each reason why methods of a pair have no place among cost and quality."""
    reasons: dict[str, list[str]] = {}
    for method in benchmark.entries(pair):
        if method not in placed:
            tasks = [benchmark.task(task).title for task in pair.tasks if benchmark.undefined(method, task)]
            why = f"because undefined for {', '.join(tasks)}" if tasks else "because not every task has every run"
            reasons.setdefault(why, []).append(benchmark.title_of(method))
    return [f"{', '.join(titles)} not shown, {why}." for why, titles in reasons.items()]


def _draws(benchmark: ReportedBenchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, report_plots.draws(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"draws{i}", f"Layers drawn, {pair.title}", _left_out(benchmark, pair), pair.name)
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]
