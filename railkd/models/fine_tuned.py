"""Says which output of a checkpoint that is fine-tuned already stands for which label of a task.

Dimensions: ``C`` classes of the task, which are the outputs of the head.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from railkd.errors import UserError
from railkd.models.missing_weights import is_head
from railkd.tasks import TASKS, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNNAMED = re.compile(r"LABEL_\d+")  # what `transformers` calls outputs that nobody has named


def output_order(config: Any, labels: Sequence[str] | None, task: Task, where: str) -> tuple[int, ...]:
    """For each label of the task, in its order, the 0-based output of the head that stands for it, (C,).

    The outputs' names are those of the checkpoint's config.json (``id2label``), or ``labels``, the names that the
    benchmark file gives in the order of the outputs. Names are compared without regard to case and punctuation.
    Raises UserError, one line that begins with ``where``, for a checkpoint of another task and for outputs without
    names.
    """
    expected = f"expected those of {task.name}: {', '.join(task.labels)}" if task.labels else "expected one score"
    count = config.num_labels
    names = _names(config, labels)
    if count != task.outputs:
        raise UserError(
            f"{where}: is fine-tuned for another task than {task.name}: its head has {count} outputs "
            f"({', '.join(names)[:100]}), expected {task.outputs}"
        )
    if task.regression:
        if labels is not None:
            raise UserError(f"{where}.labels: {task.name} is a regression, whose one output has no label; leave it out")
        return (0,)
    if labels is None:
        _require_names(config, names, where, task)
    order = _order(names, task)
    if order is None:
        key = where if labels is None else f"{where}.labels"
        raise UserError(f"{key}: the labels of the head's outputs are {', '.join(names)[:200]}, {expected}")
    return order


def begin_in_order(model: "PreTrainedModel", labels: Sequence[str] | None, task: Task, where: str) -> None:
    """Puts the head with which a training begins into the order of the task's labels, as ``known_order`` says."""
    reorder_outputs(model, known_order(model.config, labels, task) or (), where)


def known_order(config: Any, labels: Sequence[str] | None, task: Task) -> tuple[int, ...] | None:
    """As ``output_order``, of a head to be trained: None where its outputs are not called as the task's labels."""
    names = _names(config, labels)
    return None if task.regression or config.num_labels != len(names) else _order(names, task)


def _names(config: Any, labels: Sequence[str] | None) -> list[str]:
    """What the outputs of a head are called, in their order."""
    own = [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(config.num_labels)]
    return own if labels is None else list(labels)


def _order(names: Sequence[str], task: Task) -> tuple[int, ...] | None:
    """For each label of the task the place of its name; None unless the names are the labels, each once."""
    wanted = [plain_label(label) for label in task.labels]
    places = {plain_label(name): i for i, name in enumerate(names)}
    same = places.keys() == set(wanted) and len(names) == len(wanted)
    return tuple(places[label] for label in wanted) if same else None


def _require_names(config: Any, names: Sequence[str], where: str, task: Task) -> None:
    """The configuration says what each output stands for, says it once, and names no other task."""
    other = plain_label(str(getattr(config, "finetuning_task", None) or ""))
    if other in TASKS and other != task.name:
        raise UserError(
            f"{where}: config.json says finetuning_task '{config.finetuning_task}', expected one for {task.name}; if "
            f"its outputs mean the labels of {task.name} all the same, say so with {where}.labels"
        )
    if any(UNNAMED.fullmatch(name) for name in names):
        raise UserError(
            f"{where}: config.json calls the outputs of its head {', '.join(names)[:100]}, which says nothing of their "
            f"meaning; expected {where}.labels: the labels {', '.join(task.labels)} in the order of its outputs"
        )
    ids = config.label2id or {}
    for i, name in enumerate(names):
        if ids.get(name, i) != i:
            raise UserError(
                f"{where}: config.json contradicts itself: id2label calls output {i} '{name}', label2id gives that "
                f"name to output {ids[name]}; expected {where}.labels to say the order"
            )


def plain_label(name: str) -> str:
    """A label's letters and digits, in lower case: NOT_ENTAILMENT, not-entailment and not_entailment are one label."""
    return re.sub(r"[\W_]+", "", name.casefold())


def reorder_outputs(model: "PreTrainedModel", order: Sequence[int], where: str) -> None:
    """Puts a classifier's outputs into a task's order: output i of the result is output ``order[i]`` of before.

    Raises UserError for a head whose last layer is not a linear map that can be reordered.
    """
    if list(order) == list(range(len(order))):
        return
    last = [
        module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module.out_features == len(order) and is_head(model, f"{name}.weight")
    ]
    ids = torch.arange(1, 7)[None] % model.config.vocab_size
    training = model.training
    model.eval()
    with torch.no_grad():
        before_1C = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        for module in last[-1:]:
            module.weight = nn.Parameter(module.weight[list(order)].clone())
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias[list(order)].clone())
        after_1C = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    model.train(training)
    if not last or not torch.allclose(after_1C, before_1C[:, list(order)], rtol=1e-4, atol=1e-5, equal_nan=True):
        raise UserError(
            f"{where}: the outputs of a {type(model).__name__} cannot be put into the order of the task's labels; "
            "expected a head that ends in a linear map"
        )
