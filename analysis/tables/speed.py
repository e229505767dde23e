"""Reads Table 4's speed-up from ``speed.json``, which ``python -m benchmarks.speed`` writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.reported_benchmark import WITHOUT_KD, Pair, ReportedBenchmark
from analysis.tables.cells import BASELINE, TableCell
from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.records.sealed_files import read_json

REGIMES = ("cached", "live")
COLUMNS = [f"speedup_{regime}" for regime in REGIMES]
PUBLISHED = "live"  # how the paper's own speed-up was measured


def read(benchmark: ReportedBenchmark, results: Path) -> dict[str, Any] | None:
    """What was timed for this benchmark at its own shapes; None when nothing was.

    Raises UserError naming the file when it is not what ``benchmarks.speed`` writes.
    """
    path = Layout(results).speed()
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        own = content["schema"] == 1 and content["benchmark"] == benchmark.name and content["shapes"] == "own"
        pairs = {g["pair"]: g["jobs"] for g in content["groups"] if g["kind"] == "pair"}
        seconds = {
            (pair, job["method"], job["regime"]): np.array(job["seconds"], dtype=float)
            for pair, jobs in pairs.items()
            for job in jobs
            if job["own"]
        }
        machine, settings = content["environment"], content["settings"]
        measured = (
            f"on {machine['device']} ({machine['processor']}, {machine['threads']} threads), torch "
            f"{machine['versions']['torch']}, {settings['rounds']} rounds of {settings['steps']} steps of "
            f"{settings['batch_size']} examples"
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not what `python -m benchmarks.speed` writes ({error!r})") from None
    return {"seconds": seconds, "measured": measured} if own else None


def rounds(timed: dict[str, Any], pair: str, method: str, regime: str) -> dict[int, float]:
    """Round -> logarithm of a step's seconds, for comparisons of methods that took turns; empty if not timed."""
    kinds = (regime, "live", "none")  # some methods have no cache to read, and one no teacher
    found = next((timed["seconds"][key] for kind in kinds if (key := (pair, method, kind)) in timed["seconds"]), ())
    return {number: float(np.log(seconds)) for number, seconds in enumerate(found, 1)}


def caption(timed: dict[str, Any]) -> str:
    """How the speed-up was measured."""
    return (
        "Speedup: CoDIR's training step over the row's, median and quartiles over rounds in which the methods took "
        "turns, with the teacher's signals cached (computing them once, for all methods and seeds, not counted) and "
        f"live, as published; measured {timed['measured']}."
    )


def cells(
    timed: dict[str, Any], benchmark: ReportedBenchmark, pair: Pair, row: str, paper: float
) -> tuple[list[TableCell], list[str]]:
    """The row's speed-up in both regimes, and what of it was not timed."""
    made, missing = [], []
    without_kd = benchmark.base(row) == WITHOUT_KD  # whatever the benchmark file calls it, it is timed by this name
    for regime in REGIMES:
        column = f"speedup_{regime}"
        cell = TableCell(pair.name, "cost", row, column, "missing", "median", "ratio", spread=False, decimals=2)
        cell = replace(cell, paper=paper) if regime == PUBLISHED else cell
        if row in (BASELINE, "teacher"):  # neither is a way to train this student
            made.append(replace(cell, status="empty"))
            continue
        seconds = timed["seconds"]
        codir = seconds.get((pair.name, "codir", regime))
        own = seconds.get((pair.name, *((WITHOUT_KD, "none") if without_kd else (row, regime))))
        if codir is None or own is None:
            made.append(cell)
            missing.append(f"speed-up {regime}")
            continue
        middle, low, high = (float(v) for v in np.quantile(codir / own, [0.5, 0.25, 0.75]))
        n = len(own)
        made.append(replace(cell, status="complete", value=middle, low=low, high=high, n=n, n_expected=n))
    return made, missing
