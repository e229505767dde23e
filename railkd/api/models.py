"""Checks a teacher and a student that are given as models, and says what a method may know of them."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.errors import UserError, warn
from railkd.methods import build, find
from railkd.methods.base import Method, Setting
from railkd.models import classifier, probe
from railkd.models.fine_tuned import UNNAMED, plain_label
from railkd.models.shortcuts import UsedRows
from railkd.random_streams import seed_global

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_LIMIT = 1 << 30  # tokens that a model without a table of positions can take
TRIED = 32  # tokens of the longest text that a model is tried on: padding shows at any length


def require_models(models: Mapping[str, Any]) -> None:
    """Raises UserError unless each is a sequence classifier of its own, in float32, that the suite can read."""
    from transformers import PreTrainedModel

    for name, model in models.items():
        load = "AutoModelForSequenceClassification.from_pretrained(...)"
        if not isinstance(model, PreTrainedModel):
            raise UserError(f"{name}: is a {type(model).__name__}, expected a model of transformers, as from {load}")
        kind = classifier.classifier_class(model.config, name)
        if not isinstance(model, kind):
            raise UserError(f"{name}: is a {type(model).__name__}, expected a {kind.__name__}, as from {load}")
        classifier.embedding_of(model, name)
        if model.config.problem_type == "multi_label_classification":
            raise UserError(
                f"{name}: its problem_type is multi_label_classification, expected a model that gives each text one "
                "class or one score"
            )
        narrow = {str(p.dtype).removeprefix("torch.") for p in model.parameters()} - {"float32"}
        if narrow:  # as transformers loads a checkpoint that was saved so; small steps are lost in such weights
            raise UserError(
                f"{name}: has weights in {', '.join(sorted(narrow))}, expected float32, as from from_pretrained(..., "
                "dtype=torch.float32); `precision` says in what it computes"
            )
    if len({id(model) for model in models.values()}) < len(models):
        raise UserError("student: is the teacher itself, expected a model of its own, such as copy.deepcopy(teacher)")
    _require_own_weights(models)


def _require_own_weights(models: Mapping[str, "PreTrainedModel"]) -> None:
    """Raises UserError where two models share a weight: training one would change the other, a frozen one freeze it."""
    owner: dict[int, str] = {}  # where a weight lies -> whose it is
    for name, model in models.items():
        mine = {p.untyped_storage().data_ptr(): weight for weight, p in model.named_parameters() if p.numel()}
        for place, weight in mine.items():
            if place in owner:
                raise UserError(
                    f"{name}: its weight '{weight}' is the {owner[place]}'s own, expected a copy, as of "
                    "copy.deepcopy(layers)"
                )
        owner |= dict.fromkeys(mine, name)


def require_tokenizer(tokenizer: Any, models: Mapping[str, "PreTrainedModel"]) -> None:
    """Raises UserError unless a tokenizer is a fast one whose every token each model knows, and has padding."""
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"tokenizer: is a {type(tokenizer).__name__}, expected a fast one, as from "
            "AutoTokenizer.from_pretrained(...)"
        )
    if tokenizer.pad_token_id is None:
        raise UserError("tokenizer: has no padding token; set tokenizer.pad_token")
    for name, model in models.items():
        known = classifier.embedding_of(model, name).num_embeddings
        if len(tokenizer) > known:
            raise UserError(
                f"tokenizer: has {len(tokenizer)} tokens, and the {name} knows {known}; expected the tokenizer that "
                "belongs to both models"
            )
        counted = _padding_of_positions(model)
        if counted not in (None, tokenizer.pad_token_id):
            raise UserError(
                f"tokenizer: pads with id {tokenizer.pad_token_id}, but the {name}'s positions take id {counted} for "
                "padding; expected the tokenizer that belongs to both models"
            )


def outputs_of(models: Mapping[str, "PreTrainedModel"]) -> int:
    """The width of the logits, which must be the same: C, or 1 for a score."""
    counts = {name: classifier.outputs_of(model) for name, model in models.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"the {name} {count}" for name, count in counts.items())
        raise UserError(f"student: the numbers of outputs differ ({listed}); load both with the same num_labels")
    return next(iter(counts.values()))


def names_of(models: Mapping[str, "PreTrainedModel"]) -> list[str] | None:
    """The classes' names by ``id2label`` of a model that has some, the teacher before the student; None: no model has.

    Raises UserError where the names are the same in another order: a class would be trained as another.
    """
    found: dict[str, list[str]] = {}
    for name, model in models.items():
        given: Mapping[Any, str] = model.config.id2label or {}
        names = [str(given.get(i, f"LABEL_{i}")) for i in range(classifier.outputs_of(model))]
        if len(set(names)) == len(names) and not any(map(UNNAMED.fullmatch, names)):
            found[name] = names
    if len(found) == 2:
        one, other = ([plain_label(name) for name in names] for names in found.values())
        listed = "; ".join(f"{name} {', '.join(names)}" for name, names in found.items())
        if one != other and set(one) == set(other):
            raise UserError(f"student: id2label has the teacher's classes in another order ({listed})")
        if one != other:
            warn(f"student: id2label has other names than the teacher's, taken as the same classes in order ({listed})")
    return next(iter(found.values()), None)


def tokens_at_most(model: "PreTrainedModel") -> int:
    """The longest input that a model's table of positions can take; RoBERTa counts from after its padding token."""
    rows = getattr(model.config, "max_position_embeddings", None)
    if not rows or rows < 0:
        return NO_LIMIT
    counted = _padding_of_positions(model)
    return int(rows) if counted is None else int(rows - counted - 1)


