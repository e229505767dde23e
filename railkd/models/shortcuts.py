"""Leaves out work of a step without changing what it computes: positions and rows that nothing reads."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from railkd.errors import UserError, warn
from railkd.models.attention import NAMES, projections

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# scores q·k/√d and nothing else: by name, for others (RoFormer, ConvBERT) have the same parts and do more with them
PLAIN_ATTENTION = {f"{family}SelfAttention" for family in ("Bert", "Roberta", "XLMRoberta", "Electra", "DistilBert")}
TOLERANCE = 1e-4  # of the largest value; the order of the sums moves the seventh digit
WITHOUT_EFFECT = {"output_hidden_states", "output_attentions"}  # arguments that ask for more, and change no number

_verdicts: dict[Hashable, bool] = {}


def narrow_where_exact(model: "PreTrainedModel", layer: nn.Module) -> Callable[[], None] | None:
    """Narrows a model's last layer, if the model then computes the same; else one line says why it stays whole.

    Returns what makes the layer whole again; None where it is whole.

    Compared on a tiny batch, once in a process for each architecture: a library may change what it computes under a
    class's name.
    """
    if _after_attention(layer) is None:
        return None
    key = (*architecture(model), *(type(module) for module in layer.modules()))
    if key not in _verdicts:
        try:
            _verdicts[key] = _same_when_narrow(model, layer)
            why = "it would give other numbers"
        except Exception as error:  # whatever another library's code raises
            _verdicts[key] = False
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if not _verdicts[key]:
            warn(f"{type(model).__name__}: the last layer is not narrowed to its first position ({why}); only slower")
    return narrow_last_layer(layer) if _verdicts[key] else None


def architecture(model: "PreTrainedModel") -> tuple[Any, ...]:
    """What decides on the computation of a model, besides its weights."""
    settings = model.config.to_dict()
    for name in ("_name_or_path", "id2label", "label2id"):
        settings.pop(name, None)
    return type(model), model.config._attn_implementation, repr(sorted(settings.items()))


def tiny_batch(model: "PreTrainedModel") -> dict[str, Tensor]:
    """Two short texts of different lengths, as a model is called with."""
    pad = getattr(model.config, "pad_token_id", None) or 0
    ids_BT = (7 * torch.arange(12) + 5).view(2, 6) % model.config.vocab_size
    ids_BT = torch.where(ids_BT == pad, (ids_BT + 1) % model.config.vocab_size, ids_BT)
    mask_BT = torch.arange(6) < torch.tensor([6, 4])[:, None]
    device = model.device
    return {
        "input_ids": ids_BT.masked_fill(~mask_BT, pad).to(device),
        "attention_mask": mask_BT.long().to(device),
    }


@contextmanager
def calm(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and without gradients, and then back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _same_when_narrow(model: "PreTrainedModel", layer: nn.Module) -> bool:
    inputs = tiny_batch(model)
    with calm(model), _telling_scores(layer):
        whole = model(**inputs, output_hidden_states=True)
        undo = narrow_last_layer(layer)
        assert undo is not None
        try:
            narrow = model(**inputs, output_hidden_states=True)
        finally:
            undo()
    pairs = ((narrow.logits, whole.logits), (narrow.hidden_states[-1], whole.hidden_states[-1][:, :1]))
    return all(
        ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())
        for ours, theirs in pairs
    )


@contextmanager
def _telling_scores(layer: nn.Module) -> Iterator[None]:
    """Queries, keys and values of the size of 1 inside the block: new weights look alike at every position."""
    try:
        maps = [*projections(layer).values()]
    except UserError:  # another kind of attention, which is not replaced
        maps = []
    kept = [(p, p.detach().clone()) for part in maps for p in part.parameters()]
    generator = torch.Generator().manual_seed(0)
    try:
        for parameter, _ in kept:
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else drawn)
        yield
    finally:
        for parameter, value in kept:
            parameter.copy_(value)


def _after_attention(layer: nn.Module) -> tuple[nn.Module, bool] | None:
    """The first module after a layer's attention, and whether it takes the layer's input too; None: not known."""
    output: Any = getattr(getattr(layer, "attention", None), "output", None)
    first: Any = getattr(layer, "sa_layer_norm", None)
    if all(hasattr(output, part) for part in ("dense", "LayerNorm")):
        return output, True
    return (first, False) if first is not None and hasattr(layer, "ffn") else None


def narrow_last_layer(layer: nn.Module) -> Callable[[], None] | None:
    """Lets an encoder's last layer compute its first position alone, which is all that the classifier reads.

    What follows the attention (two thirds of a layer's products and more) is done for one position instead of T, and so
    is the attention itself if it is a ``PLAIN_ATTENTION``. Hidden states 0 to n - 1 are whole; the last one is
    (B, 1, D). Knows the layers of BERT and its kin, and of DistilBERT. Returns what makes the layer whole again; None,
    and changes nothing, for others.
    """
    found = _after_attention(layer)
    if found is None:
        return None
    after, both = found
    # the attention's output is the first argument, the layer's input the second
    hook = after.register_forward_pre_hook(
        lambda module, given: tuple(x_BTD[:, :1] for x_BTD in given) if both else (given[0][:, :1],)
    )
    replaced: list[Any] = [module for module in layer.modules() if type(module).__name__ in PLAIN_ATTENTION]
    for module in replaced:
        # not a module of its own: the weights keep their names in a checkpoint; and a method, not a partial, for a
        # compiled graph then serves the next model of the same classes too
        module.forward = MethodType(_attend_first, module)

    def undo() -> None:
        hook.remove()
        for module in replaced:
            del module.forward

    return undo


def _attend_first(
    attention: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any
) -> tuple[Tensor, Tensor]:
    """A self-attention's output at the first position, (B, 1, D), and its weights, (B, H, 1, T).

    No key or value is made: q·(K x) = (Kᵀ q)·x and Σ p (V x) = V Σ p x cost H·T·D products an example, not 2·T·D².
    Raises TypeError for an argument that might change the numbers.
    """
    given = {name for name, value in others.items() if value is not None and value is not False}
    unknown = sorted(given - WITHOUT_EFFECT)
    if unknown:
        raise TypeError(f"{type(attention).__name__} is given {', '.join(unknown)}, whose effect is not known")
    query, key, value = (_part(attention, names) for names in NAMES.values())
    x_BTD, size = hidden_states, attention.attention_head_size
    query_BHd = query(x_BTD[:, 0]).unflatten(-1, (-1, size))
    key_HdD, value_HdD = (part.weight.unflatten(0, (-1, size)) for part in (key, value))
    key_bias_Hd, value_bias_Hd = (part.bias.unflatten(0, (-1, size)) for part in (key, value))
    score_BHT = torch.einsum("bhd,hdc->bhc", query_BHd, key_HdD) @ x_BTD.transpose(1, 2)
    score_BHT = (score_BHT + (query_BHd * key_bias_Hd).sum(dim=-1, keepdim=True)) * size**-0.5
    if attention_mask is not None:
        mask_B1T = attention_mask[:, :, 0]
        if mask_B1T.dtype == torch.bool:
            score_BHT = score_BHT.masked_fill(~mask_B1T, torch.finfo(score_BHT.dtype).min)
        else:
            score_BHT = score_BHT + mask_B1T
    weight_BHT = attention.dropout(score_BHT.softmax(dim=-1))
    seen_BHd = torch.einsum("bhc,hdc->bhd", weight_BHT @ x_BTD, value_HdD)
    seen_BHd = seen_BHd + weight_BHT.sum(dim=-1, keepdim=True) * value_bias_Hd
    output_B1D = seen_BHd.flatten(1).unsqueeze(1)
    last = getattr(attention, "out_lin", None)  # DistilBERT's output map is inside
    return output_B1D if last is None else last(output_B1D), weight_BHT.unsqueeze(2)


def _part(attention: nn.Module, names: tuple[str, ...]) -> nn.Linear:
    part = next(getattr(attention, name) for name in names if hasattr(attention, name))
    assert isinstance(part, nn.Linear)
    return part


class UsedRows(nn.Module):
    """An embedding matrix (V, D) cut to the rows of the tokens that a run can meet.

    A GLUE task meets a tenth to a half of a 30,000-token vocabulary; the other rows have no gradient, yet the
    optimizer reads and writes them in each step. AdamW would only shrink them: ``restore`` does that at once.
    """

    def __init__(self, full: nn.Embedding, tokens: Iterable[Tensor]) -> None:
        super().__init__()
        used_U = torch.unique(torch.cat([t.flatten().long() for t in tokens]))
        if full.padding_idx is not None:
            used_U = torch.unique(torch.cat([used_U, torch.tensor([full.padding_idx])]))
        device = full.weight.device
        position_V = torch.zeros(full.num_embeddings, dtype=torch.long)
        position_V[used_U] = torch.arange(len(used_U))
        self.padding_row = None if full.padding_idx is None else int(position_V[full.padding_idx])
        self.register_buffer("position_V", position_V.to(device), persistent=False)
        self.register_buffer("used_U", used_U.to(device), persistent=False)
        self.position_V: Tensor
        self.used_U: Tensor
        self.weight = nn.Parameter(full.weight.detach()[self.used_U], requires_grad=full.weight.requires_grad)
        self._full = (full,)  # in a tuple: not a sub-module, so neither trained nor copied with the best weights

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T) token ids to (B, T, D)."""
        return F.embedding(self.position_V[ids_BT], self.weight, self.padding_row)

    def restore(self, shrink: float) -> nn.Embedding:
        """The whole embedding, its used rows as trained, the others times ``shrink``: ∏(1 − lr·weight decay)."""
        full = self._full[0]
        if self.weight.requires_grad:  # else it is frozen
            with torch.no_grad():
                full.weight.mul_(shrink)
                full.weight[self.used_U] = self.weight
        return full
