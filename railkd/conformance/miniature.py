"""Surrounds a method with miniature random models, and shows it what a training step would, quickly."""

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from railkd.data.batches import Prepared, Split
from railkd.devices import autocast
from railkd.errors import UserError
from railkd.methods import build
from railkd.methods.base import Method, Setting
from railkd.methods.mistakes import BROADCAST, backward_of, blame, check_registered, check_trains
from railkd.models.classifier import narrow
from railkd.models.forward import forward
from railkd.random_streams import stream
from railkd.signals import Batch, Signals
from railkd.tasks import TASKS
from railkd.training.schedule import parameter_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU = torch.device("cpu")
LAYERS_T, LAYERS_S, WIDTH = 12, 6, 16
NARROW = 12  # the student's width, unless the method needs equal ones
EXAMPLES, LENGTH, BATCH = 12, 16, 8  # training examples, tokens of a padded batch, examples of a batch
LEARNING_RATE = 1e-2
EPOCHS = 4  # checks are made in the first and the last: a method may have stages
Terms = dict[str, float]


class Failure(Exception):
    """What a method did, beside what it should have done."""


def _miniature(layers: int, width: int, outputs: int, seed: int) -> "PreTrainedModel":
    from transformers import BertConfig, BertForSequenceClassification

    sizes: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 1,
        "intermediate_size": 2 * width, "max_position_embeddings": LENGTH, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2, "num_labels": outputs,
        "attn_implementation": "eager",
    }  # fmt: skip
    torch.manual_seed(seed)
    return BertForSequenceClassification(BertConfig(**sizes))


@dataclass(frozen=True)
class Run:
    """A method as the training loop has it at the start of an epoch, and the optimizer, made before training starts."""

    method: Method
    optimizer: torch.optim.Optimizer

    @property
    def trained(self) -> list[Tensor]:
        """What the optimizer's steps change: parameters of the student and of the method."""
        return [tensor for group in self.optimizer.param_groups for tensor in group["params"]]


@dataclass(frozen=True)
class Kept:
    """What the training loop keeps of a run at the end of an epoch."""

    state: dict[str, Any]
    optimizer: dict[str, Any]
    history: str  # JSON

    @classmethod
    def of(cls, run: Run) -> "Kept":
        """As it is now."""
        states = copy.deepcopy((run.method.state_dict(), run.optimizer.state_dict()))
        return cls(*states, json.dumps(run.method.history))


