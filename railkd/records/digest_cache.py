"""Remembers the digests of large files as long as the files look the same."""

from contextlib import suppress
from pathlib import Path

from railkd.errors import UserError
from railkd.records import hashes, sealed_files


class Digests:
    """SHA-256 of files outside the results folder, computed once for each state in which they are found.

    Remembered in a file: a checkpoint or a data mirror may have gigabytes. A file that was changed has another size or
    time of last change; where these are the same, the content is taken to be.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._known = dict(sealed_files.read_json(file))
        except (UserError, TypeError, ValueError):
            self._known = {}
        self._saved = dict(self._known)

    def of(self, path: Path) -> str:
        """Hex SHA-256 of a file's bytes; raises OSError where it cannot be read."""
        look, key = path.stat(), str(path.resolve())
        state = [look.st_size, look.st_mtime_ns, look.st_ctime_ns]
        known = self._known.get(key)
        if not isinstance(known, list) or known[:3] != state:
            self._known[key] = known = [*state, hashes.sha256_file(path)]
        return str(known[3])

    def save(self) -> None:
        """Writes down what was learned, where there are results."""
        if self._known != self._saved and self.file.parent.is_dir():
            with suppress(UserError, OSError):
                sealed_files.write_json(self.file, self._known)
