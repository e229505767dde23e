"""Gathers the contents of a report once: report.md and report.html show the same and differ in layout alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.load import Runs
from analysis.report import catalogue, completeness
from analysis.report.catalogue import Drawing
from analysis.report.completeness import Completeness
from analysis.reported_benchmark import ReportedBenchmark
from analysis.tables import captions
from analysis.tables.cells import Table
from analysis.tables.paper_tables import compares, has_test
from analysis.validity.section import TITLE
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.records.sealed_files import read_json, require

SECTIONS = {  # anchor on the HTML report -> heading, in both reports
    "about": "What this is about",
    "validity": TITLE,
    "verdicts": "Verdicts: does the paper hold here?",
    "differences": "Which methods differ?",
    "audit": "Audit: do the paper's own numbers add up?",
    "reading": "How to read the tables",
    "provenance": "Provenance",
}
SOURCES = (
    "Every number comes from a record under runs/ or teachers/ of the results folder, which names its configuration, "
    "the fingerprints of its data and models, and its predictions; the paper's numbers come from benchmarks/reference/."
)


@dataclass(frozen=True)
class Contents:
    """All that a report shows, before any markup."""

    benchmark: ReportedBenchmark
    runs: Runs
    layout: Layout
    completeness: Completeness
    tables: list[Table]
    drawings: dict[str, Drawing]  # name of the figure's files -> the figure
    claims: dict[str, Any] | None  # the content of claims.json; None: not written
    audit: dict[str, Any] | None  # the content of audit.json; None: not written, or no task is the paper's

    @property
    def title(self) -> str:
        return f"{self.benchmark.title}: results of benchmark {self.benchmark.name}"

    @property
    def warning(self) -> str:
        """What a reader must know before any number; empty where there is nothing."""
        return captions.reading(self.benchmark, self.runs)

    @property
    def beside(self) -> bool:
        """Whether the paper's numbers stand beside any of these."""
        return any(compares(table.sections) for table in self.tables)

    def reading(self) -> list[tuple[str, str]]:
        """How to read the tables: what a mark or a word stands for, and a sentence or more on it."""
        paper = ", and the paper's value in parentheses" if self.beside else ""
        guide = [
            (
                "A cell",
                f"holds mean ± standard deviation{paper}. The "
                "standard deviation is of single runs (divisor n − 1); the standard error of the mean is smaller by "
                "√n, and knows nothing of which test examples were drawn.",
            ),
            (
                "Majority-class baseline",
                "is the best score of predicting one class for every example, from the labels alone; where labels are "
                "scores it is the constant-prediction baseline, whose correlation is 0. † marks a cell that does not "
                "exceed it by two standard errors: such a model may have learned nothing. That error combines the "
                "spread over runs, sd²/n, with the sampling of the examples: accuracy √(p(1−p)/N); F1 by the delta "
                "method, √(F(1−F)²(2−F)/(N(1−accuracy))); correlations √((1−r²)/(N−2)).",
            ),
            (
                "Bold",
                "is the best student of a column and everything that shows the same number. It is not a test: where "
                "the standard deviations of two cells overlap, the order of the two rows is not established.",
            ),
            (
                "An average",
                "is taken within a run over the tasks of the row, then over runs. It is shown only if every cell has "
                "every run." + (" The paper's averages are not always the mean of its columns." if self.beside else ""),
            ),
            (
                "missing",
                "means that there is no run, and nothing takes its place; the notes of a table say which. – means: not "
                "defined, or not part of this benchmark. ‡ means: fewer runs than planned.",
            ),
        ]
        if has_test(self.benchmark, self.runs):
            flattering = "scores chose the best epoch of each run, so they flatter a little; TEST scores chose nothing."
            guide.insert(1, ("DEV", flattering))
        return guide


def gather(benchmark: ReportedBenchmark, runs: Runs, results: Path) -> Contents:
    """Builds everything that a report shows. Raises UserError where claims.json or audit.json was changed."""
    layout = Layout(results)
    return Contents(
        benchmark,
        runs,
        layout,
        completeness.of(benchmark, runs, results),
        catalogue.tables_of(benchmark, runs, results),
        catalogue.drawings_of(benchmark),
        _document(layout, "claims"),
        _document(layout, "audit") if benchmark.of_paper else None,
    )


def _document(layout: Layout, step: str) -> dict[str, Any] | None:
    """The content of claims.json or audit.json; None where it has not been written."""
    path = layout.document(step, "json")
    if not path.is_file():
        return None
    require(layout.root, path.name, file=layout.checksums(step))
    return dict(read_json(path))


def check_written(contents: Contents) -> None:
    """Raises UserError unless every file that a report refers to is present and, where it is text, unchanged."""
    layout = contents.layout
    for step in ("claims", "audit"):
        _present(layout.document(step, "json"), step)
    for table in contents.tables:
        path = layout.table(table.number, "md")
        _present(path, "tables")
        require(layout.root, str(path.relative_to(layout.root)), file=layout.checksums("tables"))
    for name in contents.drawings:
        _present(layout.figure(name), "figures")


def _present(path: Path, step: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: missing; run 'python -m analysis {step}' first")
