"""Remembers which epoch of a run is the best on dev, and the weights that the model had after it."""

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.training.run_state import below, under

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BestEpoch:
    """The epoch with the highest dev score so far, the first of equals, with what is needed to go back to it."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self.model = model
        self.epoch = 0  # 1-based; 0: none yet
        self.shrink = 1.0  # ``Steps.shrink`` at its end
        self.dev_logits: NDArray[np.float32] | None = None  # (dev examples, C)
        self._score = -math.inf
        self._weights: dict[str, Tensor] | None = None

    def offer(self, epoch: int, score: float, dev_logits: NDArray[np.float32], shrink: float, last: bool) -> None:
        """Takes an epoch (1-based) if it is the best so far. Of a ``last`` one no weights are copied: none follow."""
        if not score > self._score:
            return
        self.epoch, self.shrink, self.dev_logits, self._score = epoch, shrink, dev_logits, score
        if not last:
            self._weights = copy.deepcopy(self.model.state_dict())

    def restore(self, epochs: int) -> None:
        """Puts the best epoch's weights into the model, which has those of the last of ``epochs``."""
        if self.epoch != epochs and self._weights is not None:
            self.model.load_state_dict(self._weights)

    def facts(self) -> dict[str, Any]:
        """What ``load`` reads, as JSON."""
        score = self._score if self.epoch else None
        return {"best_epoch": self.epoch, "best_score": score, "best_shrink": self.shrink}

    def tensors(self, epoch: int) -> dict[str, Tensor]:
        """What ``load`` reads besides, after this epoch: no weights where the model has those of the best one."""
        kept = {} if self.epoch == epoch else under("best", self._weights or {})
        if self.dev_logits is not None:
            kept["dev_logits"] = torch.from_numpy(self.dev_logits)
        return kept

    def load(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Goes on where another process was; the model has its weights already."""
        if facts["best_epoch"]:
            self.epoch, self._score, self.shrink = facts["best_epoch"], facts["best_score"], facts["best_shrink"]
            self.dev_logits = tensors["dev_logits"].numpy()
            self._weights = below("best", tensors) or copy.deepcopy(self.model.state_dict())
