"""Fine-tunes a teacher on a task, and computes its signals for the students."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data import preparation
from railkd.data.batches import Prepared
from railkd.devices import precision
from railkd.errors import UserError
from railkd.evaluation.scoring import logits_of
from railkd.jobs import run_spec
from railkd.jobs.finished_runs import put_teacher_back
from railkd.jobs.model_sizes import poolings_needed, setting_for, shape
from railkd.jobs.recording import Log, Trained, epoch_lines, step_lines, write_record
from railkd.jobs.run_spec import RunSpec
from railkd.methods import build
from railkd.models import checkpoints, classifier, probe
from railkd.models.classifier import CPU, place
from railkd.models.fine_tuned import begin_in_order, output_order, reorder_outputs
from railkd.records import files, hashes, provenance, run_record
from railkd.teacher.cache import SignalStore, lacks, write_signals
from railkd.tracking import tracked
from railkd.training.loop import Outcome, machine, train
from railkd.training.memory import with_less_memory
from railkd.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fine_tune(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device, log: Log
) -> dict[str, Any]:
    """Fine-tunes a teacher on a task, or measures one that was fine-tuned elsewhere; writes checkpoint and record."""
    started = provenance.now()
    prepared = preparation.load(layout.prepared(teacher, task))
    spec = run_spec.of_teacher(benchmark, layout, teacher, task, prepared)
    if put_teacher_back(spec):
        log(f"{teacher} {task}: kept from before")
        return run_record.read(spec.record)
    checkpoint, where = checkpoints.locate(benchmark, layout, teacher), f"models.{teacher}"

    def attempt(share: float) -> tuple["PreTrainedModel", Outcome]:
        settings = TrainingSettings.of(spec.config["training"], spec.seed, device, share)
        outputs, dropout = prepared.task.outputs, settings.dropout
        model = classifier.load_classifier(checkpoint, outputs, spec.seed, where, dropout, log=log, device=device)
        probe.require_padding_unread(model, prepared, device, where)
        if checkpoint.fine_tuned:
            return model, _fine_tuned_elsewhere(benchmark, spec, checkpoint, model, prepared, settings, log)
        begin_in_order(model, benchmark.head_labels(teacher), prepared.task, where)
        return model, _trained(benchmark, layout, spec, model, prepared, settings, log)

    try:
        model, outcome = with_less_memory(attempt, benchmark.device_memory, lambda line: log(f"{spec.label}: {line}"))
    except UserError as error:  # a step that does not fit, numbers that are not finite
        raise type(error)(f"{spec.label}: {error}") from None
    tokenizer, length = checkpoints.load_tokenizer(checkpoint, where), prepared.facts["max_length"]
    folder = spec.record.parent
    classifier.save_classifier(model, tokenizer, prepared.task.labels, folder, length)
    made = {"teacher": hashes.sha256_file(folder / "model.safetensors")}
    record = write_record(spec, prepared, Trained(model, outcome, device, started, "none", made))
    spec.unfinished().clear()
    return record


def _trained(
    benchmark: Benchmark,
    layout: Layout,
    spec: RunSpec,
    model: "PreTrainedModel",
    prepared: Prepared,
    settings: TrainingSettings,
    log: Log,
) -> Outcome:
    """Fine-tunes a teacher, and goes on where an earlier job was killed."""
    own = shape(benchmark, layout, spec.teacher)
    method = build("no_kd", setting_for(own, own, prepared.task), {})
    lines, steps = epoch_lines(log, settings.epochs, prepared.task.shown), step_lines(log, settings.epochs)
    with tracked(spec.tracked(benchmark, layout)) as run:
        lines, steps = run.beside(lines, steps)
        return train(model, method, None, prepared, settings, lines, spec.unfinished(), steps)


def _fine_tuned_elsewhere(
    benchmark: Benchmark,
    spec: RunSpec,
    checkpoint: checkpoints.Checkpoint,
    model: "PreTrainedModel",
    prepared: Prepared,
    settings: TrainingSettings,
    log: Log,
) -> Outcome:
    """Brings a teacher's outputs into the order of the task's labels, and measures it."""
    where = f"models.{spec.teacher}"
    labels = benchmark.models[spec.teacher].get("labels")
    order = output_order(checkpoints.read_config(checkpoint, where), labels, prepared.task, where)
    reorder_outputs(model, order, where)
    outcome = measured(model, prepared, settings.precision, settings.device, where)
    log(f"{spec.teacher} {spec.task}: fine-tuned elsewhere; its outputs in the order of the labels are {list(order)}")
    return outcome


def measured(model: "PreTrainedModel", prepared: Prepared, setting: str, device: torch.device, where: str) -> Outcome:
    """The outcome of a model that is not trained: no epochs, and its logits on dev.

    Raises UserError when these are not finite.
    """
    place(model, device)
    dtype = precision(setting, device, model.config.hidden_size)
    started = time.perf_counter()
    logits = logits_of(model, prepared.splits["dev"], prepared.facts["pad_id"], device, dtype)
    if not np.isfinite(logits).all():
        raise UserError(f"{where}: its logits on dev are not finite, expected a model that is fine-tuned")
    cost = {
        "train_seconds": 0.0,
        "step_seconds": 0.0,
        "steps": 0,
        "resumed": 0,
        "eval_seconds": time.perf_counter() - started,
        **machine(device, dtype),
    }
    return Outcome(best_epoch=0, epochs=[], dev_logits=logits, cost=cost, method_record={})


def fine_tuned(
    layout: Layout, teacher: str, task: str, outputs: int, whole_last_layer: bool = False, device: torch.device = CPU
) -> tuple["PreTrainedModel", str]:
    """A fine-tuned teacher, still on the CPU, and its fingerprint; raises UserError when its weights are not those of
    its record."""
    folder = layout.teacher(teacher, task)
    record = run_record.read(folder / "record.json")
    weights = folder / "model.safetensors"
    if not weights.is_file() or hashes.sha256_file(weights) != record["fingerprints"]["teacher"]:
        raise UserError(f"{weights}: missing or not what was written (checksum); delete {folder} and run again")
    checkpoint = checkpoints.Checkpoint(str(folder))
    model = classifier.load_classifier(
        checkpoint, outputs, 0, str(folder), whole_last_layer=whole_last_layer, device=device
    )
    return model, record["fingerprints"]["teacher"]


def signals(benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device) -> None:
    """Computes a teacher's signals on a task, once for all its students, methods and seeds."""
    prepared = preparation.load(layout.prepared(teacher, task))
    model, _ = fine_tuned(layout, teacher, task, prepared.task.outputs, device=device)
    setting = benchmark.training("teacher", teacher, task)["precision"]
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    poolings = poolings_needed(benchmark, layout, teacher, task)
    folder = layout.signals(teacher, task)
    write_signals(place(model, device), prepared, poolings, folder, setting, fingerprints)


