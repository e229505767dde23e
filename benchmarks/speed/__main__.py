"""Times every method of a benchmark in both regimes, at its models' real shapes: ``python -m benchmarks.speed``.

Writes ``results/<benchmark>/speed.{json,csv,md,png,pdf}``; Table 4 takes its speed-up from the JSON file. On a CPU of
two cores the shapes of ``paper.yaml`` take hours: ``--rounds 3 --steps 1 --warmup 1 --batch-size 8`` is a first look,
in a quarter of one. With ``--against`` an earlier ``speed.json``, the exit status is 2 when a method has regressed.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd.benchmark import config
from railkd.benchmark.paths import Layout, results_folder
from railkd.errors import UserError, printable
from railkd.records import provenance, sealed_files

if TYPE_CHECKING:
    import torch

SCHEMA = 1  # of speed.json


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    add = made.add_argument
    add("benchmark", nargs="?", default="benchmarks/paper.yaml", help="benchmark file (default: %(default)s)")
    add("--results", type=Path, help="results folder (default: results/<name of the benchmark>)")
    add("--shapes", choices=("own", "mini"), default="own", help="mini: its depths at a width of 64, in seconds")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    add("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of student and teacher")
    add("--batch-size", type=int, default=32)
    add("--mean-length", type=float, default=40.0, help="tokens of an example (default: %(default)s)")
    add("--max-length", type=int, default=128)
    add("--rounds", type=int, default=7, help="(default: %(default)s)")
    add("--steps", type=int, default=5, help="timed steps of a method in a round (default: %(default)s)")
    add("--warmup", type=int, default=2, help="steps before the clock starts (default: %(default)s)")
    add("--groups", nargs="+", help="only these pairs or depths, by name")
    add("--against", type=Path, metavar="FILE", help="an earlier speed.json: name the methods whose ratio has grown")
    add("--tolerance", type=float, default=0.1, help="growth that --against lets pass (default: %(default)s)")
    return made


def _check(options: argparse.Namespace) -> None:
    for name in ("threads", "batch_size", "rounds", "steps", "warmup"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')}: {getattr(options, name)}, expected a number of at least 1")
    if not 6 <= options.mean_length <= options.max_length:
        raise UserError(f"--mean-length: {options.mean_length:g}, expected a number from 6 to --max-length")
    if not options.tolerance >= 0:
        raise UserError(f"--tolerance: {options.tolerance:g}, expected a number of at least 0")


def run(options: argparse.Namespace, command: str) -> list[str]:
    """Measures and writes; returns a line for each method that has regressed against ``--against``."""
    _check(options)
    before = _earlier(options.against)
    benchmark = config.load(options.benchmark)
    folder = results_folder(benchmark, options.results)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    started = time.perf_counter()

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - started:7.1f} s] {line}", flush=True)

    import torch

    torch.set_num_threads(options.threads)
    from transformers.utils import logging

    from analysis import reported_benchmark as titles
    from benchmarks.speed import measure, show, work
    from railkd.devices import device_for

    logging.set_verbosity_error()
    device = device_for(options.device)
    settings = measure.Settings(
        device, options.precision, options.batch_size, options.mean_length, options.max_length,
        options.batch_size * max(64, options.steps + 2), options.rounds, options.steps, options.warmup,
    )  # fmt: skip
    methods = work.timed_methods(benchmark)
    groups = work.groups(benchmark, Layout(folder), options.shapes, say)
    for name in options.groups or []:
        if name not in [group.name for group in groups]:
            raise UserError(f"--groups: unknown group '{name}'; available: {', '.join(g.name for g in groups)}")
    say(f"{len(groups)} groups of {len(methods)} timed methods on {device}")
    shown = {k: v for k, v in vars(settings).items() if k != "device"}
    result = _head(benchmark, options.shapes, command, shown, device)
    result["complexity"] = {timed.method: work.table_1(benchmark, timed.method) for timed in methods}
    result["groups"] = found = []
    if before:
        show.check_alike(result, before)  # before the time is spent
    for group in groups:
        if options.groups is None or group.name in options.groups:
            with tempfile.TemporaryDirectory(prefix="railkd-speed-") as temporary:
                found.append(measure.measure(benchmark, group, methods, settings, Path(temporary) / "signals", say))
    sealed_files.write_json(folder / "speed.json", result)
    show.write(result, folder, titles.read(benchmark.path).title_of)
    say(f"wrote {folder}/speed.{{json,csv,md,png,pdf}}")
    return show.dearer(result, before, options.tolerance) if before else []


def _earlier(path: Path | None) -> dict[str, Any] | None:
    """The measurement that ``--against`` names, if any; raises UserError for a file that holds none."""
    if path is None:
        return None
    before = sealed_files.read_json(path)
    if not (isinstance(before, dict) and before.get("schema") == SCHEMA):
        raise UserError(f"--against {path}: expected a speed.json of schema {SCHEMA}")
    return before


def _head(
    benchmark: config.Benchmark, shapes: str, command: str, settings: dict[str, Any], device: "torch.device"
) -> dict[str, Any]:
    """What speed.json says of itself: the benchmark, the settings, and the machine."""
    import torch

    return {
        "schema": SCHEMA,
        "benchmark": benchmark.name,
        "title": benchmark.spec["title"],
        "shapes": shapes,
        "command": command,
        "settings": settings,
        "environment": {
            **provenance.provenance(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "measured": provenance.now(),
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; a user's mistake is one line on standard error and exit status 1."""
    printable()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        grown = run(parser().parse_args(given), " ".join(["python -m benchmarks.speed", *given]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in grown:
        print(line)
    return 2 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
