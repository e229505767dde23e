"""Checks, by an encoder's outputs, that the suite can read it and that they do not depend on padding.

Everything here rests on three things: hidden states of every layer, a first position that has read the whole text, and
outputs that padding on the right does not change. Dimensions: ``B`` batch, ``T`` tokens, ``D`` width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.data.batches import Prepared, Split
from railkd.errors import UserError
from railkd.methods.base import Method
from railkd.models.classifier import embedding_of, layer_list, place, uses_type_ids
from railkd.models.forward import Forward, forward
from railkd.models.shortcuts import UsedRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-3  # of the largest value; padding changes float32 sums by about 1e-6, a model that reads it by 1e-2


@dataclass(frozen=True)
class Limits:
    """What methods cannot read of a model that the suite can run, and why; None: they can."""

    unreadable: str | None  # its queries, keys and values
    unmixable: str | None  # its outputs for mixed word embeddings


def limits_of(model: "PreTrainedModel", vocabulary: int, pad_id: int) -> Limits:
    """By its outputs for made-up tokens."""
    return Limits(unreadable(model, vocabulary, pad_id), unmixable(model, vocabulary, pad_id))


def require_within(method: Method, models: Sequence[tuple[str, Limits | None]], where: str) -> None:
    """Raises UserError when a method reads what a model has not: attention vectors, mixed inputs.

    ``models``: the student's name and limits, then the teacher's; None for a model that is not known yet.
    """
    for (name, limits), layers in zip(models, method.attention_layers, strict=False):  # there may be no teacher
        unreadable, unmixable = (limits.unreadable, limits.unmixable) if limits else (None, None)
        if layers and unreadable:
            raise UserError(f"{where}: reads queries, keys and values, which {name} does not show ({unreadable})")
        mixes_embeddings = method.mixes_examples and method.needs_live_teacher  # else it compares a batch's examples
        if mixes_embeddings and unmixable:
            raise UserError(f"{where}: mixes word embeddings, which {name} does not take: {unmixable}")


def _inputs(model: "PreTrainedModel", rows: list[list[int]], pad_id: int) -> dict[str, Tensor]:
    """What a model is called with: these token ids, padded on the right; each tensor (B, T)."""
    tokens = torch.tensor([token for row in rows for token in row], dtype=torch.int32)
    length_B = torch.tensor([len(row) for row in rows])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), length_B.cumsum(0)])
    split = Split(tokens, offsets, (length_B // 2).int(), torch.zeros(len(rows)))
    return split.collate(torch.arange(len(rows)), pad_id, uses_type_ids(model))


def _run(model: "PreTrainedModel", inputs: dict[str, Tensor], where: str) -> Forward:
    try:
        return forward(model, inputs)
    except UserError:
        raise
    except Exception as error:  # an argument that it does not take, a shape that its layers cannot have
        kind = type(model).__name__
        size = inputs["input_ids"].shape[1]
        why = " ".join(str(error).split())[:160]
        raise UserError(f"{where}: a {kind} cannot be run on {size} tokens and their mask ({why})") from None


def _differ(one: Tensor, other: Tensor) -> bool:
    """More than rounding."""
    return bool((one - other).abs().max() > TOLERANCE * one.abs().max().clamp(min=1e-6))


def readable(model: "PreTrainedModel", vocabulary: int, pad_id: int, length: int, where: str) -> None:
    """Raises UserError unless the suite can read an encoder of random weights: see the module's head.

    ``length`` is the longest text in tokens. One short text alone and beside a long one, and with another last token.
    """
    other = [token for token in range(vocabulary) if token != pad_id]
    short = [other[i % len(other)] for i in range(1, 7)]
    long = [other[(7 * i) % len(other)] for i in range(1, max(length, 8) + 1)]
    changed = [*short[:-1], other[(short[-1] + 3) % len(other)]]
    with torch.inference_mode():
        entered: dict[int, Tensor] = {}
        with _Entered(model, entered):
            alone = _run(model, _inputs(model, [short], pad_id), where)
        _require_hidden(model, alone, entered, len(short), where)
        beside = _run(model, _inputs(model, [short, long], pad_id), where)
        again = _run(model, _inputs(model, [changed], pad_id), where)
    if not all(bool(h.isfinite().all()) for h in (*alone.hidden, alone.logits_BC)):
        return  # of made-up weights; with the real ones ``require_padding_unread`` says it
    if torch.equal(alone.hidden[-1][:, 0], again.hidden[-1][:, 0]):
        raise UserError(
            f"{where}: the first position of a {type(model).__name__} does not read what follows it, expected an "
            "encoder"
        )
    pairs = [(alone.logits_BC[0], beside.logits_BC[0])]
    pairs += [(a[0], b[0, : len(short)]) for a, b in zip(alone.hidden, beside.hidden, strict=True)]
    if any(_differ(*pair) for pair in pairs):
        raise UserError(_padding(model, where))
    _require_used_rows(model, _inputs(model, [short], pad_id), alone.logits_BC, where)


def _require_used_rows(model: "PreTrainedModel", inputs: dict[str, Tensor], logits_BC: Tensor, where: str) -> None:
    """Training gives a model the rows alone that its tokens need: it must read its word embedding by calling it."""
    full = embedding_of(model, where)
    try:
        model.set_input_embeddings(UsedRows(full, (inputs["input_ids"],)))
        with torch.inference_mode():
            same = not _differ(logits_BC, _run(model, inputs, where).logits_BC)
    finally:
        model.set_input_embeddings(full)
    if not same:
        raise UserError(f"{where}: a {type(model).__name__} does not read its word embedding by rows alone")


def _padding(model: "PreTrainedModel", where: str) -> str:
    return (
        f"{where}: the outputs of a {type(model).__name__} depend on the padding to the right of a text, so on the "
        "batch; expected an encoder that leaves masked positions out and classifies by the first"
    )


class _Entered:
    """Keeps what enters each layer inside the block, by its 0-based number; nothing for an encoder without a list."""

    def __init__(self, model: "PreTrainedModel", kept: dict[int, Tensor]) -> None:
        self.hooks: list[Any] = []
        try:
            owner, name = layer_list(model, model.config.num_hidden_layers)
        except UserError:
            return
        for number, layer in enumerate(getattr(owner, name)):

            def keep(module: nn.Module, given: Any, named: dict[str, Any], number: int = number) -> None:
                states = [x for x in (*given, *named.values()) if isinstance(x, Tensor) and x.is_floating_point()]
                if states:
                    kept.setdefault(number, states[0])

            self.hooks.append(layer.register_forward_pre_hook(keep, with_kwargs=True))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def _require_hidden(
    model: "PreTrainedModel", outputs: Forward, entered: dict[int, Tensor], length: int, where: str
) -> None:
    """Hidden states of the embedding and of every layer, (1, T, D), in the layers' order."""
    kind, depth, width = type(model).__name__, model.config.num_hidden_layers, model.config.hidden_size
    shapes = [tuple(h.shape) for h in outputs.hidden]
    if shapes != [(1, length, width)] * (depth + 1):
        odd = next((s for s in shapes if s != (1, length, width)), "none")
        raise UserError(
            f"{where}: a {kind} of {depth} layers gives {len(shapes)} hidden states (one of them {odd}), expected "
            f"{depth + 1} of shape (1, {length}, {width}): of the embedding and of each layer"
        )
    for number, states in entered.items():
        hidden = outputs.hidden[number]
        if states.shape == hidden.shape and not torch.equal(states.nan_to_num(), hidden.nan_to_num()):
            raise UserError(f"{where}: hidden state {number} of a {kind} is not what layer {number + 1} reads")
    expected = (1, model.config.num_labels)
    if tuple(outputs.logits_BC.shape) != expected:
        raise UserError(f"{where}: the logits of a {kind} are {tuple(outputs.logits_BC.shape)}, expected {expected}")