def _signal_fingerprints(layout: Layout, teacher: str, task: str, prepared: Prepared) -> dict[str, str]:
    """What a teacher's signals depend on: the tokenised data, the tokenizer and the teacher's weights."""
    record = run_record.read(layout.teacher(teacher, task) / "record.json")
    return {
        "data": prepared.facts["sha256"],
        "tokenizer": prepared.facts.get("tokenizer", ""),  # absent from what earlier versions prepared
        "teacher": record["fingerprints"]["teacher"],
    }


def open_store(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared, device: torch.device, log: Log
) -> SignalStore:
    """A teacher's signals; computed when they are missing, or were of other data, tokenizer or teacher.

    One job at a time looks: of several that start together, the first fills what ``railkd release`` has emptied.
    """
    folder = layout.signals(teacher, task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.exclusive_lock(folder.with_name(f".{folder.name}.lock")):
        _refresh(benchmark, layout, teacher, task, prepared, device, log)
        return SignalStore(folder, device)


def _refresh(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared, device: torch.device, log: Log
) -> None:
    folder = layout.signals(teacher, task)
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    why = lacks(folder, fingerprints, poolings_needed(benchmark, layout, teacher, task))
    if why:
        log(f"{folder}: {why}; computed now")
        signals(benchmark, layout, teacher, task, device)
