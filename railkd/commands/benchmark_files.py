"""Defines the commands about benchmark files: a first one, its check, its cost, its data, and the list of keys."""

import argparse
import os
from pathlib import Path

from railkd.commands.base import Command, declare_benchmark, declare_device, load_libraries, opened
from railkd.errors import UserError, warn


def _declare_init(parser: argparse.ArgumentParser) -> None:
    from railkd.commands import init

    init.declare(parser)


def _init(arguments: argparse.Namespace) -> None:
    from railkd.commands import init

    init.run(arguments)


def _check(arguments: argparse.Namespace) -> None:
    from railkd.benchmark.unused_entries import unused, unwritten
    from railkd.commands.checking import check

    benchmark, layout = opened(arguments)
    check(benchmark, layout)
    for line in (*unused(benchmark), *unwritten(benchmark, layout)):
        warn(f"{benchmark.path}: {line}")
    counts = {"pair": len(benchmark.pairs), "cell": len(list(benchmark.cells())), "seed": len(benchmark.seeds)}
    listed = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items())
    print(f"{benchmark.path}: valid; {listed}")


def _declare_plan(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser)
    declare_device(parser)


def _plan(arguments: argparse.Namespace) -> None:
    from railkd.benchmark.unused_entries import unused

    benchmark, layout = opened(arguments)
    for line in unused(benchmark):
        warn(f"{benchmark.path}: {line}")
    log = load_libraries(arguments)
    from railkd.devices import device_for
    from railkd.planning.plan import plan

    plan(benchmark, layout, device_for(arguments.device), log)
    log("done")


def _declare_mirror(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; RAILKD_DATA and RAILKD_MODELS then name it")
    parser.add_argument("benchmark", nargs="?", help="benchmark file (default: a checkout's benchmarks/paper.yaml)")


def _mirror(arguments: argparse.Namespace) -> None:
    from railkd.benchmark import config
    from railkd.data.hub_mirror import mirror

    for variable in ("RAILKD_DATA", "RAILKD_MODELS"):
        os.environ.pop(variable, None)  # they may name the mirror that is to be made
    if arguments.benchmark is None and not config.in_checkout():
        raise UserError(
            "mirror: a benchmark file must follow the folder: the default, benchmarks/paper.yaml, is in a checkout "
            "of the suite and is not installed with the library"
        )
    mirror(config.load(arguments.benchmark or config.ROOT / "benchmarks" / "paper.yaml"), arguments.folder, print)


def _declare_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("section", nargs="?", default="", help="only the keys below this one, such as data or models")


def _keys(arguments: argparse.Namespace) -> None:
    from railkd.benchmark import key_list

    print(key_list.markdown(arguments.section), end="")


COMMANDS = [
    Command(
        "init",
        "Write a first benchmark file of your own, from answers to a few questions or from options.",
        "railkd init my.yaml --tasks sst2 --methods no_kd vanilla_kd pkd --seeds 1 2",
        _declare_init,
        _init,
    ),
    Command(
        "check",
        "Check a benchmark file, its data and checkpoints, and every method's options.",
        "railkd check benchmarks/mini.yaml",
        declare_benchmark,
        _check,
    ),
    Command(
        "plan",
        "Say how many runs, hours and bytes a benchmark takes, from a minute of its steps on this machine.",
        "railkd plan benchmarks/paper.yaml --device cuda",
        _declare_plan,
        _plan,
    ),
    Command(
        "mirror",
        "Fetch a benchmark's data and checkpoints once, for machines without network.",
        "railkd mirror ~/mirror benchmarks/paper.yaml",
        _declare_mirror,
        _mirror,
    ),
    Command(
        "keys",
        "List the keys of a benchmark file with type, default and meaning, as Markdown.",
        "railkd keys data",
        _declare_keys,
        _keys,
    ),
]
