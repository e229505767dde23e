"""A benchmark with varied entries, every run of the ablation and the layer-map survey in it, and ways to read it."""

from pathlib import Path
from typing import Any

from made_records import Folder, spec

from analysis import load
from analysis.load import Runs
from analysis.report.catalogue import DRAWINGS
from analysis.reported_benchmark import ReportedBenchmark, read
from railkd.benchmark.variants import expand

PAIR = "bert12-distilbert6"
TASKS = ["cola", "mrpc"]
ENTRIES = {
    "no_kd": {},
    "vanilla_kd": {},
    "rail_kd_l": {
        "mapping": "random_sorted", "projection": "learned", "pooling": "mean",
        "cross": {"mapping": ["random_sorted", "random_once", "skip", "last"], "projection": ["learned", "none"]},
        "vary": {"pooling": ["cls"]},
    },
    "rail_kd_c": {"mapping": "random_sorted", "vary": {"mapping": ["skip", "last", {"choose": 5, "of": 8}]}},
}  # fmt: skip


def make(root: Path) -> Folder:
    """A benchmark with every run of both figures; its files are the test's own."""
    content = spec()
    content["data"]["tasks"], content["data"]["out_of_domain"], content["methods"] = TASKS, [], ENTRIES
    methods = ["no_kd", "vanilla_kd", "rail_kd_l", "rail_kd_l.*", "rail_kd_c", "rail_kd_c.*"]
    pair = {**content["pairs"][PAIR], "methods": methods, "tables": ["ablation", "layer_maps"]}
    content["pairs"] = {PAIR: pair}
    folder = Folder(root, content)
    folder.spec = expand(content)[0]
    return folder.fill()


def loaded(folder: Folder) -> tuple[ReportedBenchmark, Runs]:
    benchmark = read(folder.file)
    return benchmark, load.read(benchmark, folder.results)


def described(name: str, benchmark: ReportedBenchmark, runs: Runs) -> str:
    """All that stands below a figure."""
    drawing = DRAWINGS[name]
    return " ".join([drawing.about(benchmark, runs), *drawing.findings(benchmark, runs)])


def score(folder: Folder, method: str, task: str, seed: int) -> float:
    record = folder.read(PAIR, method, task, seed)
    return 100 * record["scores"]["test"][record["shown"]]


def set_scores(folder: Folder, method: str, values: Any) -> None:
    """Test scores (seeds × tasks), fractions, into a method's records."""
    for s, seed in enumerate((1, 2, 3)):
        for t, task in enumerate(TASKS):

            def put(record: dict[str, Any], value: float = float(values[s][t])) -> None:
                record["scores"]["test"][record["shown"]] = value

            folder.edit(put, PAIR, method, task, seed)
