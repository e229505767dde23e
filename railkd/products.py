"""Judges what each job of the workflow writes: it is what the benchmark file asks for, or why it is not.

Every result carries what it was made of: a run record its configuration and fingerprints, a sealed folder or file its
``made_of``. Content decides, and not when a file was written: an edit of the benchmark file, of a method's source, of a
data file or of a checkpoint reruns what depends on it, and a copied or renamed folder reruns nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data import reading
from railkd.errors import UserError
from railkd.jobs import model_sizes, students
from railkd.method_sources import fingerprint, source_files
from railkd.models import checkpoints
from railkd.models.inspection import on_hub
from railkd.outdated import MISSING, first_difference, judged, misjudged, missing_file, why_not_sealed_as
from railkd.pretraining import general_distillation, masked_lm
from railkd.records import run_record, sealed_files
from railkd.records.digest_cache import Digests
from railkd.teacher.cache import lacks


@dataclass(frozen=True)
class Product:
    """What one job of the workflow writes, what it reads, and why it has to be made again (None: it is up to date)."""

    job: str  # the job in words, for a message
    outputs: tuple[Path, ...]
    inputs: tuple[Path, ...]
    why: str | None


class Products:
    """Every product of a benchmark's workflow, each judged by its content. Reads records and seals, no weights.

    ``analysis``: its steps, in their order, with what each is to be made of; ``read``: the files that they read. Both
    come from ``analysis.made_of``.
    """

    def __init__(
        self, benchmark: Benchmark, layout: Layout, analysis: Mapping[str, str] = {}, read: Iterable[Path] = ()
    ) -> None:
        self.benchmark, self.layout, self.analysis, self.read = benchmark, layout, analysis, tuple(read)
        self._digests = Digests(layout.root / ".digests.json")
        self._methods: dict[str, str] = {}
        self._models: dict[str, str | None] = {}
        self._tokenizers: dict[str, str | None] = {}
        self._facts: dict[tuple[str, str], dict[str, Any]] = {}
        self._teachers: dict[tuple[str, str], dict[str, Any]] = {}
        self._readers: dict[tuple[str, str], list[Path]] = {}  # (teacher, task) -> runs, and points, that read signals
        self.runs: dict[Path, str | None] = {}  # record of a run or of a point -> why it is outdated, if it is
        self.judged: list[Product] = []
        self.renewed: set[Path] = set()  # outputs that will be written: outdated, missing, or behind such an input
        for product in self._all():  # which looks at what is renewed so far
            self.judged.append(product)
            if product.why is not None or not self.renewed.isdisjoint(product.inputs):
                self.renewed.update(product.outputs)
        self._digests.save()

    def _all(self) -> Iterator[Product]:
        """In an order in which each follows what it reads."""
        benchmark = self.benchmark
        if benchmark.synthetic:
            yield self._data()
        pretrained = filter(benchmark.pretrained_here, benchmark.models)
        for name in sorted(pretrained, key=lambda name: len(list(self._parents(name)))):
            yield self._pretrained(name)
        places = [(teacher, task) for teacher in benchmark.teachers for task in benchmark.teacher_tasks(teacher)]
        yield from (self._prepared(*place) for place in places)
        yield from (self._teacher(*place) for place in places)
        for cell in benchmark.cells():
            if not benchmark.external(cell.method):
                yield from self._cell(cell)
        yield from (self._signals(*place) for place in places)
        yield from (self._release(*place) for place in places)
        yield from self._analysis()

    # --- data and models ---

    def _data(self) -> Product:
        folder = self.layout.data()
        wanted = {"seed": self.benchmark.data["seed"], "sizes": self.benchmark.sizes}
        return Product("data", tuple(self.layout.generated(self.benchmark)), (), why_not_sealed_as(folder, wanted))

    def _parents(self, name: str) -> Iterator[str]:
        while parent := self.benchmark.pretraining_teacher(name):
            name = parent
            yield name

    def _pretrained(self, name: str) -> Product:
        benchmark, folder, parent = self.benchmark, self.layout.model(name), self.benchmark.pretraining_teacher(name)
        inputs = [*self.layout.generated(benchmark), *self.layout.weights(benchmark, parent)]
        if parent and "general_distillation" in benchmark.models[name]:
            teacher = self._model(parent)
            if teacher is None and on_hub(benchmark, parent):  # which is not asked: it is taken to be what it was
                with suppress(UserError, KeyError, TypeError):
                    teacher = sealed_files.read_sealed(folder / sealed_files.SEAL)["made_of"]["teacher"]
            wanted = general_distillation.made_of(benchmark, name, teacher, self._digests.of)
        else:
            wanted = masked_lm.made_of(benchmark, self.layout, name, self._digests.of)
        why = why_not_sealed_as(folder, wanted)
        return Product("pre-training", (folder / "model.safetensors",), tuple(inputs), why)

    def _model(self, name: str) -> str | None:
        """A model's fingerprint as a run's record has it; None where it cannot be known before the job."""
        if name not in self._models:
            self._models[name] = None
            with suppress(UserError, OSError):
                here = self.benchmark.pretrained(name) is not None
                if not here and on_hub(self.benchmark, name):  # which is not asked; its commit is in the configuration
                    return None
                checkpoint = checkpoints.locate(self.benchmark, self.layout, name)
                if Path(checkpoint.place).is_dir():
                    self._models[name] = checkpoints.fingerprint(checkpoint, None, self._digests.of)
        return self._models[name]

    def _tokenizer(self, name: str) -> str | None:
        while "layers_of" in (entry := self.benchmark.models[name]) and not self.benchmark.pretrained_here(name):
            name = entry["layers_of"]  # whose tokenizer it has
        if name not in self._tokenizers:
            self._tokenizers[name] = None
            with suppress(UserError, OSError):
                checkpoint = checkpoints.locate(self.benchmark, self.layout, name)
                self._tokenizers[name] = checkpoints.tokenizer_fingerprint(checkpoint)
        return self._tokenizers[name]

    def _prepared(self, teacher: str, task: str) -> Product:
        tensors = self.layout.prepared(teacher, task)
        place = tensors.with_suffix(".json")
        why: str | None = MISSING
        if tensors.is_file() and place.is_file():
            try:
                facts = sealed_files.read_sealed(place)
                self._facts[teacher, task] = facts
                wanted = {"data": self.benchmark.data_config(task), "tokenizer": self._tokenizer(teacher)}
                wanted["files"] = reading.file_digests(self.benchmark, task, self._digests.of)
                why = first_difference(facts.get("made_of"), wanted)
            except UserError as error:
                why = str(error)
        inputs = (*self.layout.generated(self.benchmark), *self.layout.weights(self.benchmark, teacher))
        return Product("prepare", (tensors, place), inputs, why)

    # --- teachers, runs ---

    def _teacher(self, teacher: str, task: str) -> Product:
        folder = self.layout.teacher(teacher, task)
        config = run_record.expected_teacher_config(self.benchmark, teacher, task)
        identity = {"stage": "teacher", "teacher": teacher, "task": task, "seed": config["seed"]}
        prints = {"data": self._facts.get((teacher, task), {}).get("sha256"), "backbone": self._model(teacher)}
        record, why = judged(folder / "record.json", identity, config, prints)
        why = why or missing_file(folder)
        self._teachers[teacher, task] = record
        inputs = (
            self.layout.prepared(teacher, task).with_suffix(".json"),
            *self.layout.weights(self.benchmark, teacher),
        )
        return Product("teacher", tuple(self.layout.teacher_files(teacher, task)), inputs, why)

    def _cell(self, cell: Cell) -> Iterator[Product]:
        benchmark, layout = self.benchmark, self.layout
        grid = benchmark.grid(cell.method)
        inputs = self._cell_inputs(cell)
        for number, point in enumerate(benchmark.points(cell)):
            config = benchmark.run_config(*cell, point)
            seed = (benchmark.search or {})["seed"]
            yield self._run(f"search of {cell.method}", layout.point(cell, number), cell, seed, config, inputs)
        if grid:
            points = tuple(layout.point(of, k) for of in benchmark.searched(cell) for k in range(len(grid)))
            why = misjudged(benchmark, layout, cell)
            yield Product(f"selection of {cell.method}", (layout.best(cell),), points, why)
            inputs = (*inputs, layout.best(cell))
        expected, job = run_record.expected_config(benchmark, layout, cell), f"run of {cell.method}"
        runs = [self._run(job, layout.run(cell, seed), cell, seed, expected, inputs) for seed in benchmark.seeds]
        undecided = students.mode(benchmark) == "best" and any(run.why for run in runs)  # which seed is the best
        weights = {} if undecided else students.lacking(benchmark, layout, cell)
        for seed, run in zip(benchmark.seeds, runs, strict=True):  # the record stays as it is: see self.runs
            yield replace(run, why=run.why or weights.get(seed))

    def _cell_inputs(self, cell: Cell) -> tuple[Path, ...]:
        teacher, student = (self.benchmark.pairs[cell.pair][role] for role in ("teacher", "student"))
        record = self.layout.teacher(teacher, cell.task) / "record.json"
        prepared = self.layout.prepared(teacher, cell.task).with_suffix(".json")
        return (prepared, record, *self.layout.weights(self.benchmark, student))

    def _run(
        self, job: str, path: Path, cell: Cell, seed: int, config: dict[str, Any] | None, inputs: tuple[Path, ...]
    ) -> Product:
        pair = self.benchmark.pairs[cell.pair]
        stage = "search" if job.startswith("search") else "distil"
        identity = {"stage": stage, **cell._asdict(), "seed": seed, "teacher": pair["teacher"]}
        method = self.benchmark.method_class(cell.method)
        if method not in self._methods:
            self._methods[method] = fingerprint(source_files(method))
        teacher = self._teachers.get((pair["teacher"], cell.task), {})
        prints = {
            "method": self._methods[method],
            "teacher": teacher.get("fingerprints", {}).get("teacher"),
            "data": self._facts.get((pair["teacher"], cell.task), {}).get("sha256"),
            "student": self._model(pair["student"]),
        }
        _, why = judged(path, identity, config, prints)
        self.runs[path] = why
        self._readers.setdefault((pair["teacher"], cell.task), []).append(path)
        return Product(job, (path, path.with_suffix(".safetensors")), inputs, why)

    def _signals(self, teacher: str, task: str) -> Product:
        """A store is up to date when it is of this teacher and holds all that is read by runs still to be trained."""
        folder = self.layout.signals(teacher, task)
        place = self.layout.teacher(teacher, task)
        prepared = self.layout.prepared(teacher, task).with_suffix(".json")
        inputs = (prepared, place / "record.json", place / "model.safetensors")
        outputs = (folder, folder / ".snakemake_timestamp")  # by which the engine tells a folder's age
        facts = self._facts.get((teacher, task), {})
        record = self._teachers.get((teacher, task), {})
        known = {"data": facts.get("sha256"), "teacher": record.get("fingerprints", {}).get("teacher")}
        wanting = self._wanting(teacher, task) if (folder / "signals.json").is_file() else None
        return Product("signals", outputs, inputs, lacks(folder, known, wanting))

    def _wanting(self, teacher: str, task: str) -> list[str] | None:
        """The pooled vectors that runs read which are still to be trained; None where there is no such run."""
        if self.renewed.isdisjoint(self._readers.get((teacher, task), [])):
            return None
        students = [pair["student"] for pair in self.benchmark.pairs.values() if pair["teacher"] == teacher]
        if any(on_hub(self.benchmark, model) for model in (teacher, *students)):
            return []  # their sizes are on the hub; a run that finds a kind of vector missing adds it
        try:
            return list(model_sizes.poolings_needed(self.benchmark, self.layout, teacher, task))
        except UserError:  # a checkpoint that cannot be read: its job will say so
            return []

    def _release(self, teacher: str, task: str) -> Product:
        stamp = self.layout.released(teacher, task)
        runs = self.layout.root / "runs"
        readers = [path for path in self._readers.get((teacher, task), []) if path.is_relative_to(runs)]
        why = None if stamp.is_file() and all(self.runs[path] is None for path in readers) else MISSING
        return Product("release", (stamp,), tuple(readers), why)

    # --- analysis ---

    def _analysis(self) -> Iterator[Product]:
        layout, known = self.layout, list(self.read)
        for step, made_of in self.analysis.items():
            file = layout.checksums(step)
            if not file.is_file():
                continue
            try:
                seal = sealed_files.read_sealed(file)
                written = [layout.root / name for name in dict(seal["files"])]
            except (UserError, KeyError, TypeError, ValueError):
                continue  # what it wrote is not known: the workflow goes by what is missing
            why = None if seal.get("made_of") == made_of else "what it shows has changed"
            why = why or next((f"{path.name} is missing" for path in written if not path.is_file()), None)
            yield Product(step, tuple(written), tuple(known), why)
            known += written
