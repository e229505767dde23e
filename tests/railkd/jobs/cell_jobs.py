"""What the tests of the jobs share: a cell, and its distillation without a log on the terminal."""

from typing import Any

import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.jobs import distillation

CPU = torch.device("cpu")
CELL = Cell("distilbert2", "rail_kd_l", "mrpc")


def distil(made: tuple[Benchmark, Layout], seeds: list[int], cell: Cell = CELL, **options: Any) -> list[str]:
    """Trains a cell's seeds; returns what was logged."""
    lines: list[str] = []
    distillation.distil(*made, cell, seeds, CPU, lines.append, **options)
    return lines
