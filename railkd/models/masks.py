"""Makes attention masks without asking the device whether there is padding."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from railkd.models.shortcuts import architecture, calm, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Hashable

    from transformers import PreTrainedModel

FUSED = "railkd_sdpa"  # the name under which `transformers` knows its fused attention with ``whole_mask``
_verdicts: "dict[Hashable, bool]" = {}


def whole_mask(**given: Any) -> Tensor | None:
    """The mask of `transformers` for its fused attention, also where a batch has no padding and needs none.

    Leaving it out takes an ``if`` on what the device holds, so in every forward pass the host waits for all that it has
    launched. The arguments are those of `transformers`' AttentionMaskInterface, which differ between its versions.
    """
    from transformers.masking_utils import sdpa_mask

    mask: Tensor | None = sdpa_mask(**{**given, "allow_is_bidirectional_skip": False})
    return mask


def use_whole_masks(model: "PreTrainedModel") -> None:
    """Lets a model with fused attention make its mask by ``whole_mask``, if its numbers stay what they were."""
    from torch import allclose
    from transformers import AttentionInterface, AttentionMaskInterface

    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    key = architecture(model)
    if _verdicts.get(key) is False:
        return
    AttentionInterface.register(FUSED, AttentionInterface()["sdpa"])
    AttentionMaskInterface.register(FUSED, whole_mask)
    inputs = tiny_batch(model)
    with calm(model):
        before = None if key in _verdicts else model(**inputs).logits
        model.set_attn_implementation(FUSED)
        if before is None:
            return
        try:
            same = allclose(model(**inputs).logits, before, rtol=1e-4, atol=1e-5)
            _verdicts[key] = model.config._attn_implementation == FUSED and same
        except Exception:  # an attention that is called otherwise
            _verdicts[key] = False
    if not _verdicts[key]:
        model.set_attn_implementation("sdpa")
