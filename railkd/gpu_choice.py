"""Chooses the GPU that a job runs on: Snakemake counts a machine's GPUs, and tells no job which one is its own.

The workflow names the GPUs in RAILKD_CARDS, for its local jobs alone. Each of these takes the one with the fewest jobs
on it and sees no other, from before CUDA begins until the job ends. On SLURM, ``gres`` gives a job its GPU.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from railkd.records.files import exclusive_lock, make_folder, try_lock

CARDS = "RAILKD_CARDS"  # the GPUs that jobs share out among them, as CUDA_VISIBLE_DEVICES names them
SHARE = "RAILKD_JOBS_ON_A_CARD"  # how many jobs are on a GPU at once, at most
VISIBLE = "CUDA_VISIBLE_DEVICES"
_HELD: list[IO[str]] = []  # open for as long as this process lives: the lock goes with it, even when it is killed


def listed() -> list[str]:
    """The GPUs that a program started now would see, as CUDA_VISIBLE_DEVICES names them: found without torch.

    A GPU that is cut into MIG instances is these. Empty where ``nvidia-smi`` is missing or fails.
    """
    given = os.environ.get(VISIBLE)
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return names[: next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))]  # as CUDA reads it
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[tuple[str, list[str]]] = []  # GPU, its MIG instances
    for kind, name in re.findall(r"UUID: ((?:GPU|MIG)-)(\S+?)\)", answer):
        if kind == "GPU-":
            found.append((kind + name, []))
        elif found:
            found[-1][1].append(kind + name)
    return [name for gpu, instances in found for name in instances or [gpu]]


def share_out(jobs: int, device: str) -> None:
    """Names the GPUs to the jobs that this process starts, and how many of ``jobs`` at once are on one at most.

    ``device``: that of the jobs; with a GPU by its number all of them are there.
    """
    cards = listed() if jobs else []
    os.environ[CARDS] = ",".join(cards)
    os.environ[SHARE] = str(max(1, -(-jobs // max(1, len(cards) if device in ("auto", "cuda") else 1))))


def jobs_on_a_card() -> int:
    """How many jobs share a GPU with this one, itself included, at most; 1 where no workflow has named a number."""
    named = os.environ.get(SHARE, "")
    return int(named) if named.isdecimal() and int(named) else 1


def take(device: str, folder: Path | None = None) -> str | None:
    """Lets this process see the GPU with the fewest jobs on it, and no other; returns it.

    None, and changes nothing, where no workflow has named several GPUs, or where ``device`` is not for it to choose
    (cpu, or a GPU by its number). ``folder``: where the jobs of this machine's user keep their locks.
    """
    cards = [card for card in os.environ.get(CARDS, "").split(",") if card]
    if len(cards) < 2 or device not in ("auto", "cuda"):
        return None
    folder = folder or Path(tempfile.gettempdir()) / f"railkd-cards-{os.getuid()}"
    make_folder(folder)
    with exclusive_lock(folder / "lock"):
        jobs = dict.fromkeys(cards, 0)
        for path in folder.glob("*.job"):
            free = try_lock(path)
            if free is not None:  # of a job that has ended
                path.unlink()
                free.close()
            elif path.name.split("~")[0] in jobs:
                jobs[path.name.split("~")[0]] += 1
        card = min(cards, key=lambda name: jobs[name])  # the first of equals
        lock = try_lock(folder / f"{card}~{os.getpid()}.job")
        assert lock is not None, "the name is this process's own"
        _HELD.append(lock)
    os.environ[VISIBLE] = card
    return card
