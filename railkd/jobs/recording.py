"""Scores a trained model, and writes its predictions and its run record."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from railkd.data.batches import Prepared
from railkd.devices import precision
from railkd.evaluation import diagnostics
from railkd.evaluation.scoring import errors_of, logits_of, scores_of
from railkd.jobs.run_spec import RunSpec
from railkd.method_facts import as_json
from railkd.records import files, hashes, provenance, run_record, sealed_files
from railkd.records.fields import SCHEMA_VERSION
from railkd.training.loop import AfterStep, MetricsLog, Outcome
from railkd.training.steps import Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Log = Callable[[str], None]
Write = Callable[[Path, dict[str, Any]], object]


@dataclass(frozen=True)
class Trained:
    """A run's model after training, and what its record says of how it was trained."""

    model: "PreTrainedModel"
    outcome: Outcome
    device: torch.device
    started: str  # UTC
    regime: str  # cached | live | none: where the teacher's signals came from
    made: dict[str, str] = field(default_factory=dict)  # fingerprints of what the run made: a teacher's weights


def epoch_lines(say: Log, epochs: int, shown: str) -> MetricsLog:
    """What the training loop logs, as a line for each epoch; ``shown`` is the metric of dev that a line names."""

    def log(metrics: Mapping[str, float], step: int) -> None:
        if "resumed_after_epoch" in metrics:
            say(f"resumed after epoch {metrics['resumed_after_epoch']}")
        else:
            loss, dev = metrics["train/total"], metrics[f"dev/{shown}"]
            say(f"epoch {metrics['epoch']}/{epochs} loss {loss:.3f} dev {shown} {dev:.3f}")

    return log


def step_lines(say: Log, epochs: int, every: float = 30.0) -> AfterStep:
    """What the training loop calls after a step, as a line after so many seconds: an epoch may take an hour."""
    last_line = time.monotonic()

    def after_step(steps: Steps, _: torch.Tensor) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= every:
            last_line = time.monotonic()
            epoch, step = divmod(steps.done - 1, steps.per_epoch)
            say(f"epoch {epoch + 1}/{epochs} step {step + 1}/{steps.per_epoch}")

    return after_step


def write_record(
    spec: RunSpec,
    prepared: Prepared,
    trained: Trained,
    teacher: diagnostics.TeacherOnDev | None = None,
    write: Write = run_record.write,
) -> dict[str, Any]:
    """Scores a trained model on every labelled split, predicts the hidden ones; writes predictions, then the record.

    ``write`` is called with the record's path and the record.
    """
    from safetensors.numpy import save

    started = time.perf_counter()
    logits = _logits(spec, prepared, trained)
    seconds = trained.outcome.cost["eval_seconds"] + time.perf_counter() - started
    files.write_bytes(spec.predictions, save(logits))
    similarity: dict[str, Any] = {}
    found: dict[str, Any] = {}
    if teacher is not None:
        similarity, found = diagnostics.measure(trained.model, prepared, logits, teacher, trained.device)
    outcome, scored = trained.outcome, prepared.scored
    errors = {split: of for split in scored if (of := errors_of(prepared, split, logits[split]))}
    record = {
        **_head(spec),
        "shown": prepared.task.shown,
        "scores": {split: scores_of(prepared, split, logits[split]) for split in scored},
        **({"sampling_errors": errors} if errors else {}),
        "baselines": {split: prepared.facts["baselines"][split] for split in scored},
        "examples": {split: prepared.facts["examples"][split] for split in ("train", *scored)},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        **({"method_class": as_json(spec.method_class)} if spec.method_class else {}),
        "method_record": outcome.method_record,
        "similarity": similarity,
        "diagnostics": found,
        "cost": {**outcome.cost, "eval_seconds": seconds, "regime": trained.regime},
        "fingerprints": {**spec.inputs, **trained.made},
        "predictions": {"file": spec.predictions.name, "sha256": hashes.sha256_file(spec.predictions)},
        "provenance": _provenance(spec, prepared, trained),
    }
    write(spec.record, record)
    return record


def _head(spec: RunSpec) -> dict[str, Any]:
    """What a record says of the run before any of its numbers."""
    return {
        "schema": SCHEMA_VERSION,
        "benchmark": spec.benchmark,
        "synthetic": spec.synthetic,
        **spec.identity,
        "config": spec.config,
        "config_hash": spec.config_hash,
    }


def write_diverged(spec: RunSpec, why: str, started: str) -> None:
    """Writes what stands in the place of the record of a search's point that diverged: it is done, without scores."""
    content = {
        **_head(spec),
        run_record.DIVERGED: why,
        "fingerprints": spec.inputs,
        "provenance": {**provenance.provenance(), "started": started, "finished": provenance.now()},
    }
    spec.predictions.unlink(missing_ok=True)  # of an earlier run in this place
    sealed_files.write_json(spec.record, sealed_files.sealed(content))


def _logits(spec: RunSpec, prepared: Prepared, trained: Trained) -> dict[str, NDArray[np.float32]]:
    """(examples, C) by split: of dev as the best epoch gave them, of the others computed now."""
    model, device = trained.model, trained.device
    dtype = precision(spec.config["training"]["precision"], device, model.config.hidden_size)
    return {
        split: trained.outcome.dev_logits
        if split == "dev"
        else logits_of(model, prepared.splits[split], prepared.facts["pad_id"], device, dtype)
        for split in (*prepared.scored, *prepared.hidden)
    }


def _provenance(spec: RunSpec, prepared: Prepared, trained: Trained) -> dict[str, Any]:
    return {
        **provenance.provenance(),
        "resolved": spec.resolved,
        "initialisation": spec.initialisation,
        **({"general_distillation": spec.distilled} if spec.distilled else {}),
        "sources": {split: "/".join(place.split("/")[-2:]) for split, place in prepared.facts["sources"].items()},
        "started": trained.started,
        "finished": provenance.now(),
    }
