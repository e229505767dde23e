"""File primitives on file systems that can do less: refused links are copies, refused locks a warning."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from railkd import errors
from railkd.errors import UserError
from railkd.records import files

REFUSALS = [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS]


def refuse(number: int) -> Any:
    def call(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EACCES, *REFUSALS])
def test_a_refused_link_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(b"old")
    monkeypatch.setattr(os, "link", refuse(number))
    files.link_or_copy(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == b"new" and os.listdir(tmp_path / "deep") == ["b"]
    (tmp_path / "a").unlink()
    assert (tmp_path / "deep" / "b").read_bytes() == b"new"


def test_a_link_is_one_where_it_can_be(tmp_path: Path) -> None:
    """Also the second time, when both names are one file already; of a symbolic link's file, not of the link."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "s").symlink_to("../a")
    for source in ("a", "a", "sub/s"):
        files.link_or_copy(tmp_path / source, tmp_path / "b")
        assert (tmp_path / "b").samefile(tmp_path / "a") and not (tmp_path / "b").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "sub"]


def test_what_can_be_neither_linked_nor_copied_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(UserError, match=r"/b: cannot be written \(No such file or directory\)"):
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old" and os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("number", [*REFUSALS, errno.EBADF])
def test_a_folder_that_cannot_be_synced_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    files.write_bytes(tmp_path / "new" / "a", b"x")
    with files.atomic_folder(tmp_path / "new" / "folder") as unfinished:
        (unfinished / "b").write_bytes(b"y")
    assert (tmp_path / "new" / "a").read_bytes() == b"x" and (tmp_path / "new" / "folder" / "b").read_bytes() == b"y"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_not_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(UserError, match=r"/a: cannot be written"):
        files.write_bytes(tmp_path / "a", b"x")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_opened_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may be written to and not be listed; a file that cannot be opened is an error."""
    real = os.open

    def opened(path: Any, *rest: Any, **named: Any) -> int:
        if Path(path).is_dir() or Path(path).name == "shut":
            raise OSError(errno.EACCES, "denied")
        return real(path, *rest, **named)

    (tmp_path / "shut").write_bytes(b"x")
    monkeypatch.setattr(os, "open", opened)
    files.write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(OSError):
        files.sync(tmp_path / "shut")


HOLD = "import sys; from pathlib import Path; from railkd.records import files; f = files.try_lock(Path(sys.argv[1])); "
HOLD += "print(f is not None, flush=True); sys.stdin.read()"


def test_a_lock_is_of_one_process_and_ends_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    assert files.try_lock(tmp_path / "lock") is None
    other.kill()
    other.communicate()
    held = files.try_lock(tmp_path / "lock")
    assert held is not None
    held.close()
    with files.exclusive_lock(tmp_path / "lock"):
        assert files.try_lock(tmp_path / "lock") is None
    again = files.try_lock(tmp_path / "lock")
    assert again is not None
    again.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, *REFUSALS])
def test_a_refused_lock_is_a_warning_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    errors.warn.cache_clear()
    for name in ("a", "b"):
        file = files.try_lock(tmp_path / name)
        assert file is not None
        file.close()
        with files.exclusive_lock(tmp_path / name):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"{tmp_path}: no locks there ({os.strerror(number)})" in lines[0], lines


def test_a_folder_that_may_not_be_written_to_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read; who is to write there is told so."""
    real = open

    def opened(path: Any, *rest: Any, **named: Any) -> Any:
        if Path(path).name == "lock":
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, *rest, **named)

    monkeypatch.setattr("builtins.open", opened)
    with files.exclusive_lock(tmp_path / "lock"):
        pass
    with pytest.raises(UserError, match=r"lock: cannot be written \(Read-only file system\)"):
        files.try_lock(tmp_path / "lock")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(UserError, match=rf"{path}: the folder cannot be made \(a file has that name\)"):
            files.make_folder(path)
    with pytest.raises(UserError, match=r"the folder cannot be made \(File name too long\)"):
        files.make_folder(tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"loop/b: the folder cannot be made"):
        files.make_folder(tmp_path / "loop" / "b")


def test_a_symbolic_link_is_not_followed_to_delete(tmp_path: Path) -> None:
    """A folder's place may be one above which there is a link, and may not be the link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_bytes(b"x")
    (tmp_path / "link").symlink_to("mine")
    with pytest.raises(UserError, match="a symbolic link, expected a folder"), files.atomic_folder(tmp_path / "link"):
        pass
    with files.atomic_folder(tmp_path / "link" / "deep") as unfinished:
        (unfinished / "b").write_bytes(b"y")
    assert (tmp_path / "mine" / "letter").is_file() and (tmp_path / "mine" / "deep" / "b").is_file()


def test_two_that_fill_one_folder_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process's folder appears between deletion and renaming."""
    real, calls = os.replace, []

    def replaced(source: Any, target: Any) -> None:
        if not calls:
            Path(target).mkdir()
            (Path(target) / "theirs").write_bytes(b"z")
        calls.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    with files.atomic_folder(tmp_path / "folder") as unfinished:
        (unfinished / "ours").write_bytes(b"y")
    assert os.listdir(tmp_path / "folder") == ["ours"] and len(calls) == 2
