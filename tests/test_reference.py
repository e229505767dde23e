"""A slice of the published reference, trained again: it agrees with the records under results/reference/mini.

Of the default benchmark as it stands: two methods that score far apart, on MNLI, three seeds each, with everything
that they need, from text to backbones. On the reference's own processor and versions every score must be its score, to
half a point (two examples of 500). Elsewhere the last bits of a sum differ, which after thousands of steps amounts
to another seed: there, the difference of two means over seeds may be that of chance (Welch's test, Holm's correction,
1 %).
"""

import statistics

import numpy as np
import pytest
from published import BENCHMARK, REFERENCE
from test_workflow import snakemake

from analysis.statistics import inference
from railkd.benchmark.config import load
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.outdated import differences
from railkd.records import run_record

PAIR, TASK, METHODS = "bert12-distilbert6", "mnli", ("no_kd", "alp_kd")  # two that differ clearly
SPLITS = {"dev": "accuracy", "test": "accuracy", "scitail": "accuracy"}
MACHINE = ("processor", "platform", "python", "versions")
SAME, LEVEL = 0.5, 0.01  # points; share of false alarms

pytestmark = pytest.mark.trust


def scores(layout, method, split, seeds):
    """In percent, one for each seed."""
    found = [run_record.read(layout.run(Cell(PAIR, method, TASK), seed)) for seed in seeds]
    return [100 * record["scores"][split][SPLITS[split]] for record in found]


def mean_of(values):
    """A cell of a table."""
    return inference.Mean(statistics.mean(values), statistics.stdev(values), len(values))


def differ(ours, theirs):
    """The (method, split) whose means over seeds differ by more than chance: ours and theirs map it to its scores."""
    p = np.array([inference.welch(mean_of(ours[key]), mean_of(theirs[key]))[2] for key in ours])
    return [key for key, adjusted in zip(ours, inference.holm(p), strict=True) if adjusted <= LEVEL]


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The slice, made from nothing by the workflow."""
    layout = Layout(tmp_path_factory.mktemp("reference") / "results")
    wanted = [str(layout.run(Cell(PAIR, method, TASK), seed)) for method in METHODS for seed in load(BENCHMARK).seeds]
    done = snakemake(BENCHMARK, layout.root, *wanted)
    assert done.returncode == 0, done.stderr[-3000:]
    return layout


def test_the_configuration_is_the_references(again):
    """Else another benchmark would be compared: then make the reference anew."""
    for method in METHODS:
        for seed in load(BENCHMARK).seeds:
            ours, theirs = (run_record.read(at.run(Cell(PAIR, method, TASK), seed)) for at in (again, REFERENCE))
            assert differences(theirs, ours["config"]) == [] and ours["examples"] == theirs["examples"]
            assert ours["baselines"] == theirs["baselines"]  # the same labels
            assert ours["fingerprints"]["data"] == theirs["fingerprints"]["data"]


def test_the_scores_agree(again):
    seeds = load(BENCHMARK).seeds
    keys = [(method, split) for method in METHODS for split in SPLITS]
    ours, theirs = ({key: scores(at, *key, seeds) for key in keys} for at in (again, REFERENCE))
    made_on = [
        {key: run_record.read(at.run(Cell(PAIR, METHODS[0], TASK), 1))["provenance"][key] for key in MACHINE}
        for at in (again, REFERENCE)
    ]
    if made_on[0] == made_on[1]:
        for key in keys:
            assert ours[key] == pytest.approx(theirs[key], abs=SAME), key
    assert differ(ours, theirs) == []
    # and the comparison can tell: the other method's scores are found to be others
    swapped = {(method, split): ours[METHODS[1 - METHODS.index(method)], split] for method, split in keys}
    assert differ({k: swapped[k] for k in keys if k[1] != "scitail"}, theirs)
