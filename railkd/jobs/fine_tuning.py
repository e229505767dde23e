"""The jobs of a teacher: its fine-tuning, and its signals on a task."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data import preparation
from railkd.data.batches import Prepared
from railkd.devices import peak_memory, precision
from railkd.errors import Diverged, UserError
from railkd.evaluation.scoring import logits_of
from railkd.jobs.finished_runs import put_teacher_back
from railkd.jobs.model_sizes import poolings_needed, setting_for, shape
from railkd.jobs.recording import Log, unfinished_state, write_record
from railkd.methods import build
from railkd.models import checkpoints, classifier, probe
from railkd.models.classifier import place
from railkd.models.fine_tuned import output_order, reorder_outputs
from railkd.records import files, hashes, provenance, run_record
from railkd.teacher.cache import SignalStore, lacks, write_signals
from railkd.training.loop import Outcome, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fine_tune(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device, log: Log
) -> dict[str, Any]:
    """Fine-tunes a teacher on a task, or measures one that was fine-tuned elsewhere; writes checkpoint and record."""
    prepared = preparation.load(layout.prepared(teacher, task))
    config = run_record.asked_of_teacher(benchmark, teacher, task)
    started, seed, settings = provenance.now(), config["seed"], config["training"]
    checkpoint = checkpoints.locate(benchmark, layout, teacher)
    where = f"models.{teacher}"
    resolved = {teacher: checkpoints.commit(checkpoint, where)}
    inputs = {"data": prepared.facts["sha256"], "backbone": checkpoints.fingerprint(checkpoint, resolved[teacher])}
    if put_teacher_back(layout, teacher, task, config, inputs):
        log(f"{teacher} {task}: kept from before")
        return run_record.read(layout.teacher(teacher, task) / "record.json")
    model = classifier.load_classifier(checkpoint, prepared.task.outputs, seed, where, settings.get("dropout"), log=log)
    probe.require_padding_unread(model, prepared, device, where)
    folder = layout.teacher(teacher, task)
    identity = {
        "stage": "teacher",
        "pair": teacher,
        "teacher": teacher,
        "student": teacher,
        "method": "teacher",
        "seed": seed,
    }
    state = unfinished_state(layout, folder / "record.json", identity, config, inputs)
    if checkpoint.fine_tuned:
        labels = benchmark.models[teacher].get("labels")
        order = output_order(checkpoints.read_config(checkpoint, where), labels, prepared.task, where)
        reorder_outputs(model, order, where)
        outcome = measured(model, prepared, settings["precision"], device, where)
        log(f"{teacher} {task}: fine-tuned elsewhere; its outputs in the order of the labels are {list(order)}")
    else:
        own = shape(benchmark, layout, teacher)
        method = build("no_kd", setting_for(own, own, task), {})
        try:
            outcome = train(model, method, None, prepared, settings, seed, device, log, state)
        except Diverged as error:
            raise Diverged(f"teacher {teacher} {task} seed {seed}: {error}") from None
    outcome.cost["regime"] = "none"
    tokenizer, length = checkpoints.load_tokenizer(checkpoint, where), prepared.facts["max_length"]
    classifier.save_classifier(model, tokenizer, prepared.task.labels, folder, length)
    fingerprints = {"teacher": hashes.sha256_file(folder / "model.safetensors"), "backbone": inputs["backbone"]}
    path = folder / "record.json"
    record = write_record(
        benchmark, prepared, model, outcome, device, path, started, identity, config, fingerprints, resolved
    )
    state.clear()
    return record


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
        "peak_memory_bytes": peak_memory(device),
        "precision": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    return Outcome(best_epoch=0, dev_logits=logits, cost=cost)


def fine_tuned(
    layout: Layout, teacher: str, task: str, outputs: int, whole_last_layer: bool = False
) -> tuple["PreTrainedModel", str]:
    """A fine-tuned teacher and its fingerprint; raises UserError when its weights are not those of its record."""
    folder = layout.teacher(teacher, task)
    record = run_record.read(folder / "record.json")
    weights = folder / "model.safetensors"
    if not weights.is_file() or hashes.sha256_file(weights) != record["fingerprints"]["teacher"]:
        raise UserError(f"{weights}: missing or not what was written (checksum); delete {folder} and run again")
    checkpoint = checkpoints.Checkpoint(str(folder))
    model = classifier.load_classifier(checkpoint, outputs, 0, str(folder), whole_last_layer=whole_last_layer)
    return model, record["fingerprints"]["teacher"]


def signals(benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device) -> None:
    """Computes a teacher's signals on a task, once for all its students, methods and seeds."""
    prepared = preparation.load(layout.prepared(teacher, task))
    model, _ = fine_tuned(layout, teacher, task, prepared.task.outputs)
    setting = benchmark.training("teacher", teacher, task)["precision"]
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    poolings = poolings_needed(benchmark, layout, teacher, task)
    write_signals(model, prepared, poolings, layout.signals(teacher, task), device, setting, fingerprints)


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
    """A teacher's signals; computed when they are not there, or were of other data, tokenizer or teacher.

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
