"""Gathers what a record says of the code, the libraries and the machine that made it."""

import functools
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from railkd import __version__


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@functools.cache
def provenance() -> dict[str, Any]:
    """Suite version and commit, library versions, hardware. Computed once a process."""
    import importlib.metadata

    root = Path(__file__).parent.parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    own = top is not None and Path(top).resolve() == root.resolve()  # not another project's, in whose folder this lies
    # a new module counts as a change; a new benchmark file or a result does not
    status = [
        git("status", "--porcelain", "--untracked-files=no"),
        git("ls-files", "-o", "--exclude-standard", "railkd"),
    ]
    versions = {n: importlib.metadata.version(n) for n in ("torch", "transformers", "numpy", "tokenizers")}
    return {
        "suite": __version__,
        "commit": git("rev-parse", "HEAD") if own else None,
        "dirty": any(status) if own else None,
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
