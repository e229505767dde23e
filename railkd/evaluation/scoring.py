"""Computes the logits of a whole split, and its scores by every metric of its task."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from railkd.data.batches import Prepared, Split, sorted_batches
from railkd.devices import autocast, to_device
from railkd.metrics import Array, predicted, sampling_errors, score
from railkd.models.classifier import outputs_of, uses_type_ids
from railkd.models.forward import forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def logits_of(
    model: "PreTrainedModel", split: Split, pad_id: int, device: torch.device, dtype: torch.dtype, batch_size: int = 128
) -> NDArray[np.float32]:
    """(examples, C) logits in the split's order. Puts the model into eval mode and back."""
    was_training = model.training
    model.eval()
    outputs = torch.empty(len(split), outputs_of(model))
    with torch.inference_mode(), autocast(device, dtype):
        for rows in sorted_batches(split.lengths, batch_size):
            inputs = to_device(split.collate(rows, pad_id, uses_type_ids(model)), device)
            outputs[rows] = forward(model, inputs, hidden=False).logits_BC.float().cpu()
    model.train(was_training)
    return np.ascontiguousarray(outputs.numpy())


def scores_of(data: Prepared, split: str, logits: NDArray[np.float32]) -> dict[str, float]:
    """Every metric of the split's task or out-of-domain set."""
    return score(*_predicted(data, split, logits))


def errors_of(data: Prepared, split: str, logits: NDArray[np.float32]) -> dict[str, float]:
    """The standard errors over examples of the metrics that need the predictions for it (``metrics.ERRORS``)."""
    return sampling_errors(*_predicted(data, split, logits))


def _predicted(data: Prepared, split: str, logits: NDArray[np.float32]) -> tuple[tuple[str, ...], Array, Array]:
    """The metrics of a split, its predictions and its labels."""
    labels, foreign = data.splits[split].labels.numpy(), data.out_of_domain.get(split)
    if foreign is not None:
        return foreign.all_metrics, predicted(logits, foreign.collapse), labels
    return data.task.all_metrics, predicted(logits), labels
