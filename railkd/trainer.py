"""Distils in a `transformers.Trainer`, by any method of the suite. Trainer needs the package accelerate."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from railkd.api.loss import DistillationLoss, inputs_of
from railkd.errors import UserError
from railkd.methods.mistakes import blame
from railkd.models.classifier import uses_type_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PART = "railkd_loss"  # the name of the method's projections in the student while it is trained
HISTORY = "railkd_history.json"  # in a checkpoint: what the method has kept of the epochs before it


class DistillationTrainer(Trainer):
    """A Trainer whose loss is that of a distillation method, with the teacher run in every step.

    The method's projections are a part of the student while ``train`` runs, so the optimizer, the clipping of
    gradients, checkpoints and a resumed training have them; afterwards the student is as it was, and what is then saved
    has none of them. Evaluation and prediction are Trainer's. The means of the method's terms are logged beside the
    loss. The batches need the columns that a tokenizer gives, and ``labels``.

    Raises UserError for what the loss cannot be built with, for more than one device, and without a training set.
    """

    def __init__(  # noqa: PLR0913 - those of Trainer's arguments that distillation leaves open
        self,
        teacher: "PreTrainedModel",
        student: "PreTrainedModel",
        method: str = "rail_kd_c",
        *,
        options: dict[str, Any] | None = None,
        args: TrainingArguments,
        train_dataset: Any,
        eval_dataset: Any = None,
        processing_class: "PreTrainedTokenizerBase | None" = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        compute_metrics: Callable[[Any], dict[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        """``options``: those of the method. The others are Trainer's; its ``model`` is the student."""
        if args.n_gpu > 1 or args.world_size > 1:
            devices = max(args.n_gpu, args.world_size)
            raise UserError(f"args: {devices} devices, expected one: set CUDA_VISIBLE_DEVICES to a single GPU")
        if args.label_smoothing_factor:
            raise UserError("args: label_smoothing_factor is no part of a method's loss, expected 0")
        labels = _labels(train_dataset)
        self.student = student
        super().__init__(
            student,
            args,
            data_collator,
            _with_rows(train_dataset),
            eval_dataset,
            processing_class,
            compute_metrics=compute_metrics,
            callbacks=[*callbacks, _Epochs(self)],
        )
        self.model_accepts_loss_kwargs = False  # the loss is a batch's mean
        self.distillation = DistillationLoss(
            teacher,
            student,
            method,
            epochs=_epochs(args, len(train_dataset)),
            train_labels=labels,
            seed=args.seed,
            precision="bfloat16" if args.bf16 else "float32",
            **(options or {}),
        )
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._ended, self._history = 0, copy.deepcopy(self.distillation.method.history)
        self._set_signature_columns_if_needed()
        known: list[str] = getattr(self, "_signature_columns")  # noqa: B009 - of a batch; the others are not collated
        known.append("row")
        if uses_type_ids(teacher) and "token_type_ids" not in known:
            known.append("token_type_ids")

    def train(
        self, resume_from_checkpoint: str | bool | None = None, trial: Any = None, ignore_keys_for_eval: Any = None
    ) -> Any:
        """As Trainer's, with the method's projections in the student."""
        self.student.add_module(PART, self.distillation)
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            delattr(self.student, PART)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The method's loss in training; the model's own in evaluation."""
        if not model.training or return_outputs:
            return super().compute_loss(model, self._plain(inputs), return_outputs, num_items_in_batch)
        loss, terms = self.distillation(inputs)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float()
        self._steps += 1
        return loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        """As Trainer's, on what the student is called with."""
        return super().prediction_step(model, self._plain(inputs), prediction_loss_only, ignore_keys)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As Trainer's, with the means of the method's terms since the last time beside the loss."""
        if "loss" in logs and self._steps:
            logs |= {name: round(float(total) / self._steps, 6) for name, total in self._sums.items()}
            self._sums, self._steps = {}, 0
        super().log(logs, start_time)

    def keep_history(self, epochs: int) -> None:
        """Called at the end of a whole epoch: a checkpoint within the next one begins that one again."""
        self._ended, self._history = epochs, copy.deepcopy(self.distillation.method.history)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As Trainer's, with the method's history."""
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        kept = {"epochs": self._ended, "history": self._history}
        (folder / HISTORY).write_text(json.dumps(kept), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """As Trainer's; the method goes on from its history, as when a run of the workflow resumes."""
        file = Path(resume_from_checkpoint) / HISTORY
        if not file.is_file():
            raise UserError(f"resume_from_checkpoint: {file} is missing, expected a checkpoint of DistillationTrainer")
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        kept = json.loads(file.read_text(encoding="utf-8"))
        self._ended, self._history = kept["epochs"], kept["history"]
        method = self.distillation.method
        if not self._ended:  # without what an interrupted training has left of its first epoch
            method.history = copy.deepcopy(self._history)
            return
        with blame(method):
            method.resume(copy.deepcopy(self._history))

    def _plain(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch without what the student is not called with."""
        return {name: value for name, value in inputs_of(self.student, inputs).items() if name != "row"}


class _Epochs(TrainerCallback):
    """Tells the loss where epochs begin and end."""

    def __init__(self, trainer: DistillationTrainer) -> None:
        self.trainer, self.open = trainer, False

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.trainer.distillation.start_epoch(int(state.epoch or 0))
        self.open = True

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """After the last step of an epoch, before a checkpoint that may be due then."""
        if float(state.epoch).is_integer():
            self._end()
            self.trainer.keep_history(int(state.epoch))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self.open:  # the training ends within an epoch
            self._end()

    def _end(self) -> None:
        self.trainer.distillation.end_epoch()
        self.open = False


def _epochs(args: TrainingArguments, examples: int) -> int:
    """How many epochs the training has at most."""
    if args.max_steps <= 0:
        return math.ceil(args.num_train_epochs)
    part = math.floor if args.dataloader_drop_last else math.ceil
    batches = max(1, part(examples / args.per_device_train_batch_size))
    return math.ceil(args.max_steps / math.ceil(batches / args.gradient_accumulation_steps))


def _labels(dataset: Any) -> Tensor:
    """(examples,) the labels of a training set."""
    if dataset is None or not hasattr(dataset, "__len__") or not len(dataset):
        raise UserError("train_dataset: expected a data set of a known length with at least one example")
    columns = getattr(dataset, "column_names", None) or list(dataset[0])
    name = next((key for key in ("labels", "label") if key in columns), None)
    if name is None:
        raise UserError(f"train_dataset: no labels, expected a column labels or label (found {', '.join(columns)})")
    if hasattr(dataset, "column_names"):
        return torch.as_tensor(dataset[name][:])
    return torch.as_tensor([dataset[i][name] for i in range(len(dataset))])


def _with_rows(dataset: Any) -> Any:
    """The training set with each example's place in it, as ``row``."""
    if hasattr(dataset, "add_column"):
        return dataset.add_column("row", list(range(len(dataset))))
    return _Rows(dataset)


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """A data set of torch's kind, whose examples say their place."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**self.dataset[row], "row": row}
