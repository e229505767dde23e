"""Hands a command over to the fork server, see fork_server.py, and starts that server for a workflow."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

BEGUN = b"\xff"  # what a caller hears first: from here on the fork server runs the job


@contextmanager
def socket_name(address: str) -> Iterator[str]:
    """A name by which the socket can be bound or found: a long one goes through its open folder.

    A socket's name has at most 107 bytes, and a folder for temporary files may have more.
    """
    if len(os.fsencode(address)) <= 100:
        yield address
        return
    folder = os.open(os.path.dirname(address), os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(address)}"
    finally:
        os.close(folder)


def ask(address: str, argv: list[str]) -> int | None:
    """Runs a job in a fork of the fork server and returns its exit status; None when there is no fork server."""
    facts = {"folder": os.getcwd(), "environment": dict(os.environ), "encoding": sys.stdout.encoding}
    request = json.dumps({"argv": argv, **facts}).encode()
    sys.stdout.flush()
    sys.stderr.flush()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_name(address) as name:
            channel.connect(name)
        socket.send_fds(channel, [len(request).to_bytes(8, "little")], [1, 2])
        channel.sendall(request)
        if channel.recv(1) != BEGUN:  # it ended before it took the request
            return None
    except OSError:
        return None
    try:
        answer = channel.recv(1)
    except OSError:
        answer = b""
    if not answer or answer[0] > 128:
        killed = f"by signal {answer[0] - 128}" if answer else "with the workflow"
        print(f"railkd: error: the job was killed {killed} (9: by hand, or out of memory)", file=sys.stderr)
    return answer[0] if answer else 1


def start() -> None:
    """Starts the process, names its socket in RAILKD_WARM, and ends it when this process ends.

    Where it cannot begin (no folder for temporary files, no sockets), jobs run without it.
    """
    try:
        folder = tempfile.mkdtemp(prefix="railkd-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        address = os.path.join(folder, "socket")
        server = subprocess.Popen([sys.executable, "-m", "railkd.fork_server", address])
    except OSError:
        return
    atexit.register(server.kill)
    os.environ["RAILKD_WARM"] = address
