"""report.html: the whole result on one page that needs no network, no server and no other file."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from analysis import answers, captions, grid, layout, plots, printed, provenance, reasons
from analysis.benchmark import Benchmark, Pair
from analysis.cells import Cell
from analysis.load import Runs
from analysis.report import HEADINGS, planned
from analysis.tables import Table

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A template of ``analysis/templates`` as text; everything from data is escaped, an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sup"] = layout.html
    return environment.get_template(template).render(**values)


def compose(benchmark: Benchmark, runs: Runs, results: Path) -> str:
    """The report as one HTML file; with the verdicts and the audit where they have been written."""
    tables = printed.tables_of(benchmark, runs, results)
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
            f"{reasons.listed(benchmark, keys)}: {why}"
            for why, keys in reasons.grouped(benchmark, results, gone).items()
        ],
        glance=[line for table in tables if table.number in (2, 3) for line in _glance(benchmark, table)],
        methods=_methods(benchmark),
        verdicts=answers.verdicts(benchmark, answers.read(results / "claims.json")),
        audit=answers.audit(answers.read(results / "audit.json")),
        tables=[grid.of_table(table, HEADINGS[table.number]) for table in tables],
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


def _glance(benchmark: Benchmark, table: Table) -> list[dict[str, Any]]:
    """For each section of Table 2 or 3: the averages of students, teacher and constant answer, best student first."""
    found = []
    for section in table.sections:
        average = {cells[-1].row: cells[-1] for _, cells in section.rows if cells[-1].status == "complete"}
        students = sorted((c for c in average.values() if c.row not in ("teacher", "constant")), key=lambda c: -c.value)
        if students:
            pair = next(p for p in benchmark.pairs if p.name == students[0].pair)
            found.append(
                {
                    "where": f"{pair.title}, {students[0].block.upper()}",
                    "table": table.number,
                    "bars": [
                        _bar(benchmark, c) for c in (*(average[k] for k in ("teacher",) if k in average), *students)
                    ],
                    "floor": _bar(benchmark, average["constant"]) if "constant" in average else None,
                }
            )
    return found


def _bar(benchmark: Benchmark, cell: Cell) -> dict[str, Any]:
    value, after, _ = layout.cell_parts(cell)
    return {
        "title": benchmark.title_of(cell.row),
        "text": f"{value} {after}".strip(),
        "value": cell.value,
        "best": cell.best,
        "teacher": cell.row == "teacher",
    }


def _drawing(figure: Any, name: str, title: str, caption: str) -> dict[str, Any]:
    return {"name": name, "title": title, "caption": caption, "svg": Markup(plots.svg(figure, name, title))}


def _figures(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    """The figures that a pair names, with what they find and their numbers."""
    return [
        {
            **_drawing(
                plots.printed_figure(benchmark, runs, drawing.draw),
                name,
                f"{drawing.label}: {drawing.heading}",
                drawing.about(benchmark, runs),
            ),
            "findings": drawing.findings(benchmark, runs),
            "grids": drawing.grids(benchmark, runs),
        }
        for name, drawing in printed.drawings_of(benchmark).items()
    ]


def _left_out(benchmark: Benchmark, pair: Pair) -> str:
    """Which methods a plot does not show."""
    families = benchmark.families(pair).items()
    counts = [f"{len(variants)} of {benchmark.title_of(entry)}" for entry, variants in families]
    return f"Variants are left out: {', '.join(counts)}." if counts else ""


def _curves(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, plots.learning_curves(benchmark, runs, pair)) for pair in benchmark.pairs]
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
        points = plots.trade_off(benchmark, runs, pair, block)
        figure = plots.pareto(benchmark, pair, block, points)
        if figure is None:
            continue
        front = [
            benchmark.title_of(p["method"]) for p in sorted(points, key=lambda p: float(p["seconds"])) if p["front"]
        ]
        absent = [benchmark.title_of(m) for m in benchmark.entries(pair) if m not in {p["method"] for p in points}]
        caption = f"On the line, because no method is both cheaper and better: {', '.join(front)}."
        if absent:
            caption += f" Not placed, because not every task has every run: {', '.join(absent)}."
        found.append(_drawing(figure, f"pareto{i}", pair.title, f"{caption} {_left_out(benchmark, pair)}".strip()))
    return found


def _draws(benchmark: Benchmark, runs: Runs) -> list[dict[str, Any]]:
    drawn = [(pair, plots.draws(benchmark, runs, pair)) for pair in benchmark.pairs]
    return [
        _drawing(figure, f"draws{i}", pair.title, _left_out(benchmark, pair))
        for i, (pair, figure) in enumerate(drawn)
        if figure is not None
    ]
