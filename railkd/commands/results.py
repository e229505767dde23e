"""Defines the commands about results: verification, the report, comparison of two folders, records, submissions."""

import argparse
import importlib
import math
import sys
from pathlib import Path

from railkd.commands.base import Command, declare_benchmark, opened
from railkd.errors import UserError


def _verify(arguments: argparse.Namespace) -> None:
    """Prints what does not hold, a line each, and raises UserError if anything does not."""
    from railkd.verification import Verifier

    benchmark, layout = opened(arguments)
    if not layout.root.is_dir():
        raise UserError(f"{layout.root}: no such results folder; run the benchmark first, or name it with --results")
    verifier, found = Verifier(benchmark, layout), 0
    for line in verifier.problems():
        found += 1
        print(line)
    if found:
        remedy = (
            f"; {verifier.unprepared} scores need the prepared data: copy the folder prepared of a run of the same "
            f"benchmark into {layout.root}"
        )
        raise UserError(
            f"{layout.root}: {found} things do not hold; {verifier.checked} records were checked"
            + remedy * bool(verifier.unprepared)
        )
    unkept = f"; {verifier.unkept} choices of the search not recomputed, because their points are not kept"
    print(
        f"{layout.root}: {verifier.checked} records, every score recomputed from its predictions: all hold"
        + unkept * bool(verifier.unkept)
    )


def _declare_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder, such as results/mini")
    parser.add_argument("--benchmark", help="its benchmark file (default: found by the name in the folder's records)")


def _report(arguments: argparse.Namespace) -> int:
    _analysis("report")  # before the benchmark file is asked for, which an installation has not either
    file = arguments.benchmark or benchmark_file(arguments.results)
    status = _analysis("report", "all", str(file), "--results", str(arguments.results))
    if status == 0:
        print(arguments.results / "report.html")
    return status


def _declare_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="A", help="results folder, such as results/mini")
    parser.add_argument("against", type=Path, metavar="B", help="results folder to compare with")
    parser.add_argument("--benchmark", help="the benchmark file of A (default: found by the name in A's records)")
    parser.add_argument("--out", type=Path, help="the HTML file to write (default: comparison.html in A)")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="a difference up to so many points counts as none (default: 0)"
    )


def _compare(arguments: argparse.Namespace) -> int:
    """1 when the folders differ, as for everything that does not hold."""
    _analysis("compare")
    if not 0 <= arguments.tolerance < math.inf:
        raise UserError(f"--tolerance: {arguments.tolerance:g}, expected a number of at least 0")
    file = arguments.benchmark or benchmark_file(arguments.results)
    out = arguments.out or arguments.results / "comparison.html"
    folders = ["--results", str(arguments.results), "--against", str(arguments.against), "--out", str(out)]
    status = _analysis("compare", "compare", str(file), *folders, f"--tolerance={arguments.tolerance}")
    return 1 if status else 0


def _analysis(command: str, *arguments: str) -> int:
    """Runs ``python -m analysis`` in this process; without arguments it only asks whether it can be run.

    The package ``analysis`` stands above ``railkd`` and is in a checkout alone, so it is called by its name, as a
    program is, and nothing of it is imported when a module of ``railkd`` is.
    """
    from railkd.benchmark import config

    if not config.in_checkout():
        raise UserError(
            f"{command}: the package 'analysis', which writes tables and reports, is in a checkout of the suite and is "
            "not installed with the library"
        )
    if not arguments:
        return 0
    if str(config.ROOT) not in sys.path:
        sys.path.insert(0, str(config.ROOT))
    return int(importlib.import_module("analysis.__main__").main(list(arguments)))


def benchmark_file(results: Path) -> Path:
    """The benchmark file of a results folder, ``NAME.yaml`` in this folder, its ``benchmarks/``, or the suite's.

    Its claims have the name of the benchmark that asked for its runs; where they were not written, its first record has
    that of the one that trained it. Another file of that name, which has not all rows of the folder, is none: a report
    by it would leave them out.

    Raises UserError when there is no such folder, or no file of the name and with its rows is in these places.
    """
    from railkd.benchmark import config
    from railkd.benchmark.paths import Layout
    from railkd.records.sealed_files import read_json

    if results.is_file():
        raise UserError(f"{results}: is a file; expected a results folder, such as results/mini")
    if not results.is_dir():
        raise UserError(f"{results}: no such results folder")
    layout = Layout(results)
    present = layout.present()
    named = [path for path in (layout.document("claims", "json"), *present[:1]) if path.is_file()]
    name = str(read_json(named[0]).get("benchmark")) if named else results.resolve().name
    rows = list(dict.fromkeys(path.parts[-4:-1] for path in present if path.name != "record.json"))
    places, others = list(dict.fromkeys([Path(), Path("benchmarks"), config.ROOT / "benchmarks"])), []
    for place in places:
        path = place / f"{name}.yaml"
        if not path.is_file() or (benchmark := config.load(path)).name != name:
            continue
        cells = {(cell.pair, cell.method, cell.task) for cell in benchmark.cells()}
        foreign = [row for row in rows if row not in cells]
        if not foreign:
            return path
        others.append(f"{path} has no {' '.join(foreign[0])}")
    said = "; ".join([f"{results}: its benchmark file was not found", *others])
    listed = ", ".join(str(place / f"{name}.yaml") for place in places)
    raise UserError(f"{said}; expected {listed}, or --benchmark FILE")


