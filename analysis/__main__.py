"""Runs the analysis: ``python -m analysis tables|figures|claims|audit|report|all BENCHMARK.yaml [--results FOLDER]``;
``python -m analysis compare BENCHMARK.yaml --results FOLDER --against FOLDER``.
"""

import argparse
import json
import sys
from pathlib import Path

from analysis import reported_benchmark
from analysis.made_of import STEPS
from analysis.reported_benchmark import ReportedBenchmark
from railkd.benchmark.paths import Layout, results_folder
from railkd.errors import UserError, printable


def write_tables(benchmark: ReportedBenchmark, layout: Layout) -> dict[Path, bytes]:
    """Every table that a pair names, as CSV, Markdown and LaTeX."""
    from analysis import load
    from analysis.report import catalogue

    tables = catalogue.tables_of(benchmark, load.read(benchmark, layout.root), layout.root)
    return {layout.table(t.number, kind): text for t in tables for kind, text in catalogue.files_of(t).items()}


def write_figures(benchmark: ReportedBenchmark, layout: Layout) -> dict[Path, bytes]:
    """Every figure that a pair names, and the averages, as PDF and PNG, and the data of each as CSV."""
    from analysis import load
    from analysis.report import catalogue

    runs = load.read(benchmark, layout.root)
    return {
        layout.figure(name, kind): content
        for name, files in catalogue.figures_of(benchmark, runs).items()
        for kind, content in files.items()
    }


def write_claims(benchmark: ReportedBenchmark, layout: Layout) -> dict[Path, bytes]:
    """claims.json and claims.md: an estimate and a verdict for each of the paper's claims."""
    from analysis import load
    from analysis.claims import evaluation, verdicts
    from railkd.records.sealed_files import json_bytes

    data = evaluation.evaluate(benchmark, load.read(benchmark, layout.root), layout.root)
    texts = {"json": json_bytes(data), "md": verdicts.claims_markdown(data).encode()}
    return {layout.document("claims", kind): text for kind, text in texts.items()}


def write_audit(benchmark: ReportedBenchmark, layout: Layout) -> dict[Path, bytes]:
    """audit.json and audit.md: what in the paper's printed numbers does not add up. Reads no record."""
    from analysis.claims import audit, verdicts
    from railkd.records.sealed_files import json_bytes

    data = audit.examine()
    texts = {"json": json_bytes(data), "md": verdicts.audit_markdown(data).encode()}
    return {layout.document("audit", kind): text for kind, text in texts.items()}


def write_report(benchmark: ReportedBenchmark, layout: Layout) -> dict[Path, bytes]:
    """report.md and report.html, from the same contents."""
    from analysis import load
    from analysis.report import contents, html_page, markdown

    gathered = contents.gather(benchmark, load.read(benchmark, layout.root), layout.root)
    contents.check_written(gathered)
    texts = {"md": markdown.compose(gathered), "html": html_page.compose(gathered)}
    return {layout.document("report", kind): text.encode() for kind, text in texts.items()}


def delete_outdated(layout: Layout, step: str, names: list[str]) -> None:
    """Deletes the tables or figures that a step wrote earlier and that are not among ``names``, its files now: the
    benchmark file no longer names them, and nothing would make them again when their runs change."""
    from railkd.records.sealed_files import read_sealed

    try:
        former = read_sealed(layout.checksums(step))["files"]
    except (UserError, KeyError, TypeError):
        return
    for path in (layout.root / name for name in former if name not in names):
        if path.parent in (layout.root / "tables", layout.root / "figures"):
            path.unlink(missing_ok=True)


def delete_unnamed(benchmark: ReportedBenchmark, layout: Layout) -> None:
    """Deletes all tables, or all figures, where no pair names one any more: then the workflow has no job for them."""
    from analysis.report import catalogue

    steps: dict[str, list[int | str]] = {
        "tables": [*range(1, 7)],
        "figures": [*catalogue.DRAWINGS, *catalogue.AVERAGED],
    }
    for step, names in steps.items():
        if not any(benchmark.drawn_from(name) for name in names):
            delete_outdated(layout, step, [])
            layout.checksums(step).unlink(missing_ok=True)


def write(step: str, benchmark: ReportedBenchmark, layout: Layout) -> None:
    """Writes the files of a step, their checksums and what they were made of; the report, ``railkd verify`` and the
    workflow read the latter two. Of the claims it prints whether the runs can decide them, and the verdicts' counts."""
    from analysis import made_of
    from railkd.outdated import digest_of_records
    from railkd.records.files import write_bytes
    from railkd.records.sealed_files import seal

    if step == "report":  # the last step, and in every workflow
        delete_unnamed(benchmark, layout)
    files = WRITERS[step](benchmark, layout)
    for path, content in files.items():
        write_bytes(path, content)
    names = [str(path.relative_to(layout.root)) for path in files]
    delete_outdated(layout, step, names)
    records = None if step == "audit" else digest_of_records(layout)  # the audit reads none
    seal(layout.root, names, layout.checksums(step), made_of.digests(benchmark.file, layout)[step], records)
    if step == "claims":  # only now: what is printed is written
        from analysis.claims import verdicts

        print(verdicts.claims_terminal(json.loads(files[layout.document("claims", "json")])))


WRITERS = {
    "tables": write_tables,
    "figures": write_figures,
    "claims": write_claims,
    "audit": write_audit,
    "report": write_report,
}


def compare(benchmark: ReportedBenchmark, results: Path, against: Path, out: Path, tolerance: float) -> bool:
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
        benchmark = reported_benchmark.read(options.benchmark)
        results = results_folder(benchmark.file, options.results)
        if (options.step == "compare") != (options.against is not None):
            raise UserError("--against: names the folder to compare with, and belongs to the step compare")
        if options.step == "compare":
            out = options.out or Layout(results).document("comparison", "html")
            return 0 if compare(benchmark, results, options.against, out, options.tolerance) else 2
        for step in STEPS if options.step == "all" else [options.step]:
            write(step, benchmark, Layout(results))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
