"""Computes a teacher's signals on its training set, in batches, and checks them: what a cache keeps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.data.batches import Prepared, sorted_batches
from railkd.devices import autocast, precision, to_device
from railkd.errors import UserError, warn
from railkd.models.classifier import uses_type_ids
from railkd.models.forward import forward
from railkd.signals import Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def computed(
    model: "PreTrainedModel", data: Prepared, poolings: Sequence[Pooling], precision_setting: str, batch_size: int = 64
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """A teacher's signals on the training set, in batches: ``logits`` (B, C) or a pooling (B, N, D), with their rows.

    On the teacher's own device, in eval mode. Yields (name, rows (B,), values).
    """
    split, pad_id, device = data.splits["train"], data.facts["pad_id"], model.device
    layers = list(range(1, model.config.num_hidden_layers))
    type_ids = uses_type_ids(model)
    model.eval()
    dtype = precision(precision_setting, device, model.config.hidden_size)
    for padded in (False, True):  # mean_padded counts padding, so it needs every example at the full length
        kinds = [k for k in poolings if (k == "mean_padded") == padded]
        if padded and not kinds:
            continue
        pad_to = data.facts["max_length"] if padded else None
        for rows in sorted_batches(split.lengths, batch_size):
            inputs = to_device(split.collate(rows, pad_id, type_ids, pad_to), device)
            with torch.inference_mode(), autocast(device, dtype):
                outputs = forward(model, inputs, bool(kinds))
                found = {kind: outputs.pooled(kind, layers) for kind in kinds}
            if not padded:
                yield "logits", rows, outputs.logits_BC
            for kind, pooled_BND in found.items():
                yield kind, rows, pooled_BND


def finite(logits_BC: Tensor, rows_B: Tensor, place: Path | str) -> NDArray[Any]:
    """The logits in float32; raises UserError naming the example when one is not finite."""
    whole_BC = logits_BC.float().cpu().numpy()
    bad = np.argwhere(~np.isfinite(whole_BC))
    if len(bad):
        raise UserError(f"{place}: the teacher's logits are not finite for {_example(rows_B[bad[0][0]])}")
    return whole_BC


def _example(row: Tensor) -> str:
    return (
        f"example {int(row)}, counted from 0; expected a teacher with finite hidden states and logits "
        "(training.teacher: a lower learning_rate, or precision: float32)"
    )


def fitting(pooled_BND: Tensor, rows_B: Tensor, place: Path | str, wide: bool = False) -> NDArray[Any]:
    """The vectors in float16, or, if ``wide`` or where float16 cannot hold them, in float32, which is a warning.

    Raises UserError naming layer and example when a value is not finite.
    """
    half_BND = pooled_BND.half().cpu().numpy()
    if np.isfinite(half_BND).all() and not wide:
        return half_BND
    whole_BND = pooled_BND.float().cpu().numpy()
    bad = np.argwhere(~np.isfinite(whole_BND))
    if len(bad):
        layer, which = int(bad[0][1]) + 1, _example(rows_B[bad[0][0]])
        raise UserError(f"{place}: the teacher's vector of layer {layer} is not finite for {which}")
    if not wide:
        at = np.unravel_index(np.abs(whole_BND).argmax(), whole_BND.shape)
        warn(f"{place}: kept in float32, because layer {at[1] + 1} has {whole_BND[at]:g}, beyond float16's 65,504")
    return whole_BND
