"""Does one forward pass of a classifier, and gives what a method may read of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from railkd.errors import Undeclared
from railkd.models.attention import capture
from railkd.models.classifier import layers_of
from railkd.models.mixing import mixed_inputs
from railkd.signals import AttentionVector, Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Forward:
    """One model's forward pass on a batch. ``hidden[l]`` is (B, T, D), l = 0 the embedding layer.

    The last one is (B, 1, D), its first position, unless the model was loaded with its whole last layer.
    """

    def __init__(
        self,
        logits_BC: Tensor,
        hidden: Sequence[Tensor],
        mask_BT: Tensor,
        attention: Mapping[tuple[AttentionVector, int], Tensor] | None = None,
        mix: Callable[[Tensor, float], "Forward"] | None = None,
    ) -> None:
        self.logits_BC = logits_BC
        self.hidden = hidden
        self.mask_BT = mask_BT
        self._attention, self._mix = attention or {}, mix

    def tokens(self, layer: int) -> Tensor:
        """(B, T, D), in the precision of the run."""
        states_BTD = self._kept(layer)
        if states_BTD.shape[1] != self.mask_BT.shape[1]:
            raise Undeclared(f"layer {layer} has its first position alone: declare whole_last_layer = True")
        return states_BTD

    def _kept(self, layer: int) -> Tensor:
        if not self.hidden:
            raise Undeclared(
                "hidden layers are read, but were not kept: declare them with the property pooling (cls, mean or "
                "mean_padded), or for token states with the property needs_hidden"
            )
        if not 0 <= layer < len(self.hidden):
            raise Undeclared(f"there is no layer {layer}: layers are 1 to {len(self.hidden) - 1}, 0 the embeddings")
        return self.hidden[layer]

    def vectors(self, part: AttentionVector, layer: int) -> Tensor:
        """(B, T, D), in the precision of the run."""
        made_BTD = self._attention.get((part, layer))
        if made_BTD is None or made_BTD.shape[:2] != self.mask_BT.shape:  # a narrowed layer makes a query alone
            raise Undeclared(
                f"the {part} vectors of layer {layer} were not kept: name it in the property attention_layers, and "
                "declare whole_last_layer = True if it is the last"
            )
        return made_BTD

    def mixed(self, partner_B: Tensor, share: float) -> "Forward":
        """The same model on mixed word embeddings: another forward pass."""
        assert self._mix is not None, "made of tensors, without a model"
        return self._mix(partner_B, share)

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D) float32: ``cls``, ``mean`` over real tokens, or ``mean_padded`` over all positions."""
        if kind == "cls":
            return torch.stack([self._kept(layer)[:, 0] for layer in layers], dim=1).float()
        if kind == "mean_padded":
            return torch.stack([self.tokens(layer).float().mean(dim=1) for layer in layers], dim=1)
        weight_B1T = (self.mask_BT / self.mask_BT.sum(dim=1, keepdim=True)).float().unsqueeze(1)
        with torch.autocast(self.mask_BT.device.type, enabled=False):  # a sum over tokens wants float32
            return torch.cat([weight_B1T @ self.tokens(layer).float() for layer in layers], dim=1)


def forward(
    model: "PreTrainedModel", inputs: dict[str, Tensor], hidden: bool = True, attention: Sequence[int] = ()
) -> Forward:
    """Runs a classifier and keeps its hidden states, and the queries, keys and values of some layers (1-based)."""
    with capture(layers_of(model) if attention else (), attention) as kept:
        output = model(**inputs, output_hidden_states=hidden)

    def mix(partner_B: Tensor, share: float) -> Forward:
        return forward(model, mixed_inputs(model.get_input_embeddings(), inputs, partner_B, share), hidden, attention)

    return Forward(output.logits, output.hidden_states or (), inputs["attention_mask"], kept, mix)
