"""Draws four dropout decisions from each random word on a CPU: torch draws them one by one, a sixth of a real step."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from railkd.models.shortcuts import WITHOUT_EFFECT, architecture, calm, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Hashable

    from transformers import PreTrainedModel

ATTENTION = "railkd_eager"  # the name under which `transformers` knows ``attention``
_LEVELS = 1 << 16  # a bit pattern of 16 decides on each element
_verdicts: "dict[Hashable, bool]" = {}


def kept(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies by, of the shape and type of ``like``: 0 with probability p, else 1/(1 − p).

    p is rounded to 1/65,536. The bits are SFC64's, seeded by one draw of torch's global generator, which so remains the
    only state: what seeds or restores it decides on these too.
    """
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()).item())
    words = np.random.SFC64(seed).random_raw(-(-like.numel() // 4))
    bits = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
    dropped = round(p * _LEVELS)
    return (bits >= dropped - _LEVELS // 2).to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def drop_out(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout``, for tensors on the CPU."""
    if (
        torch.compiler.is_compiling()
        or not training
        or input.device.type != "cpu"
        or not 0 < round(p * _LEVELS) < _LEVELS
    ):
        return F.dropout(input, p, training, inplace)
    noise = kept(input, p)
    return input.mul_(noise) if inplace else input * noise


class QuickDropout(nn.Dropout):
    """``torch.nn.Dropout`` whose bits are ``drop_out``'s."""

    def forward(self, input: Tensor) -> Tensor:
        return drop_out(input, self.p, self.training, self.inplace)


def attention(  # noqa: PLR0913  the signature of `transformers`' AttentionInterface
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: Any = None,  # is in the mask
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """The attention that `transformers` calls eager, in the form of its ``AttentionInterface``, with ``drop_out``.

    (B, H, T, d) each to (B, T, H, d) and the weights, (B, H, T, T). Raises TypeError for an argument that might change
    the numbers.
    """
    unknown = {name for name, given in others.items() if given is not None and given is not False} - WITHOUT_EFFECT
    if unknown:
        raise TypeError(f"attention is given {', '.join(sorted(unknown))}, whose effect is not known")
    score_BHTT = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        score_BHTT = score_BHTT + attention_mask
    weight_BHTT = drop_out(F.softmax(score_BHTT, dim=-1), dropout, module.training)
    return torch.matmul(weight_BHTT, value).transpose(1, 2).contiguous(), weight_BHTT


def use_quick_dropout(module: nn.Module) -> None:
    """Lets a module's ``nn.Dropout`` parts, and a model's eager attention, drop out as above when it trains on a CPU.

    Names, weights and what is saved stay the same; nothing outside the module changes. An attention that computes
    anything else than the one above keeps its own, slower dropout.
    """
    for part in module.modules():
        if type(part) is nn.Dropout:
            part.__class__ = QuickDropout  # in its place, so that whoever holds it has the new one
    if getattr(getattr(module, "config", None), "_attn_implementation", None) == "eager":
        _use_attention(module)  # type: ignore[arg-type]


def _use_attention(model: "PreTrainedModel") -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    key = architecture(model)
    if _verdicts.get(key) is False:
        return
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, AttentionMaskInterface()["eager"])
    inputs = tiny_batch(model)
    with calm(model):
        before = None if key in _verdicts else _numbers(model, inputs)
        model.set_attn_implementation(ATTENTION)
        if before is None:
            return
        try:
            _verdicts[key] = model.config._attn_implementation == ATTENTION and all(
                map(torch.equal, _numbers(model, inputs), before)
            )
        except Exception:  # an attention that is called otherwise
            _verdicts[key] = False
    if not _verdicts[key]:
        model.set_attn_implementation("eager")


def _numbers(model: "PreTrainedModel", inputs: dict[str, Tensor]) -> list[Tensor]:
    output: Any = model(**inputs, output_hidden_states=True)
    return [output.logits, *output.hidden_states]
