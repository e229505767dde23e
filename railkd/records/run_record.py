"""Reads and checks the run record: one JSON file for each trained model, and its predictions beside it.

A record is written whole or not at all, and carries what is needed to trust it: the resolved configuration and its
hash, the fingerprints of data and models, the versions, the hardware, the times. ``analysis`` reads nothing else. A
method of another repository takes part by writing records of this schema (``railkd record`` checks one).

Layout: ``results/<benchmark>/runs/<pair>/<method>/<task>/seed-<seed>.json``, predictions beside it as .safetensors;
a teacher's in ``results/<benchmark>/teachers/<teacher>/<task>/record.json``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd.errors import UserError
from railkd.records.fields import FIELDS, OPTIONAL, READABLE, misshapen
from railkd.records.hashes import canonical, sha256_bytes, sha256_text
from railkd.records.sealed_files import read_json, read_sealed, sealed, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from railkd.benchmark.paths import Layout
    from railkd.benchmark.specification import Benchmark, Cell

DIVERGED = "diverged"  # key of what stands in the place of a point's record: why there are no scores


def problems(record: Any) -> list[str]:
    """What keeps a value from being a valid run record, one line each; empty when it is one."""
    if not isinstance(record, Mapping):
        return ["a record is a JSON object"]
    found = [*_wrong_keys(record)]
    if found:
        return found
    whole, why = True, ""
    try:
        canonical(record).encode()
        whole = "checksum" not in record or sealed(record)["checksum"] == record["checksum"]
    except (ValueError, RecursionError) as error:
        why = str(error)
    if not whole:
        return ["not what was written (checksum); delete it and run again"]
    found = list(misshapen(record))
    if record["schema"] not in READABLE:
        found.append(f"schema version {record['schema']}, expected {' or '.join(map(str, READABLE))}")
    try:
        hashed = sha256_text(canonical(record["config"]))
    except (TypeError, ValueError, RecursionError) as error:
        found.append(f"'config' is no JSON ({error})")
    else:
        if record["config_hash"] != hashed:
            found.append("config_hash does not match config")
    found += _wrong_scores(record)
    if why and not found:
        found.append(f"is no JSON ({why})")
    return found


def _wrong_keys(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key that is missing, unknown or of another type than ``FIELDS`` says."""
    for key, (_, meaning) in FIELDS.items():
        if key not in {*record, *OPTIONAL}:
            yield f"missing key '{key}' ({meaning})"
    for key in record:
        if key not in FIELDS:
            yield f"unknown key '{str(key)[:80]}'"
    for key, (kind, meaning) in FIELDS.items():
        if key in record and (not isinstance(record[key], kind) or (kind is int and isinstance(record[key], bool))):
            yield f"'{key}' is {type(record[key]).__name__}, expected {getattr(kind, '__name__', kind)} ({meaning})"


def _wrong_scores(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each score that is no fraction, and where dev or the shown metric is missing."""
    for split, scores in record["scores"].items():
        for metric, score in scores.items() if isinstance(scores, Mapping) else [("", None)]:
            if not isinstance(score, int | float) or isinstance(score, bool) or not -1 <= score <= 1:
                yield f"scores.{split}.{metric}"[:80] + f" is {score!r:.80}, expected a fraction between -1 and 1"
    if "dev" not in record["scores"]:
        yield "scores has no 'dev'"
    elif isinstance(record["scores"]["dev"], Mapping) and record["shown"] not in record["scores"]["dev"]:
        yield f"scores.dev has no '{record['shown'][:80]}', the metric that a table shows"


def read(path: Path) -> dict[str, Any]:
    """Reads and checks one record, without its checksum; raises UserError naming the file and what is wrong."""
    record = read_json(path)
    found = problems(record)
    if found:
        raise UserError(f"{path}: not a valid run record: {'; '.join(found[:3])}")
    return {key: value for key, value in record.items() if key != "checksum"}


def diverged(record: Mapping[str, Any]) -> str | None:
    """Why a point of a search has no score, where its numbers did not stay finite; None of a record."""
    return str(record[DIVERGED]) if DIVERGED in record else None


def read_point(path: Path) -> dict[str, Any]:
    """Reads the record of a point of a search, or what stands in its place where it diverged; see ``read``."""
    found = read_json(path)
    return read_sealed(path) if isinstance(found, dict) and DIVERGED in found else read(path)


def predictions(path: Path, record: Mapping[str, Any]) -> "dict[str, NDArray[np.float32]]":
    """A record's stored logits, split -> (examples, C); raises UserError when they are not what was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    kept = record["predictions"]
    file = path.with_name(
        Path(str(kept.get("file", ""))).name or path.with_suffix(".safetensors").name
    )  # never elsewhere
    try:
        content = file.read_bytes()
        if sha256_bytes(content) == kept.get("sha256"):
            return dict(load(content))
    except (OSError, ValueError, SafetensorError):  # ValueError: a name with a NUL
        pass
    raise UserError(f"{file}: missing or not what was written (checksum); delete {path} and run again")


def expected_config(benchmark: "Benchmark", layout: "Layout", cell: "Cell") -> dict[str, Any] | None:
    """The configuration that a benchmark file asks of a cell's runs; None for another repository's method, and where
    ``choice`` has none."""
    if benchmark.external(cell.method):
        return None
    if not benchmark.search:
        return benchmark.run_config(*cell)
    best = choice(benchmark, layout, cell)
    return None if best is None else benchmark.run_config(*cell, best["point"])


def choice(benchmark: "Benchmark", layout: "Layout", cell: "Cell") -> dict[str, Any] | None:
    """``best.json`` of a cell's search; None where it is missing, or was chosen among other points or on other tasks
    than the file names now."""
    try:
        best = read_sealed(layout.best(cell))
        decided_on = [of.task for of in benchmark.searched(cell)]
        same = best["grid"] == benchmark.grid(cell.method) and best.get("tasks", [cell.task]) == decided_on
        return best if same and best["point"] in best["grid"] else None
    except (UserError, KeyError, TypeError):
        return None


def expected_teacher_config(benchmark: "Benchmark", teacher: str, task: str) -> dict[str, Any]:
    """The configuration that a benchmark file asks of a fine-tuned teacher."""
    return {"data": benchmark.data_config(task), **benchmark.teacher_config(teacher, task)}


def write(path: Path, record: dict[str, Any]) -> None:
    """Checks and writes one record, with its checksum."""
    found = problems(record)
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}")
    write_json(path, sealed(record))
