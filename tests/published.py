"""Whether the published records of the default benchmark are of the configuration that its file has now."""

from pathlib import Path

import pytest

from railkd.benchmark.config import load
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.outdated import differences
from railkd.records import run_record

ROOT = Path(__file__).parent.parent
BENCHMARK = ROOT / "benchmarks" / "mini.yaml"
REFERENCE = Layout(ROOT / "results" / "reference" / "mini")
CELL = Cell("bert12-distilbert6", "no_kd", "sst2")


def incomparable() -> str:
    """Why the records under results/reference/mini cannot be compared with benchmarks/mini.yaml; empty if they can."""
    benchmark = load(BENCHMARK)
    path = REFERENCE.run(CELL, benchmark.seeds[0])
    if not path.is_file():
        return "results/reference/mini holds tables and figures, no records"
    expected = run_record.expected_config(benchmark, REFERENCE, CELL)
    found = ["search"] if expected is None else differences(run_record.read(path), expected)
    if not found:
        return ""
    return f"results/reference/mini is of another configuration ({', '.join(found)}) than mini.yaml: make it again"


needs_current_reference = pytest.mark.skipif(bool(incomparable()), reason=incomparable())
