"""``python -m analysis tables|figures|claims|audit|report|all BENCHMARK.yaml [--results FOLDER]``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from analysis import benchmark as benchmarks
from analysis.benchmark import Benchmark
from railkd.errors import UserError

STEPS = ("tables", "figures", "claims", "audit", "report")


def write_tables(benchmark: Benchmark, results: Path) -> None:
    """Writes every table that a pair names, as CSV, Markdown and LaTeX."""
    from analysis import costs, layout, load, speed, tables
    from railkd.records import write_bytes

    runs = load.read(benchmark, results)
    build: dict[int, Callable[[], tables.Table]] = {
        1: lambda: costs.characteristics(benchmark, runs),
        2: lambda: tables.glue(benchmark, runs, 2),
        3: lambda: tables.glue(benchmark, runs, 3),
        4: lambda: costs.against_codir(benchmark, runs, speed.read(benchmark, results)),
        5: lambda: tables.spread(benchmark, runs),
        6: lambda: tables.out_of_domain(benchmark, runs),
    }
    for number, make in build.items():
        if benchmark.drawn_from(number):
            table = make()
            texts = {"csv": layout.to_csv(table), "md": layout.to_markdown(table), "tex": layout.to_latex(table)}
            for extension, text in texts.items():
                write_bytes(results / "tables" / f"table{number}.{extension}", text.encode())


def write_figures(benchmark: Benchmark, results: Path) -> None:
    """Writes every figure that a pair names, as PDF and PNG."""
    from analysis import figures, load

    figures.write(benchmark, load.read(benchmark, results), results / "figures")


def write_claims(benchmark: Benchmark, results: Path) -> None:
    """Writes claims.json and claims.md: an estimate and a verdict for each of the paper's claims."""
    from analysis import claims, load, verdicts
    from railkd.records import write_bytes, write_json

    data = claims.evaluate(benchmark, load.read(benchmark, results), results)
    write_json(results / "claims.json", data)
    write_bytes(results / "claims.md", verdicts.claims_markdown(data).encode())


def write_audit(benchmark: Benchmark, results: Path) -> None:
    """Writes audit.json and audit.md: what in the paper's printed numbers does not add up. Reads no record."""
    from analysis import audit, verdicts
    from railkd.records import write_bytes, write_json

    data = audit.examine()
    write_json(results / "audit.json", data)
    write_bytes(results / "audit.md", verdicts.audit_markdown(data).encode())


def write_report(benchmark: Benchmark, results: Path) -> None:
    """Writes report.md from the tables and figures already there and the records' provenance."""
    from analysis import load, report
    from railkd.records import write_bytes

    text = report.compose(benchmark, load.read(benchmark, results), results)
    write_bytes(results / "report.md", text.encode())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; a user's mistake is one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Tables, figures, claims, audit, report.")
    parser.add_argument("step", choices=[*STEPS, "all"], help="what to write")
    parser.add_argument("benchmark", type=Path, help="benchmark file (YAML)")
    parser.add_argument("--results", type=Path, help="its results folder (default: results/<name>)")
    options = parser.parse_args(arguments)
    try:
        benchmark = benchmarks.read(options.benchmark)
        results = options.results or Path("results") / benchmark.name
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
