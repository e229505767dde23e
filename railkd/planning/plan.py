"""Estimates what a benchmark will take on this machine, from a minute of its own steps: ``railkd plan``."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from railkd.benchmark.defaults import PRETRAINING, resolved
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data import reading
from railkd.data.batches import Split, epoch_batches
from railkd.devices import data_budget, precision, to_device
from railkd.errors import UserError
from railkd.jobs import students
from railkd.jobs.model_sizes import poolings_needed, setting_for
from railkd.method_facts import facts
from railkd.methods import build
from railkd.planning.untrained_models import configuration, made_up, settle, untrained
from railkd.pretraining.general_distillation import keys_of
from railkd.random_streams import stream
from railkd.records.sealed_files import read_json
from railkd.signals import Batch
from railkd.tasks import TASKS
from railkd.teacher.live import LiveTeacher
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps

SECONDS = 60.0  # of calibration, shared out among the models
MEAN_LENGTH = 40.0  # tokens of an example, before a task is prepared
OFFICIAL = {  # rows of GLUE's training sets on the hub
    "cola": 8551, "sst2": 67349, "mrpc": 3668, "stsb": 5749, "qqp": 363846, "mnli": 392702, "qnli": 104743, "rte": 2490,
}  # fmt: skip
GIB = 2**30


def plan(benchmark: Benchmark, layout: Layout, device: torch.device, log: Callable[[str], None]) -> dict[str, Any]:
    """Runs, hours of one job after the other, and bytes on disk; logged in lines and returned.

    A student's step is timed without a teacher, its fine-tuned teacher's with its optimizer and forward alone. After a
    search a student is counted with the point that takes longest. Not counted: starting jobs, evaluation, patience that
    stops early, and what a method adds to a step.
    """
    sizes = {task: examples(benchmark, layout, task) for task in benchmark.tasks}
    log("training examples: " + ", ".join(f"{benchmark.task(t).title} {n:,}" for t, n in sizes.items()))
    configs = {name: configuration(benchmark, layout, name, log) for name in _models(benchmark)}
    pairs = {(spec["teacher"], spec["student"]) for spec in benchmark.pairs.values()}
    load = machine_load()
    cost = calibrate(benchmark, layout, configs, pairs, device, log)
    log(load)
    if benchmark.compiles:
        log("compile: true: the steps above are timed without torch.compile, whose first steps of a job take minutes")
    _log_places(benchmark, configs, sizes, device, log)
    hours: dict[str, float] = {}
    hours["pre-training"] = sum(_pretraining(benchmark, name, cost) for name in configs) / 3600
    disk = {"signals": 0, "teachers": 0, "students": 0}
    hours["teachers"] = hours["signals"] = 0.0
    longest: dict[str, tuple[float, str]] = {}  # kind of job -> its seconds, and which it is
    for teacher in benchmark.teachers:
        config = configs[teacher]
        for task in benchmark.teacher_tasks(teacher):
            n = sizes[task]
            if not benchmark.models[teacher].get("fine_tuned"):
                seconds = n * benchmark.training("teacher", teacher, task)["epochs"] * cost[teacher]["step"]
                hours["teachers"] += seconds / 3600
                longest["teacher"] = max(longest.get("teacher", (0.0, "")), (seconds, f"{teacher} on {task}"))
            hours["signals"] += n * cost[teacher]["forward"] / 3600
            kinds = len(poolings_needed(benchmark, layout, teacher, task))
            vectors = (config.num_hidden_layers - 1) * config.hidden_size * 2 * kinds  # float16
            disk["signals"] += n * (vectors + 4 * benchmark.task(task).outputs)
            disk["teachers"] += int(cost[teacher]["bytes"])
    own = [cell for cell in benchmark.cells() if not benchmark.external(cell.method)]
    runs, points = len(own) * len(benchmark.seeds), sum(len(benchmark.points(cell)) for cell in own)
    _count_students(benchmark, own, lambda cell, point: _run(benchmark, cell, point, sizes, cost), hours, longest)
    each = [int(cost[benchmark.pairs[cell.pair]["student"]]["bytes"]) for cell in own]
    disk["students"] = sum(each) * students.count(benchmark)
    teachers = sum(len(benchmark.teacher_tasks(t)) for t in benchmark.teachers)
    log(f"runs: {runs} students, {points} points of the search, {teachers} teachers")
    _log_hours(hours, longest, device, log)
    log(
        f"disk: at most {disk['signals'] / GIB:.2g} GiB of signals (deleted as they are used up), "
        f"{disk['teachers'] / GIB:.2g} GiB of fine-tuned teachers and {disk['students'] / GIB:.2g} GiB of students "
        f"(save_students: {students.mode(benchmark)}); {_free(layout) / GIB:.2g} GiB are free"
    )
    return {
        "runs": runs, "points": points, "teachers": teachers, "hours": hours, "longest": longest, "disk": disk,
    }  # fmt: skip


def _count_students(
    benchmark: Benchmark,
    cells: list[Cell],
    seconds_of: Callable[[Cell, dict[str, Any]], float],
    hours: dict[str, float],
    longest: dict[str, tuple[float, str]],
) -> None:
    """Adds the hours and the longest jobs of the students of some cells, and of their search."""
    hours["students"] = hours["search"] = 0.0
    seeds = max((len(group.seeds) for group in benchmark.seed_groups()), default=1)
    for cell in cells:
        chosen = benchmark.grid(cell.method) or [{}]  # of a search the point that takes longest: any may be chosen
        seconds = max(seconds_of(cell, point) for point in chosen)
        hours["students"] += len(benchmark.seeds) * seconds / 3600
        job = (seconds * seeds, f"{cell.method} on {cell.task}, {seeds} seed{'s' if seeds > 1 else ''}")
        longest["students"] = max(longest.get("students", (0.0, "")), job)
        tried = [seconds_of(cell, point) for point in benchmark.points(cell)]
        hours["search"] += sum(tried) / 3600
        if tried:
            job = (max(tried), f"{cell.method} on {cell.task}, a point")
            longest["search"] = max(longest.get("search", (0.0, "")), job)


def _log_hours(
    hours: dict[str, float], longest: dict[str, tuple[float, str]], device: torch.device, log: Callable[[str], None]
) -> None:
    """Lines on the hours of every stage, on what they leave out, and on the longest jobs (seconds, and which)."""
    parts = ", ".join(f"{name} {value:.2g}" for name, value in hours.items() if value)
    total = sum(hours.values())
    log(f"about {total:.2g} hours of steps one job after the other on this {device.type}, all epochs ({parts})")
    log("evaluation, the start of a job and what a method adds to a step come on top")
    jobs = ", ".join(f"{kind} {name}: {seconds / 60:.2g} minutes" for kind, (seconds, name) in longest.items())
    log(f"longest job, its steps alone: {jobs}" if jobs else "no job trains")


def _models(benchmark: Benchmark) -> list[str]:
    """The models of every pair, and those that are pre-trained on the way to one."""
    names = [name for spec in benchmark.pairs.values() for name in (spec["teacher"], spec["student"])]
    for name in names:  # which grows
        parent = benchmark.pretraining_teacher(name)
        if parent and benchmark.pretrained(parent):
            names.append(parent)
    return list(dict.fromkeys(names))


def _log_places(
    benchmark: Benchmark,
    configs: dict[str, Any],
    sizes: dict[str, int],
    device: torch.device,
    log: Callable[[str], None],
) -> None:
    """On a GPU, a line on which tasks' examples and cached signals lie there whole, by what a run reads at most."""
    budget = data_budget(device, benchmark.device_memory)
    if budget is None:
        return
    streamed = []
    for teacher in benchmark.teachers:
        vectors = 2 * (configs[teacher].num_hidden_layers - 1) * configs[teacher].hidden_size  # float16
        for task in benchmark.teacher_tasks(teacher):
            example = vectors + 4 * (benchmark.task(task).outputs + MEAN_LENGTH)
            if sizes[task] * example > budget:
                streamed.append(f"{teacher} {task} ({sizes[task] * example / GIB:.2g} GiB)")
    log(
        f"data: up to {budget / GIB:.2g} GiB of this GPU (device_memory: {benchmark.device_memory:g}); copied batch by "
        f"batch: {', '.join(streamed) or 'none'}"
    )


