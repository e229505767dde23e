"""Gives a step its batches where it runs: by an index into what lies on the device, or copied through pinned memory.

Dimensions: ``B`` batch, ``T`` tokens.
"""

from typing import Literal

import torch
from torch import Tensor

from railkd.data.batches import Split
from railkd.devices import Staging
from railkd.signals import Batch

Place = Literal["host", "device", "streamed"]
LENGTHS = 8  # on a GPU, batches are padded to a multiple of so many tokens: few shapes, and whole matrix tiles


class DeviceBatches:
    """Batches by their rows. ``budget``: bytes of the device that the examples may take; None: they stay on the host.

    ``place`` is where they are read: ``host`` (the step runs there too), ``device``, or ``streamed``, copied batch by
    batch on a stream of their own. None of them waits for the device: the host knows rows and lengths.
    """

    def __init__(
        self,
        split: Split,
        pad_id: int,
        type_ids: bool,
        longest: int,
        pad_to_longest: bool,
        device: torch.device,
        budget: int | None,
    ) -> None:
        self.pad_id, self.type_ids, self.longest, self.device = pad_id, type_ids, longest, device
        self.pad_to = longest if pad_to_longest else None
        self.split, self.nbytes = split, 0
        self.place: Place = "host" if budget is None else "streamed"
        self._lengths = split.lengths.numpy()
        self._staging = Staging(device)
        if budget is not None and split.nbytes <= budget:
            self.place, self.nbytes, self.split = "device", split.nbytes, split.to(device)

    def __call__(self, rows_B: Tensor) -> Batch:
        """The batch of these rows, which are given on the host."""
        if self.place == "host":
            inputs = self.split.collate(rows_B, self.pad_id, self.type_ids, self.pad_to)  # (B, T) each
            return Batch(rows_B, self.split.labels[rows_B], inputs)
        length = self.pad_to or self._padded(int(self._lengths[rows_B.numpy()].max()))
        if self.place == "device":
            index_B = self._staging({"rows": rows_B})["rows"]
            inputs = self.split.collate(index_B, self.pad_id, self.type_ids, length)
            return Batch(index_B, self.split.labels[index_B], inputs, rows_B)
        inputs = self.split.collate(rows_B, self.pad_id, self.type_ids, length)
        placed = self._staging({**inputs, "rows": rows_B, "labels": self.split.labels[rows_B]})
        return Batch(placed.pop("rows"), placed.pop("labels"), placed, rows_B)

    def _padded(self, length: int) -> int:
        if self.device.type == "cpu":
            return length
        return max(length, min(-(-length // LENGTHS) * LENGTHS, self.longest))
