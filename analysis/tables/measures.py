"""Computes what a claim compares: one number for each run, on a scale where differences mean something."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from railkd.tasks import OUT_OF_DOMAIN, TASKS

# What the time of a step is compared in: with the teacher running, as the paper's speed-up was measured, or with its
# signals cached. Recorded runs do not serve: a cell's seeds run one after the other, and what else the machine does
# meanwhile lengthens all of them.
COST_REGIMES = {"train_seconds": "live", "step_seconds": "cached"}
STEP = "step"  # the only column of a cost: a step at the models' own shapes, which belongs to no task
SHOWN_LAYERS = 3  # Figure 2: student layers 1 to 3


@dataclass(frozen=True)
class Measure:
    """A quantity: its unit as shown, and whether it is compared as a ratio, that is on a logarithmic scale."""

    unit: str
    ratio: bool = False


MEASURES = {
    "score": Measure("points"),
    "sd": Measure("ratio", True),
    "train_seconds": Measure("ratio", True),
    "step_seconds": Measure("ratio", True),
    "similarity": Measure("cosine"),
    "top_attention": Measure("share"),
}


def layers_shown(m: int, n: int) -> list[tuple[int, int]]:
    """(student, teacher) layers of Figure 2, for a student and a teacher of m + 1 and n layers.

    Teacher layer of student layer i: i·n/(m+1), the paper's 2, 4, 6 for 12 → 6.
    """
    return [(i, max(1, round(i * n / (m + 1)))) for i in range(1, min(SHOWN_LAYERS, m) + 1)]


def columns_of(
    benchmark: ReportedBenchmark, pair: Pair, measure: str, block: str, wanted: tuple[str, ...]
) -> tuple[str, ...]:
    """What a measure is averaged over for a pair: the paper's tasks or out-of-domain sets that it has, or those among
    them ``wanted``. The paper claims nothing of a task of one's own."""
    if measure in COST_REGIMES:
        return (STEP,)
    if measure == "similarity":
        return tuple(t for t in ("sst2",) if t in pair.tasks)
    if block == "ood":
        sets = (o for o in benchmark.out_of_domain if o in OUT_OF_DOMAIN)
        own = tuple(o for o in sets if benchmark.source_task(block, o) in pair.tasks)
    else:
        own = tuple(t for t in pair.tasks if t in TASKS)
    return tuple(c for c in wanted if c in own) if wanted else own


def values(runs: Runs, measure: str, pair: str, method: str, block: str, column: str) -> dict[int, float]:
    """seed -> value of one cell's runs, for a measure that is no cost.

    Scores in percent; mean cosine similarity of the layers of Figure 2; attention on the upper third of the teacher's
    intermediate layers, mean over student layers.
    """
    if measure in ("score", "sd"):
        return runs.percents(pair, method, block, column)
    seeds = {}
    for seed, record in runs.cell(pair, method, runs.task_of(block, column)).items():
        if measure == "similarity" and record["similarity"].get("mean"):
            matrix = np.asarray(record["similarity"]["mean"], dtype=float)
            shown = layers_shown(matrix.shape[0], matrix.shape[1] + 1)
            seeds[seed] = float(np.mean([matrix[i - 1, j - 1] for i, j in shown]))
        if measure == "top_attention" and record["method_record"].get("attention"):
            matrix = np.asarray(record["method_record"]["attention"], dtype=float)
            top = math.ceil(matrix.shape[1] / 3)
            seeds[seed] = float(matrix[:, -top:].sum(axis=1).mean())
    return seeds
