"""Holds a teacher's signals in memory: those of ``cache.py`` without a folder, for a call that writes no file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from railkd.data.batches import Prepared
from railkd.errors import Undeclared
from railkd.models.classifier import outputs_of
from railkd.signals import Pooling
from railkd.teacher.cached import CachedSignals
from railkd.teacher.computation import computed, finite, fitting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SignalsInMemory(CachedSignals):
    """A teacher's logits and pooled vectors on its training set, in the precision that the files of a cache have.

    Costs 2 bytes for each example, intermediate layer, unit of width and pooling.
    """

    def __init__(
        self, model: "PreTrainedModel", data: Prepared, poolings: Sequence[Pooling], precision_setting: str
    ) -> None:
        """Computes them on the teacher's device. Raises UserError, naming the example, when one is not finite."""
        examples, layers = len(data.splits["train"]), model.config.num_hidden_layers - 1
        super().__init__(model.device)
        self._arrays: dict[str, NDArray[Any]] = {"logits": np.empty((examples, outputs_of(model)), np.float32)}
        for kind in poolings:
            self._arrays[kind] = np.empty((examples, layers, model.config.hidden_size), np.float16)
        for name, rows, values in computed(model, data, poolings, precision_setting):
            array = self._arrays[name]
            if name == "logits":
                array[rows.numpy()] = finite(values, rows, "teacher")
                continue
            vectors = fitting(values, rows, f"teacher: {name}", array.dtype == np.float32)
            if vectors.dtype != array.dtype:
                array = self._arrays[name] = array.astype(np.float32)
            array[rows.numpy()] = vectors

    def array(self, name: str) -> NDArray[Any]:
        """One of the arrays, (examples, ...)."""
        if name not in self._arrays:
            raise Undeclared(f"the teacher's {name} vectors were not computed: name them in the property pooling")
        return self._arrays[name]

    def read(self, name: str, rows_B: NDArray[np.int64]) -> NDArray[Any]:
        """(B, ...): these rows."""
        return self.array(name)[rows_B]