def machine_load() -> str:
    """In a line: this process's threads, the machine's cores, and what else kept them busy in the last minute."""
    threads, cores, load = torch.get_num_threads(), os.cpu_count() or 1, os.getloadavg()[0]
    line = f"measured with {threads} threads on {cores} cores, load average {load:.1f} in the minute before"
    if load + threads > cores + 1:
        line += "; other programs were running, so without them the hours are fewer"
    return line


def _free(layout: Layout) -> int:
    """Bytes that are free where the results are, or will be."""
    present = next(folder for folder in (layout.root, *layout.root.absolute().parents) if folder.exists())
    return shutil.disk_usage(present).free


def examples(benchmark: Benchmark, layout: Layout, task: str) -> int:
    """Training examples of a task: as prepared, else as the mirror's or the generated file says, else GLUE's own."""
    for teacher in benchmark.teachers:
        path = layout.prepared(teacher, task).with_suffix(".json")
        if path.is_file():
            return int(read_json(path)["examples"]["train"])
    limit = benchmark.task_settings(task).get("train_examples")
    if benchmark.task(task).own:
        rows = reading.training_rows(benchmark, benchmark.task(task))
    elif benchmark.synthetic:
        rows = int((benchmark.sizes["train_sizes"] or {}).get(task, benchmark.sizes["train"]))
    else:
        root = reading.locate(benchmark, Path())
        rows = OFFICIAL[task] if root is None else _rows(root / task / "train.parquet")
    rows = min(rows, limit or rows)
    held_out = benchmark.data["test"] == "heldout" and "test" not in dict(benchmark.task(task).files)
    return rows - round(rows * benchmark.data["heldout"]) if held_out else rows


