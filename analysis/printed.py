"""Every table that a benchmark prints, built from its runs."""

from collections.abc import Callable
from pathlib import Path

from analysis import costs, speed, tables
from analysis.benchmark import Benchmark
from analysis.load import Runs
from analysis.tables import Table


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
