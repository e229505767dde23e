"""Defines the commands that the workflow's rules call, one for each kind of job; each can be run by hand."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from railkd.commands.base import Command, Log, declare_benchmark, declare_device, load_libraries, opened
from railkd.errors import Diverged, UserError

if TYPE_CHECKING:
    import torch

    from railkd.benchmark.paths import Layout
    from railkd.benchmark.specification import Benchmark

FILE = "benchmarks/mini.yaml"
PAIR = "--pair bert12-distilbert6 --method pkd --task sst2"
Work = Callable[[argparse.Namespace, "Benchmark", "Layout", Log], None]


def _computes(work: Work) -> Callable[[argparse.Namespace], None]:
    """A command that writes into the results folder, with torch and transformers loaded."""

    def run(arguments: argparse.Namespace) -> None:
        from railkd.records.files import make_folder

        benchmark, layout = opened(arguments)
        make_folder(layout.root)
        log = load_libraries(arguments)
        work(arguments, benchmark, layout, log)
        log("done")

    return run


def _device(arguments: argparse.Namespace) -> "torch.device":
    """The device that a job runs on: of several GPUs, the one that it is given, and of its memory the job's part."""
    from railkd import gpu_choice
    from railkd.devices import device_for, limit_memory

    gpu_choice.take(arguments.device)
    device = device_for(arguments.device)
    limit_memory(device, gpu_choice.jobs_on_a_card())
    return device


def _training_device(arguments: argparse.Namespace, benchmark: "Benchmark") -> "torch.device":
    """The same, of a job that trains: UserError where the file asks for compiled models and nothing can compile."""
    device = _device(arguments)
    if benchmark.compiles:
        from railkd.models.compiled import require_compiler

        require_compiler(device)
    return device


def _data(arguments: argparse.Namespace) -> None:
    from railkd.miniglue import generation
    from railkd.records.files import make_folder

    benchmark, layout = opened(arguments)
    make_folder(layout.root)
    generation.generate(layout.data(), benchmark.data["seed"], **benchmark.sizes)


def _pretrain(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.pretraining import general_distillation, masked_lm

    model = arguments.model
    entry = benchmark.models[model]
    if "general_distillation" in entry:
        general_distillation.distil(benchmark, layout, model, _device(arguments), log)
        return
    if "pretrain" not in entry:
        raise UserError(
            f"--model {model}: is not pre-trained here (models.{model} has no key 'pretrain' or 'general_distillation')"
        )
    parent = layout.model(entry["from"]) if "from" in entry else None
    (corpus,) = layout.generated(benchmark)
    if arguments.device.startswith("cuda"):
        log("a miniature is pre-trained on the CPU, whatever --device says")
    try:
        made_of = masked_lm.made_of(benchmark, layout, model)
        masked_lm.pretrain(entry["pretrain"], corpus, layout.model(model), benchmark.data["seed"], parent, log, made_of)
    except Diverged as error:
        raise Diverged(f"models.{model}.pretrain.{error}") from None


def _prepare(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.jobs import preparing

    preparing.prepare(benchmark, layout, arguments.teacher, arguments.task)


def _teacher(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.jobs import fine_tuning

    device = _training_device(arguments, benchmark)
    fine_tuning.fine_tune(benchmark, layout, arguments.teacher, arguments.task, device, log)


def _signals(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.jobs import fine_tuning

    fine_tuning.signals(benchmark, layout, arguments.teacher, arguments.task, _device(arguments))


def _release(arguments: argparse.Namespace) -> None:
    _, layout = opened(arguments)
    for file in layout.signals(arguments.teacher, arguments.task).glob("*.npy"):
        file.unlink()


def _declare_distil(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser, "pair", "method", "task")
    declare_device(parser)
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="seeds of the benchmark file to train")
    parser.add_argument("--point", type=int, help="a point of the hyper-parameter search, counted from 0")


def _distil(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.benchmark.specification import Cell
    from railkd.jobs import distillation

    cell = Cell(arguments.pair, arguments.method, arguments.task)
    device = _training_device(arguments, benchmark)
    distillation.distil(benchmark, layout, cell, arguments.seeds, device, log=log, point=arguments.point)


def _select(arguments: argparse.Namespace) -> None:
    benchmark, _ = opened(arguments)
    if not benchmark.search:
        raise UserError(f"{benchmark.path} has no search; expected the key search, of whose points one is chosen")
    _computes(_choose)(arguments)


def _choose(arguments: argparse.Namespace, benchmark: "Benchmark", layout: "Layout", log: Log) -> None:
    from railkd.benchmark.specification import Cell
    from railkd.jobs import distillation

    distillation.select(benchmark, layout, Cell(arguments.pair, arguments.method, arguments.task))


def _declare_task(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser, "teacher", "task")


def _declare_teacher(parser: argparse.ArgumentParser) -> None:
    _declare_task(parser)
    declare_device(parser)


def _declare_pretrain(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser, "model")
    declare_device(parser)


def _declare_select(parser: argparse.ArgumentParser) -> None:
    declare_benchmark(parser, "pair", "method", "task")


TEACHER = "--teacher bert12 --task sst2"
COMMANDS = [
    Command("data", "Generate the texts of MiniGLUE.", f"railkd data {FILE}", declare_benchmark, _data),
    Command(
        "pretrain",
        "Pre-train a miniature of the benchmark file, or distil one of its students on text before any task.",
        f"railkd pretrain {FILE} --model bert12 --threads 2",
        _declare_pretrain,
        _computes(_pretrain),
    ),
    Command(
        "prepare",
        "Check and tokenise a task for a teacher and its students.",
        f"railkd prepare {FILE} {TEACHER}",
        _declare_task,
        _computes(_prepare),
    ),
    Command(
        "teacher",
        "Fine-tune a teacher on a task.",
        f"railkd teacher {FILE} {TEACHER} --device cpu",
        _declare_teacher,
        _computes(_teacher),
    ),
    Command(
        "signals",
        "Compute and store a fine-tuned teacher's signals on a task.",
        f"railkd signals {FILE} {TEACHER}",
        _declare_teacher,
        _computes(_signals),
    ),
    Command(
        "distil",
        "Train the seeds of one cell: a method on a task for a pair.",
        f"railkd distil {FILE} {PAIR} --seeds 1 2",
        _declare_distil,
        _computes(_distil),
    ),
    Command(
        "select",
        "Choose the best point of the hyper-parameter search of a cell.",
        f"railkd select benchmarks/paper.yaml {PAIR}",
        _declare_select,
        _select,
    ),
    Command(
        "release",
        "Delete a teacher's stored signals on a task; they can be computed again.",
        f"railkd release {FILE} {TEACHER}",
        _declare_task,
        _release,
    ),
]
