"""Judges what else a cell must satisfy: it has learned something, its projection holds, its tuning was equal."""

from collections.abc import Sequence
from pathlib import Path

from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.statistics import summaries, uncertainty
from analysis.validity.thresholds import COLLAPSED_RANK, COLLAPSED_SHARE
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell


def baselines(runs: Runs, pair: str, method: str, block: str, columns: Sequence[str]) -> dict[str, bool | None]:
    """Whether a method clears the majority-class baseline (the † of the tables) on each column where it has a score;
    None where no baseline is known, as of a hidden test set."""
    cells = {column: runs.by_cell.get((pair, method, block, column), []) for column in columns}
    return {column: summaries.clears_baseline(rows) for column, rows in cells.items() if rows}


def ranks(runs: Runs, pair: str, method: str, task: str) -> list[float]:
    """Effective rank of the projected vectors of each run of a cell at its best epoch; empty without a projection."""
    found = []
    for record in runs.cell(pair, method, task).values():
        by_epoch = record["method_record"].get("effective_rank")
        if isinstance(by_epoch, list) and len(by_epoch) >= record["best_epoch"] > 0:
            found.append(float(by_epoch[record["best_epoch"] - 1]))
    return found


def collapsed(found: Sequence[float]) -> bool:
    """Whether the projection of a cell has collapsed, from the effective ranks of its runs."""
    return sum(rank < COLLAPSED_RANK for rank in found) > COLLAPSED_SHARE * len(found)


def points(benchmark: ReportedBenchmark, results: Path, cell: Cell) -> int:
    """How many points of the file's search were trained for a cell; 0 where none was.

    Where the points' records are not kept, the choice that was made among them says how many there were.
    """
    layout = Layout(results)
    return len(uncertainty.points(benchmark, layout, cell)) or len(
        uncertainty.scores_of_choice(benchmark, layout, cell)
    )
