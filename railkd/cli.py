"""``railkd <step>``: each workflow rule is one such call, and can be run by hand."""

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from railkd import __version__
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.plain_yaml import parse
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import Diverged, UserError, printable, unknown
from railkd.records.files import make_folder

LACKS = {getattr(errno, f"E{name}") for name in ["NOSPC", "DQUOT", "FBIG", "IO", "ROFS", "ACCES", "PERM", "NOMEM"]}
WRITERS = {"data", "pretrain", "prepare", "teacher", "signals", "distil", "select"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="railkd", description="Knowledge distillation of Transformer encoders, step by step."
    )
    parser.add_argument("--version", action="version", version=f"railkd {__version__}")
    steps = parser.add_subparsers(dest="step", required=True, metavar="step")

    def step(name: str, help: str, *keys: str) -> argparse.ArgumentParser:
        command = steps.add_parser(name, help=help, description=help)
        command.add_argument("benchmark", help="benchmark file, such as benchmarks/mini.yaml")
        command.add_argument("--results", type=Path, help="results folder (default: results/<name of the benchmark>)")
        for key in keys:
            command.add_argument(f"--{key}", required=True, help=f"name of the {key} in the benchmark file")
        if name in {"pretrain", "teacher", "signals", "distil", "plan"}:
            command.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
            command.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
        return command

    step("check", "check a benchmark file and every method's options against it")
    step("plan", "runs, hours and disk that a benchmark takes, from a minute of its steps on this machine")
    step("data", "generate MiniGLUE")
    step("pretrain", "pre-train a miniature backbone", "model")
    step("prepare", "check and tokenise a task for a teacher and its students", "teacher", "task")
    step("teacher", "fine-tune a teacher on a task", "teacher", "task")
    step("signals", "compute a teacher's signals on a task", "teacher", "task")
    step("release", "delete a teacher's signals on a task", "teacher", "task")
    distil = step("distil", "train the seeds of one cell: a method on a task for a pair", "pair", "method", "task")
    distil.add_argument("--seeds", type=int, nargs="+", required=True)
    distil.add_argument("--point", type=int, help="a point of the hyper-parameter search, by index")
    step("select", "choose the best point of the hyper-parameter search", "pair", "method", "task")
    mirror = steps.add_parser(
        "mirror", help="fetch a benchmark's data and checkpoints once, for machines without network"
    )
    mirror.add_argument("folder", type=Path, metavar="DIR", help="where to; RAILKD_DATA and RAILKD_MODELS then name it")
    mirror.add_argument("benchmark", nargs="?", help="benchmark file (default: a checkout's benchmarks/paper.yaml)")
    step("verify", "recompute every score from the stored predictions; check schema, hashes and completeness")
    method = steps.add_parser("check-method", help="check a method, the suite's or your own, against what all must do")
    method.add_argument("method", help="name, module:Class or file.py:Class")
    method.add_argument("--options", default="{}", help="its options as in a benchmark file: '{alpha: 0.7}'")
    submission = step("submission", "write a GLUE leaderboard file of a method (data.test: hidden)", "pair", "method")
    submission.add_argument("--seed", type=int, required=True)
    submission.add_argument("--out", type=Path, required=True, help="the zip to write")
    checked = steps.add_parser("check-submission", help="check GLUE leaderboard files")
    checked.add_argument("files", type=Path, nargs="+")
    record = steps.add_parser("record", help="check run records, such as those of a method in another repository")
    record.add_argument("files", type=Path, nargs="+")
    return parser


def _known(benchmark: Benchmark, arguments: argparse.Namespace) -> None:
    names = {
        "model": benchmark.models,
        "teacher": benchmark.teachers,
        "pair": benchmark.pairs,
        "method": benchmark.spec["methods"],
        "task": benchmark.tasks,
    }
    for key, available in names.items():
        given = getattr(arguments, key, None)
        if given is not None and given not in available:
            raise unknown(key, given, available, f"--{key}")
    teacher, task, pair = (getattr(arguments, key, None) for key in ("teacher", "task", "pair"))
    if teacher is not None and task not in benchmark.teacher_tasks(teacher):
        raise UserError(
            f"--task {task}: no pair trains {teacher} on it; available: {_listed(benchmark.teacher_tasks(teacher))}"
        )
    if pair is not None and task is not None:
        _known_cell(benchmark, Cell(pair, arguments.method, task))
    if arguments.step == "distil":
        _known_seeds(benchmark, arguments.seeds, arguments.point)
    if hasattr(arguments, "device"):
        config.check_device(arguments.device)
        if arguments.threads < 1:
            raise UserError(f"--threads {arguments.threads}: expected a number of at least 1")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _known_cell(benchmark: Benchmark, cell: Cell) -> None:
    if benchmark.external(cell.method):
        raise UserError(f"--method {cell.method}: is external, so a rule of its own writes its records")
    cells = list(benchmark.cells())
    if cell not in cells:
        methods = dict.fromkeys(c.method for c in cells if c.pair == cell.pair)
        tasks = [c.task for c in cells if (c.pair, c.method) == (cell.pair, cell.method)]
        found = (
            f"--task {cell.task}: the pair {cell.pair} does not train {cell.method} on it; available: {_listed(tasks)}"
        )
        if not tasks:
            found = f"--method {cell.method}: the pair {cell.pair} does not train it; available: {_listed(methods)}"
        raise UserError(found)


