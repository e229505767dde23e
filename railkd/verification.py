"""Finds what in a results folder does not hold: records, predictions and data against the benchmark file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data import preparation
from railkd.data.batches import Prepared
from railkd.errors import UserError
from railkd.evaluation.scoring import errors_of, scores_of
from railkd.outdated import SOURCE, UNREADABLE, differences, misjudged, misplaced, of_other_records
from railkd.records import hashes, run_record, sealed_files

TOLERANCE = 1e-9  # of a score: room for another version of numpy or scipy, none for another prediction


class Verifier:
    """Checks every run that the benchmark file lists; reads prepared data and hashes a teacher's weights once."""

    def __init__(self, benchmark: Benchmark, layout: Layout) -> None:
        self.benchmark, self.layout = benchmark, layout
        self.checked = 0  # records found
        self.unprepared = 0  # records whose prepared data are not here, as beside the published results
        self.unkept = 0  # choices of a search none of whose points is here, as in the published results
        self._prepared: dict[tuple[str, str], Prepared | str] = {}
        self._weights: dict[Path, str | None] = {}

    def problems(self) -> Iterator[str]:
        """One line for each thing that does not hold, beginning with the file."""
        known: set[Path] = set()
        for teacher in self.benchmark.teachers:
            for task in self.benchmark.teacher_tasks(teacher):
                path = self.layout.teacher(teacher, task) / "record.json"
                config = run_record.expected_teacher_config(self.benchmark, teacher, task)
                identity = {"stage": "teacher", "teacher": teacher, "task": task, "seed": config["seed"]}
                known.add(path)
                yield from self._run(path, identity, config, teacher)
        for cell in self.benchmark.cells():
            teacher = self.benchmark.pairs[cell.pair]["teacher"]
            if self.benchmark.search and not self.benchmark.external(cell.method):
                yield from self._search(cell, teacher, self.benchmark.search["seed"])
            for seed in self.benchmark.seeds:
                path = self.layout.run(cell, seed)
                identity = {"stage": "distil", **cell._asdict(), "seed": seed}
                known.add(path)
                yield from self._run(
                    path, identity, run_record.expected_config(self.benchmark, self.layout, cell), teacher
                )
        for path in self.layout.present():
            if path not in known:
                yield f"{path}: no run of {self.benchmark.path}"
        for file in sorted(self.layout.root.rglob(sealed_files.SEAL)):
            yield from sealed_files.broken(file.parent)
        for file in sorted(self.layout.checksums("*").parent.glob("*.json")):
            yield from sealed_files.broken(self.layout.root, file=file)
        if old := of_other_records(self.layout, "tables", "figures", "claims", "report"):
            yield old

    def _search(self, cell: Cell, teacher: str, seed: int) -> Iterator[str]:
        """Every point that a cell's search trains, and that the best of those that decide for it was chosen."""
        deciding = range(len(self.benchmark.grid(cell.method)))
        points = (self.layout.point(of, number) for of in self.benchmark.searched(cell) for number in deciding)
        kept = any(path.is_file() for path in points) or not self.layout.best(cell).is_file()
        self.unkept += not kept
        wrong = False
        for number, point in enumerate(self.benchmark.points(cell) if kept else []):
            identity = {"stage": "search", **cell._asdict(), "seed": seed}
            config = self.benchmark.run_config(*cell, point)
            for line in self._run(self.layout.point(cell, number), identity, config, teacher):
                wrong = True
                yield line
        why = misjudged(self.benchmark, self.layout, cell, kept)
        if why == UNREADABLE or (why and not wrong):  # of points that do not hold, no choice can be judged
            yield f"{self.layout.best(cell)}: {why}"

    def _run(self, path: Path, identity: dict[str, Any], config: dict[str, Any] | None, teacher: str) -> Iterator[str]:
        if not path.is_file():
            yield f"{path}: missing"
            return
        self.checked += 1
        try:
            record = (run_record.read_point if identity["stage"] == "search" else run_record.read)(path)
        except UserError as error:
            yield str(error)
            return
        for line in misplaced(record, identity):
            yield f"{path}: {line} in this place"
        if record["task"] != identity["task"]:
            return  # there is nothing to compare it with
        method = self.benchmark.method_class(identity["method"]) if "method" in identity else None
        changed = differences(record, config, method) if config is not None else []
        if SOURCE in changed:
            yield f"{path}: trained with another version of its method's source than the present one"
            changed.remove(SOURCE)
        if changed:
            yield f"{path}: trained with another configuration than {self.benchmark.path} ({', '.join(changed)} differ)"
        yield from self._weight(path, record, teacher)
        if run_record.diverged(record):
            return  # a point without scores
        if record["predictions"]:
            yield from self._predictions(path, record, teacher)
        elif config is not None:
            yield f"{path}: keeps no predictions"

    def _weight(self, path: Path, record: dict[str, Any], teacher: str) -> Iterator[str]:
        """The teacher whose signals were read is the one that lies there."""
        weights = self.layout.teacher(teacher, record["task"]) / "model.safetensors"
        if weights not in self._weights:
            self._weights[weights] = hashes.sha256_file(weights) if weights.is_file() else None
        present, recorded = self._weights[weights], record["fingerprints"].get("teacher")
        if present and recorded and present != recorded:
            yield f"{path}: its teacher was another than {weights}"

    def _predictions(self, path: Path, record: dict[str, Any], teacher: str) -> Iterator[str]:
        try:
            logits = run_record.predictions(path, record)
        except UserError as error:
            yield str(error)
            return
        prepared = self._data(teacher, record["task"])
        if isinstance(prepared, str):
            self.unprepared += not self.layout.prepared(teacher, record["task"]).exists()
            yield f"{path}: its scores cannot be recomputed: {prepared}"
            return
        if record["fingerprints"].get("data") not in (None, prepared.facts["sha256"]):
            yield f"{path}: was scored on other data than {self.layout.prepared(teacher, record['task'])}"
            return
        for split, scores in record["scores"].items():
            if split not in logits or split not in prepared.splits:
                yield f"{path}: no predictions for its scores on {split}"
            elif len(logits[split]) != len(prepared.splits[split]):
                yield f"{path}: {len(logits[split])} predictions on {split}, expected {len(prepared.splits[split])}"
            else:
                given = prepared, split, np.asarray(logits[split], np.float32)
                errors = record.get("sampling_errors", {}).get(split, {})
                for what, recorded, again in (
                    ("", scores, scores_of(*given)),
                    ("error of ", errors, errors_of(*given)),
                ):
                    for metric, value in recorded.items():
                        if metric not in again or abs(again[metric] - value) > TOLERANCE:
                            yield (
                                f"{path}: {what}{metric} on {split} is {value:.6f}, its predictions give "
                                f"{again.get(metric)}"
                            )

    def _data(self, teacher: str, task: str) -> Prepared | str:
        if (teacher, task) not in self._prepared:
            try:
                self._prepared[teacher, task] = preparation.load(self.layout.prepared(teacher, task))
            except UserError as error:
                self._prepared[teacher, task] = str(error)
        return self._prepared[teacher, task]
