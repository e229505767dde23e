"""Defines the types by which models, teachers and methods share what a model outputs for a batch of examples.

Dimensions: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Pooling = Literal["cls", "mean", "mean_padded"]
AttentionVector = Literal["query", "key", "value"]


@dataclass(frozen=True)
class Batch:
    """One batch of examples, already on the device."""

    index_B: Tensor  # row of each example in the training set
    labels_B: Tensor  # int64 classes, or float32 scores
    inputs: dict[str, Tensor]  # what the model is called with: input_ids (B, T), attention_mask (B, T), ...
    rows_B: Tensor | None = None  # index_B on the host, where that is on another device


class Signals(Protocol):
    """What a model says about a batch: the student's forward pass, or the teacher's, live or cached.

    A cache holds ``logits_BC`` and ``pooled`` alone: a method that reads more says so (``needs_live_teacher = True``).
    """

    @property
    def logits_BC(self) -> Tensor:
        """Logits, or scores with C = 1."""

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D): one vector for each example and 1-based layer.

        ``cls`` is the first token, ``mean`` the mean over real tokens, ``mean_padded`` the mean over all
        positions, padding included.
        """

    @property
    def mask_BT(self) -> Tensor:
        """1 at real tokens, 0 at padding."""

    def tokens(self, layer: int) -> Tensor:
        """(B, T, D): the states of a layer, 0 the embedding layer; at padding they mean nothing."""

    def vectors(self, part: AttentionVector, layer: int) -> Tensor:
        """(B, T, D): a layer's queries, keys or values, its heads side by side; see ``Method.attention_layers``."""

    def mixed(self, partner_B: Tensor, share: float) -> "Signals":
        """What the model says when example b's word embeddings are share·own + (1 − share)·those of partner_B[b].

        Student and teacher each mix their own embeddings; a position is real if it is so in an example that has a
        share. Another forward pass.
        """
