"""Gives a method's loss to a training loop of one's own."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from railkd.api.models import built, names_of, outputs_of, require_models, require_readable, setting_of
from railkd.api.options import check_options
from railkd.errors import UserError
from railkd.methods.base import reads_teacher
from railkd.methods.mistakes import blame, check_registered
from railkd.models.classifier import uses_type_ids
from railkd.models.forward import forward
from railkd.random_streams import stream
from railkd.signals import Batch
from railkd.teacher.live import Live, LiveTeacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DistillationLoss(nn.Module):
    """A method's loss on a batch: the teacher, frozen and in eval mode, is run in every call.

    Its parameters are the method's projections alone; an optimizer takes them beside the student's. Call
    ``start_epoch`` before every epoch and ``end_epoch`` after it: methods draw layers and move between stages there.
    ``to`` moves the projections and the teacher.

    Raises UserError for models that are no sequence classifiers or whose outputs differ, those that the method cannot
    read or whose outputs depend on padding, an option that it does not have, and a number of epochs that it cannot
    train in; at the first batch, for a method that trains what is none of its parameters.
    """

    def __init__(
        self,
        teacher: "PreTrainedModel | None",
        student: "PreTrainedModel",
        method: str = "rail_kd_c",
        *,
        epochs: int,
        train_labels: Any = None,
        seed: int = 1,
        precision: str = "float32",
        **options: Any,
    ) -> None:
        """``epochs``: of the whole training. ``train_labels``: (examples,), for a method that keeps something of every
        example, as CoDIR does; its batches have ``row``, (B,), the examples' places in them. ``precision``: of the
        teacher, float32 or bfloat16. ``options``: those of the method.
        """
        super().__init__()
        models = {"student": student} if teacher is None else {"teacher": teacher, "student": student}
        require_models(models)
        outputs_of(models)
        names_of(models)
        check_options(method, options)
        setting = setting_of(teacher or student, student, None)
        labels = None if train_labels is None else torch.as_tensor(train_labels)
        if labels is not None:
            labels = _one_each(labels, len(labels), setting.regression, "train_labels: are")
        self.method = built(method, dataclasses.replace(setting, train_labels=labels), options, seed, epochs)
        self.name, self.seed, self._rows_known = method, seed, labels is not None
        self._student = (student,)  # in a tuple: neither model is a part of the loss
        self._teacher: LiveTeacher | None = None
        if teacher is None and reads_teacher(self.method):
            raise UserError(f"teacher: is None, and the method {method} reads it; expected a fine-tuned classifier")
        require_readable(models, self.method)
        if teacher is not None and reads_teacher(self.method):
            self._teacher = LiveTeacher.for_method(self.method, teacher, None, student.device, precision)
        self.method.to(student.device)
        with blame(self.method):
            self.method.start_training(stream(seed, "method"))
        self._registered = [name for name, _ in self.method.named_parameters()]  # what an optimizer can be given
        self._unchecked = True

    def _apply(self, fn: Any, recurse: bool = True) -> "DistillationLoss":
        """What ``to``, ``cuda`` and the like call: the teacher, which is no part of this module, goes with it."""
        super()._apply(fn, recurse)
        if self._teacher is not None:
            self._teacher.move(fn(torch.empty(0, device=self._teacher.device)).device)
        return self

    def start_epoch(self, epoch: int) -> None:
        """Before an epoch, counted from 0."""
        self.method.train()
        with blame(self.method):
            self.method.start_epoch(epoch, stream(self.seed, "method", epoch))

    def end_epoch(self) -> None:
        """After the last step of an epoch."""
        with blame(self.method):
            self.method.end_epoch()

    def record(self) -> dict[str, Any]:
        """What the method has kept of its epochs: drawn layers, attention weights, ..."""
        return self.method.record()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, a scalar with its gradient, and its terms by name, detached and without their weights.

        ``batch``: what a tokenizer gives, (B, T) on the student's device, with ``labels``, (B,) or of scores (B, 1),
        and ``row`` (B,) where the method needs it. Both models see the same tokens; ``token_type_ids`` goes to those
        that know it.
        """
        inputs = dict(batch)
        labels_B, row_B = inputs.pop("labels", None), inputs.pop("row", None)
        if labels_B is None:
            raise UserError("batch: no labels, expected a tensor of classes or scores, (B,)")
        if "attention_mask" not in inputs:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        examples = next(iter(inputs.values())).shape[0]
        labels_B = _one_each(labels_B, examples, self.method.setting.regression, "batch: labels are")
        (student,) = self._student
        for_student = inputs_of(student, inputs)
        if row_B is not None and self._rows_known:
            seen = Batch(row_B, labels_B, for_student)
        else:
            seen = _WithoutRows(labels_B, for_student)
        for_teacher = None if self._teacher is None else inputs_of(self._teacher.model, inputs)
        with blame(self.method):
            teacher = None if for_teacher is None else Live(cast(LiveTeacher, self._teacher), for_teacher)
            signals = forward(student, for_student, self.method.needs_hidden, self.method.attention_layers[0])
            loss, terms = self.method.loss(seen, signals, teacher)
        if self._unchecked and loss.requires_grad:
            self._check_registered(loss)
            self._unchecked = False
        return loss, terms

    def _check_registered(self, loss: Tensor) -> None:
        """Raises MethodError for what an optimizer cannot have; a Trainer's student has the method as a part."""
        (student,) = self._student
        late = {id(p) for name, p in self.method.named_parameters() if name not in self._registered}
        trained = (*student.parameters(), *self.method.parameters())
        check_registered(self.method, loss, [p for p in trained if id(p) not in late])


def _one_each(labels: Tensor, examples: int, scores: bool, what: str) -> Tensor:
    """(examples,) labels, classes as int64; scores may be (examples, 1), as `transformers` takes them.

    Raises UserError for another shape or, of classes, another kind of number. The values are not looked at: on a GPU
    the host would wait for them.
    """
    if scores and labels.shape == (examples, 1):
        labels = labels[:, 0]
    expected = f"one {'score' if scores else 'class number'} for each text, ({examples},)"
    if labels.shape != (examples,):
        raise UserError(f"{what} of shape {tuple(labels.shape)}, expected {expected}")
    if scores:
        return labels
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"{what} of type {str(labels.dtype).removeprefix('torch.')}, expected {expected}")
    return labels.long()


def inputs_of(model: "PreTrainedModel", inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is called with: no token_type_ids where it knows none, UserError where it misses them."""
    known = uses_type_ids(model)
    if known and "token_type_ids" not in inputs:
        raise UserError(
            f"batch: no token_type_ids, which a {type(model).__name__} reads; ask the tokenizer for them with "
            "return_token_type_ids=True"
        )
    return {name: value for name, value in inputs.items() if known or name != "token_type_ids"}


class _WithoutRows(Batch):
    """A batch whose examples' places in the training set are not known."""

    def __init__(self, labels_B: Tensor, inputs: dict[str, Tensor]) -> None:
        for field, value in (("labels_B", labels_B), ("inputs", inputs)):
            object.__setattr__(self, field, value)

    def __getattr__(self, name: str) -> Tensor:
        if name == dataclasses.fields(Batch)[0].name:
            raise UserError(
                "batch: the method keeps something of every training example; expected train_labels, and 'row' in each "
                "batch, the examples' places in them"
            )
        raise AttributeError(name)
