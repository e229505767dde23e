"""Writes a trained student out of a results folder, as a folder that `transformers` loads: ``railkd export``."""

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from railkd import model_card
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.errors import UserError, unknown
from railkd.jobs import students
from railkd.records import run_record, sealed_files
from railkd.records.files import atomic_folder

ONNX = "onnxscript"  # the package by which torch exports


def export(results: Path, cell: Cell, folder: Path, seed: int | None = None, onnx: bool = False) -> dict[str, Any]:
    """Writes the kept student of a cell, its tokenizer and its model card into a new folder; returns its record.

    Without ``seed`` it is the best on dev of those whose weights were kept. The card has the scores of the seeds of its
    configuration and inputs alone. With ``onnx`` the folder also has ``onnx/model.onnx``.

    Raises UserError, one line, for a cell or seed that is not in the results, for weights that were not kept, without
    ``seed`` for a cell whose seeds are of several configurations, for a folder that is not empty, and with ``onnx``
    where `onnxscript` is not installed.
    """
    layout = Layout(results)
    seeds = _seeds(layout, cell)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; expected a new or an empty folder")
    if onnx:
        _require_onnx()
    records = students.finished(layout, cell, seeds)
    if not records:
        raise UserError(f"{layout.run(cell, seeds[0]).parent}: has no valid run record")
    if seed is not None and seed not in records:
        raise unknown("seed", seed, map(str, records), "--seed")
    if seed is None:
        _require_alike(layout, cell, records)
    kept = {n: r for n, r in records.items() if students.kept(layout.run(cell, n), r)}
    if not kept or seed not in (None, *kept):
        raise UserError(_not_kept(layout, cell, records[next(iter(records)) if seed is None else seed], kept))
    chosen = students.best(kept) if seed is None else seed
    record, source = kept[chosen], students.folder_of(layout.run(cell, chosen))
    sealed_files.require(source)
    teacher = None
    place = layout.teacher(record["teacher"], cell.task) / "record.json"
    if place.is_file():
        teacher = run_record.read(place)
    card = model_card.card(record, students.alike(records, record), model_card.licence_of(source), teacher)
    with atomic_folder(folder) as unfinished:
        for file in source.iterdir():
            shutil.copy(file, unfinished / file.name)
        (unfinished / model_card.FILE).write_text(card, encoding="utf-8")
        if onnx:
            _write_onnx(unfinished, unfinished / "onnx" / "model.onnx")
    return record


def cell_of(results: Path, pair: str | None, method: str | None, task: str | None) -> Cell:
    """The cell of these names; a name that is None is the only one that the results have.

    Raises UserError for the first of results folder, pair, method and task that is missing, or that has to be named.
    """
    place = results / "runs"
    if not place.is_dir():
        raise UserError(f"{results}: has no folder 'runs'; expected a results folder, such as results/mini")
    names: list[str] = []
    for kind, name in zip(Cell._fields, (pair, method, task), strict=True):
        available = sorted(path.name for path in place.iterdir() if path.is_dir())
        if name is None and len(available) > 1:
            raise UserError(f"--{kind}: the results have several, expected one of {', '.join(available)}")
        if name is not None and name not in available:
            raise unknown(kind, name, available, f"--{kind}")
        if not available:
            raise UserError(f"{place}: has no run record; run the benchmark first")
        names.append(name or available[0])
        place /= names[-1]
    return Cell(*names)


def _seeds(layout: Layout, cell: Cell) -> list[int]:
    """The seeds of a cell that have a record; UserError where there is none, or what ``cell_of`` raises."""
    place = layout.run(cell_of(layout.root, *cell), 0).parent
    numbers = (path.stem.removeprefix("seed-") for path in place.glob("seed-*.json"))
    seeds = sorted(int(number) for number in numbers if number.isdecimal())
    if not seeds:
        raise UserError(f"{place}: has no run record; run the benchmark first")
    return seeds


def _require_alike(layout: Layout, cell: Cell, records: Mapping[int, dict[str, Any]]) -> None:
    """Raises UserError unless all runs of a cell are of one configuration, with the same inputs.

    After an edit of the benchmark file, runs of before may still be there: a seed that the file no longer names, or one
    that is not trained again yet. Their scores do not compare, and which of them is meant cannot be known here.
    """
    groups: list[str] = []
    left = dict(records)
    while left:
        same = students.alike(left, left[min(left)])
        groups.append(f"seed {', '.join(map(str, same))}")
        left = {seed: record for seed, record in left.items() if seed not in same}
    if len(groups) > 1:
        raise UserError(
            f"{layout.run(cell, 0).parent}: its runs differ in configuration or inputs ({'; '.join(groups)}), so their "
            "scores do not compare; name one with --seed, or delete the outdated ones"
        )


def _not_kept(layout: Layout, cell: Cell, record: students.Record, kept: Iterable[int]) -> str:
    path = layout.run(cell, record["seed"])
    others = ", ".join(map(str, kept))
    mode, also = ("all", f"; kept: seed {others}") if others else ("best", "")
    return (
        f"{path}: the weights of this run were not kept{also}; set save_students: {mode} in the benchmark file of "
        f"'{record['benchmark']}' and run it again: only students whose weights are missing are trained"
    )


def _require_onnx() -> None:
    """Raises UserError where the package that torch's exporter needs is not installed."""
    if importlib.util.find_spec(ONNX) is None:
        raise UserError(f"--onnx: the package {ONNX} is not installed; pip install {ONNX}, or leave --onnx out")


def _write_onnx(source: Path, target: Path) -> None:
    """Writes the classifier of a folder as ONNX, with torch's exporter.

    The inputs are those that the folder's tokenizer gives, (batch, length) each, int64; the output is ``logits``,
    (batch, classes), float32. Raises UserError for an architecture that the exporter cannot write.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    inputs = dict(tokenizer(["one text", "a second, longer text"], padding=True, return_tensors="pt"))
    shape = {0: "batch", 1: "length"}
    target.parent.mkdir()
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)  # it names every package that it would also know
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch's own code
            torch.onnx.export(
                model, kwargs=inputs, f=target, input_names=list(inputs), output_names=["logits"],
                dynamic_shapes={name: shape for name in inputs}, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # whatever the exporter raises
        why = " ".join(str(error).split())[:200]
        raise UserError(f"--onnx: torch cannot export a {type(model).__name__} ({why}); leave --onnx out") from None
    finally:
        quiet.setLevel(before)
