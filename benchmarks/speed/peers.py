"""Times the same distillation by this suite and by other tools, end to end: ``python -m benchmarks.speed.peers``.

The objective is PKD's (cross entropy, logits, first-token vectors of matched layers) on real text, with one teacher,
student weights, token ids, batch size, epochs, learning rate and schedule. The clock runs from loaded models and tokens
in memory to a trained student: for this suite it includes computing the teacher's signals, reading them, and a dev
evaluation each epoch; the peers are not asked to evaluate. Each is run as its documentation shows (padding to the
maximal length, float32, random batches) and, where it has the settings, at its best (padding to the longest of a batch,
batches grouped by length, the precision this suite would choose). Then all are scored by the same code.

Peers are optional: ``pip install -e .[peers]``; one that is missing or cannot run is named with its error.
"""

import argparse
import importlib.metadata
import itertools
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.tools import PACKAGES, TOOLS, Distillation, allow_torchvision
from railkd.benchmark import config
from railkd.benchmark.paths import Layout, results_folder
from railkd.data import preparation
from railkd.data.batches import Prepared, Split
from railkd.devices import device_for, precision
from railkd.errors import UserError, unknown
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.jobs import fine_tuning, model_sizes, preparing
from railkd.methods import build
from railkd.models import checkpoints, classifier
from railkd.random_streams import seed_global
from railkd.records import files, provenance, sealed_files

METHOD = "pkd"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.speed.peers", description=__doc__.partition("\n")[0])
    add = made.add_argument
    add("benchmark", nargs="?", default="benchmarks/minilm.yaml", help="benchmark file (default: %(default)s)")
    add("--pair", help="teacher-student pair (default: its first)")
    add("--tasks", nargs="+", default=["mrpc", "cola"])
    add("--tools", nargs="+", default=list(TOOLS), help="(default: all)")
    add("--results", type=Path, help="results folder (default: results/<name of the benchmark>)")
    add("--epochs", type=int, help="(default: the benchmark's)")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--steps", type=int, help="a short run: so many batches an epoch, an epoch if not --epochs, an untuned teacher")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    return made


def _cut(prepared: Prepared, examples: int) -> Prepared:
    """The first examples of the training set, and the same share of dev."""
    share = min(1.0, examples / len(prepared.splits["train"]))
    for name in ("train", "dev"):
        split = prepared.splits[name]
        count = math.ceil(share * len(split))
        ends = split.offsets[: count + 1]
        prepared.splits[name] = Split(split.tokens[: int(ends[-1])], ends, split.second[:count], split.labels[:count])
    return prepared


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where: a pair of the benchmark on one device."""

    benchmark: config.Benchmark
    layout: Layout
    pair: str
    device: torch.device
    steps: int | None  # batches of an epoch; None: all

    @property
    def teacher(self) -> str:
        return str(self.benchmark.pairs[self.pair]["teacher"])

    @property
    def student(self) -> str:
        return str(self.benchmark.pairs[self.pair]["student"])

    def prepare(self, task: str) -> None:
        """Tokenises the task and fine-tunes the teacher where that is not done; a short run has an untuned teacher."""
        if not self.layout.prepared(self.teacher, task).is_file():
            preparing.prepare(self.benchmark, self.layout, self.teacher, task)
        if self.steps is None and not (self.layout.teacher(self.teacher, task) / "record.json").is_file():
            fine_tuning.fine_tune(self.benchmark, self.layout, self.teacher, task, self.device, print)

    def places(self, task: str) -> list[checkpoints.Checkpoint]:
        """The checkpoints of teacher and student."""
        tuned = checkpoints.Checkpoint(str(self.layout.teacher(self.teacher, task)))
        untuned = self.steps is not None
        return [
            checkpoints.locate(self.benchmark, self.layout, self.teacher) if untuned else tuned,
            checkpoints.locate(self.benchmark, self.layout, self.student),
        ]

    def row(self, tool: str, best: bool, task: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        """One tool's run from freshly loaded models and tokens."""
        prepared = preparation.load(self.layout.prepared(self.teacher, task))
        if self.steps is not None:
            _cut(prepared, self.steps * settings["batch_size"])
        with tempfile.TemporaryDirectory(prefix="railkd-peers-") as folder:
            models = [
                classifier.load_classifier(
                    place, prepared.task.outputs, seed, place.place, None, tool != "railkd", device=self.device
                )
                for place in self.places(task)
            ]
            models[0].eval().requires_grad_(False)
            for model in models:
                classifier.place(model, self.device)
            sizes = [(m.config.num_hidden_layers, m.config.hidden_size) for m in models]
            labels = prepared.splits["train"].labels
            seed_global(seed, "method")
            method = build(METHOD, model_sizes.setting_for(sizes[0], sizes[1], prepared.task, labels), {}).to(
                self.device
            )
            given = Distillation(
                prepared, models[0], models[1], method, settings, self.device, seed, best, Path(folder)
            )
            return _one(tool, given)


