"""A process that has imported the libraries and forks a copy of itself for each step of the workflow.

Importing torch and transformers costs several seconds, more than a miniature run; a fork costs milliseconds. The
workflow starts one such process for its own lifetime (``python -m railkd.warm ADDRESS``) and names its socket in
RAILKD_WARM; ``railkd`` then hands its arguments, folder, environment and standard streams over and waits. Nothing is
computed before the fork, so a step does exactly what it does in a process of its own. Without the socket (another
node of a cluster, a process that died) ``railkd`` runs the step itself.
"""

import atexit
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress


def ask(address: str, argv: list[str]) -> int | None:
    """Runs a step in a fork of the warm process and returns its exit status; None when there is no such process."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(address)
    except OSError:
        return None
    request = json.dumps({"argv": argv, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    sys.stdout.flush()
    sys.stderr.flush()
    socket.send_fds(channel, [len(request).to_bytes(8, "little")], [1, 2])
    channel.sendall(request)
    answer = channel.recv(1)
    if not answer or answer[0] > 128:
        killed = f"by signal {answer[0] - 128}" if answer else "with the workflow"
        print(f"railkd: error: the step was killed {killed} (9: by hand, or out of memory)", file=sys.stderr)
    return answer[0] if answer else 1


def _receive(channel: socket.socket) -> tuple[dict[str, object], list[int]]:
    head, descriptors, _, _ = socket.recv_fds(channel, 8, 2)
    size, body = int.from_bytes(head, "little"), b""
    while len(body) < size:
        part = channel.recv(size - len(body))
        if not part:
            raise OSError("the request was cut short")
        body += part
    return json.loads(body), descriptors


def _step(request: dict[str, object], descriptors: list[int]) -> int:
    """The forked child: becomes the process that asked."""
    from railkd.cli import main

    for place, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, place)
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


def start() -> None:
    """Starts the process, names its socket in RAILKD_WARM, and ends it when this process ends."""
    folder = tempfile.mkdtemp(prefix="railkd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = os.path.join(folder, "socket")
    server = subprocess.Popen([sys.executable, "-m", "railkd.warm", address])
    atexit.register(server.kill)
    os.environ["RAILKD_WARM"] = address


def serve(address: str) -> None:
    """Listens until the process that started it is gone."""
    parent = os.getppid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)  # from here on askers wait for the imports instead of repeating them
    import pandas  # noqa: F401
    import tokenizers  # noqa: F401
    from transformers.models.auto import modeling_auto, tokenization_auto  # noqa: F401
    from transformers.models.bert import modeling_bert  # noqa: F401
    from transformers.models.distilbert import modeling_distilbert  # noqa: F401
    from transformers.models.roberta import modeling_roberta  # noqa: F401

    import railkd.runs  # noqa: F401

    running: dict[socket.socket, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in selector.select(timeout=0.05 if running else 1.0):
                if key.fileobj is listener:
                    channel, _ = listener.accept()
                    with suppress(OSError, ValueError):
                        request, descriptors = _receive(channel)
                        child = os.fork()
                        if child == 0:
                            listener.close()
                            os._exit(_step(request, descriptors))
                        for descriptor in descriptors:
                            os.close(descriptor)
                        running[channel] = child
                        selector.register(channel, selectors.EVENT_READ)
                elif key.fileobj in running:  # the asker is gone: so is its step
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
    serve(sys.argv[1])
