"""The command line ``railkd``: reads the arguments, runs a command of ``railkd/commands/`` and tells how it ended.

Exit status: 0 when the command has done its work, 1 for a user's mistake or when something does not hold, 2 for a
command line that cannot be read. Each mistake is one line on standard error.
"""

import errno
import os
import signal
import sys

from railkd.errors import UserError, printable

LACKS = {getattr(errno, f"E{name}") for name in ["NOSPC", "DQUOT", "FBIG", "IO", "ROFS", "ACCES", "PERM", "NOMEM"]}


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status; with ``argv=None``, in a copy of the fork server if there is one.

    Raises SystemExit where argparse does: after --help and --version, and for a command line that cannot be read.
    """
    printable()
    if "" not in sys.path:
        sys.path.append("")  # module:Class of the folder one works in, also without `python -m`
    if argv is None and "RAILKD_WARM" in os.environ:
        from railkd import fork_client

        status = fork_client.ask(os.environ["RAILKD_WARM"], sys.argv[1:])
        if status is not None:
            return status
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except UserError as error:
        print(f"railkd: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        message = _shortage(error)
        if message is None:
            raise
        print(f"railkd: error: {message}", file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    from railkd.commands.parser import make_parser

    arguments = make_parser().parse_args(argv)
    status = arguments.run(arguments)
    sys.stdout.flush()
    return status or 0


def _shortage(error: BaseException) -> str | None:
    """One line for what the machine lacked: memory, room on a disk, a right; None for anything else."""
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror}" if error.errno in LACKS else None
    text = " ".join(str(error).split())
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to map segment")
    lacks_memory = any(sign in text.lower() for sign in signs)
    return f"out of memory ({text[:200]})" if isinstance(error, MemoryError) or lacks_memory else None


if __name__ == "__main__":
    sys.exit(main())
