"""Runs the teacher in every step, as published: for token states, attention and mixed inputs, which no cache holds."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from railkd.data.batches import Prepared
from railkd.devices import autocast, precision
from railkd.errors import UserError
from railkd.methods.base import Method
from railkd.models.cast_once import cast_once
from railkd.models.classifier import place, uses_type_ids
from railkd.models.forward import Forward, forward
from railkd.models.masks import use_whole_masks
from railkd.models.mixing import mixed_inputs
from railkd.signals import AttentionVector, Batch, Pooling, Signals

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Live:
    """One batch of a live teacher's signals: a forward pass when first read, so none that nothing reads."""

    def __init__(self, teacher: "LiveTeacher", inputs: dict[str, Tensor]) -> None:
        self._teacher, self._inputs = teacher, inputs

    @cached_property
    def _outputs(self) -> Forward:
        return self._teacher.run(self._inputs)

    @property
    def logits_BC(self) -> Tensor:
        """(B, C)."""
        return self._outputs.logits_BC

    @property
    def mask_BT(self) -> Tensor:
        """(B, T)."""
        return self._inputs["attention_mask"]

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D) float32."""
        return self._outputs.pooled(kind, layers)

    def tokens(self, layer: int) -> Tensor:
        """(B, T, D)."""
        return self._outputs.tokens(layer)

    def vectors(self, part: AttentionVector, layer: int) -> Tensor:
        """(B, T, D)."""
        return self._outputs.vectors(part, layer)

    def mixed(self, partner_B: Tensor, share: float) -> "Live":
        """The teacher on its own mixed word embeddings."""
        with torch.no_grad():
            embedding = self._teacher.model.get_input_embeddings()
            return Live(self._teacher, mixed_inputs(embedding, self._inputs, partner_B, share))


class LiveTeacher:
    """The teacher run in every step, as published. ``attention``: the layers whose vectors are kept, 1-based.

    ``data``: the training set, for where the token type 1 begins; None where the inputs are what the teacher is called
    with.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        data: Prepared | None,
        device: torch.device,
        setting: str = "auto",
        hidden: bool = True,
        attention: Sequence[int] = (),
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.data, self.setting, self.hidden, self.attention = data, setting, hidden, attention
        self.move(device)

    def move(self, device: torch.device) -> None:
        """Puts the model on a device, where it computes in the precision that it has there."""
        self.device = device
        place(self.model, device)
        self.dtype = precision(self.setting, device, self.model.config.hidden_size)

    @classmethod
    def for_method(
        cls, method: Method, model: "PreTrainedModel", data: Prepared | None, device: torch.device, setting: str
    ) -> "LiveTeacher":
        """A teacher that keeps what a method reads of it: its hidden states, the attention vectors of its layers."""
        return cls(model, data, device, setting, method.needs_hidden, method.attention_layers[1])

    def quicken(self) -> Callable[[], None]:
        """Lets the model do less in each step and give the same numbers; returns what makes it as it was before.

        Its weights are cast once, and on a GPU its mask is made without asking the device.
        """
        attention = self.model.config._attn_implementation
        if self.device.type != "cpu":
            use_whole_masks(self.model)
        put_back = cast_once(self.model, self.dtype)

        def undo() -> None:
            put_back()
            if self.model.config._attn_implementation != attention:
                self.model.set_attn_implementation(attention)

        return undo

    @cached_property
    def _second(self) -> Tensor:
        """(examples,) where the token type 1 begins, on the device."""
        assert self.data is not None
        return self.data.splits["train"].second.to(self.device)

    def signals(self, batch: Batch) -> Signals:
        inputs = batch.inputs
        wants, has = uses_type_ids(self.model), "token_type_ids" in inputs
        if wants != has:  # BERT's teacher of a DistilBERT student needs the ids that the student has no use for
            inputs = {k: v for k, v in inputs.items() if k != "token_type_ids"}
            if wants and self.data is None:
                raise UserError("batch: token_type_ids is missing, which the teacher reads beside the tokens")
            if wants:
                second_B = self._second[batch.index_B]
                position_T = torch.arange(inputs["input_ids"].shape[1], device=self.device)
                ids_BT = (position_T >= second_B[:, None]) & inputs["attention_mask"].bool()
                inputs["token_type_ids"] = ids_BT.long()
        return Live(self, inputs)

    def run(self, inputs: dict[str, Tensor]) -> Forward:
        """One forward pass without gradient, in the teacher's own precision."""
        with torch.no_grad(), autocast(self.device, self.dtype):
            return forward(self.model, inputs, self.hidden, self.attention)
