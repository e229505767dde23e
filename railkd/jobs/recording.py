"""Writes a trained model's predictions and record, and keeps the state of an unfinished run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared
from railkd.devices import precision
from railkd.evaluation import diagnostics
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.method_facts import as_json
from railkd.records import files, hashes, provenance, run_record
from railkd.records.fields import SCHEMA_VERSION
from railkd.training.loop import Outcome
from railkd.training.run_state import State

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Log = Callable[[str], None]


def write_record(
    benchmark: Benchmark,
    prepared: Prepared,
    model: "PreTrainedModel",
    outcome: Outcome,
    device: torch.device,
    path: Path,
    started: str,
    identity: dict[str, Any],
    config: dict[str, Any],
    fingerprints: dict[str, Any],
    resolved: dict[str, str | None],
    teacher: diagnostics.TeacherOnDev | None = None,
) -> dict[str, Any]:
    """Scores a trained model on every labelled split, predicts the hidden ones; writes predictions, then the record."""
    from safetensors.numpy import save

    dtype = precision(config["training"]["precision"], device, model.config.hidden_size)
    clock = time.perf_counter()
    assert outcome.dev_logits is not None
    logits = {
        s: outcome.dev_logits
        if s == "dev"
        else logits_of(model, prepared.splits[s], prepared.facts["pad_id"], device, dtype)
        for s in (*prepared.scored, *prepared.hidden)
    }
    outcome.cost["eval_seconds"] += time.perf_counter() - clock
    similarity, found = diagnostics.measure(model, prepared, logits, teacher, device) if teacher else ({}, {})
    predictions = path.with_suffix(".safetensors")
    payload = save(logits)
    files.write_bytes(predictions, payload)
    task = prepared.task
    record = {
        "schema": SCHEMA_VERSION,
        "benchmark": benchmark.name,
        "synthetic": benchmark.synthetic,
        **identity,
        "task": task.name,
        "config": config,
        "config_hash": hashes.sha256_text(hashes.canonical(config)),
        "shown": task.shown,
        "scores": {split: scores_of(prepared, split, logits[split]) for split in prepared.scored},
        "baselines": {split: prepared.facts["baselines"][split] for split in prepared.scored},
        "examples": {split: prepared.facts["examples"][split] for split in ("train", *prepared.scored)},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        **({"method_class": as_json(config["method"]["method"])} if "method" in config else {}),
        "method_record": outcome.method_record,
        "similarity": similarity,
        "diagnostics": found,
        "cost": outcome.cost,
        "fingerprints": {"data": prepared.facts["sha256"], **fingerprints},
        "predictions": {"file": predictions.name, "sha256": hashes.sha256_file(predictions)},
        "provenance": {
            **provenance.provenance(),
            "resolved": resolved,
            "initialisation": benchmark.initialisation(identity["student"]),
            "sources": {s: "/".join(p.split("/")[-2:]) for s, p in prepared.facts["sources"].items()},
            "started": started,
            "finished": provenance.now(),
        },
    }
    run_record.write(path, record)
    return record


def unfinished_state(
    layout: Layout, path: Path, identity: dict[str, Any], config: dict[str, Any], inputs: dict[str, Any]
) -> State:
    """Where the state of an unfinished run is kept: beside its kept record, with all that its numbers depend on."""
    return State(layout.kept(path).with_suffix(".state"), {**identity, "config": config, "inputs": inputs})
