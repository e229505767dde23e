"""``python -m analysis tables|figures|claims|audit|report|all BENCHMARK.yaml [--results FOLDER]``;
``python -m analysis compare BENCHMARK.yaml --results FOLDER --against FOLDER``.
"""

import argparse
import sys
from pathlib import Path

from analysis import benchmark as benchmarks
from analysis.benchmark import Benchmark
from analysis.made_of import STEPS
from railkd.errors import UserError, printable


def write_tables(benchmark: Benchmark, results: Path) -> None:
    """Writes every table that a pair names, as CSV, Markdown and LaTeX."""
    from analysis import load
    from analysis.report import catalogue
    from analysis.tables import formats
    from railkd.records.files import write_bytes

    names = []
    for table in catalogue.tables_of(benchmark, load.read(benchmark, results), results):
        texts = {"csv": formats.to_csv(table), "md": formats.to_markdown(table), "tex": formats.to_latex(table)}
        for extension, text in texts.items():
            names.append(f"tables/table{table.number}.{extension}")
            write_bytes(results / names[-1], text.encode())
    _seal(benchmark, results, "tables", *names)


def write_figures(benchmark: Benchmark, results: Path) -> None:
    """Writes every figure that a pair names, as PDF and PNG, and its data as CSV."""
    from analysis import load
    from analysis.report import catalogue

    catalogue.write_figures(benchmark, load.read(benchmark, results), results / "figures")
    drawn = catalogue.drawings_of(benchmark)
    names = [f"figures/{name}.{extension}" for name in drawn for extension in catalogue.KINDS]
    _seal(benchmark, results, "figures", *names)


def write_claims(benchmark: Benchmark, results: Path) -> None:
    """Writes claims.json and claims.md: an estimate and a verdict for each of the paper's claims."""
    from analysis import load
    from analysis.claims import evaluation, verdicts
    from railkd.records.files import write_bytes
    from railkd.records.sealed_files import write_json

    data = evaluation.evaluate(benchmark, load.read(benchmark, results), results)
    write_json(results / "claims.json", data)
    write_bytes(results / "claims.md", verdicts.claims_markdown(data).encode())
    _seal(benchmark, results, "claims", "claims.json", "claims.md")


def write_audit(benchmark: Benchmark, results: Path) -> None:
    """Writes audit.json and audit.md: what in the paper's printed numbers does not add up. Reads no record."""
    from analysis.claims import audit, verdicts
    from railkd.records.files import write_bytes
    from railkd.records.sealed_files import write_json

    data = audit.examine()
    write_json(results / "audit.json", data)
    write_bytes(results / "audit.md", verdicts.audit_markdown(data).encode())
    _seal(benchmark, results, "audit", "audit.json", "audit.md")


def write_report(benchmark: Benchmark, results: Path) -> None:
    """Writes report.md from the tables and figures already there, and report.html from the records."""
    from analysis import load
    from analysis.report import html_page, markdown
    from railkd.records.files import write_bytes

    runs = load.read(benchmark, results)
    write_bytes(results / "report.md", markdown.compose(benchmark, runs, results).encode())
    write_bytes(results / "report.html", html_page.compose(benchmark, runs, results).encode())
    _seal(benchmark, results, "report", "report.md", "report.html")


def _seal(benchmark: Benchmark, results: Path, step: str, *names: str) -> None:
    """Writes the checksums of what a step has written and what that was made of; the report, ``railkd verify`` and the
    workflow read them."""
    from analysis import made_of
    from railkd.benchmark.paths import Layout
    from railkd.records.sealed_files import seal

    layout = Layout(results)
    seal(results, names, layout.checksums(step), made_of.digests(benchmark.file, layout)[step])


def compare(benchmark: Benchmark, results: Path, against: Path, out: Path, tolerance: float) -> bool:
    """Writes the comparison of two results folders as HTML, prints its summary; whether they agree."""
    from analysis.report import comparison
    from railkd.records.files import write_bytes

    compared = comparison.compare(results, against, tolerance)
    write_bytes(out, comparison.compose(benchmark, compared, results, against, tolerance).encode())
    print(comparison.summary(benchmark, compared, results, against, tolerance) + f"\n{out}")
    return comparison.agree(compared)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; a user's mistake is one line on stderr and exit code 1, two folders that differ are 2."""
    printable()
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Tables, figures, claims, audit, report.")
    parser.add_argument("step", choices=[*STEPS, "all", "compare"], help="what to write")
    parser.add_argument("benchmark", type=Path, help="benchmark file (YAML)")
    parser.add_argument("--results", type=Path, help="its results folder (default: results/<name>)")
    parser.add_argument("--against", type=Path, help="compare: the other results folder, such as a published reference")
    parser.add_argument("--out", type=Path, help="compare: the HTML file (default: comparison.html in --results)")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="compare: a difference up to so many points is none (default: 0)"
    )
    options = parser.parse_args(arguments)
    try:
        benchmark = benchmarks.read(options.benchmark)
        results = options.results or Path("results") / benchmark.name
        if (options.step == "compare") != (options.against is not None):
            raise UserError("--against: names the folder to compare with, and belongs to the step compare")
        if options.step == "compare":
            out = options.out or results / "comparison.html"
            return 0 if compare(benchmark, results, options.against, out, options.tolerance) else 2
        steps = {
            "tables": write_tables,
            "figures": write_figures,
            "claims": write_claims,
            "audit": write_audit,
            "report": write_report,
        }
        for step in STEPS if options.step == "all" else [options.step]:
            steps[step](benchmark, results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
