"""Runs a process that has imported the libraries and forks a copy of itself for each job of the workflow.

Importing torch and transformers costs several seconds, more than a miniature run; a fork costs milliseconds. The
workflow starts one such process for its own lifetime (``python -m railkd.fork_server ADDRESS``) and names its socket in
RAILKD_WARM; ``railkd`` then hands its arguments, folder, environment and standard streams over and waits. Nothing is
computed before the fork, so a job does exactly what it does in a process of its own. Without the process (another
node of a cluster, one that died or could not begin) ``railkd`` runs the job itself. So it does once a module of the
suite that the process has imported was edited: its record would name a source that it was not made with.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from railkd.fork_client import BEGUN, socket_name

SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
Looks = dict[Path, tuple[int, int]]


def _receive(channel: socket.socket) -> tuple[dict[str, object], list[int]]:
    head, descriptors, _, _ = socket.recv_fds(channel, 8, 2)
    size, body = int.from_bytes(head, "little"), b""
    while len(body) < size:
        part = channel.recv(size - len(body))
        if not part:
            raise OSError("the request was cut short")
        body += part
    return json.loads(body), descriptors


def _end_with(parent: int) -> None:
    """This process is killed when its parent ends, however that ends; a job without a caller would go on writing."""
    with suppress(OSError, AttributeError):  # another system than Linux has no prctl
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def _looks(files: Iterable[Path]) -> Looks:
    """File -> its size and time of last change."""
    return {file: (look.st_size, look.st_mtime_ns) for file in files for look in [file.stat()]}


def _imported() -> set[Path]:
    """The files of the suite's modules that this process has imported."""
    suite = (module for name, module in sys.modules.items() if name.startswith("railkd."))
    return {Path(file).resolve() for module in suite if (file := getattr(module, "__file__", None))}


def _job(request: dict[str, object], descriptors: list[int]) -> int:
    """The forked child: becomes the process that called."""
    from railkd.cli import main

    for place, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, place)
    encoding = str(request["encoding"])  # new streams: the old ones know of files what need not be so of pipes
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    os.environ.pop("RAILKD_WARM", None)
    os.chdir(str(request["folder"]))
    try:
        return main(list(request["argv"]))  # type: ignore[call-overload]
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _forked(channel: socket.socket, connections: Sequence[socket.socket], imported: set[Path], before: Looks) -> int:
    """The process of the job that is asked for; 0 where there can be none, so that the caller runs its job itself."""
    server, descriptors = os.getpid(), list[int]()
    try:
        request, descriptors = _receive(channel)
        child = os.fork() if _looks(imported).items() <= before.items() else 0
    except (OSError, ValueError):  # no room for another process
        child = 0
    if os.getpid() != server:
        _end_with(server)
        for connection in connections:  # held open here, they would not tell the callers that the server has ended
            connection.close()
        os._exit(_job(request, descriptors))
    for descriptor in descriptors:
        os.close(descriptor)
    if not child:
        channel.close()
    return child


def serve(address: str) -> None:
    """Listens until the process that started it has ended."""
    parent = os.getppid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_name(address) as name:
        listener.bind(name)
    listener.listen(64)  # from here on callers wait for the imports instead of repeating them
    before = _looks(Path(__file__).resolve().parent.rglob("*.py"))  # before any of them is imported
    import pandas  # noqa: F401
    import tokenizers  # noqa: F401
    from transformers.models.auto import modeling_auto, tokenization_auto  # noqa: F401
    from transformers.models.bert import modeling_bert  # noqa: F401
    from transformers.models.distilbert import modeling_distilbert  # noqa: F401
    from transformers.models.roberta import modeling_roberta  # noqa: F401

    import railkd.jobs.distillation
    import railkd.jobs.fine_tuning
    import railkd.jobs.preparing  # noqa: F401

    # pyarrow's allocator has a thread of its own, which it looks after in a fork; Python 3.12 would warn at each one
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    running: dict[socket.socket, int] = {}
    imported = _imported()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in selector.select(timeout=0.05 if running else 1.0):
                if key.fileobj is listener:
                    channel, _ = listener.accept()
                    if child := _forked(channel, (listener, channel, *running), imported, before):
                        running[channel] = child
                        selector.register(channel, selectors.EVENT_READ)
                        with suppress(OSError):
                            channel.sendall(BEGUN)
                elif key.fileobj in running:  # the caller has ended: so must its job
                    with suppress(ProcessLookupError):
                        os.kill(running[key.fileobj], signal.SIGKILL)
            for channel, child in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    with suppress(OSError):
                        code = os.waitstatus_to_exitcode(status)
                        channel.sendall(bytes([code if code >= 0 else 128 - code]))  # as a shell counts signals
                    selector.unregister(channel)
                    channel.close()
                    del running[channel]
    for child in running.values():
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the workflow decides when its jobs end
    try:
        serve(sys.argv[1])
    except Exception:  # every job then runs by itself, and says what is wrong if it is wrong for it too
        sys.exit(1)
