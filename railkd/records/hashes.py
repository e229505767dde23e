"""Computes digests of files and of values."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any


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


def sha256_once(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, computed once for each state that a process finds it in."""
    look = path.stat()
    return _digest(path, look.st_size, look.st_ino, look.st_mtime_ns, look.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _digest(path: Path, *look: int) -> str:
    return sha256_file(path)
