"""Steps of the workflow in processes that are killed, lose what is not on disk, or have no room, at a chosen place.

A step runs in a fork of a process that has imported the libraries (``multiprocessing``'s fork server), so an attempt
costs what the step computes. Places are counted: every opening for writing, rename, link, deletion, folder and fsync
below the results folder is one, and so is the middle of a file that is written in one go.
"""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark

ROOT = Path(__file__).parent.parent.parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "railkd.jobs.distillation",
        "railkd.jobs.fine_tuning",
        "railkd.miniglue.generation",
        "railkd.pretraining.masked_lm",
    ]
    + ["pandas", "pyarrow.parquet", "jsonschema"]
    + [f"transformers.models.{m}.modeling_{m}" for m in ("auto", "bert", "distilbert")]
    + [
        f"analysis.{m}"
        for m in ("report.html_page", "report.markdown", "claims.evaluation", "claims.audit", "tables.formats")
    ]
)
EVENTS = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree"}


class Step(NamedTuple):
    """One job of the workflow: its command, and the outputs that Snakemake deletes before it runs a job again."""

    command: tuple[str, ...]  # of railkd, or of analysis
    outputs: tuple[Path, ...]


def workflow(benchmark: Benchmark, results: Path) -> list[Step]:
    """The jobs of a benchmark of pre-trained miniatures in an order that the Snakefile may take."""
    layout, found = Layout(results), []

    def step(name: str, outputs: Iterable[Path], *options: object) -> None:
        given = ("--device", "cpu") if name in ("pretrain", "teacher", "signals", "distil") else ()
        command = (name, str(benchmark.path), "--results", str(results), *map(str, options), *given)
        found.append(Step(command, tuple(outputs)))

    step("data", [layout.data() / "corpus" / "corpus.parquet"])
    for model in benchmark.models:
        step("pretrain", [layout.model(model) / "model.safetensors"], "--model", model)
    for teacher in benchmark.teachers:
        for task in benchmark.teacher_tasks(teacher):
            named = ("--teacher", teacher, "--task", task)
            prepared, folder = layout.prepared(teacher, task), layout.teacher(teacher, task)
            step("prepare", [prepared, prepared.with_suffix(".json")], *named)
            names = ("record.json", "record.safetensors", "model.safetensors")
            step("teacher", [folder / name for name in names], *named)
            step("signals", [layout.signals(teacher, task)], *named)
    for cell in benchmark.cells():
        named = ("--pair", cell.pair, "--method", cell.method, "--task", cell.task)
        for k in range(len(benchmark.grid(cell.method))):
            path = layout.point(cell, k)
            step("distil", [path], *named, "--seeds", benchmark.search["seed"], "--point", k)
        if benchmark.search:
            step("select", [layout.best(cell)], *named)
        runs = [layout.run(cell, seed) for seed in benchmark.seeds]
        outputs = [*runs, *(path.with_suffix(".safetensors") for path in runs)]
        step("distil", outputs, *named, "--seeds", *benchmark.seeds)
    drawn = dict.fromkeys(what for pair in benchmark.pairs.values() for what in pair["tables"])
    printed = [f"table{n}.{kind}" for n in drawn if isinstance(n, int) for kind in ("csv", "md", "tex")]
    step("tables", [results / "tables" / name for name in printed])
    pictures = [f"{name}.{kind}" for name in drawn if isinstance(name, str) for kind in ("csv", "png", "pdf")]
    step("figures", [results / "figures" / name for name in pictures])
    for name in ("claims", "audit"):
        step(name, [results / f"{name}.json", results / f"{name}.md"])
    step("report", [results / "report.md", results / "report.html"])
    return found


class Ending(NamedTuple):
    """How a step ended."""

    status: int  # -9: killed
    said: str
    places: int  # passed
    content: set[tuple[int, int, int]]  # inode, size, time of change of the files whose content is on disk
    names: dict[int, dict[str, int]]  # inode of a folder -> the names in it, with their inodes, that are on disk


def run(step: Step, results: Path, kill_at: int | None = None, **limits: int) -> Ending:
    """Runs a step, at most up to a place; ``limits``: of ``resource``, such as ``FSIZE=4096`` (``AS``: beyond now)."""
    with tempfile.TemporaryDirectory() as folder:
        notes, said = Path(folder) / "notes.json", Path(folder) / "said.txt"
        given = (step.command, str(results), str(notes), str(said), kill_at, limits)
        process = SERVER.Process(target=_child, args=given)
        process.start()
        process.join(300)
        assert process.exitcode is not None, f"hangs: {step.command}"
        noted = json.loads(notes.read_text()) if notes.is_file() else {"places": 0, "content": [], "names": {}}
        names = {int(inode): inside for inode, inside in noted["names"].items()}
        text = said.read_text(errors="replace")
    return Ending(process.exitcode, text, noted["places"], {tuple(c) for c in noted["content"]}, names)


