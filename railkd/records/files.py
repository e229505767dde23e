"""Writes files whole or not at all, and makes links and locks, also where a file system can do less than others.

Network and user-space file systems may refuse hard links, locks, or to wait until the names in a folder are on disk. A
refused link is a copy; a refused lock is a warning, once; a refused wait is left out, for there is nothing to wait for.
"""

import errno
import fcntl
import glob
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from railkd.errors import UserError, warn

UNABLE = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.ENOTTY}  # not: a bad disk
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file to write, which then takes the path's place: a reader sees the old content or the new, whole,
    also after a power loss."""
    with _taking_the_place_of(path) as temporary:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: the temporary one exists, to be filled, and what the path held before is deleted.

    Raises UserError for a symbolic link: what it names may be anybody's, and is not deleted.
    """
    if path.is_symlink():
        raise UserError(f"{path}: cannot be written (a symbolic link, expected a folder; link one above it instead)")
    with _taking_the_place_of(path) as temporary:
        temporary.mkdir()
        yield temporary
        for file in (*temporary.rglob("*"), temporary):
            sync(file)
        for left in (2, 1, 0):  # without locks, another process may fill the same place in between
            shutil.rmtree(path, ignore_errors=True)
            try:
                os.replace(temporary, path)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                    raise


@contextmanager
def _taking_the_place_of(path: Path) -> Iterator[Path]:
    """A name beside the path, deleted afterwards; UserError names the path when the disk is full or read-only."""
    try:
        new = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in new:
            sync(folder.parent)
        temporary = _temporary(path)
        try:
            yield temporary
            sync(path.parent)  # else the new name may be lost
        finally:
            _remove(temporary)
    except UserError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and "(os error " not in str(error):  # so say safetensors and tokenizers
            raise
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> UserError:
    why = (isinstance(error, OSError) and error.strerror) or str(error)
    return UserError(f"{path}: cannot be written ({why})")


def _temporary(path: Path) -> Path:
    """A name of this process's own; what killed processes of this machine have left under theirs is removed."""
    prefix = f".{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        try:
            os.kill(int(left.name[len(prefix) : -len(".tmp")]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            _remove(left)
        except OSError:  # another user's, and alive
            pass
    temporary = path.with_name(f"{prefix}{os.getpid()}.tmp")
    _remove(temporary)  # of a process that had this one's number
    return temporary


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on disk, where the file system can say so."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if path.is_dir() and error.errno in {*FORBIDDEN, *UNABLE, errno.EISDIR}:  # to be written to, not to be listed
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file's content a second name, by a hard link or, where there can be none, a copy; whole or not at all.

    Raises UserError naming the target when neither can be had.
    """
    with atomic(target) as temporary:
        try:
            os.link(os.path.realpath(source), temporary)
        except OSError:  # each file system has its own word for "not here", and a copy tells what else is wrong
            shutil.copyfile(source, temporary)


def check_folder(path: Path) -> None:
    """Raises UserError for a folder that does not exist and cannot be made; makes none."""
    for folder in (path, *path.parents):
        try:
            why = "" if stat.S_ISDIR(os.stat(folder).st_mode) else "a file has that name"
        except (FileNotFoundError, NotADirectoryError):  # the folder above says why
            continue
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            raise UserError(f"{path}: the folder cannot be made ({why})")
        return


def make_folder(path: Path) -> None:
    """Makes a folder that can be written to, and those above it; raises UserError naming it when it cannot."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be made ({error.strerror})") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{path}: the folder cannot be written to (permission denied)")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Waits until no other process is inside such a block for this path.

    Where the file system knows no locks: a warning, once, and on. In a folder that may not be written to: on.
    """
    try:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise _unwritable(path, error) from error
        yield
        return
    with file:
        _lock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> IO[str] | None:
    """The open lock file, which holds the lock until it is closed or the process ends; None: another process holds it.

    Where the file system knows no locks: a warning, once, and the file. Raises UserError when it cannot be opened.
    """
    try:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path, error) from error
    if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
        return file
    file.close()
    return None


def _lock(file: IO[str], how: int) -> bool:
    """Whether no other process holds the lock."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        warn(f"{Path(file.name).parent}: no locks there ({error.strerror}); do not let two workflows write it at once")
    return True
