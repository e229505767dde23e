"""Does one training step, for every method and for the teachers: forward, the method's loss, backward, update.

Dimensions: ``B`` batch.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from railkd.data.batches import Prepared
from railkd.devices import autocast, data_budget, precision
from railkd.errors import MethodError
from railkd.methods.base import Method
from railkd.methods.mistakes import backward_of, check_registered, check_trains, located
from railkd.models.classifier import place, uses_type_ids
from railkd.models.compiled import TILE, CompiledForward, padded_lengths
from railkd.models.dropout import use_quick_dropout
from railkd.models.forward import Forward, forward
from railkd.models.masks import use_whole_masks
from railkd.models.shortcuts import UsedRows
from railkd.signals import Batch, Signals
from railkd.teacher.cached import CachedSignals
from railkd.training.device_batches import DeviceBatches
from railkd.training.run_state import below, optimizer_tensors, restore_optimizer, under
from railkd.training.schedule import learning_rate_factor, parameter_groups
from railkd.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Teacher(Protocol):
    """A frozen teacher as a source of signals, cached or live: see the package ``railkd.teacher``."""

    def signals(self, batch: Batch) -> Signals:
        """What the teacher outputs for a batch."""


class Steps:
    """The training steps of one run: what ``train`` repeats, and what the benchmark of costs times.

    Takes the model over: until ``finish``, its embedding has only the rows that the run can meet.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        method: Method,
        teacher: Teacher | None,
        data: Prepared,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.method, self.teacher = model, method, teacher
        self.split, self.pad_id = data.splits["train"], data.facts["pad_id"]
        self.settings, self.device = settings, settings.device
        self.dtype = precision(settings.precision, settings.device, model.config.hidden_size)
        place(model, settings.device).train()
        method.to(settings.device).train()
        if settings.device.type == "cpu":
            use_quick_dropout(model)
            use_quick_dropout(method)
        else:
            use_whole_masks(model)
        embedding = model.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        self.rows = UsedRows(embedding, (self.split.tokens, data.splits["dev"].tokens))
        model.set_input_embeddings(self.rows)
        self.forward = self._forward()
        self.shrink = 1.0  # what weight decay has left of the embedding's other rows
        self.optimizer = torch.optim.AdamW(
            parameter_groups((model, method), settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.clipped = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.per_epoch = math.ceil(len(self.split) / settings.batch_size)
        self.total = self.per_epoch * settings.epochs  # steps after which the learning rate is 0
        budget = data_budget(self.device, settings.device_memory)
        if budget is not None and isinstance(teacher, CachedSignals):  # what an earlier run has left there may stay
            budget += int(settings.device_memory * teacher.bytes_on_device)
        self.batches = DeviceBatches(
            self.split, self.pad_id, uses_type_ids(model), self._lengths(data.facts["max_length"]), self.device, budget
        )
        self.place: str = self.batches.place  # of data, for the run's record
        if budget is not None and isinstance(teacher, CachedSignals):
            self._keep_signals(teacher, budget - self.batches.nbytes)
        self.done = 0
        self.names: list[str] = []  # of what a step returns

    def __call__(self, rows_B: Tensor) -> Tensor:
        """One step on these rows of the training set: the loss and its terms, (terms,), left on the device."""
        self._set_learning_rate()
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass: its graph may use their memory again
        batch = self.batches(rows_B)
        signals = self.teacher.signals(batch) if self.teacher is not None else None
        with autocast(self.device, self.dtype):
            student = self.forward(batch.inputs)
            loss, terms = self.method.loss(batch, student, signals)  # scalars
        names = ["total", *terms]
        if self.done % self.per_epoch == 0 and names != self.names:  # the first step of a run or of a stage
            check_trains(self.method, loss)
            check_registered(self.method, loss, (*self.clipped, *self.model.parameters()))
        with backward_of(self.method):
            loss.backward()
        nn.utils.clip_grad_norm_(self.clipped, self.settings.max_gradient_norm, foreach=True)
        self.optimizer.step()
        if self.done % self.per_epoch == 0:  # a method moves between stages there
            self.names = names
        elif set(names) != set(self.names):
            raise MethodError(
                f"{located(type(self.method).terms)} returned {', '.join(terms) or 'no term'} after "
                f"{', '.join(self.names[1:])} in the same epoch; expected the same terms in every step of an epoch"
            )
        self.done += 1
        return torch.stack([loss.detach(), *(terms[name].float() for name in self.names[1:])])  # (terms,)

    def _forward(self) -> Callable[[dict[str, Tensor]], Forward]:
        """What runs the student on a batch's inputs, (B, T) each."""
        hidden, (layers, _) = self.method.needs_hidden, self.method.attention_layers
        if self.settings.compile:
            return CompiledForward(self.model, min(self.settings.batch_size, len(self.split)), hidden, layers)
        return lambda inputs: forward(self.model, inputs, hidden, layers)

    def _lengths(self, at_most: int) -> list[int]:
        """The lengths in tokens to which batches are padded; none: to the longest text of each."""
        if self.method.pooling == "mean_padded":
            return [at_most]
        if self.settings.compile:
            return padded_lengths(int(self.split.lengths.max()), at_most)
        return [] if self.device.type == "cpu" else [*range(TILE, at_most, TILE), at_most]

    def _keep_signals(self, store: CachedSignals, budget: int) -> None:
        """Puts what the method reads of the cache on the device, if it fits; else it is streamed."""
        names = ["logits", *([self.method.pooling] if self.method.pooling else [])]
        store.keep_on_device(names, budget)
        if self.place == "device" and not store.on_device.issuperset(names):
            self.place = "device, signals streamed"

    def _set_learning_rate(self) -> None:
        """The schedule's rate for the coming step, and what weight decay does with it to the rows left out."""
        settings = self.settings
        factor = learning_rate_factor(self.done, self.total, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        self.shrink *= 1 - self.learning_rate * settings.weight_decay

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

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

    def finish(self, shrink: float) -> None:
        """Gives the model its whole embedding back; ``shrink`` is that of the step whose weights it has."""
        self.model.set_input_embeddings(self.rows.restore(shrink))
