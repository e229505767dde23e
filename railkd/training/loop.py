"""The training loop: one loop for every method and for the teachers; it knows no method by name."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from railkd.data.batches import Prepared, epoch_batches
from railkd.devices import autocast, peak_memory, precision, to_device
from railkd.errors import Diverged
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.methods.base import Method
from railkd.methods.mistakes import backward_of, check_kept, check_trains, located
from railkd.metrics import predicted, score
from railkd.models.classifier import place, uses_type_ids
from railkd.models.dropout import use_quick_dropout
from railkd.models.forward import forward
from railkd.models.shortcuts import UsedRows
from railkd.random_streams import seed_global, stream
from railkd.signals import Batch, Signals
from railkd.training.run_state import State, below, optimizer_tensors, restore_optimizer, under
from railkd.training.schedule import learning_rate_factor, parameter_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel


EXPLODED = 1e8  # of a loss or a term of it: as good as infinite, four orders above what any method here begins with


class Teacher(Protocol):
    """A frozen teacher as a source of signals, cached or live: see the package teacher."""

    def signals(self, batch: Batch) -> Signals:
        """What the teacher says about a batch."""


@dataclass
class Outcome:
    """What training one model gave. The model itself holds the weights of the best epoch."""

    best_epoch: int  # 1-based
    epochs: list[dict[str, Any]] = field(default_factory=list)
    dev_logits: NDArray[np.float32] | None = None  # (dev examples, C) of the best epoch
    cost: dict[str, Any] = field(default_factory=dict)
    method_record: dict[str, Any] = field(default_factory=dict)


class Steps:
    """The training steps of one run: what ``train`` repeats, and what the benchmark of costs times.

    Takes the model over: until ``finish``, its embedding has the rows alone that the run can meet. ``settings`` are
    those of ``config.TRAINING``.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        method: Method,
        teacher: Teacher | None,
        data: Prepared,
        settings: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.model, self.method, self.teacher = model, method, teacher
        self.split, self.pad_id = data.splits["train"], data.facts["pad_id"]
        self.settings, self.device = settings, device
        self.dtype = precision(settings["precision"], device, model.config.hidden_size)
        self.type_ids = uses_type_ids(model)
        self.pad_to = data.facts["max_length"] if method.pooling == "mean_padded" else None
        self.hidden = method.needs_hidden
        place(model, device).train()
        method.to(device).train()
        if device.type == "cpu":
            use_quick_dropout(model)
            use_quick_dropout(method)
        embedding = model.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        self.rows = UsedRows(embedding, (self.split.tokens, data.splits["dev"].tokens))
        model.set_input_embeddings(self.rows)
        self.shrink = 1.0  # what weight decay has left of the embedding's other rows
        self.optimizer = torch.optim.AdamW(
            parameter_groups((model, method), settings["weight_decay"]), lr=settings["learning_rate"], fused=True
        )
        self.clipped = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.per_epoch = math.ceil(len(self.split) / settings["batch_size"])
        self.done = 0
        self.names: list[str] = []  # of what a step returns

    def __call__(self, rows_B: Tensor) -> Tensor:
        """One step on these rows of the training set: the loss and its terms, (terms,), left on the device."""
        settings, optimizer = self.settings, self.optimizer
        total_steps = self.per_epoch * settings["epochs"]
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * learning_rate_factor(self.done, total_steps, settings["warmup"])
        self.shrink *= 1 - optimizer.param_groups[0]["lr"] * settings["weight_decay"]
        inputs = to_device(self.split.collate(rows_B, self.pad_id, self.type_ids, self.pad_to), self.device)
        extra = to_device({"rows": rows_B, "labels": self.split.labels[rows_B]}, self.device)
        batch = Batch(extra["rows"], extra["labels"], inputs)
        signals = self.teacher.signals(batch) if self.teacher is not None else None
        with autocast(self.device, self.dtype):
            student = forward(self.model, inputs, self.hidden, self.method.attention_layers[0])
            loss, terms = self.method.loss(batch, student, signals)
        if not self.done:
            check_trains(self.method, loss)
        optimizer.zero_grad(set_to_none=True)
        with backward_of(self.method):
            loss.backward()
        nn.utils.clip_grad_norm_(self.clipped, settings["max_gradient_norm"], foreach=True)
        optimizer.step()
        self.done += 1
        self.names = ["total", *terms]
        return torch.stack([loss.detach(), *(value.float() for value in terms.values())])

    def facts(self) -> dict[str, Any]:
        """What the steps so far have counted, for ``load``."""
        return {"done": self.done, "shrink": self.shrink, "names": self.names}

    def tensors(self) -> dict[str, Tensor]:
        """The state of model, method and optimizer, for ``load``."""
        return (
            under("model", self.model.state_dict())
            | under("method", self.method.state_dict())
            | under("optimizer", optimizer_tensors(self.optimizer))
        )

    def load(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Goes on where another process was."""
        self.done, self.shrink, self.names = facts["done"], facts["shrink"], facts["names"]
        self.model.load_state_dict(below("model", tensors))
        self.method.load_state_dict(below("method", tensors))
        restore_optimizer(self.optimizer, below("optimizer", tensors))

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def finish(self, shrink: float) -> None:
        """Gives the model its whole embedding back; ``shrink`` is that of the step whose weights it has."""
        self.model.set_input_embeddings(self.rows.restore(shrink))


def train(
    model: "PreTrainedModel",
    method: Method,
    teacher: Teacher | None,
    data: Prepared,
    settings: dict[str, Any],
    seed: int,
    device: torch.device,
    log: Callable[[str], None] = lambda line: None,
    state: State | None = None,
) -> Outcome:
    """Trains a model with a method and leaves it with the weights of its best epoch on dev.

    ``settings`` are those of ``config.TRAINING``; with ``state`` the run goes on from the last epoch kept there.
    Raises Diverged naming step, terms and the last finite values when the loss explodes or is not finite, and
    MethodError for terms that are none. What else a method's own code raises, ``method_errors.blame`` puts in a line.
    """
    split, task, epochs = data.splits["train"], data.task, settings["epochs"]
    step = Steps(model, method, teacher, data, settings, device)
    outcome = Outcome(best_epoch=0)
    best_score, best_state, best_shrink = -math.inf, None, 1.0
    eval_seconds, resumed = 0.0, 0
    before = "none"  # the last finite values
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    method.epochs = epochs
    method.start_training(stream(seed, "method"))
    found = state.load() if state else None
    if found is not None:
        facts, tensors = found
        step.load(facts["step"], tensors)
        method.resume(facts["history"])
        outcome.epochs, outcome.best_epoch = facts["epochs"], facts["best_epoch"]
        if outcome.best_epoch:
            outcome.dev_logits = tensors["dev_logits"].numpy()
            best_score, best_shrink = facts["best_score"], facts["best_shrink"]
            best_state = below("best", tensors) or copy.deepcopy(model.state_dict())
        eval_seconds, resumed = facts["eval_seconds"], facts["resumed"] + 1
        before = f"mean of epoch {len(outcome.epochs)}: {_named(outcome.epochs[-1]['loss'])}"
        log(f"resumed after epoch {len(outcome.epochs)}")
    for epoch in range(len(outcome.epochs), epochs):
        method.start_epoch(epoch, stream(seed, "method", epoch))
        seed_global(seed, "dropout", epoch)
        history: list[Tensor] = []  # (terms,) of each step, read once an epoch: no host sync in the step
        started = time.perf_counter()
        for rows_B in epoch_batches(split.lengths, settings["batch_size"], stream(seed, "order", epoch)):
            history.append(step(rows_B))
        losses = torch.stack(history).cpu()  # waits for the device
        seconds = time.perf_counter() - started
        before = _check_finite(losses, step.names, step.done - len(history), before, method)
        method.end_epoch()  # after that: what it has accumulated of numbers that are not finite may be beyond it
        check_kept(method, method.history, "history")
        started = time.perf_counter()
        logits = logits_of(model, data.splits["dev"], data.facts["pad_id"], device, step.dtype)
        if not np.isfinite(logits).all():  # a gradient that was not finite shows in no loss after the last step
            raise Diverged(f"the model's dev logits are not finite after step {step.done} (last losses: {before})")
        dev = scores_of(data, "dev", logits)
        labels = data.splits["dev"].labels.numpy()
        halves = [score((task.shown,), predicted(logits[k::2]), labels[k::2])[task.shown] for k in (0, 1)]
        eval_seconds += time.perf_counter() - started
        outcome.epochs.append(
            {
                "epoch": epoch + 1,
                "dev": dev,
                "halves": halves,
                "loss": dict(zip(step.names, losses.double().mean(dim=0).tolist(), strict=True)),
                "learning_rate": step.learning_rate,
                "seconds": seconds,
            }
        )
        shown = dev[task.shown]
        log(f"epoch {epoch + 1}/{epochs} loss {losses[:, 0].mean():.3f} dev {task.shown} {shown:.3f}")
        if method.trains_classifier and shown > best_score:
            best_score, outcome.best_epoch, best_shrink = shown, epoch + 1, step.shrink
            outcome.dev_logits = logits
            if epoch + 1 < epochs:
                best_state = copy.deepcopy(model.state_dict())
        elif method.trains_classifier and epoch + 1 - outcome.best_epoch >= (settings["patience"] or math.inf):
            break
        if state and state.due and epoch + 1 < epochs:
            facts = {
                "step": step.facts(),
                "history": method.history,
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "best_score": best_score if outcome.best_epoch else None,
                "best_shrink": best_shrink,
                "eval_seconds": eval_seconds,
                "resumed": resumed,
            }
            kept = {} if outcome.best_epoch == epoch + 1 else under("best", best_state or {})
            if outcome.dev_logits is not None:
                kept["dev_logits"] = torch.from_numpy(outcome.dev_logits)
            state.save(epoch + 1, facts, step.tensors() | kept)
    if outcome.best_epoch != len(outcome.epochs) and best_state is not None:
        model.load_state_dict(best_state)
    step.finish(best_shrink)
    outcome.method_record = check_kept(method, method.record(), "record()")
    outcome.cost = {
        "train_seconds": sum(e["seconds"] for e in outcome.epochs),
        "step_seconds": float(np.median([e["seconds"] / step.per_epoch for e in outcome.epochs])),
        "steps": step.done,
        "resumed": resumed,
        "eval_seconds": eval_seconds,
        "peak_memory_bytes": peak_memory(device),
        "precision": str(step.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    return outcome


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _check_finite(losses: Tensor, names: list[str], first_step: int, before: str, method: Method) -> str:
    """The last step's losses, (steps, terms), in words; stops a run whose loss explodes or is not finite.

    ``before``: what this returned for the epoch before.
    """

    def step(row: int) -> str:
        return f"step {first_step + row + 1}: {_named(dict(zip(names, losses[row].tolist(), strict=True)))}"

    bad = (~(losses.abs() <= EXPLODED)).any(dim=1).nonzero()
    if len(bad):
        at = int(bad[0])
        last = step(at - 1) if at else before
        what = "is not finite" if not losses[at].isfinite().all() else f"explodes, beyond {EXPLODED:g},"
        if at + first_step == 0:
            last += f"; no weight has changed yet: look at {located(type(method).terms)} and at the teacher's signals"
        raise Diverged(f"loss {what} at {step(at)}; last finite values: {last}")
    return step(len(losses) - 1)
