"""The run record: one JSON file for each trained model, and beside it the predictions it was scored on.

A record is written whole or not at all, and carries what is needed to trust it: the resolved configuration and its
hash, the fingerprints of data and models, the versions, the hardware, the times. ``analysis`` reads nothing else. A
method of another repository takes part by writing records of this schema (``railkd record`` checks one).

Layout: ``results/<benchmark>/runs/<pair>/<method>/<task>/seed-<seed>.json``, predictions beside it as .safetensors;
a teacher's in ``results/<benchmark>/teachers/<teacher>/<task>/record.json``.
"""

import functools
import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd import __version__
from railkd.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from railkd.config import Benchmark, Cell, Layout

SCHEMA_VERSION = 1
MIRRORED = "mirror.json"

# key -> (type, meaning). Scores are in the metric's own unit, fractions in [-1, 1], not percent.
FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "schema": (int, "version of this schema"),
    "benchmark": (str, "name of the benchmark file"),
    "synthetic": (bool, "trained on generated text: the numbers say nothing about a natural language"),
    "stage": (str, "teacher | search | distil"),
    "pair": (str, "teacher-student pair; the teacher's name for a teacher"),
    "teacher": (str, "name of the teacher model in the benchmark file"),
    "student": (str, "name of the student model; equals teacher for a teacher"),
    "method": (str, "name of the method; 'teacher' for a teacher"),
    "task": (str, "GLUE task trained on"),
    "seed": (int, "random seed of the run"),
    "config": (dict, "resolved configuration: training settings, method options, data settings"),
    "config_hash": (str, "SHA-256 of config as canonical JSON"),
    "shown": (str, "name of the metric a table cell shows"),
    "scores": (dict, "split or out-of-domain set -> metric -> score, at the best epoch"),
    "baselines": (dict, "split or set -> metric -> best score of a constant answer, from the labels"),
    "examples": (dict, "split or set -> number of examples scored; 'train' -> number trained on"),
    "best_epoch": (int, "1-based epoch whose weights were scored"),
    "epochs": (
        list,
        "per epoch: epoch (1-based), dev (metric -> score), halves (optional: the shown metric on every other dev "
        "example, from the first and from the second), loss (term -> mean), learning_rate, seconds",
    ),
    "method_record": (dict, "what the method reports: drawn layers, attention weights, effective rank, ..."),
    "similarity": (dict, "pooling -> cosine similarity [student layer][teacher layer] on probe examples; may be empty"),
    "diagnostics": (dict, "agreement with the teacher by split, cka by pooling: see diagnostics.py; may be left out"),
    "cost": (dict, "train_seconds, step_seconds (median), steps, eval_seconds, peak_memory_bytes, regime, device"),
    "fingerprints": (
        dict,
        "data, teacher, student, method, a teacher's backbone: SHA-256 of what was read, or hub id and commit",
    ),
    "predictions": (dict, "file (relative to the record) and sha256 of the logits"),
    "provenance": (
        dict,
        "suite version, commit, dirty, versions of libraries, host hardware, started, finished (UTC); initialisation: "
        "how the student's weights began, in words",
    ),
}
OPTIONAL = {"diagnostics"}


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes."""
    return sha256_bytes(text.encode())


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file to write, which then takes the path's place: a reader sees the old content or the new, whole,
    also after a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)  # else the new name may be lost
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises UserError naming it when it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None


def mirrored(root: Path) -> dict[str, Any]:
    """What ``railkd mirror`` fetched: name -> its ``revision`` (hub commit) and ``files`` (path -> SHA-256)."""
    return dict(read_json(root / MIRRORED)) if (root / MIRRORED).is_file() else {}


def problems(record: Any) -> list[str]:
    """What keeps a value from being a valid run record, one line each; empty when it is one."""
    if not isinstance(record, Mapping):
        return ["a record is a JSON object"]
    found = [
        f"missing key '{key}' ({meaning})" for key, (_, meaning) in FIELDS.items() if key not in {*record, *OPTIONAL}
    ]
    found += [f"unknown key '{key}'" for key in record if key not in FIELDS]
    for key, (kind, meaning) in FIELDS.items():
        if key in record and (not isinstance(record[key], kind) or (kind is int and isinstance(record[key], bool))):
            found.append(
                f"'{key}' is {type(record[key]).__name__}, expected {getattr(kind, '__name__', kind)} ({meaning})"
            )
    if found:
        return found
    if record["schema"] != SCHEMA_VERSION:
        found.append(f"schema version {record['schema']}, expected {SCHEMA_VERSION}")
    try:
        hashed = sha256_text(canonical(record["config"]))
    except (TypeError, ValueError) as error:
        found.append(f"'config' is no JSON ({error})")
    else:
        if record["config_hash"] != hashed:
            found.append("config_hash does not match config")
    for split, scores in record["scores"].items():
        for metric, score in scores.items() if isinstance(scores, Mapping) else [("", None)]:
            if not isinstance(score, int | float) or isinstance(score, bool) or not -1 <= score <= 1:
                found.append(f"scores.{split}.{metric} is {score!r}, expected a fraction between -1 and 1")
    if "dev" not in record["scores"]:
        found.append("scores has no 'dev'")
    elif isinstance(record["scores"]["dev"], Mapping) and record["shown"] not in record["scores"]["dev"]:
        found.append(f"scores.dev has no '{record['shown']}', the metric that a table shows")
    return found


def read(path: Path) -> dict[str, Any]:
    """Reads and checks one record; raises UserError naming the file and what is wrong."""
    record = read_json(path)
    found = problems(record)
    if found:
        raise UserError(f"{path}: not a valid run record: {'; '.join(found[:3])}")
    return dict(record)


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


def asked(benchmark: "Benchmark", layout: "Layout", cell: "Cell") -> dict[str, Any] | None:
    """The configuration that a benchmark file asks of a cell's runs; None for another repository's method, and after a
    search whose outcome is not there."""
    if benchmark.external(cell.method):
        return None
    chosen: dict[str, Any] = {}
    if benchmark.grid():
        try:
            chosen = read_json(layout.best(cell))["point"]
        except (UserError, KeyError, TypeError):
            return None
    return benchmark.run_config(*cell, chosen)


def asked_of_teacher(benchmark: "Benchmark", teacher: str, task: str) -> dict[str, Any]:
    """The configuration that a benchmark file asks of a fine-tuned teacher."""
    return {"data": benchmark.data_config(task), **benchmark.teacher_config(teacher, task)}


def write(path: Path, record: dict[str, Any]) -> None:
    """Checks and writes one record."""
    found = problems(record)
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}")
    write_json(path, record)


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@functools.cache
def provenance() -> dict[str, Any]:
    """Suite version and commit, library versions, hardware. Computed once a process."""
    import importlib.metadata

    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    own = top is not None and Path(top).resolve() == root.resolve()  # not another project's, in whose folder this lies
    # a new module counts as a change; a new benchmark file or a result does not
    status = [
        git("status", "--porcelain", "--untracked-files=no"),
        git("ls-files", "-o", "--exclude-standard", "railkd"),
    ]
    versions = {n: importlib.metadata.version(n) for n in ("torch", "transformers", "numpy", "tokenizers")}
    return {
        "suite": __version__,
        "commit": git("rev-parse", "HEAD") if own else None,
        "dirty": any(status) if own else None,
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
