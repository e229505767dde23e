"""Defines what a command is, and the arguments that several commands share.

The modules of the commands import what a command works with inside the function that runs it: every start of ``railkd``
reads all of them.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from railkd.benchmark.paths import Layout
    from railkd.benchmark.specification import Benchmark

Log = Callable[[str], None]  # prints a line


@dataclass(frozen=True)
class Command:
    """One command: ``railkd NAME``. A group's module lists its commands in ``COMMANDS``."""

    name: str
    help: str  # what it does, in one sentence
    example: str  # a command line that works, shown under --help
    declare: Callable[[argparse.ArgumentParser], object]  # adds the command's arguments
    run: Callable[[argparse.Namespace], int | None]  # its exit status; None is 0


def declare_benchmark(parser: argparse.ArgumentParser, *keys: str) -> None:
    """Adds the benchmark file, its results folder, and an option for each name that the file must know."""
    parser.add_argument("benchmark", help="benchmark file, such as benchmarks/mini.yaml")
    parser.add_argument("--results", type=Path, help="results folder (default: results/<name of the benchmark>)")
    for key in keys:
        parser.add_argument(f"--{key}", required=True, help=f"name of the {key} in the benchmark file")


def declare_device(parser: argparse.ArgumentParser) -> None:
    """Adds the device and the threads of a command that computes."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if any)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def opened(arguments: argparse.Namespace) -> "tuple[Benchmark, Layout]":
    """The benchmark file and the places of its results; raises UserError for a name that the file does not have."""
    from railkd.benchmark import config
    from railkd.benchmark.paths import Layout, results_folder
    from railkd.commands.names import check_names

    benchmark = config.load(arguments.benchmark)
    check_names(benchmark, arguments)
    return benchmark, Layout(results_folder(benchmark, arguments.results))


def load_libraries(arguments: argparse.Namespace) -> Log:
    """Imports torch and transformers, and returns what prints a line with the seconds since this call."""
    threads = getattr(arguments, "threads", 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    started = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def log(line: str) -> None:
        print(f"[{time.perf_counter() - started:7.1f} s] {line}", flush=True)

    log("libraries loaded")
    return log
