"""Knows where everything of a benchmark lies: its results, and the local mirrors of data and of checkpoints."""

import os
from pathlib import Path

from railkd.benchmark.specification import Benchmark, Cell


def data_root(benchmark: Benchmark) -> Path | None:
    """The local mirror of the data: RAILKD_DATA, or ``data.root`` relative to the benchmark file; None: the hub."""
    return _from_environment("RAILKD_DATA") or resolve_path(benchmark, benchmark.data["root"])


def model_root(benchmark: Benchmark) -> Path | None:
    """The local mirror of checkpoints, laid out ``<root>/<hub id>``: RAILKD_MODELS or ``data.model_root``."""
    return _from_environment("RAILKD_MODELS") or resolve_path(benchmark, benchmark.data["model_root"])


def _from_environment(variable: str) -> Path | None:
    """The folder that a variable names: relative to the working folder, which a key of the file is not."""
    given = os.environ.get(variable)
    return Path(given).expanduser().resolve() if given else None


def resolve_path(benchmark: Benchmark, given: str | None) -> Path | None:
    if not given:
        return None
    path = Path(given).expanduser()
    return path if path.is_absolute() else (benchmark.path.parent / path).resolve()


def checkpoint_path(benchmark: Benchmark, model: str) -> Path:
    """The folder that a model's ``path:`` names, relative to the benchmark file."""
    path = resolve_path(benchmark, str(benchmark.models[model]["path"]))
    assert path is not None
    return path


def text_path(benchmark: Benchmark, model: str) -> Path:
    """The text of a model's general distillation: in the local mirror of the data, or relative to its file."""
    given = str(benchmark.models[model]["general_distillation"]["text"])
    root, beside = data_root(benchmark), resolve_path(benchmark, given)
    assert beside is not None
    mirrored = beside if root is None else root / given
    return mirrored if mirrored.is_file() else beside


def results_folder(benchmark: Benchmark, given: str | Path | None) -> Path:
    """Where a benchmark's results go: ``given``, without detours, else ``results/<name>`` in the working folder."""
    return Path(os.path.normpath(Path(given or Path("results") / benchmark.name).expanduser()))


class Layout:
    """Where everything of one benchmark lies: the only place that knows the results folder's structure."""

    table_kinds = ("csv", "md", "tex")  # how each table is written
    figure_kinds = ("csv", "pdf", "png")  # how each figure is written; csv: its data

    def __init__(self, results: str | Path) -> None:
        self.root = Path(results)

    def data(self) -> Path:
        return self.root / "data"

    def generated(self, benchmark: Benchmark) -> list[Path]:
        """The file that stands for MiniGLUE, where the benchmark is made of it."""
        return [self.data() / "corpus" / "corpus.parquet"] if benchmark.synthetic else []

    def model(self, model: str) -> Path:
        return self.root / "models" / model

    def weights(self, benchmark: Benchmark, model: str | None) -> list[Path]:
        """The weights, pre-trained by the workflow, that a model begins with; none of a published checkpoint."""
        origin = None if model is None else benchmark.pretrained(model)
        return [] if origin is None else [self.model(origin) / "model.safetensors"]

    def prepared(self, teacher: str, task: str) -> Path:
        return self.root / "prepared" / teacher / f"{task}.safetensors"

    def teacher(self, teacher: str, task: str) -> Path:
        return self.root / "teachers" / teacher / task

    def teacher_files(self, teacher: str, task: str) -> list[Path]:
        """What a teacher's job writes, of which others read: the record, its predictions, the weights."""
        names = ("record.json", "record.safetensors", "model.safetensors")
        return [self.teacher(teacher, task) / name for name in names]

    def signals(self, teacher: str, task: str) -> Path:
        return self.root / "signals" / teacher / task

    def released(self, teacher: str, task: str) -> Path:
        """Says that the last reader of a teacher's signals has finished."""
        return self.root / "logs" / "release" / teacher / f"{task}.done"

    def run(self, cell: Cell, seed: int) -> Path:
        return self.root / "runs" / cell.pair / cell.method / cell.task / f"seed-{seed}.json"

    def present(self) -> list[Path]:
        """The records of runs and teachers that are present, also those that no benchmark file names."""
        places = (*self.root.glob("runs/*/*/*/*.json"), *self.root.glob("teachers/*/*/record.json"))
        return sorted(places)

    def point(self, cell: Cell, point: int) -> Path:
        return self.root / "search" / cell.pair / cell.method / cell.task / f"point-{point}.json"

    def best(self, cell: Cell) -> Path:
        return self.root / "search" / cell.pair / cell.method / cell.task / "best.json"

    def table(self, number: int, kind: str = "csv") -> Path:
        """One of the paper's tables, made from these results."""
        return self.root / "tables" / f"table{number}.{kind}"

    def figure(self, name: str, kind: str = "png") -> Path:
        return self.root / "figures" / f"{name}.{kind}"

    def document(self, name: str, kind: str) -> Path:
        """What else the analysis writes: claims and audit (json, md), report (html, md), comparison (html)."""
        return self.root / f"{name}.{kind}"

    def speed(self) -> Path:
        """What ``python -m benchmarks.speed`` measured, where somebody has put it."""
        return self.root / "speed.json"

    def leaderboard(self) -> Path:
        """The scores that the GLUE server returned, where somebody has put them."""
        return self.root / "leaderboard.csv"

    def checksums(self, step: str) -> Path:
        """The checksums of what a step of the analysis wrote."""
        return self.root / "checksums" / f"{step}.json"

    def log(self, step: str, *names: str) -> Path:
        """Where the workflow puts the output of a job."""
        *folders, last = (step, *names)
        return self.root.joinpath("logs", *folders, f"{last}.log")

    def curves(self, record: Path) -> Path:
        """The folder of a run's curves, where a tracker keeps them in files."""
        return self.root / "curves" / record.relative_to(self.root).with_suffix("")

    def queued(self) -> Path:
        """Holds the name under which a cluster's queue has the jobs of the run that writes these results."""
        return self.root / ".queued"

    def kept(self, record: Path) -> Path:
        """The copy of a finished record that the workflow does not know and so never deletes before a rerun."""
        return self.root / ".kept" / record.relative_to(self.root)