def _rows(path: Path) -> int:
    import pyarrow.parquet

    if not path.is_file():
        raise UserError(f"{path}: no such file (expected the training split in the local mirror)")
    return int(pyarrow.parquet.ParquetFile(path).metadata.num_rows)


def calibrate(
    benchmark: Benchmark,
    layout: Layout,
    configs: dict[str, Any],
    pairs: set[tuple[str, str]],
    device: torch.device,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Model -> seconds an example of a training ``step`` and of a teacher's ``forward``, and ``bytes`` of weights."""
    teachers = {teacher for teacher, _ in pairs}
    share = SECONDS / (len(configs) + len(teachers))
    found: dict[str, dict[str, float]] = {}
    for name, config in configs.items():
        role = "teacher" if name in teachers else "student"
        settings = benchmark.training(role, name, benchmark.tasks[0])  # type: ignore[arg-type]
        settings["compile"] = False  # a graph takes longer to build than this has
        size = settings["batch_size"]
        length = min(benchmark.data["max_length"], config.max_position_embeddings - 2)
        made = made_up(64 * size, min(MEAN_LENGTH, length), length, config.vocab_size, config.pad_token_id or 0)
        model = untrained(config, 2, device)
        own = (config.num_hidden_layers, config.hidden_size)
        batches = epoch_batches(made.splits["train"].lengths, size, stream(0, "order"))
        method = build("no_kd", setting_for(own, own, TASKS["mrpc"]), {})
        steps = Steps(model, method, None, made, TrainingSettings.of(settings, 0, device))
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        found[name] = {"step": _seconds(steps, batches, device, share) / size, "bytes": float(weights)}
        steps.finish(1.0)
        if name in teachers:
            live = LiveTeacher(model, made, device, settings["precision"])
            split, pad_id = made.splits["train"], made.facts["pad_id"]

            def teacher_forward(
                rows: torch.Tensor, live: LiveTeacher = live, split: Split = split, pad: int = pad_id
            ) -> Any:
                inputs = to_device(split.collate(rows, pad, False), device)
                return live.signals(Batch(rows, split.labels[rows], inputs)).logits_BC

            found[name]["forward"] = _seconds(teacher_forward, batches, device, share) / size
        dtype = str(precision(settings["precision"], device, config.hidden_size)).removeprefix("torch.")
        forward = f", {1000 * size * found[name]['forward']:.3g} ms forward" if name in teachers else ""
        say(f"{name}: {1000 * size * found[name]['step']:.3g} ms a step of {size} in {dtype}{forward}")
    return found


def _seconds(
    step: Callable[[torch.Tensor], Any], batches: list[torch.Tensor], device: torch.device, most: float
) -> float:
    """Seconds of a step: the mean of as many as fit into ``most`` seconds, after one outside the clock."""
    step(batches[0])
    settle(device)
    started, done = time.perf_counter(), 0
    while done < len(batches) - 1 and (done == 0 or time.perf_counter() - started < most):
        done += 1
        step(batches[done])
        if done % 4 == 0:
            settle(device)
    settle(device)
    return (time.perf_counter() - started) / done


def _run(
    benchmark: Benchmark, cell: Cell, point: dict[str, Any], sizes: dict[str, int], cost: dict[str, dict[str, float]]
) -> float:
    """Seconds of one student's training."""
    spec = benchmark.pairs[cell.pair]
    settings = {**benchmark.student_training(cell.pair, cell.task), **point}
    name = benchmark.method_class(cell.method)
    live = name != "no_kd" and (settings["regime"] == "live" or facts(name).needs_live_teacher)
    step = cost[spec["student"]]["step"] + (cost[spec["teacher"]]["forward"] if live else 0.0)
    return sizes[cell.task] * settings["epochs"] * step


def _pretraining(benchmark: Benchmark, name: str, cost: dict[str, dict[str, float]]) -> float:
    """Seconds of pre-training: its steps cost about what fine-tuning's do, in general distillation by their tokens.

    A model that learns from another in it also runs that one in every step.
    """
    entry, parent = benchmark.models[name], benchmark.pretraining_teacher(name)
    step = cost[name]["step"]
    if parent:
        step += cost.get(parent, {}).get("forward", step)
    if "general_distillation" in entry:
        keys = keys_of(benchmark, name)
        return float(keys["steps"] * keys["batch_size"] * step * max(1.0, keys["max_length"] / MEAN_LENGTH))
    if "pretrain" not in entry:
        return 0.0
    keys = resolved(PRETRAINING, entry["pretrain"])
    shallow = keys["first_share"] * (1 - (keys["first_layers"] or keys["layers"]) / keys["layers"])
    return float(keys["steps"] * keys["batch_size"] * step * (1 - shallow))