def _declare_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder, such as results/mini")
    for key in ("pair", "method", "task"):
        parser.add_argument(f"--{key}", help=f"name of the {key} in the results folder (default: the only one)")
    parser.add_argument("--seed", type=int, help="the seed (default: the best on dev of those whose weights were kept)")
    parser.add_argument("--onnx", action="store_true", help="also write an ONNX model, with the package onnxscript")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the new folder to write")


def _export(arguments: argparse.Namespace) -> None:
    from railkd.export import cell_of, export

    cell = cell_of(arguments.results, arguments.pair, arguments.method, arguments.task)
    record = export(arguments.results, cell, arguments.folder, arguments.seed, arguments.onnx)
    scores = ", ".join(f"{metric} {value:.4f}" for metric, value in record["scores"]["dev"].items())
    print(f"{arguments.folder}: seed {record['seed']}, on dev {scores}")


def _declare_track(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder, such as results/mini")
    parser.add_argument("--to", choices=["tensorboard", "wandb"], required=True, help="the tracker")
    parser.add_argument("--out", type=Path, help="the folder to write (default: curves in RESULTS)")


def _track(arguments: argparse.Namespace) -> None:
    from railkd.benchmark.paths import Layout
    from railkd.records import run_record
    from railkd.tracking import export, require

    require(arguments.to, "--to")
    layout = Layout(arguments.results)
    records = layout.present()
    if not records:
        raise UserError(f"{layout.root}: no records of runs; expected a results folder, such as results/mini")
    exported = 0
    for path in records:
        record = run_record.read(path)
        if record["epochs"]:  # a teacher that was fine-tuned elsewhere has none
            place = layout.curves(path)
            folder = place if arguments.out is None else arguments.out / place.relative_to(layout.root / "curves")
            export(record, arguments.to, folder)
            exported += 1
    print(f"{arguments.out or layout.root / 'curves'}: the curves of {exported} of {len(records)} records")


def _declare_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", help="run records (JSON)")


def _record(arguments: argparse.Namespace) -> None:
    from railkd.records import run_record

    for file in arguments.files:
        run_record.read(file)
        print(f"{file}: valid")


def _declare_submission(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser, "pair", "method")
    parser.add_argument("--seed", type=int, required=True, help="the seed whose predictions are handed in")
    parser.add_argument("--out", type=Path, required=True, help="the zip to write")


def _submission(arguments: argparse.Namespace) -> None:
    from railkd import leaderboard_submission

    benchmark, layout = opened(arguments)
    names = (arguments.pair, arguments.method, arguments.seed)
    print(leaderboard_submission.write(benchmark, layout, *names, arguments.out) + f"\n{arguments.out}: valid")


def _declare_check_submission(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", help="GLUE leaderboard files (zip)")


def _check_submission(arguments: argparse.Namespace) -> None:
    from railkd import leaderboard_submission

    for file in arguments.files:
        leaderboard_submission.check(file)
        print(f"{file}: valid")


COMMANDS = [
    Command(
        "report",
        "Write the tables, figures, claims and the report of a results folder.",
        "railkd report results/mini",
        _declare_report,
        _report,
    ),
    Command(
        "compare",
        "Compare two results folders cell by cell; exit status 1 when they differ.",
        "railkd compare results/mini results/reference/mini",
        _declare_compare,
        _compare,
    ),
    Command(
        "verify",
        "Recompute every score from the stored predictions; check schema, hashes and completeness.",
        "railkd verify benchmarks/mini.yaml",
        declare_benchmark,
        _verify,
    ),
    Command(
        "export",
        "Write a trained student, with its tokenizer and model card, into a folder that transformers loads.",
        "railkd export results/mini --pair bert12-distilbert6 --method rail_kd_c --task sst2 student",
        _declare_export,
        _export,
    ),
    Command(
        "track",
        "Write the curves of finished runs for TensorBoard or Weights & Biases.",
        "railkd track results/mini --to tensorboard",
        _declare_track,
        _track,
    ),
    Command(
        "record",
        "Check run records, such as those of a method in another repository.",
        "railkd record results/mini/runs/bert12-distilbert6/pkd/sst2/seed-1.json",
        _declare_record,
        _record,
    ),
    Command(
        "submission",
        "Write a GLUE leaderboard file of a method (data.test: hidden).",
        "railkd submission glue.yaml --pair bert-small --method pkd --seed 1 --out pkd.zip",
        _declare_submission,
        _submission,
    ),
    Command(
        "check-submission",
        "Check GLUE leaderboard files.",
        "railkd check-submission pkd.zip",
        _declare_check_submission,
        _check_submission,
    ),
]