def _known_seeds(benchmark: Benchmark, seeds: list[int], point: int | None) -> None:
    available = benchmark.seeds
    if point is not None:
        points = len(benchmark.grid())
        if not 0 <= point < points:
            raise UserError(f"--point {point}: the search has {points} points, counted from 0")
        available = [(benchmark.search or {})["seed"]]
    for seed in seeds:
        if seed not in available:
            what = "the file's seeds are" if point is None else "the search's seed is"
            raise UserError(f"--seeds {seed}: {what} {_listed(available)}")


def check(benchmark: Benchmark, layout: Layout, reach: bool = True) -> None:
    """What can be known before the first job: the local data's files, rows and columns, what every checkpoint's files
    show (see ``checkpoints``), and that every method can be built for every pair.

    Raises UserError naming the key or file. ``reach=False``: the hub is not asked (a dry run works without network).
    """
    try:
        _check(benchmark, layout, reach)
    except UserError as error:
        if str(error).startswith(("models.", "data.")):  # a key of the benchmark file
            raise UserError(f"{benchmark.path}: {error}") from None
        raise


def _check(benchmark: Benchmark, layout: Layout, reach: bool) -> None:
    import torch

    from railkd.data.reading import check_files
    from railkd.jobs.model_sizes import setting_for, shape
    from railkd.methods import build
    from railkd.models.inspection import look_at_all, on_hub, require_readable

    check_files(benchmark)
    for method in benchmark.spec["methods"]:
        if not benchmark.external(method):
            try:
                benchmark.method_config(method)
            except UserError as error:
                raise UserError(f"{benchmark.path}: methods.{method}: {error}") from None
    used = dict.fromkeys(spec[role] for spec in benchmark.pairs.values() for role in ("teacher", "student"))
    known = [model for model in used if reach or not on_hub(benchmark, model)]
    seen = look_at_all(benchmark, layout, known)
    shapes = {model: shape(benchmark, layout, model) for model in known}
    for cell in benchmark.cells():
        pair = benchmark.pairs[cell.pair]
        if benchmark.external(cell.method) or not {pair["teacher"], pair["student"]} <= shapes.keys():
            continue
        setting = setting_for(shapes[pair["teacher"]], shapes[pair["student"]], cell.task)
        settings = benchmark.training("student", pair["student"], cell.task)
        try:
            with torch.device("meta"):
                method = build(benchmark.method_class(cell.method), setting, benchmark.options(cell.method))
            for method.epochs in {point.get("epochs", settings["epochs"]) for point in benchmark.grid() or [{}]}:
                method.check_run()
        except UserError as error:
            text = str(error).replace(f"methods.{benchmark.method_class(cell.method)}", f"methods.{cell.method}", 1)
            raise UserError(f"{benchmark.path}: {text}") from None
        require_readable(seen, method, pair["teacher"], pair["student"], f"{benchmark.path}: methods.{cell.method}")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.step == "record":
        from railkd.records import run_record

        for file in arguments.files:
            run_record.read(file)
            print(f"{file}: valid")
        return
    if arguments.step == "check-method":
        check_method(arguments.method, arguments.options)
        return
    if arguments.step == "check-submission":
        from railkd import leaderboard_submission

        for file in arguments.files:
            leaderboard_submission.check(file)
            print(f"{file}: valid")
        return
    if arguments.step == "mirror":
        from railkd.data.hub_mirror import mirror

        for variable in ("RAILKD_DATA", "RAILKD_MODELS"):
            os.environ.pop(variable, None)  # they may name the mirror that is to be made
        if arguments.benchmark is None and not config.in_checkout():
            raise UserError(
                "mirror: a benchmark file must follow the folder: the default, benchmarks/paper.yaml, is in a checkout "
                "of the suite and is not installed with the library"
            )
        mirror(config.load(arguments.benchmark or config.ROOT / "benchmarks" / "paper.yaml"), arguments.folder, print)
        return
    benchmark = config.load(arguments.benchmark)
    layout = Layout(arguments.results or Path("results") / benchmark.name)
    _known(benchmark, arguments)
    if arguments.step in WRITERS:
        make_folder(layout.root)
    if arguments.step == "check":
        check(benchmark, layout)
        cells = sum(1 for _ in benchmark.cells())
        print(f"{benchmark.path}: valid; {len(benchmark.pairs)} pairs, {cells} cells, {len(benchmark.seeds)} seeds")
        return
    if arguments.step == "verify":
        _verify(benchmark, layout)
        return
    if arguments.step == "data":
        from railkd.miniglue import generation

        generation.generate(layout.data(), benchmark.data["seed"], **benchmark.sizes)
        return
    if arguments.step == "submission":
        from railkd import leaderboard_submission

        names = (arguments.pair, arguments.method, arguments.seed)
        print(leaderboard_submission.write(benchmark, layout, *names, arguments.out) + f"\n{arguments.out}: valid")
        return
    if arguments.step == "release":
        for file in layout.signals(arguments.teacher, arguments.task).glob("*.npy"):
            file.unlink()
        return
    threads = getattr(arguments, "threads", 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    started = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    from transformers.utils import logging

    from railkd.devices import device_for
    from railkd.jobs import distillation, fine_tuning, preparing

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def log(line: str) -> None:
        print(f"[{time.perf_counter() - started:7.1f} s] {line}", flush=True)

    log("libraries loaded")
    keywords: dict[str, Any] = {}
    if hasattr(arguments, "device"):
        keywords["device"] = device_for(arguments.device)
    if arguments.step == "pretrain":
        pretrain(benchmark, layout, arguments.model, log)
    elif arguments.step == "plan":
        from railkd.planning.plan import plan

        plan(benchmark, layout, log=log, **keywords)
    elif arguments.step == "prepare":
        preparing.prepare(benchmark, layout, arguments.teacher, arguments.task)
    elif arguments.step == "teacher":
        fine_tuning.fine_tune(benchmark, layout, arguments.teacher, arguments.task, log=log, **keywords)
    elif arguments.step == "signals":
        fine_tuning.signals(benchmark, layout, arguments.teacher, arguments.task, **keywords)
    else:
        cell = Cell(arguments.pair, arguments.method, arguments.task)
        if arguments.step == "select":
            distillation.select(benchmark, layout, cell)
        else:
            distillation.distil(benchmark, layout, cell, arguments.seeds, log=log, point=arguments.point, **keywords)
    log("done")


def _verify(benchmark: Benchmark, layout: Layout) -> None:
    """Prints what does not hold, a line each, and raises UserError if anything does not."""
    from railkd.verification import Verifier

    if not layout.root.is_dir():
        raise UserError(f"{layout.root}: no such results folder; run the benchmark first, or name it with --results")
    verifier, found = Verifier(benchmark, layout), 0
    for line in verifier.problems():
        found += 1
        print(line)
    if found:
        raise UserError(f"{layout.root}: {found} things do not hold; {verifier.checked} records were there")
    print(f"{layout.root}: {verifier.checked} records, every score recomputed from its predictions: all hold")


def check_method(name: str, options: str) -> None:
    """Prints one line a check; raises UserError when one fails, or when the method cannot be had."""
    given = parse(options, "--options")
    if not isinstance(given, dict):
        raise UserError(f"--options: {options!r} is not valid, expected a mapping such as '{{alpha: 0.7}}'")
    sys.path.insert(0, os.getcwd())  # module:Class of the folder one works in
    from railkd.conformance.checks import check

    failed = 0
    for result in check(name, given):
        print(result, flush=True)
        failed += result.status == "FAIL"
    if failed:
        raise UserError(f"{name}: {failed} of the checks failed")


def pretrain(benchmark: Benchmark, layout: Layout, model: str, log: Any) -> None:
    """Pre-trains one of the benchmark's own backbones."""
    from railkd.pretraining.masked_lm import pretrain as run

    entry = benchmark.models[model]
    if "pretrain" not in entry:
        raise UserError(f"--model {model}: is not pre-trained here (models.{model} has no key 'pretrain')")
    parent = layout.model(entry["from"]) if "from" in entry else None
    corpus = layout.data() / "corpus" / "corpus.parquet"
    try:
        made_of = benchmark.pretraining_config(model)
        run(entry["pretrain"], corpus, layout.model(model), benchmark.data["seed"], parent, log, made_of)
    except Diverged as error:
        raise Diverged(f"models.{model}.pretrain.{error}") from None


def main(argv: list[str] | None = None) -> int:
    """Runs one step. A user's mistake is one line on standard error and exit status 1."""
    printable()
    if argv is None and "RAILKD_WARM" in os.environ:
        from railkd import fork_client

        status = fork_client.ask(os.environ["RAILKD_WARM"], sys.argv[1:])
        if status is not None:
            return status
    try:
        _run(_parser().parse_args(argv))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except UserError as error:
        print(f"railkd: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        said = _shortage(error)
        if said is None:
            raise
        print(f"railkd: error: {said}", file=sys.stderr)
        return 1
    return 0


def _shortage(error: BaseException) -> str | None:
    """One line for what the machine lacked: memory, room on a disk, a right; None for anything else."""
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror}" if error.errno in LACKS else None
    text = " ".join(str(error).split())
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to map segment")
    lacks_memory = any(sign in text.lower() for sign in signs)
    return f"out of memory ({text[:200]})" if isinstance(error, MemoryError) or lacks_memory else None


if __name__ == "__main__":
    sys.exit(main())
