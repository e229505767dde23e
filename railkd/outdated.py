"""Tells whether a run, or the choice of a search, is the one that a benchmark file asks for now, and where it differs.

A record of schema 2 holds every setting at its value, so it is compared as it stands, and so is the source of its
method. A record of schema 1 holds the settings that its file gave: what it leaves out is taken at the present default,
and its method's source, whose class did not say then what it is, is not compared.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from railkd.benchmark.defaults import PRETRAINING, SIZES, TRAINING, resolved
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError
from railkd.method_facts import facts
from railkd.method_sources import fingerprint, source_files
from railkd.records.hashes import canonical, sha256_once, sha256_text
from railkd.records.run_record import diverged
from railkd.records.sealed_files import SEAL, read_json, read_sealed

SOURCE = "source of the method"
UNREADABLE = "missing or not what was written"
MISSING = "missing"
REASONS = {  # fingerprint that differs -> what has changed
    "method": "the method's source has changed",
    "teacher": "the teacher is another one",
    "data": "the prepared data are others",
    "student": "the student's checkpoint is another one",
    "backbone": "the teacher's checkpoint is another one",
}


def misplaced(record: Mapping[str, Any], identity: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of ``identity`` by which a record is of another run than the one whose place it has.

    Raises KeyError for a key that the record lacks.
    """
    for key, expected in identity.items():
        if record[key] != expected:
            yield f"'{key}' is {record[key]!r}, expected {expected!r}"


def best_of(scores: Sequence[float | None]) -> int:
    """The index of the highest score of a search's points; of the first where several are equal. None: it diverged."""
    return max(range(len(scores)), key=lambda k: -math.inf if (score := scores[k]) is None else score)


def scores_of_points(
    benchmark: Benchmark, layout: Layout, cell: Cell, read: Callable[[Path], Mapping[str, Any]]
) -> list[float | None]:
    """The dev score of each point of a cell's search: the shown metric, mean over the tasks that decide for the cell.

    None for a point that diverged on one of them. ``read`` gives a point's record and may raise what it likes.
    """

    def score(of: Cell, number: int) -> float | None:
        record = read(layout.point(of, number))
        return None if diverged(record) else float(record["scores"]["dev"][benchmark.task(of.task).shown])

    def mean(scores: list[float | None]) -> float | None:
        known = [score for score in scores if score is not None]
        return fmean(known) if len(known) == len(scores) else None

    decided_on = benchmark.searched(cell)
    return [mean([score(of, number) for of in decided_on]) for number in range(len(benchmark.grid(cell.method)))]


def misjudged(benchmark: Benchmark, layout: Layout, cell: Cell, kept: bool = True) -> str | None:
    """Why ``best.json`` of a cell's search does not hold; None where it names the best of the present points.

    Without ``kept`` none of them is looked at, only what it says of them.
    """
    grid = benchmark.grid(cell.method)
    try:
        best = read_sealed(layout.best(cell))
        point = best["point"]
    except (UserError, KeyError, TypeError):
        return UNREADABLE
    decided_on = [of.task for of in benchmark.searched(cell)]
    if best.get("tasks", [cell.task]) != decided_on:
        return f"the search is decided on {', '.join(decided_on)} now"
    try:
        scores = scores_of_points(benchmark, layout, cell, read_json) if kept else list(best["scores"])
        if best["grid"] != grid or best["scores"] != scores:
            return "its points have changed"
    except (UserError, KeyError, TypeError):  # of the points, or of their scores
        return "its points have changed"
    metric = benchmark.task(cell.task).shown if decided_on == [cell.task] else "mean score"
    return None if point == grid[best_of(scores)] else f"{point} is not the point with the best {metric} on dev"


def differences(record: Mapping[str, Any], config: Mapping[str, Any], method: str | None = None) -> list[str]:
    """The keys of the configuration in which a record differs from the one asked for, and SOURCE where that differs.

    ``method``: the name by which its class is found, where that is another than the configuration's: of a file it has a
    folder.
    """
    stated = _completed(record["config"]) if record["schema"] == 1 else record["config"]
    found = [key for key in sorted({*config, *stated}) if not _same(config.get(key), stated.get(key))]
    if record["schema"] != 1 and "method" in config and "method" not in found:
        trained_with = record["fingerprints"].get("method")
        source = method or config["method"]["method"]
        if trained_with is not None and trained_with != fingerprint(source_files(source)):
            found.append(SOURCE)
    return found