def _child(
    command: tuple[str, ...], results: str, notes: str, said: str, kill_at: int | None, limits: dict[str, int]
) -> None:
    import torch

    from railkd.training.run_state import State

    torch.set_num_threads(1)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    State.__init__.__defaults__ = (0.0,)  # a state after every epoch, not every minute
    watch = _Watch(results, notes, kill_at)
    for name, value in limits.items():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if name == "AS" else 0
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (used + value, resource.RLIM_INFINITY))
    if command[0] in ("tables", "figures", "claims", "audit", "report"):
        from analysis.__main__ import main
    else:
        from railkd.cli import main
    try:
        status = main(list(command))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    watch.note()
    os._exit(status)


class _Watch:
    """Counts the places that the process passes, notes what it has put on disk, and kills it at one of them."""

    def __init__(self, results: str, notes: str, kill_at: int | None) -> None:
        self.results, self.notes, self.kill_at = results + os.sep, notes, kill_at
        self.places, self.content, self.names = 0, [], {}
        self.active = True
        sync, write = os.fsync, Path.write_bytes

        def fsync(descriptor: int) -> None:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            self.pass_("fsync", name)
            sync(descriptor)
            look = os.fstat(descriptor)
            if os.path.isdir(name):
                self.names[look.st_ino] = {e.name: e.inode() for e in os.scandir(name)}
            else:
                self.content.append([look.st_ino, look.st_size, look.st_mtime_ns])

        def write_bytes(path: Path, data: bytes) -> int:
            self.places += self.active and str(path).startswith(self.results)
            if self.active and self.places == self.kill_at:
                self.active = False
                write(path, data[: len(data) // 2])
                self.die()
            return write(path, data)

        os.fsync, Path.write_bytes = fsync, write_bytes  # type: ignore[assignment,method-assign]
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            writing = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writing:
                self.pass_(event, arguments[0])
        elif event in EVENTS:
            self.pass_(event, arguments[0])

    def pass_(self, event: str, path: Any) -> None:
        if self.active and os.fsdecode(path if isinstance(path, str | bytes | os.PathLike) else "").startswith(
            self.results
        ):
            self.places += 1
            if self.places == self.kill_at:
                self.die()

    def die(self) -> None:
        self.note()
        os.kill(os.getpid(), signal.SIGKILL)

    def note(self) -> None:
        self.active = False
        with open(self.notes, "w") as file:
            json.dump({"places": self.places, "content": self.content, "names": self.names}, file)


Looks = dict[str, tuple[int, int, int]]


def looks(results: Path) -> Looks:
    """Path below the results -> inode, size, time of change; folders too."""
    found = {}
    for path in results.rglob("*"):
        look = path.stat()
        found[str(path.relative_to(results))] = (look.st_ino, look.st_size, look.st_mtime_ns)
    return found


def unsynced(results: Path, before: Looks, ending: Ending) -> list[str]:
    """The files written since ``before`` whose content is not on disk."""
    return [
        name
        for name, look in looks(results).items()
        if before.get(name) != look and look not in ending.content and (results / name).is_file() and look[1]
    ]


def lose_power(results: Path, copy: Path, before: Looks, ending: Ending, rng: Random) -> int:
    """What a power loss may do to the files of a killed step: returns how many it took or tore.

    Content that was not synced is cut short or zeroed, or gone; a name that was not synced is gone, and what it stood
    for before is back (``copy``: the results then); each with probability one half.
    """
    lost = 0
    for name in unsynced(results, before, ending):
        path = results / name
        if rng.random() < 0.5:
            size = path.stat().st_size
            with open(path, "r+b") as file:
                file.truncate(rng.randrange(size))
                if rng.random() < 0.3:
                    file.truncate(size)  # as long as it was, with zeros at the end
            lost += 1
    for name, (inode, *_) in sorted(looks(results).items()):
        path, old = results / name, before.get(name)
        if not path.exists() or (old is not None and old[0] == inode):
            continue
        synced = ending.names.get(path.parent.stat().st_ino, {}).get(path.name) == inode
        if not synced and rng.random() < 0.5:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            if old is not None and (copy / name).is_file():
                shutil.copy2(copy / name, path)
            elif old is not None:
                shutil.copytree(copy / name, path)
            lost += 1
    return lost