def run(options: argparse.Namespace, command: str) -> Path:
    """Runs every tool on every task and writes ``peers.{json,md}``."""
    benchmark = config.load(options.benchmark)
    pair = options.pair or next(iter(benchmark.pairs))
    for key, given, known in (
        ("pair", [pair], benchmark.pairs), ("tasks", options.tasks, benchmark.tasks), ("tools", options.tools, TOOLS)
    ):  # fmt: skip
        for name in given:
            if name not in known:
                raise unknown(key.rstrip("s"), name, known, f"--{key}")
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps: {options.steps}, expected a number of at least 1")
    torch.set_num_threads(options.threads)
    device = device_for(options.device)
    layout = Layout(results_folder(benchmark, options.results))
    compared = Comparison(benchmark, layout, pair, device, options.steps)
    rows = []
    for task in options.tasks:
        compared.prepare(task)
        settings = benchmark.student_training(pair, task)
        if options.epochs or options.steps:
            settings["epochs"] = options.epochs or 1
        runs = [(tool, best) for tool in options.tools for best in TOOLS[tool][1]]
        for seed, (tool, best) in itertools.product(options.seeds, runs):
            rows.append(compared.row(tool, best, task, seed, settings))
            print(_line(rows[-1]), flush=True)
    result = {
        "schema": 1,
        "benchmark": benchmark.name,
        "pair": pair,
        "method": METHOD,
        "command": command,
        "short": options.steps is not None,
        "environment": {
            **provenance.provenance(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "measured": provenance.now(),
        },
        "rows": rows,
    }
    sealed_files.write_json(layout.root / "peers.json", result)
    files.write_bytes(layout.root / "peers.md", markdown(result).encode())
    return layout.root


def _one(tool: str, given: Distillation) -> dict[str, Any]:
    """One tool's run, its time and what its student scores on dev; or the error that kept it from running."""
    package, device, settings, task = PACKAGES[tool], given.device, given.settings, given.prepared.task
    dtype = torch.bfloat16 if given.bfloat16 and tool == "trainer" else torch.float32
    width = given.student.config.hidden_size
    dtype = precision(settings["precision"], device, width) if tool == "railkd" else dtype
    row: dict[str, Any] = {
        "tool": tool, "settings": "best" if given.best else "documented", "task": task.name, "seed": given.seed,
        "epochs": settings["epochs"], "batch_size": settings["batch_size"], "steps": given.steps,
        "precision": str(dtype).removeprefix("torch."),
    }  # fmt: skip
    try:
        row["version"] = importlib.metadata.version(package) if package else provenance.provenance()["suite"]
        started = time.perf_counter()
        extra = TOOLS[tool][0](given)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        row["seconds"] = time.perf_counter() - started
        row.update(extra)
    except Exception as error:  # another's tool, another's errors: the comparison goes on without it
        row["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return row
    dev = given.prepared.splits["dev"]
    logits = logits_of(given.student, dev, given.prepared.facts["pad_id"], device, torch.float32)
    row["metric"], row["dev"] = task.shown, scores_of(given.prepared, "dev", logits)[task.shown]
    return row


def _line(row: dict[str, Any]) -> str:
    what = f"{row['task']} seed {row['seed']} {row['tool']}, {row['settings']}, {row['precision']}"
    if "error" in row:
        return f"{what}: not run ({row['error']})"
    return f"{what}: {row['seconds']:.1f} s, dev {row['metric']} {row['dev']:.3f}"


def markdown(result: dict[str, Any]) -> str:
    """One row a tool, setting and task; the ratio is its time over this suite's in the same task and seed."""
    from analysis.tables.formats import md, md_table

    ours = {(r["task"], r["seed"]): r["seconds"] for r in result["rows"] if r["tool"] == "railkd" and "seconds" in r}
    machine = result["environment"]
    lines = [
        f"# The same distillation by other tools: {result['benchmark']}, {result['pair']}",
        "",
        *(["A short run: its scores mean nothing.", ""] if result["short"] else []),
        f"{machine['device']}, {machine['threads']} threads, {machine['processor']}; torch "
        f"{machine['versions']['torch']}, commit {(machine['commit'] or '?')[:12]}, {machine['measured']}; "
        f"`{result['command']}`. Seconds from loaded models to a trained student; railkd's include the cache and its "
        "evaluations.",
        "",
    ]
    rows = []
    for row in result["rows"]:
        name = f"{row['tool']} {row.get('version', '')}".strip()
        head = (f"{row['task']}, seed {row['seed']}", name, row["settings"], row["precision"], str(row["steps"]))
        if "error" in row:
            rows.append((*head, f"not run: {md(row['error'])}", "", ""))
            continue
        unit = ours.get((row["task"], row["seed"]))
        ratio = f"{row['seconds'] / unit:.2f}" if unit else ""
        cache = f" (cache {row['cache_seconds']:.1f})" if "cache_seconds" in row else ""
        rows.append((*head, f"{row['seconds']:.1f}{cache}", ratio, f"{row['metric']} {row['dev']:.3f}"))
    columns = ("task", "tool", "settings", "precision", "steps", "seconds", "× railkd", "dev")
    return "\n".join([*lines, md_table(columns, rows, "llllrrrr"), ""])


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; a user's mistake is one line on standard error and exit status 1."""
    given = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    allow_torchvision()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        folder = run(parser().parse_args(given), " ".join(["python -m benchmarks.speed.peers", *given]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {folder}/peers.{{json,md}}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
