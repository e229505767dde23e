"""Reads and writes JSON files and folders that carry the checksums of their content."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from railkd.errors import UserError
from railkd.records.files import write_bytes
from railkd.records.hashes import canonical, sha256_file, sha256_once, sha256_text

MIRRORED = "mirror.json"
SEAL = "checksums.json"  # in a folder: the checksums of its files


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """A value as indented JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


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


def seal(
    folder: Path, names: Iterable[str], file: Path | None = None, made_of: Any = None, records: str | None = None
) -> None:
    """Writes the SHA-256 of files below a folder, by their path from there, to ``file`` (checksums.json in it).

    ``made_of``: what decides on their content, to tell later whether they are still what is asked for. ``records``: the
    digest of the records alone, which can be compared without the benchmark file and by another version of the suite.
    """
    content: dict[str, Any] = {"files": {name: sha256_file(folder / name) for name in sorted(names)}}
    more = {key: value for key, value in (("made_of", made_of), ("records", records)) if value is not None}
    write_json(file or folder / SEAL, sealed({**content, **more}))


def broken(folder: Path, names: Iterable[str] | None = None, file: Path | None = None) -> Iterator[str]:
    """A line for each of a sealed folder's files (or of these) that is not what was written; none without a seal.

    ``file``: the seal of a step of the analysis, whose files lie beside the runs in the results folder. They are
    written again from the records, so that nothing has to be deleted, least of all the folder that they lie in.
    """
    again = f"write it again with 'railkd report {folder}'" if file else ""
    file = file or folder / SEAL
    if not file.is_file():
        return
    try:
        known = dict(read_sealed(file)["files"])
    except (KeyError, TypeError, ValueError):  # UserError among them
        yield f"{file}: not what was written (checksum); {again or f'delete {folder} and run again'}"
        return
    for name in known if names is None else names:
        path = folder / name
        try:
            found: str | None = sha256_once(path)
        except OSError:
            found = None
        if found is None or found != known.get(name):
            remedy = again or f"delete {path.parent} and run again"
            yield f"{path}: missing or not what was written (checksum); {remedy}"


def require(folder: Path, *names: str, file: Path | None = None) -> None:
    """Raises UserError naming the first file, of these or of all, that is not what its folder's seal says."""
    for line in broken(folder, names or None, file):
        raise UserError(line)
