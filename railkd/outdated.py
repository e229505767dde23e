"""Tells whether a run, or the choice of a search, is the one that a benchmark file asks for now, and where it differs.

A record of schema 2 holds every setting at its value, so it is compared as it stands, and so is the source of its
method. A record of schema 1 holds the settings that its file gave: what it leaves out is taken at the present default,
and its method's source, whose class did not say then what it is, is not compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from railkd.benchmark.defaults import PRETRAINING, SIZES, TRAINING, resolved
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError
from railkd.method_facts import facts
from railkd.method_sources import fingerprint, source_files
from railkd.records.hashes import canonical
from railkd.records.sealed_files import read_json, read_sealed
from railkd.tasks import TASKS

SOURCE = "source of the method"
UNREADABLE = "missing or not what was written"


def misplaced(record: Mapping[str, Any], identity: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of ``identity`` by which a record is of another run than the one whose place it has.

    Raises KeyError for a key that the record lacks.
    """
    for key, expected in identity.items():
        if record[key] != expected:
            yield f"'{key}' is {record[key]!r}, expected {expected!r}"


def best_of(scores: Sequence[float]) -> int:
    """The index of the highest score of a search's points; of the first where several are equal."""
    return max(range(len(scores)), key=lambda k: scores[k])


def misjudged(benchmark: Benchmark, layout: Layout, cell: Cell) -> str | None:
    """Why ``best.json`` of a cell's search does not hold; None where it names the best of the points that are there."""
    grid, metric = benchmark.grid(), TASKS[cell.task].shown
    try:
        best = read_sealed(layout.best(cell))
        point = best["point"]
    except (UserError, KeyError, TypeError):
        return UNREADABLE
    try:
        scores = [read_json(layout.point(cell, k))["scores"]["dev"][metric] for k in range(len(grid))]
        if best["grid"] != grid or best["scores"] != scores:
            return "its points have changed"
        return None if point == grid[best_of(scores)] else f"{point} is not the point with the best {metric} on dev"
    except (UserError, KeyError, TypeError):  # of the points, or of their scores
        return "its points have changed"


def differences(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The keys of the configuration in which a record differs from the one asked for, and SOURCE where that differs."""
    stated = _completed(record["config"]) if record["schema"] == 1 else record["config"]
    found = [key for key in sorted({*config, *stated}) if not _same(config.get(key), stated.get(key))]
    if record["schema"] != 1 and "method" in config and "method" not in found:
        trained_with = record["fingerprints"].get("method")
        if trained_with not in (None, fingerprint(source_files(config["method"]["method"]))):
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
