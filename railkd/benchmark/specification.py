"""Derives from a checked benchmark file its cells, the seeds of a job, and the configuration of every run."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from railkd.benchmark.defaults import (
    DATA,
    GENERAL_DISTILLATION,
    PRETRAINING,
    SIZES,
    TRAINING,
    resolved,
    resolved_training,
)
from railkd.benchmark.own_tasks import SHARED, own_sets, own_tasks
from railkd.benchmark.variants import Variant
from railkd.method_facts import facts
from railkd.method_sources import without_folder
from railkd.tasks import OUT_OF_DOMAIN, TASKS, OutOfDomain, Task

RESERVED = {"method", "title", "external", "search"}  # keys of a method's entry that are no options of the method

NO_POINT: Mapping[str, Any] = {}  # of a benchmark without a search

Role = Literal["teacher", "student"]


class Cell(NamedTuple):
    """One cell of a table: a method on a task for a teacher-student pair."""

    pair: str
    method: str
    task: str


class SeedGroup(NamedTuple):
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

    @cached_property
    def own_tasks(self) -> dict[str, Task]:
        """The tasks that the file declares with files of its own."""
        return own_tasks(self.data)

    @cached_property
    def own_sets(self) -> dict[str, OutOfDomain]:
        """The out-of-domain sets that the file declares with a file of its own."""
        return own_sets(self.data, self.own_tasks)

    def task(self, name: str) -> Task:
        """What a task declares, a built-in one or the file's own."""
        return self.own_tasks[name] if name in self.own_tasks else TASKS[name]

    def out_of_domain_set(self, name: str) -> OutOfDomain:
        """What an out-of-domain set declares, a built-in one or the file's own."""
        return self.own_sets[name] if name in self.own_sets else OUT_OF_DOMAIN[name]

    def task_settings(self, task: str) -> dict[str, Any]:
        """The data keys of one task that a built-in one has too: ``train_examples`` and the like."""
        tasks = self.data["tasks"]
        entry = (tasks[task] or {}) if isinstance(tasks, dict) else {}
        return {key: value for key, value in entry.items() if key in SHARED}

    def out_of_domain(self, task: str) -> list[str]:
        """The out-of-domain sets scored with the models of this task."""
        return [o for o in self.data.get("out_of_domain", []) if self.out_of_domain_set(o).source == task]

    @property
    def seeds(self) -> list[int]:
        return list(self.spec["seeds"])

    @property
    def device_memory(self) -> float:
        """Share of a GPU's free memory that examples and signals may take; it decides on no number."""
        return float(self.spec.get("device_memory", 0.5))

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
    def tracker(self) -> str:
        """Where the curves of runs go: none, tensorboard or wandb."""
        return str(self.spec.get("tracker", "none"))

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

    def options(self, method: str, point: Mapping[str, Any] = NO_POINT) -> dict[str, Any]:
        """The method's options as the benchmark file gives them, those that are searched as a point has them."""
        given = {k: v for k, v in self.spec["methods"][method].items() if k not in RESERVED}
        return given | {k: point[k] for k in self.searched_options(method) if k in point}

    def searched_options(self, method: str) -> dict[str, list[Any]]:
        """The options that the search chooses for this method alone, with the values to try."""
        return dict(self.spec["methods"][method].get("search", {}))

    def options_of_points(self, method: str) -> list[dict[str, Any]]:
        """The different options with which a method is trained at any point of the search, or without one."""
        found: list[dict[str, Any]] = []
        for point in self.grid(method) or [{}]:
            options = self.options(method, point)
            found += [options] * (options not in found)
        return found

    def method_config(self, method: str, point: Mapping[str, Any] = NO_POINT) -> dict[str, Any]:
        """The method's class, and every option at its value: the class's default where the file gives none."""
        name = self.method_class(method)
        return {"method": without_folder(name), **resolved(facts(name).defaults, self.options(method, point))}

    def external(self, method: str) -> bool:
        """Whether another repository's rule writes this method's records."""
        return bool(self.spec["methods"][method].get("external", False))

    def cells(self) -> Iterator[Cell]:
        """Every cell of the benchmark, external methods included. Regression refused by a method is left out."""
        for pair, spec in self.pairs.items():
            for method in spec["methods"]:
                for task in self.pair_tasks(pair):
                    if self.task(task).regression and self.refuses_regression(method):
                        continue
                    yield Cell(pair, method, task)

    def refuses_regression(self, method: str) -> bool:
        """Whether the method's class declares ``regression = False``, itself or by what it inherits."""
        return not self.external(method) and not facts(self.method_class(method)).regression

    def seed_groups(self) -> Iterator[SeedGroup]:
        """The jobs: each cell's seeds in groups of ``seeds_per_job``."""
        size = self.spec.get("seeds_per_job", len(self.seeds))
        for cell in self.cells():
            for start in range(0, len(self.seeds), size):
                yield SeedGroup(cell, tuple(self.seeds[start : start + size]))

    def training(self, role: Role, model: str, task: str) -> dict[str, Any]:
        """Training settings: defaults < training.<role> < training.<role>.tasks.<task> < models.<model>.training."""
        given = self.spec.get("training", {}).get(role, {})
        settings = {k: v for k, v in given.items() if k != "tasks"}
        settings.update(given.get("tasks", {}).get(task, {}))
        settings.update(self.models[model].get("training", {}))
        return resolved_training(TRAINING, settings)

    def student_training(self, pair: str, task: str) -> dict[str, Any]:
        """Training settings of a pair's students: those of its student (see ``training``) < pairs.<pair>.training."""
        spec = self.pairs[pair]
        return resolved_training(self.training("student", spec["student"], task), spec.get("training", {}))

    def head_labels(self, model: str) -> list[str] | None:
        """The names that the file gives the outputs of the head with which a model begins; None: its config.json's."""
        entry = self.models[model]
        return self.head_labels(entry["layers_of"]) if "layers_of" in entry else entry.get("labels")

    @property
    def compiles(self) -> bool:
        """Whether a training of the file asks for a compiled forward pass."""
        teachers = (self.training("teacher", name, task) for name in self.teachers for task in self.teacher_tasks(name))
        students = (self.student_training(pair, task) for pair in self.pairs for task in self.pair_tasks(pair))
        return any(settings.get("compile") for settings in (*teachers, *students))

    def grid(self, method: str) -> list[dict[str, Any]]:
        """The points of the hyper-parameter search of a method; empty without a search.

        All combinations of ``search.grid`` and of the method's own ``search``, or ``search.points`` of them: the same
        ones every time, and a larger number holds a smaller one.
        """
        if not self.search:
            return []
        axes = {**self.search["grid"], **self.searched_options(method)}
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        if "points" not in self.search:
            return points
        drawn = sorted(map(repr, points), key=lambda point: hashlib.sha256(point.encode()).digest())
        kept = set(drawn[: self.search["points"]])
        return [point for point in points if repr(point) in kept]

    def searched(self, cell: Cell) -> list[Cell]:
        """The cells whose points of the search decide for a cell; empty without a search.

        A cell itself, or, where ``search.tasks`` leaves its task out, the cells of its pair and method that it names.
        """
        if not self.search:
            return []
        tasks = self.search.get("tasks", self.tasks)
        if cell.task in tasks:
            return [cell]
        refused = self.refuses_regression(cell.method)
        return [
            cell._replace(task=task)
            for task in self.pair_tasks(cell.pair)
            if task in tasks and not (refused and self.task(task).regression)
        ]

    def points(self, cell: Cell) -> list[dict[str, Any]]:
        """The points of the search that a cell trains; empty where it takes the choice of other tasks."""
        return self.grid(cell.method) if self.searched(cell) == [cell] else []

    def data_config(self, task: str) -> dict[str, Any]:
        """The data settings that change a run's numbers; a mirror's place does not."""
        keys = ["source", "seed", "test", "heldout", "max_length", "ood_max_length", "ood_examples"]
        sources = [self.task(task), *map(self.out_of_domain_set, self.out_of_domain(task))]
        declared = {source.name: source.content() for source in sources if source.own}
        held_out_by = self.task(task).held_out_by if self.data["test"] == "heldout" else "row"
        return {
            **{k: self.data[k] for k in keys if k in self.data},
            **({"sizes": self.sizes} if self.synthetic else {}),
            **self.task_settings(task),
            "out_of_domain": self.out_of_domain(task),
            **({"declared": declared} if declared else {}),
            **({"held_out_by": held_out_by} if held_out_by != "row" else {}),
        }

    def run_config(self, pair: str, method: str, task: str, point: dict[str, Any] | None = None) -> dict[str, Any]:
        """The resolved configuration of a run: what its record carries and its hash covers. No seed in it.

        Every key of training and every option of the method is in it, given or not: another default is another
        configuration. Imports the method's class (see ``method_facts.facts``); raises UserError when it cannot.
        """
        spec, point = self.pairs[pair], point or {}
        settings = {key: value for key, value in point.items() if key not in self.searched_options(method)}
        return {
            "data": self.data_config(task),
            "training": resolved_training(self.student_training(pair, task), settings),
            "method": self.method_config(method, point),
            "teacher": self.teacher_config(spec["teacher"], task),
            "student": self.model_config(spec["student"]),
        }

    def teacher_config(self, teacher: str, task: str) -> dict[str, Any]:
        """What a fine-tuned teacher depends on; one that was fine-tuned elsewhere draws nothing and is only run."""
        training, seed = self.training("teacher", teacher, task), self.spec.get("teacher_seed", 1)
        if self.models[teacher].get("fine_tuned"):
            training, seed = {"precision": training["precision"]}, 0
        return {"model": self.model_config(teacher), "training": training, "seed": seed}

    def pretraining_config(self, model: str) -> dict[str, Any]:
        """What a model pre-trained here depends on, besides the text, and the weights of its teacher."""
        return {"model": self.model_config(model), "seed": self.data["seed"]}

    def pretrained_here(self, model: str) -> bool:
        """Whether the workflow pre-trains a model: a miniature, or a student by general distillation."""
        return bool(self.models[model].keys() & {"pretrain", "general_distillation"})

    def pretraining_teacher(self, model: str) -> str | None:
        """The model that one pre-trained here learns from and takes layers of; None for one that is on its own."""
        entry = self.models[model]
        return entry.get("from") or entry.get("layers_of")

    def pretrained(self, model: str) -> str | None:
        """The model pre-trained here whose weights a model begins with; None for a published checkpoint."""
        entry = self.models[model]
        if self.pretrained_here(model):
            return model
        return self.pretrained(entry["layers_of"]) if "layers_of" in entry else None

    def miniature(self, model: str) -> dict[str, Any] | None:
        """How a miniature is pre-trained, or the one whose layers a model has; None for a published checkpoint."""
        entry = self.models[model]
        return self.miniature(entry["layers_of"]) if "layers_of" in entry else entry.get("pretrain")

    def initialisation(self, model: str) -> str:
        """How a model's weights begin, in words: results name it, because it moves them as much as a method does."""
        entry = self.models[model]
        if "layers_of" in entry:
            which = "first {} layers of {}" if entry["keep"] == "first" else "every other layer, {} in all, of {}"
            words = which.format(entry["layers"], entry["layers_of"])
            if "general_distillation" in entry:
                given = resolved(GENERAL_DISTILLATION, entry["general_distillation"])
                text = Path(given["text"]).name
                words += f", distilled on the text {text} ({given['objective']}, {given['steps']:,} steps)"
            return words
        if "pretrain" in entry:
            return f"distilled from {entry['from']} in pre-training" if "from" in entry else "pre-trained on its own"
        place = Path(entry["path"]).name if "path" in entry else entry.get("hub") or entry["package"]
        if isinstance(place, list):
            place = f"{place[0]} and {len(place) - 1} more packages"
        return f"checkpoint {place}" + (", fine-tuned elsewhere" if entry.get("fine_tuned") else "")

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
        if "general_distillation" in entry:  # its text has a digest in what the weights were made of
            given = {k: v for k, v in entry["general_distillation"].items() if k != "text"}
            entry["general_distillation"] = resolved(GENERAL_DISTILLATION, given)
        return entry
