"""Gives a batch of a teacher's cached signals, from arrays on disk, in memory or on the device.

Dimensions: ``E`` training examples, ``B`` batch, ``N`` intermediate teacher layers, ``D`` width, ``C`` classes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.devices import Staging
from railkd.errors import Undeclared
from railkd.signals import AttentionVector, Batch, Pooling, Signals

CHUNK = 1 << 26  # bytes of an array read at a time onto the device


def _not_cached() -> NoReturn:
    raise Undeclared("a cache holds logits and pooled vectors alone: the method must declare needs_live_teacher = True")


class Cached:
    """One batch of cached signals. ``read``: name, layers (1-based) or None -> (B, …) on the device."""

    def __init__(self, read: Callable[[str, Sequence[int] | None], Tensor]) -> None:
        self._read = read

    @property
    def logits_BC(self) -> Tensor:
        """(B, C) float32."""
        return self._read("logits", None)

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D) float32."""
        return self._read(kind, layers).float()

    @property
    def mask_BT(self) -> NoReturn:
        """Not in a cache, nor is what follows."""
        _not_cached()

    def tokens(self, layer: int) -> NoReturn:
        _not_cached()

    def vectors(self, part: AttentionVector, layer: int) -> NoReturn:
        _not_cached()

    def mixed(self, partner_B: Tensor, share: float) -> NoReturn:
        _not_cached()


class _Resident:
    """An array of the cache, (E, C) or (E, N, D), on the device: a batch is an index into it."""

    def __init__(self, array: Tensor) -> None:
        self.array = array
        self._layer_N = torch.arange(array.shape[1], device=array.device)

    def rows(self, index_B: Tensor, layers: Sequence[int] | None) -> Tensor:
        """(B, C), or (B, len(layers), D) of 1-based layers: one gather, and no copy from the host for the layers."""
        if layers is None:
            return self.array[index_B]
        layer_M = torch.stack([self._layer_N[layer - 1] for layer in layers])
        place_BM = index_B[:, None] * self.array.shape[1] + layer_M
        return self.array.flatten(0, 1)[place_BM]


class CachedSignals:
    """A teacher whose signals on the training set are computed: a subclass says where the arrays are."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._resident: dict[str, _Resident] = {}
        self._staging: dict[str, Staging] = {}

    def array(self, name: str) -> NDArray[Any]:
        """A whole array, (E, …); raises Undeclared for one that was not computed."""
        raise NotImplementedError

    def read(self, name: str, rows_B: NDArray[np.int64]) -> NDArray[Any]:
        """(B, …): these rows of an array."""
        raise NotImplementedError

    def keep_on_device(self, names: Sequence[str], budget: int) -> None:
        """Copies arrays whole to the device, those that fit into ``budget`` bytes together, the first ones first.

        Those of an earlier call stay if they are named again.
        """
        self._resident = {name: kept for name, kept in self._resident.items() if name in names}
        for name in names:
            array = self.array(name)
            if array.nbytes > budget:
                self._resident.pop(name, None)
                continue
            budget -= array.nbytes
            if name not in self._resident:
                whole = torch.empty(array.shape, dtype=getattr(torch, str(array.dtype)), device=self.device)
                for rows in np.array_split(np.arange(len(array)), -(-array.nbytes // CHUNK)):
                    whole[rows[0] : rows[-1] + 1].copy_(torch.from_numpy(self.read(name, rows)))
                self._resident[name] = _Resident(whole)

    @property
    def bytes_on_device(self) -> int:
        """What ``keep_on_device`` has put there."""
        return sum(kept.array.nbytes for kept in self._resident.values())

    @property
    def on_device(self) -> set[str]:
        """The arrays that are on the device whole."""
        return set(self._resident)

    def signals(self, batch: Batch) -> Signals:
        """Reads nothing before the method does."""
        return Cached(lambda name, layers: self._rows(name, batch, layers))

    def _rows(self, name: str, batch: Batch, layers: Sequence[int] | None) -> Tensor:
        """(B, …) of an array, of the layers (1-based) that are named: on the device, without waiting for it."""
        last = self.array(name).shape[1]
        if layers is not None and not all(1 <= layer <= last for layer in layers):
            raise Undeclared(f"layers {list(layers)} are not all cached: intermediate layers are 1 to {last}")
        if name in self._resident:
            return self._resident[name].rows(batch.index_B, layers)
        found = self.read(name, (batch.index_B if batch.rows_B is None else batch.rows_B).numpy())
        read = torch.from_numpy(found if layers is None else found[:, np.asarray(layers) - 1])
        if batch.rows_B is None:  # the batch is on the host, and so is the model
            return read
        if name not in self._staging:
            self._staging[name] = Staging(self.device)
        return self._staging[name]({name: read})[name]