def unmixable(model: "PreTrainedModel", vocabulary: int, pad_id: int) -> str | None:
    """Why an encoder cannot be run on mixed word embeddings; None when it can."""
    rows = [[(pad_id + 1 + i) % vocabulary for i in range(6)], [(pad_id + 2 + i) % vocabulary for i in range(6)]]
    try:
        with torch.inference_mode():
            outputs = forward(model, _inputs(model, rows, pad_id))
            mixed = outputs.mixed(torch.tensor([1, 0]), 1.0)
    except Exception as error:  # no inputs_embeds, or shapes that follow from token ids
        return f"a {type(model).__name__} cannot be run on word embeddings ({' '.join(str(error).split())[:160]})"
    if _differ(outputs.logits_BC, mixed.logits_BC):
        return f"a {type(model).__name__} gives other outputs for word embeddings than for their tokens"
    return None


def unreadable(model: "PreTrainedModel", vocabulary: int, pad_id: int) -> str | None:
    """Why methods cannot read an encoder's queries, keys and values; None when its attention is softmax(q·k/√d).

    By its outputs, for RoFormer and others have three maps of those names and do more with what these give.
    """
    depth, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    inputs = _inputs(model, [[(pad_id + 1 + i) % vocabulary for i in range(6)]], pad_id)
    try:
        with torch.inference_mode():
            outputs = forward(model, inputs, attention=range(1, depth + 1))
            attentions = model(**inputs, output_attentions=True).attentions
            same = bool(attentions)
            for layer, found_1HTT in enumerate(attentions or (), 1):
                query_1TD, key_1TD = outputs.vectors("query", layer), outputs.vectors("key", layer)
                query_1HTd, key_1HTd = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_1TD, key_1TD))
                score_1HTT = query_1HTd @ key_1HTd.transpose(-1, -2) * query_1HTd.shape[-1] ** -0.5
                made_1HTT = score_1HTT.softmax(dim=-1)
                same = same and found_1HTT.shape == made_1HTT.shape and not _differ(found_1HTT, made_1HTT)
    except UserError as error:
        return str(error)
    except Exception:  # vectors of other shapes, or no attention to be had
        same = False
    return None if same else f"the attention of a {type(model).__name__} is not softmax(q·k/√d) of queries and keys"


def require_padding_unread(
    model: "PreTrainedModel", data: Prepared, device: torch.device, where: str, of: str = "train"
) -> None:
    """Raises UserError when a model's outputs depend on padding, or are not finite.

    Asks for the shortest text of a split alone, and padded to the longest it may be. Leaves the model on the device, in
    the mode it was in, and draws nothing at random.
    """
    split, pad_id, type_ids = data.splits[of], data.facts["pad_id"], uses_type_ids(model)
    was_training = model.training
    place(model, device).eval()
    row_1 = split.lengths.argmin()[None]
    logits = []
    with torch.inference_mode():
        for pad_to in (None, data.facts["max_length"]):
            inputs = {k: v.to(device) for k, v in split.collate(row_1, pad_id, type_ids, pad_to).items()}
            logits.append(forward(model, inputs, hidden=False).logits_BC.float())
    model.train(was_training)
    if not bool(logits[0].isfinite().all()):
        raise UserError(f"{where}: its logits are not finite before training; the weights are damaged")
    if _differ(*logits):
        raise UserError(_padding(model, where))
