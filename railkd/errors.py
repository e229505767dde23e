"""Defines the one exception for a user's mistake, which is shown as one line without a traceback, and warnings."""

import difflib
import functools
import io
import sys
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message is one line that names the key, file or row at fault and what was expected."""

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(str(message).splitlines()))  # a name in it may come from a file


class Diverged(UserError):
    """A run whose numbers are not finite any more: it ends, the others of its job go on."""


class MethodError(UserError):
    """What a method's own code did wrong, with the file and line and what to write instead."""


class Undeclared(UserError, RuntimeError):
    """A method reads what its class does not declare; the message says what to declare."""


def unknown(kind: str, name: object, available: Iterable[str], where: str = "") -> UserError:
    """An unknown name, with the nearest known one: ``unknown method 'pdk'; did you mean 'pkd'? available: ...``."""
    names = sorted(str(a) for a in available)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    prefix = f"{where}: " if where else ""
    listed = ", ".join(names) or "none"
    listed = listed if len(listed) < 600 else f"{listed[:600]}, ... ({len(names)} in all)"
    return UserError(f"{prefix}unknown {kind} {str(name)[:80]!r}{hint} available: {listed}")


def printable() -> None:
    """Lets any text be printed on a terminal of any encoding: a character that it lacks becomes its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@functools.cache
def warn(line: str) -> None:
    """Prints what a user should know and need not act on, once a process."""
    print(f"railkd: warning: {line}", file=sys.stderr, flush=True)
