"""Every table and figure that a benchmark prints, built from its runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.benchmark import Benchmark
from analysis.figures import ablation, layer_map_survey, paper_figures, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.tables import costs, paper_tables, speed
from analysis.tables.html_tables import Grid
from analysis.tables.paper_tables import Table
from railkd.records.files import write_bytes


@dataclass(frozen=True)
class Drawing:
    """A figure: what it is called, how it is drawn and what is said below it."""

    label: str
    heading: str
    draw: Callable[[Benchmark, Runs], Sheet]
    data: Callable[[Benchmark, Runs], pd.DataFrame]  # what it shows
    about: Callable[[Benchmark, Runs], str]
    findings: Callable[[Benchmark, Runs], list[str]] = lambda benchmark, runs: []  # sentences
    grids: Callable[[Benchmark, Runs], list[Grid]] = lambda benchmark, runs: []  # its numbers, for the page

    def caption(self, benchmark: Benchmark, runs: Runs) -> str:
        """All that is said below it, without its number."""
        return " ".join([self.about(benchmark, runs), *self.findings(benchmark, runs)])


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
        ablation.findings,
        ablation.grids,
    ),
    "census": Drawing(
        "Census",
        "every fixed layer map",
        layer_map_survey.figure,
        layer_map_survey.frame,
        layer_map_survey.about,
        layer_map_survey.findings,
        layer_map_survey.grids,
    ),
}


def tables_of(benchmark: Benchmark, runs: Runs, results: Path) -> list[Table]:
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


def drawings_of(benchmark: Benchmark) -> dict[str, Drawing]:
    """The figures that a pair names."""
    return {name: drawing for name, drawing in DRAWINGS.items() if benchmark.drawn_from(name)}


KINDS = ("csv", "pdf", "png")


def write_figures(benchmark: Benchmark, runs: Runs, folder: Path) -> None:
    """Writes the figures that a pair names as PDF and PNG, their data as CSV; equal records give equal bytes."""
    for name, drawing in drawings_of(benchmark).items():
        text = drawing.data(benchmark, runs).to_csv(index=False, lineterminator="\n")
        write_bytes(folder / f"{name}.csv", text.encode())
        with style.themed():
            for kind, content in style.printed(drawing.draw(benchmark, runs)).items():
                write_bytes(folder / f"{name}.{kind}", content)