class Miniatures:
    """A method among miniature models: builds it as a run would, and asks it for the loss of a batch."""

    def __init__(self, name: str, options: dict[str, Any], task: str = "mnli") -> None:
        self.name, self.options, self.task = name, options, TASKS[task]
        regression = self.task.regression
        g = torch.Generator().manual_seed(0)
        lengths = torch.randint(4, LENGTH - 3, (EXAMPLES,), generator=g)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        tokens = torch.randint(1, 50, (int(offsets[-1]),), generator=g).int()
        labels = torch.rand(EXAMPLES, generator=g) * 5 if regression else torch.arange(EXAMPLES) % self.task.outputs
        self.split = Split(tokens, offsets, (lengths // 2).int(), labels)
        self.rows = torch.arange(BATCH)
        setting = Setting(LAYERS_T, WIDTH, LAYERS_S, NARROW, self.task.outputs, regression, labels)
        try:
            method = build(name, setting, options)
        except UserError:
            setting = replace(setting, student_width=WIDTH)
            method = build(name, setting, options)  # what it refuses now, it refuses
        build(name, replace(setting, train_labels=None), options)  # as `railkd check` does
        self.setting = setting
        self.teacher = _miniature(LAYERS_T, WIDTH, self.task.outputs, 1).eval().requires_grad_(False)
        self.student = _miniature(LAYERS_S, setting.student_width, self.task.outputs, 2)
        if not method.whole_last_layer:  # as in a run, where a method then sees its first position alone
            for model in (self.teacher, self.student):
                narrow(model)

    def start(self, epoch: int = 0, seed: int = 0) -> Method:
        """A fresh instance as the training loop has it at the start of an epoch. ``seed``: as in ``start_epoch``."""
        return self.start_run(epoch, None, seed).method

    def start_run(self, epoch: int = 0, kept: Kept | None = None, seed: int = 0) -> Run:
        """The same with its optimizer, or a run that is resumed there: everything in the order of the loop.

        One that is not resumed has done a step in each epoch before: what a method gathers in one it may read later.
        """
        torch.manual_seed(0)
        method = build(self.name, self.setting, self.options)
        vars(method)["epochs"] = EPOCHS
        run = Run(method, torch.optim.AdamW(parameter_groups((self.student, method), 0.0), lr=LEARNING_RATE))
        method.train()
        with blame(method):
            torch.manual_seed(seed)
            method.start_training(stream(0, "method"))
            if kept is not None:
                method.load_state_dict(kept.state)
                run.optimizer.load_state_dict(copy.deepcopy(kept.optimizer))
                method.resume(json.loads(kept.history))
            for earlier in range(epoch if kept is None else 0):
                self.start_epoch(method, earlier, seed)
                with self.student_kept():
                    self.step(run, self.rows)
                method.end_epoch()
            self.start_epoch(method, epoch, seed)
        return run

    def start_epoch(self, method: Method, epoch: int, seed: int = 0) -> None:
        """Starts an epoch. ``seed`` is the global generators', from which a method draws nothing."""
        torch.manual_seed(seed)
        method.start_epoch(epoch, stream(0, "method", epoch))

    @cached_property
    def on_scores(self) -> "Miniatures":
        """The same method on scores in place of classes; raises UserError when it cannot be built for them."""
        return Miniatures(self.name, self.options, "stsb")

    @cached_property
    def on_two_classes(self) -> "Miniatures":
        """The same method on two classes; raises UserError when it cannot be built for them."""
        return Miniatures(self.name, self.options, "sst2")

    def batch(self, rows: Tensor, pad_to: int = LENGTH) -> Batch:
        """Some training examples, padded to so many tokens."""
        return Batch(rows, self.split.labels[rows], self.split.collate(rows, 0, True, pad_to))

    def outputs(self, method: Method, batch: Batch) -> Signals | None:
        """The live teacher's signals, for a method that reads any."""
        if not (method.needs_logits or method.needs_hidden or method.needs_live_teacher):
            return None
        with torch.no_grad():
            return forward(self.teacher, batch.inputs, method.needs_hidden, **self._kept(method, 1))

    def _kept(self, method: Method, model: int) -> dict[str, Any]:
        layers = getattr(method, "attention_layers", ((), ()))[model]
        return {"attention": layers} if layers else {}

    def loss(
        self,
        method: Method,
        batch: Batch,
        teacher: Signals | None,
        seed: int = 0,
        precision: torch.dtype = torch.float32,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms. ``seed`` is the global generators', from which a method draws nothing.

        A warning of torch that two shapes are broadcast is raised: (B, 1) and (B,) are compared as (B, B).
        """
        with autocast(CPU, precision), warnings.catch_warnings():
            warnings.filterwarnings("error", BROADCAST, UserWarning)
            student = forward(self.student, batch.inputs, method.needs_hidden, **self._kept(method, 0))
            torch.manual_seed(seed)
            return method.loss(batch, student, teacher)

    def terms(self, method: Method, rows: Tensor | None = None, pad_to: int = LENGTH, seed: int = 0) -> Terms:
        """The terms of a batch with a live teacher, as numbers."""
        batch = self.batch(self.rows if rows is None else rows, pad_to)
        return numbers(self.loss(method, batch, self.outputs(method, batch), seed)[1])

    def step(self, run: Run, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A training step with a live teacher, as the loop does one: the loss and its terms, before the update."""
        batch = self.batch(rows)
        run.optimizer.zero_grad()
        loss, terms = self.loss(run.method, batch, self.outputs(run.method, batch))
        check_trains(run.method, loss)
        check_registered(run.method, loss, (*run.trained, *self.student.parameters()))
        with backward_of(run.method):
            loss.backward()
        run.optimizer.step()
        return loss.detach(), terms

    @contextmanager
    def student_kept(self) -> Iterator[None]:
        """Inside, steps train the student; afterwards it has the weights that it had."""
        kept = {name: tensor.clone() for name, tensor in self.student.state_dict().items()}
        try:
            yield
        finally:
            self.student.load_state_dict(kept)
            self.student.zero_grad()

    @cached_property
    def prepared(self) -> Prepared:
        return Prepared(self.task, {"train": self.split, "dev": self.split}, {"pad_id": 0, "max_length": LENGTH})


def numbers(terms: dict[str, Tensor]) -> Terms:
    """Terms as numbers; raises Failure when one is no scalar."""
    shapes = {name: tuple(value.shape) for name, value in terms.items() if value.ndim}
    if shapes:
        raise Failure(f"terms are scalars, but {shapes}")
    return {name: value.item() for name, value in terms.items()}
