"""Holds tokenised splits and makes their batches: length-bucketed, every batch with its examples' rows.

Dimensions: ``B`` batch, ``T`` tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from railkd.tasks import OUT_OF_DOMAIN, OutOfDomain, Task


@dataclass
class Split:
    """Tokenised examples, flat: example i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: Tensor  # (all tokens,) int32
    offsets: Tensor  # (examples + 1,) int64
    second: Tensor  # (examples,) int32, where the token type 1 begins: at the second text; the length when nowhere
    labels: Tensor  # (examples,) int64 classes or float32 scores; -1 where hidden

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (self.tokens, self.offsets, self.second, self.labels))

    def to(self, device: torch.device) -> "Split":
        """The same examples on another device."""
        return Split(*(tensor.to(device) for tensor in (self.tokens, self.offsets, self.second, self.labels)))

    def of_one_type(self) -> "Split":
        """The same examples, with the token type 0 for both texts."""
        return Split(self.tokens, self.offsets, self.lengths.int(), self.labels)

    @property
    def lengths(self) -> Tensor:
        """(examples,) number of tokens."""
        return self.offsets.diff()

    def collate(self, rows_B: Tensor, pad_id: int, type_ids: bool, pad_to: int | None = None) -> dict[str, Tensor]:
        """What a model is called with, padded to the longest example or to ``pad_to``; each tensor (B, T).

        ``rows_B`` lies where the split's tensors do; on a GPU, without ``pad_to``, the host waits for the lengths.
        """
        start_B = self.offsets[rows_B]
        length_B = self.offsets[rows_B + 1] - start_B
        position_T = torch.arange(pad_to or int(length_B.max()), device=start_B.device)
        mask_BT = position_T < length_B[:, None]
        index_BT = (start_B[:, None] + position_T).clamp_(max=len(self.tokens) - 1)
        ids_BT = self.tokens[index_BT].long().masked_fill_(~mask_BT, pad_id)
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT.long()}
        if type_ids:
            inputs["token_type_ids"] = ((position_T >= self.second[rows_B][:, None]) & mask_BT).long()
        return inputs


@dataclass
class Prepared:
    """Everything a run on one task reads: its splits and how they were made."""

    task: Task
    splits: dict[str, Split]  # train, dev, dev_mismatched, test, test_mismatched, ax, and out-of-domain sets by name
    facts: dict[str, Any]  # see ``prepare``
    out_of_domain: Mapping[str, OutOfDomain] = field(default_factory=lambda: OUT_OF_DOMAIN)  # sets by name

    @property
    def scored(self) -> list[str]:
        """Splits with known labels that a model is scored on."""
        return [name for name in self.splits if name not in ("train", *self.hidden)]

    @property
    def hidden(self) -> list[str]:
        """Splits whose labels nobody here knows: predicted for the leaderboard, never scored."""
        return [name for name, split in self.splits.items() if name != "train" and bool((split.labels == -1).all())]


def epoch_batches(lengths: Tensor, batch_size: int, generator: torch.Generator, pool: int = 32) -> list[Tensor]:
    """One epoch's batches of rows: shuffled, sorted by length inside pools of ``pool`` batches, in shuffled order.

    Depends on the lengths, the batch size and the generator's state alone: two methods with one seed see the same.
    """
    order = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for chunk in order.split(batch_size * pool):
        batches.extend(chunk[lengths[chunk].argsort(stable=True)].split(batch_size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def sorted_batches(lengths: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Rows in order of length, for evaluation: next to no padding."""
    yield from lengths.argsort(stable=True).split(batch_size)
