"""Every table and figure that a benchmark prints, built from its runs."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from analysis import ablation, census, costs, figures, speed, tables
from analysis.benchmark import Benchmark
from analysis.grid import Grid
from analysis.load import Runs
from analysis.tables import Table
from railkd.files import write_bytes


@dataclass(frozen=True)
class Drawing:
    """A figure: what it is called, how it is drawn and what is said below it."""

    label: str
    heading: str
    draw: Callable[[Benchmark, Runs], Figure]
    about: Callable[[Benchmark, Runs], str]
    findings: Callable[[Benchmark, Runs], list[str]] = lambda benchmark, runs: []  # sentences
    grids: Callable[[Benchmark, Runs], list[Grid]] = lambda benchmark, runs: []  # its numbers, for the page

    def caption(self, benchmark: Benchmark, runs: Runs) -> str:
        """All that is said below it, without its number."""
        return " ".join([self.about(benchmark, runs), *self.findings(benchmark, runs)])


DRAWINGS = {
    "figure2": Drawing("Figure 2", "Layer similarity", figures.similarity, figures.similarity_caption),
    "figure3": Drawing("Figure 3", "Attention over the teacher's layers", figures.attention, figures.attention_caption),
    "ablation": Drawing(
        "Ablation", "which part does the work", ablation.figure, ablation.about, ablation.findings, ablation.grids
    ),
    "census": Drawing("Census", "every fixed layer map", census.figure, census.about, census.findings, census.grids),
}


def tables_of(benchmark: Benchmark, runs: Runs, results: Path) -> list[Table]:
    """The tables that a pair names, in the paper's order."""
    build: dict[int, Callable[[], Table]] = {
        1: lambda: costs.characteristics(benchmark, runs),
        2: lambda: tables.glue(benchmark, runs, 2),
        3: lambda: tables.glue(benchmark, runs, 3),
        4: lambda: costs.against_codir(benchmark, runs, speed.read(benchmark, results)),
        5: lambda: tables.spread(benchmark, runs),
        6: lambda: tables.out_of_domain(benchmark, runs),
    }
    return [make() for number, make in build.items() if benchmark.drawn_from(number)]


def drawings_of(benchmark: Benchmark) -> dict[str, Drawing]:
    """The figures that a pair names."""
    return {name: drawing for name, drawing in DRAWINGS.items() if benchmark.drawn_from(name)}


def write_figures(benchmark: Benchmark, runs: Runs, folder: Path) -> None:
    """Writes the figures that a pair names as PNG and PDF; equal records give equal bytes."""
    for name, drawing in drawings_of(benchmark).items():
        with matplotlib.rc_context(figures.STYLE):
            figure = drawing.draw(benchmark, runs)
            figure.draw_without_rendering()  # lays it out, once for both files
            figure.set_layout_engine("none")
            for extension, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=extension, dpi=180, metadata=metadata)
                write_bytes(folder / f"{name}.{extension}", buffer.getvalue())
