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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd import __version__
from railkd.errors import UserError
from railkd.files import write_bytes
from railkd.schema import FIELDS, OPTIONAL, READABLE, misshapen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from railkd.config import Benchmark, Cell, Layout

MIRRORED = "mirror.json"
SEAL = "checksums.json"  # in a folder: the checksums of its files


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


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises UserError naming it when it is missing or no JSON (which has no NaN)."""

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None


def mirrored(root: Path) -> dict[str, Any]:
    """What ``railkd mirror`` fetched: name -> its ``revision`` (hub commit) and ``files`` (path -> SHA-256)."""
    return dict(read_json(root / MIRRORED)) if (root / MIRRORED).is_file() else {}


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the ``checksum`` of its content; one that it had before is replaced."""
    content = json.loads(canonical({k: v for k, v in value.items() if k != "checksum"}))  # as a reader will have it
    return {**content, "checksum": sha256_text(canonical(content))}


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads what ``sealed`` gave, without the checksum; raises UserError naming a file whose content is another.

    What earlier versions wrote has no checksum and is taken as it is, unless a key is that one, damaged.
    """
    value = read_json(path)
    try:
        if isinstance(value, dict):
            if "checksum" not in value and not any(
                sum(map(str.__ne__, k, "checksum")) == 1 for k in value if len(k) == 8
            ):
                return value
            if sealed(value)["checksum"] == value.pop("checksum", None):
                return value
    except ValueError:  # a number that is not finite, a text that is no Unicode
        pass
    raise UserError(f"{path}: not what was written (checksum); delete it and run again")


def seal(folder: Path, names: Iterable[str], file: Path | None = None, made_of: Any = None) -> None:
    """Writes the SHA-256 of files below a folder, by their path from there, to ``file`` (checksums.json in it).

    ``made_of``: what decides on their content, to tell later whether they are still what is asked for.
    """
    content: dict[str, Any] = {"files": {name: sha256_file(folder / name) for name in sorted(names)}}
    write_json(file or folder / SEAL, sealed(content if made_of is None else {**content, "made_of": made_of}))


def broken(folder: Path, names: Iterable[str] | None = None, file: Path | None = None) -> Iterator[str]:
    """A line for each of a sealed folder's files (or of these) that is not what was written; none without a seal."""
    file = file or folder / SEAL
    if not file.is_file():
        return
    try:
        known = dict(read_sealed(file)["files"])
    except (KeyError, TypeError, ValueError):  # UserError among them
        yield f"{file}: not what was written (checksum); delete {folder} and run again"
        return
    for name in known if names is None else names:
        path = folder / name
        try:
            found: str | None = sha256_once(path)
        except OSError:
            found = None
        if found is None or found != known.get(name):
            yield f"{path}: missing or not what was written (checksum); delete {path.parent} and run again"


def require(folder: Path, *names: str, file: Path | None = None) -> None:
    """Raises UserError naming the first file, of these or of all, that is not what its folder's seal says."""
    for line in broken(folder, names or None, file):
        raise UserError(line)


def sha256_once(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, computed once for each state that a process finds it in."""
    look = path.stat()
    return _digest(path, look.st_size, look.st_ino, look.st_mtime_ns, look.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _digest(path: Path, *look: int) -> str:
    return sha256_file(path)


def problems(record: Any) -> list[str]:
    """What keeps a value from being a valid run record, one line each; empty when it is one."""
    if not isinstance(record, Mapping):
        return ["a record is a JSON object"]
    found = [
        f"missing key '{key}' ({meaning})" for key, (_, meaning) in FIELDS.items() if key not in {*record, *OPTIONAL}
    ]
    found += [f"unknown key '{str(key)[:80]}'" for key in record if key not in FIELDS]
    for key, (kind, meaning) in FIELDS.items():
        if key in record and (not isinstance(record[key], kind) or (kind is int and isinstance(record[key], bool))):
            found.append(
                f"'{key}' is {type(record[key]).__name__}, expected {getattr(kind, '__name__', kind)} ({meaning})"
            )
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
    for split, scores in record["scores"].items():
        for metric, score in scores.items() if isinstance(scores, Mapping) else [("", None)]:
            if not isinstance(score, int | float) or isinstance(score, bool) or not -1 <= score <= 1:
                found.append(
                    f"scores.{split}.{metric}"[:80] + f" is {score!r:.80}, expected a fraction between -1 and 1"
                )
    if "dev" not in record["scores"]:
        found.append("scores has no 'dev'")
    elif isinstance(record["scores"]["dev"], Mapping) and record["shown"] not in record["scores"]["dev"]:
        found.append(f"scores.dev has no '{record['shown'][:80]}', the metric that a table shows")
    if why and not found:
        found.append(f"is no JSON ({why})")
    return found


def read(path: Path) -> dict[str, Any]:
    """Reads and checks one record, without its checksum; raises UserError naming the file and what is wrong."""
    record = read_json(path)
    found = problems(record)
    if found:
        raise UserError(f"{path}: not a valid run record: {'; '.join(found[:3])}")
    return {key: value for key, value in record.items() if key != "checksum"}


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
            chosen = read_sealed(layout.best(cell))["point"]
        except (UserError, KeyError, TypeError):
            return None
    return benchmark.run_config(*cell, chosen)


def asked_of_teacher(benchmark: "Benchmark", teacher: str, task: str) -> dict[str, Any]:
    """The configuration that a benchmark file asks of a fine-tuned teacher."""
    return {"data": benchmark.data_config(task), **benchmark.teacher_config(teacher, task)}


def write(path: Path, record: dict[str, Any]) -> None:
    """Checks and writes one record, with its checksum."""
    found = problems(record)
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}")
    write_json(path, sealed(record))


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
