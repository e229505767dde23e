"""Lists which tables and figures a benchmark asks for, and how each is built from its runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.figures import (
    ablation,
    ablation_findings,
    layer_map_survey,
    paper_figures,
    report_plots,
    style,
    training_budget,
)
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.tables import costs, formats, paper_tables, speed
from analysis.tables.cells import Table
from analysis.tables.html_tables import PageTable


@dataclass(frozen=True)
class Drawing:
    """A figure: its title, how it is drawn, the data that it shows and the text below it."""

    label: str
    heading: str
    draw: Callable[[ReportedBenchmark, Runs], Sheet]
    data: Callable[[ReportedBenchmark, Runs], pd.DataFrame]  # what it shows
    about: Callable[[ReportedBenchmark, Runs], str]
    findings: Callable[[ReportedBenchmark, Runs], list[str]] = lambda benchmark, runs: []  # sentences
    # its numbers
    page_tables: Callable[[ReportedBenchmark, Runs], list[PageTable]] = lambda benchmark, runs: []

    @property
    def title(self) -> str:
        """``Figure 2: Layer similarity``."""
        return f"{self.label}: {self.heading}"

    def csv(self, benchmark: ReportedBenchmark, runs: Runs) -> str:
        """The data that it shows, as CSV."""
        return str(self.data(benchmark, runs).to_csv(index=False, lineterminator="\n"))


DRAWINGS = {
    "figure2": Drawing(
        "Figure 2",
        "Layer similarity",
        paper_figures.similarity,
        paper_figures.similarity_frame,
        paper_figures.similarity_caption,
    ),
    "figure3": Drawing(
        "Figure 3",
        "Attention over the teacher's layers",
        paper_figures.attention,
        paper_figures.attention_frame,
        paper_figures.attention_caption,
    ),
    "ablation": Drawing(
        "Ablation",
        "which part does the work",
        ablation.figure,
        ablation.frame,
        ablation.about,
        ablation_findings.findings,
        ablation_findings.page_tables,
    ),
    "layer_maps": Drawing(
        "Layer-map survey",
        "every fixed layer map",
        layer_map_survey.figure,
        layer_map_survey.frame,
        layer_map_survey.about,
        layer_map_survey.findings,
        layer_map_survey.page_tables,
    ),
    "budget": Drawing(
        "Training budget",
        "the order of methods as students train for longer",
        training_budget.figure,
        training_budget.frame,
        training_budget.about,
        training_budget.findings,
        training_budget.page_tables,
    ),
}

AVERAGED = (2, 3)  # the tables whose averages are a figure too


def tables_of(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> list[Table]:
    """The tables that a pair names, in the paper's order."""
    build: dict[int, Callable[[], Table]] = {
        1: lambda: costs.characteristics(benchmark, runs),
        2: lambda: paper_tables.glue(benchmark, runs, 2),
        3: lambda: paper_tables.glue(benchmark, runs, 3),
        4: lambda: costs.against_codir(benchmark, runs, speed.read(benchmark, results)),
        5: lambda: paper_tables.spread(benchmark, runs),
        6: lambda: paper_tables.out_of_domain(benchmark, runs),
    }
    return [make() for number, make in build.items() if benchmark.drawn_from(number)]


def drawings_of(benchmark: ReportedBenchmark) -> dict[str, Drawing]:
    """The figures that a pair names."""
    return {name: drawing for name, drawing in DRAWINGS.items() if benchmark.drawn_from(name)}


def figures_of(benchmark: ReportedBenchmark, runs: Runs) -> dict[str, dict[str, bytes]]:
    """The files of every figure: those that a pair names, and the averages where a pair names Table 2 or 3."""
    files = {name: files_of_figure(drawing, benchmark, runs) for name, drawing in drawings_of(benchmark).items()}
    tables = [paper_tables.glue(benchmark, runs, number) for number in AVERAGED if benchmark.drawn_from(number)]
    if tables:
        data = report_plots.averages_frame(tables)
        drawn = style.saved(report_plots.averages(benchmark, data, page=False))
        files["averages"] = {"csv": str(data.to_csv(index=False, lineterminator="\n")).encode(), **drawn}
    return files


def files_of(table: Table) -> dict[str, bytes]:
    """A table in each of ``Layout.table_kinds``."""
    texts = {"csv": formats.to_csv(table), "md": formats.to_markdown(table), "tex": formats.to_latex(table)}
    return {kind: text.encode() for kind, text in texts.items()}


def files_of_figure(drawing: Drawing, benchmark: ReportedBenchmark, runs: Runs) -> dict[str, bytes]:
    """A figure in each of ``Layout.figure_kinds``; equal records give equal bytes."""
    with style.themed():
        return {"csv": drawing.csv(benchmark, runs).encode(), **style.saved(drawing.draw(benchmark, runs))}
