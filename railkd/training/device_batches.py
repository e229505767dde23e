"""Gives a step its batches where it runs: by an index into what lies on the device, or copied through pinned memory.

Dimensions: ``B`` batch, ``T`` tokens.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from railkd.data.batches import Split
from railkd.devices import Staging
from railkd.signals import Batch

Place = Literal["host", "device", "streamed"]


class DeviceBatches:
    """Batches by their rows, padded to the next of ``lengths``, ascending; to their own longest where there are none.

    ``budget``: bytes of the device that the examples may take; None: they stay on the host.
    ``place`` is where they are read: ``host`` (the step runs there too), ``device``, or ``streamed``, copied batch by
    batch on a stream of their own. None of them waits for the device: the host knows rows and lengths.
    """

    def __init__(
        self,
        split: Split,
        pad_id: int,
        type_ids: bool,
        lengths: Sequence[int],
        device: torch.device,
        budget: int | None,
    ) -> None:
        self.pad_id, self.type_ids, self.lengths, self.device = pad_id, type_ids, lengths, device
        self.split, self.nbytes = split, 0
        self.place: Place = "host" if budget is None else "streamed"
        self._of_examples = split.lengths.numpy()
        self._staging = Staging(device)
        if budget is not None and split.nbytes <= budget:
            self.place, self.nbytes, self.split = "device", split.nbytes, split.to(device)

    def __call__(self, rows_B: Tensor) -> Batch:
        """The batch of these rows, which are given on the host."""
        length = self._padded(rows_B)
        if self.place == "host":
            inputs = self.split.collate(rows_B, self.pad_id, self.type_ids, length)  # (B, T) each
            return Batch(rows_B, self.split.labels[rows_B], inputs)
        if self.place == "device":
            index_B = self._staging({"rows": rows_B})["rows"]
            inputs = self.split.collate(index_B, self.pad_id, self.type_ids, length)
            return Batch(index_B, self.split.labels[index_B], inputs, rows_B)
        inputs = self.split.collate(rows_B, self.pad_id, self.type_ids, length)
        placed = self._staging({**inputs, "rows": rows_B, "labels": self.split.labels[rows_B]})
        return Batch(placed.pop("rows"), placed.pop("labels"), placed, rows_B)

    def _padded(self, rows_B: Tensor) -> int:
        """The length of these rows' batch in tokens; one text alone may be longer than all lengths."""
        longest = int(self._of_examples[rows_B.numpy()].max())
        place = bisect_left(self.lengths, longest)
        return self.lengths[place] if place < len(self.lengths) else longest