def _padding_of_positions(model: "PreTrainedModel") -> int | None:
    """The token id that a model's positions take for padding, as RoBERTa's do; None: its positions read no ids."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx)
    return None


def setting_of(teacher: "PreTrainedModel", student: "PreTrainedModel", train_labels: Tensor | None) -> Setting:
    """The facts that a method may depend on."""
    t, s, outputs = teacher.config, student.config, classifier.outputs_of(student)
    sizes = (t.num_hidden_layers, t.hidden_size, s.num_hidden_layers, s.hidden_size)
    return Setting(*sizes, outputs, outputs == 1, train_labels, t.num_attention_heads, s.num_attention_heads)


def built(name: str, setting: Setting, options: dict[str, Any], seed: int, epochs: int) -> Method:
    """A method that can train for so many epochs, its projections as the seed begins them."""
    if setting.regression and not find(name).regression:
        raise UserError(f"method: {name} is undefined for scores; the student has one output")
    seed_global(seed, "method")
    method = build(name, setting, options, "method")
    method.epochs = epochs
    method.check_run()
    return method


def require_readable(models: Mapping[str, "PreTrainedModel"], method: Method, pad_id: int | None = None) -> None:
    """Raises UserError unless the suite can run each model and the method finds in it what it reads (see ``probe``).

    As `railkd check` does with a benchmark's models. Copies are run, in eval mode on the CPU, so that the models, what
    they keep between two calls and the random numbers stay as they were. ``pad_id``: by default the configuration's.
    """
    found = {}
    for name, model in models.items():
        padding = getattr(model.config, "pad_token_id", None) if pad_id is None else pad_id
        rows = classifier.embedding_of(model, name).num_embeddings
        tried = classifier.place(copy.deepcopy(model), classifier.CPU).eval()
        tried.set_attn_implementation("eager")  # which alone gives its attention
        with torch.random.fork_rng(devices=[]):
            probe.readable(tried, rows, padding or 0, min(TRIED, tokens_at_most(model)), name)
            found[name] = probe.limits_of(tried, rows, padding or 0)
    probe.require_within(method, [(f"the {n}", found[n]) for n in ("student", "teacher") if n in found], "method")


@contextmanager
def borrowed_teacher(teacher: "PreTrainedModel | None", whole: bool, device: torch.device) -> Iterator[ExitStack]:
    """Inside the block a run may freeze the teacher, and unless ``whole`` its last layer computes its first position
    alone; after it the teacher is as it was, but for its device. Yields the stack of what is called at the end.
    """
    with ExitStack() as stack:
        if teacher is not None:
            _lend(teacher, whole, device, stack)
            for parameter in teacher.parameters():
                stack.callback(parameter.requires_grad_, parameter.requires_grad)
        yield stack


@contextmanager
def borrowed_student(student: "PreTrainedModel", whole: bool, device: torch.device) -> Iterator[None]:
    """Inside the block the student is as a run has it; after it, it is as it was, but for weights and device.

    A run that is interrupted leaves the student with the weights of its last step; one for which a GPU's memory runs
    out leaves it with those that it began with, and without gradients.
    """
    begun = {name: value.to("cpu", copy=True) for name, value in student.state_dict().items()}
    dropouts = [module for module in student.modules() if type(module) is nn.Dropout]
    try:
        with ExitStack() as stack:
            stack.callback(_as_before, student, student.config._attn_implementation, dropouts)
            _lend(student, whole, device, stack)
            yield
    except torch.OutOfMemoryError:
        student.load_state_dict(begun)
        student.zero_grad()
        raise


def _lend(model: "PreTrainedModel", whole: bool, device: torch.device, stack: ExitStack) -> None:
    """Narrows a model's last layer unless ``whole``, and on a CPU gives it the workflow's attention; the stack undoes
    both and puts the model's mode back."""
    stack.callback(model.train, model.training)
    own, kernel = model.config._attn_implementation, classifier.attention(type(model), device)
    if device.type == "cpu" and own != kernel:
        model.set_attn_implementation(kernel)
        stack.callback(model.set_attn_implementation, own)
    undo = None if whole else classifier.narrow(model)
    if undo is not None:
        stack.callback(undo)


def _as_before(student: "PreTrainedModel", attention: str, dropouts: list[nn.Dropout]) -> None:
    """Takes out of a student what training puts in for speed."""
    embedding = student.get_input_embeddings()
    if isinstance(embedding, UsedRows):
        student.set_input_embeddings(embedding.restore(1.0))
    for module in dropouts:
        module.__class__ = nn.Dropout
    if student.config._attn_implementation != attention:
        student.set_attn_implementation(attention)
