"""Decides what one training run is before it starts: training, recording and restoring take this specification."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data.batches import Prepared
from railkd.method_sources import fingerprint, source_files
from railkd.models import checkpoints
from railkd.pretraining import general_distillation
from railkd.records import hashes, run_record, sealed_files
from railkd.records.fields import run_label
from railkd.tracking import TrackedRun
from railkd.training.run_state import State

Stage = Literal["teacher", "search", "distil"]


@dataclass(frozen=True)
class RunSpec:
    """One run: a teacher's fine-tuning, a point of a search, or one seed of a cell."""

    benchmark: str  # name of the benchmark file
    synthetic: bool  # trained on generated text
    stage: Stage
    pair: str  # a teacher's is its own name, as are its ``student`` and its method "teacher"
    teacher: str  # models by their name in the benchmark file
    student: str
    method: str
    task: str
    seed: int
    config: dict[str, Any]  # resolved: every key of training and every option of the method at its value
    inputs: dict[str, str]  # what the run reads -> its fingerprint
    resolved: dict[str, str | None]  # model -> its commit on the hub; None for a local one
    initialisation: str  # how the student's weights begin, in words
    distilled: dict[str, Any] | None  # of the general distillation that these come from, if they do
    record: Path  # where its record goes; its predictions and its saved student lie beside it
    kept: Path  # the copy of the record that the workflow does not know
    method_class: str = ""  # the name by which the class of the method is found; a teacher has none
    options: dict[str, Any] = field(default_factory=dict)  # of the method, as the file and the search give them

    @property
    def identity(self) -> dict[str, Any]:
        """The keys by which a record says which run it is of."""
        keys = ("stage", "pair", "teacher", "student", "method", "seed", "task")
        return {key: getattr(self, key) for key in keys}

    @property
    def cell(self) -> Cell:
        """The cell of a table that a student's run belongs to."""
        return Cell(self.pair, self.method, self.task)

    @property
    def config_hash(self) -> str:
        """SHA-256 of the configuration as canonical JSON."""
        return hashes.sha256_text(hashes.canonical(self.config))

    @property
    def predictions(self) -> Path:
        """The file of the logits that the record's scores come from."""
        return self.record.with_suffix(".safetensors")

    @property
    def label(self) -> str:
        """The run in words, for a line of the log."""
        return run_label(self.identity)

    def tracked(self, benchmark: Benchmark, layout: Layout) -> TrackedRun:
        """The run for the tracker of the benchmark file. Raises UserError without the package that it needs."""
        identity = hashes.sha256_text(hashes.canonical({**self.identity, "config": self.config, "inputs": self.inputs}))
        run = TrackedRun(self.benchmark, self.label, identity[:32], self.config)
        steps = bool(benchmark.spec.get("tracker_steps", False))
        return run.to(benchmark.tracker, layout.curves(self.record), steps)

    def unfinished(self) -> State:
        """Where the run's state is kept while it trains, with all that its numbers depend on."""
        identity = {**self.identity, "config": self.config, "inputs": self.inputs}
        return State(self.kept.with_suffix(".state"), identity)


def source_of(benchmark: Benchmark, method: str) -> str:
    """The fingerprint of a method's source as it is now."""
    return fingerprint(source_files(benchmark.method_class(method)))


def of_cell(
    benchmark: Benchmark,
    layout: Layout,
    cell: Cell,
    seeds: Sequence[int],
    prepared: Prepared,
    point: int | None = None,
) -> list[RunSpec]:
    """The runs of a cell's seeds; with ``point``, of that point of the hyper-parameter search.

    Raises UserError when the teacher's record, the search's choice or a checkpoint is missing.
    """
    pair, grid = benchmark.pairs[cell.pair], benchmark.grid(cell.method)
    teacher, student = pair["teacher"], pair["student"]
    chosen: dict[str, Any] = {}
    if grid:
        chosen = sealed_files.read_sealed(layout.best(cell))["point"] if point is None else grid[point]
    teacher_record = run_record.read(layout.teacher(teacher, cell.task) / "record.json")
    places = {name: checkpoints.locate(benchmark, layout, name) for name in (teacher, student)}
    resolved = {name: checkpoints.commit(place, f"models.{name}") for name, place in places.items()}
    inputs = {
        "data": prepared.facts["sha256"],
        "teacher": teacher_record["fingerprints"]["teacher"],
        "student": checkpoints.fingerprint(places[student], resolved[student]),
        "method": source_of(benchmark, cell.method),
    }
    config = benchmark.run_config(cell.pair, cell.method, cell.task, chosen)
    records = [layout.run(cell, seed) if point is None else layout.point(cell, point) for seed in seeds]
    return [
        RunSpec(
            benchmark=benchmark.name,
            synthetic=benchmark.synthetic,
            stage="distil" if point is None else "search",
            pair=cell.pair,
            teacher=teacher,
            student=student,
            method=cell.method,
            task=cell.task,
            seed=seed,
            config=config,
            method_class=benchmark.method_class(cell.method),
            options=benchmark.options(cell.method, chosen),
            inputs=inputs,
            resolved=resolved,
            initialisation=benchmark.initialisation(student),
            distilled=general_distillation.summary(benchmark, layout, student),
            record=record,
            kept=layout.kept(record),
        )
        for seed, record in zip(seeds, records, strict=True)
    ]


def of_teacher(benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared) -> RunSpec:
    """The run that fine-tunes a teacher on a task."""
    config = run_record.expected_teacher_config(benchmark, teacher, task)
    checkpoint = checkpoints.locate(benchmark, layout, teacher)
    commit = checkpoints.commit(checkpoint, f"models.{teacher}")
    record = layout.teacher(teacher, task) / "record.json"
    return RunSpec(
        benchmark=benchmark.name,
        synthetic=benchmark.synthetic,
        stage="teacher",
        pair=teacher,
        teacher=teacher,
        student=teacher,
        method="teacher",
        task=task,
        seed=config["seed"],
        config=config,
        inputs={"data": prepared.facts["sha256"], "backbone": checkpoints.fingerprint(checkpoint, commit)},
        resolved={teacher: commit},
        initialisation=benchmark.initialisation(teacher),
        distilled=general_distillation.summary(benchmark, layout, teacher),
        record=record,
        kept=layout.kept(record),
    )