def _same(a: Any, b: Any) -> bool:
    return canonical(a) == canonical(b)


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of schema 1 with the present defaults for what it leaves out."""
    whole = dict(config)
    data, method, teacher = (whole.get(key) for key in ("data", "method", "teacher"))
    if isinstance(data, dict) and data.get("source") == "miniglue":
        whole["data"] = {**data, "sizes": resolved(SIZES, data.get("sizes") or {})}
    if isinstance(whole.get("training"), dict):
        whole["training"] = resolved(TRAINING, whole["training"])
    if isinstance(method, dict) and isinstance(method.get("method"), str):
        with suppress(UserError):  # a method that is no more: it is another than the one asked for
            whole["method"] = resolved(facts(method["method"]).defaults, method)
    if isinstance(teacher, dict):
        whole["teacher"] = {**teacher, **{k: _model(v) for k, v in teacher.items() if k == "model"}}
        if isinstance(teacher.get("training"), dict):
            whole["teacher"]["training"] = resolved(TRAINING, teacher["training"])
    for key in ("student", "model"):
        if key in whole:
            whole[key] = _model(whole[key])
    return whole


def _model(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    whole = {key: _model(value) if key in ("from", "layers_of") else value for key, value in entry.items()}
    if isinstance(entry.get("pretrain"), dict):
        whole["pretrain"] = resolved(PRETRAINING, entry["pretrain"])
    return whole


def why_not_sealed_as(folder: Path, wanted: Any) -> str | None:
    """Why a sealed folder is not what was asked for."""
    if not (folder / SEAL).is_file():
        return MISSING
    try:
        made_of = read_sealed(folder / SEAL).get("made_of")
    except UserError as error:
        return str(error)
    return first_difference(made_of, wanted) or missing_file(folder)


def digest_of_records(layout: Layout) -> str | None:
    """Hex SHA-256 over every record that is present and what is put beside them; None where there is no record."""
    present = layout.present()
    files = [*present, *(path for path in (layout.speed(), layout.leaderboard()) if path.is_file())]
    names = (f"{path.relative_to(layout.root).as_posix()} {sha256_once(path)}\n" for path in files)
    return sha256_text("".join(names)) if present else None


def of_other_records(layout: Layout, *steps: str) -> str | None:
    """A line that names the steps whose files were made of other records than those that are present; None without any.

    Nothing is known where there is no record, as beside published tables alone, or where a step's seal does not say.
    """
    present, other = digest_of_records(layout), []
    for step in steps:
        made_of = None
        with suppress(UserError, AttributeError):  # no seal, or none that can be read
            made_of = read_sealed(layout.checksums(step)).get("records")
        if present is not None and made_of not in (None, present):
            other.append(step)
    if not other:
        return None
    return (
        f"{layout.root}: made of other records than those that are present: {', '.join(other)}; "
        f"write them again with 'railkd report {layout.root}'"
    )


def missing_file(folder: Path) -> str | None:
    """Which of a sealed folder's files is missing."""
    try:
        names = dict(read_sealed(folder / SEAL)["files"])
    except (UserError, KeyError, TypeError, ValueError):
        return f"{folder / SEAL} is missing"
    return next((f"{name} is missing" for name in names if not (folder / name).is_file()), None)


def judged(
    path: Path, identity: dict[str, Any], config: dict[str, Any] | None, prints: dict[str, str | None]
) -> tuple[dict[str, Any], str | None]:
    """A record, or what can be read of it, and why it is not the one asked for."""
    if not path.is_file():
        return {}, MISSING
    try:
        record = read_json(path)
        for line in misplaced(record, identity):
            return record, line
        if config is not None and record["config_hash"] != sha256_text(canonical(config)):
            return record, first_difference(record["config"], config) or "its configuration has changed"
        for key, expected in prints.items():
            if expected is not None and record["fingerprints"].get(key) != expected:
                return record, REASONS[key]
        file = path.with_suffix(".safetensors")
        return record, None if file.is_file() or diverged(record) else f"{file.name} is missing"
    except (UserError, KeyError, TypeError, AttributeError):
        return {}, "it is no valid record"


def first_difference(old: Any, new: Any, place: str = "") -> str | None:
    """The first key in which two configurations differ, with both values; None where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=str):
            found = first_difference(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
            if found:
                return found
        return None
    if old == new:
        return None
    return f"{place} {_short(old)} → {_short(new)}" if place else "what it was made of is not known"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
