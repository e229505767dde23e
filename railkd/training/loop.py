"""Runs the training loop, one for every method and for the teachers; it knows no method by name.

Dimensions: ``B`` batch, ``C`` classes.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.data.batches import Prepared, epoch_batches
from railkd.devices import peak_memory
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.methods.base import Method
from railkd.methods.mistakes import check_kept
from railkd.metrics import predicted, score
from railkd.random_streams import seed_global, stream
from railkd.records.fields import epoch_metrics
from railkd.training.best_epoch import BestEpoch
from railkd.training.divergence import FiniteCheck
from railkd.training.finished_epochs import FinishedEpochs
from railkd.training.run_state import State
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps, Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MetricsLog = Callable[[Mapping[str, float], int], None]  # metrics by name, and the number of steps so far
AfterStep = Callable[[Steps, Tensor], None]  # the steps so far, and the last one's loss and terms, left on the device


def no_log(metrics: Mapping[str, float], step: int) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Outcome:
    """What training one model gave. The model itself holds the weights of the best epoch."""

    best_epoch: int  # 1-based
    epochs: list[dict[str, Any]]  # as in a run record: epoch, dev, halves, loss, learning_rate, seconds
    dev_logits: NDArray[np.float32]  # (dev examples, C) of the best epoch
    cost: dict[str, Any]  # seconds, steps and memory, as in a run record
    method_record: dict[str, Any]  # what the method reports


def train(  # noqa: PLR0913 - a run's five parts, and three that only listen or keep
    model: "PreTrainedModel",
    method: Method,
    teacher: Teacher | None,
    data: Prepared,
    settings: TrainingSettings,
    log: MetricsLog = no_log,
    state: State | None = None,
    after_step: AfterStep | None = None,
) -> Outcome:
    """Trains a model with a method and leaves it with the weights of its best epoch on dev.

    ``data`` needs the splits train and dev, and the facts pad_id and max_length. ``log`` is called after every epoch
    with ``epoch``, ``learning_rate``, ``seconds``, ``train/<term>`` (means) and ``dev/<metric>``, and once with
    ``resumed_after_epoch`` where the run goes on from what ``state`` has kept. ``after_step`` is called after every
    step; one that reads the losses waits for the device.

    Raises Diverged, with step, terms and the last finite values, when the loss explodes or is not finite, and
    MethodError for terms that are none. What else a method's own code raises, ``methods.mistakes.blame`` explains.
    """
    step, best, finished = Steps(model, method, teacher, data, settings), BestEpoch(model), FinishedEpochs()
    finite, seed = FiniteCheck(method), settings.seed
    if settings.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(settings.device)
    method.epochs = settings.epochs
    seed_global(seed, "start_training")  # what a method draws globally then depends on no other part of a run
    method.start_training(stream(seed, "method"))
    if state is not None and finished.resume(state, step, method, best):
        finite.resume(len(finished.epochs), finished.epochs[-1]["loss"])
        log({"resumed_after_epoch": len(finished.epochs)}, step.done)
    for epoch in range(len(finished.epochs), settings.epochs):
        seed_global(seed, "start_epoch", epoch)
        method.start_epoch(epoch, stream(seed, "method", epoch))
        seed_global(seed, "dropout", epoch)
        losses, seconds = _epoch(step, epoch, after_step)  # (steps, terms)
        finite.losses(losses, step.names, step.done - len(losses))
        method.end_epoch()  # after that: what it has accumulated of numbers that are not finite may be beyond it
        check_kept(method, method.history, "history")
        started = time.perf_counter()
        logits = logits_of(model, data.splits["dev"], step.pad_id, settings.device, step.dtype)  # (dev examples, C)
        finite.logits(logits, step.done)
        dev, halves = scores_of(data, "dev", logits), _halves(data, logits)
        finished.eval_seconds += time.perf_counter() - started
        loss = dict(zip(step.names, losses.double().mean(dim=0).tolist(), strict=True))
        entry = {"epoch": epoch + 1, "dev": dev, "halves": halves, "loss": loss}
        finished.epochs.append({**entry, "learning_rate": step.learning_rate, "seconds": seconds})
        log(epoch_metrics(finished.epochs[-1]), step.done)
        last = epoch + 1 == settings.epochs
        if method.trains_classifier:
            best.offer(epoch + 1, dev[data.task.shown], logits, step.shrink, last)
            if epoch + 1 - best.epoch >= (settings.patience or math.inf):
                break
        if state is not None and state.due and not last:
            finished.save(state, step, method, best)
    best.restore(len(finished.epochs))
    step.finish(best.shrink)
    record = check_kept(method, method.record(), "record()")
    assert best.dev_logits is not None
    return Outcome(best.epoch, finished.epochs, best.dev_logits, _cost(step, finished), record)


def _epoch(step: Steps, epoch: int, after_step: AfterStep | None) -> tuple[Tensor, float]:
    """One pass over the training set: the loss and its terms in each step, (steps, terms), and the seconds it took."""
    settings = step.settings
    history: list[Tensor] = []  # (terms,) of each step, read once an epoch: no host sync in the step
    started = time.perf_counter()
    order = stream(settings.seed, "order", epoch)
    for rows_B in epoch_batches(step.split.lengths, settings.batch_size, order):
        history.append(step(rows_B))
        if after_step is not None:
            after_step(step, history[-1])
    losses = torch.stack(history).cpu()  # waits for the device
    return losses, time.perf_counter() - started


def _halves(data: Prepared, logits: NDArray[np.float32]) -> list[float]:
    """The shown metric on every other dev example, from the first and from the second."""
    shown, labels = data.task.shown, data.splits["dev"].labels.numpy()
    return [score((shown,), predicted(logits[k::2]), labels[k::2])[shown] for k in (0, 1)]


def _cost(step: Steps, finished: FinishedEpochs) -> dict[str, Any]:
    return {
        "train_seconds": sum(e["seconds"] for e in finished.epochs),
        "step_seconds": float(np.median([e["seconds"] / step.per_epoch for e in finished.epochs])),
        "steps": step.done,
        "resumed": finished.resumed,
        "eval_seconds": finished.eval_seconds,
        "data": step.place,
        **machine(step.device, step.dtype),
    }


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a run record says of where a model ran: peak memory in bytes, precision, device, CPU threads."""
    return {
        "peak_memory_bytes": peak_memory(device),
        "precision": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
