"""A frozen teacher as a source of signals: cached (computed once per teacher and task, memory-mapped) or live.

Signals are what a pooled-vector method reads: logits, and one vector per example and intermediate layer. They are
taken in eval mode, without dropout or augmentation, so the two regimes give the same numbers.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.data import Prepared, sorted_batches
from railkd.errors import UserError
from railkd.methods.base import Batch, Pooling, Signals
from railkd.models import forward, outputs_of, place, uses_type_ids
from railkd.records import read_json, sha256_file, write_json
from railkd.streams import stream
from railkd.train import autocast, precision, to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_EXAMPLES = 100  # of dev, for the layer similarities of Figure 2
POOLINGS: tuple[Pooling, ...] = ("cls", "mean")


class Cached:
    """One batch of cached signals."""

    def __init__(self, store: "SignalStore", rows: NDArray[np.int64], device: torch.device) -> None:
        self._store, self._rows, self._device = store, rows, device

    @property
    def logits_BC(self) -> Tensor:
        """(B, C) float32."""
        return torch.from_numpy(self._store.array("logits")[self._rows]).to(self._device, non_blocking=True)

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D) float32, read from disk for these rows and layers alone."""
        array = self._store.array(kind)
        picked = array[self._rows[:, None], np.asarray(layers)[None, :] - 1]
        return torch.from_numpy(picked).to(self._device, non_blocking=True).float()


class SignalStore:
    """The signals of one (teacher, task) on disk, memory-mapped: memory stays flat however large they are.

    ``logits.npy`` (examples, C) float32; ``cls.npy``, ``mean.npy``, ``mean_padded.npy`` (examples, N, D) float16, layer
    l at index l - 1; ``probe_<kind>.npy`` (probe examples, N, D) float16 with ``probe_rows.npy``, rows of dev.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        self.facts: dict[str, Any] = read_json(folder / "signals.json")
        for name, digest in self.facts["sha256"].items():
            path = folder / name
            if not path.is_file() or sha256_file(path) != digest:
                raise UserError(f"{path}: missing or not what was written (checksum); delete {folder} and run again")
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            path = self.folder / f"{name}.npy"
            if not path.is_file():
                raise UserError(f"{path}: these signals were not asked for; delete {self.folder} and run again")
            self._arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._arrays[name]

    def signals(self, batch: Batch) -> Signals:
        return Cached(self, batch.index_B.cpu().numpy(), self.device)


class LiveTeacher:
    """The teacher run in every step, as published."""

    def __init__(
        self, model: "PreTrainedModel", data: Prepared, device: torch.device, setting: str = "auto", hidden: bool = True
    ) -> None:
        self.model = place(model, device).eval().requires_grad_(False)
        self.data, self.device, self.hidden = data, device, hidden
        self.dtype = precision(setting, device, model.config.hidden_size)

    def signals(self, batch: Batch) -> Signals:
        inputs = batch.inputs
        wants, has = uses_type_ids(self.model), "token_type_ids" in inputs
        if wants != has:  # BERT's teacher of a DistilBERT student needs the ids that the student has no use for
            inputs = {k: v for k, v in inputs.items() if k != "token_type_ids"}
            if wants:
                second_B = self.data.splits["train"].second[batch.index_B.cpu()].to(self.device)
                position_T = torch.arange(inputs["input_ids"].shape[1], device=self.device)
                ids_BT = (position_T >= second_B[:, None]) & inputs["attention_mask"].bool()
                inputs["token_type_ids"] = ids_BT.long()
        with torch.no_grad(), autocast(self.device, self.dtype):
            return forward(self.model, inputs, self.hidden)


def probe_rows(examples: int) -> Tensor:
    """The dev rows on which layers are compared: the same for every run of a task."""
    return torch.randperm(examples, generator=stream(0, "probe"))[:PROBE_EXAMPLES].sort().values


def write_signals(
    model: "PreTrainedModel",
    data: Prepared,
    poolings: Sequence[Pooling],
    folder: Path,
    device: torch.device,
    precision_setting: str,
    fingerprints: dict[str, str],
    batch_size: int = 64,
) -> None:
    """Computes a teacher's signals on the training set and writes them, whole or not at all."""
    split, pad_id = data.splits["train"], data.facts["pad_id"]
    layers = list(range(1, model.config.num_hidden_layers))
    type_ids = uses_type_ids(model)
    place(model, device).eval()
    dtype = precision(precision_setting, device, model.config.hidden_size)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)

    def create(name: str, shape: tuple[int, ...], kind: type) -> NDArray[Any]:
        return np.lib.format.open_memmap(temporary / f"{name}.npy", mode="w+", dtype=kind, shape=shape)

    width = model.config.hidden_size
    logits = create("logits", (len(split), outputs_of(model)), np.float32)
    arrays = {kind: create(kind, (len(split), len(layers), width), np.float16) for kind in poolings}
    with torch.inference_mode(), autocast(device, dtype):
        for padded in (False, True):  # mean_padded counts padding, so it needs every example at the full length
            kinds = [k for k in poolings if (k == "mean_padded") == padded]
            if padded and not kinds:
                continue
            pad_to = data.facts["max_length"] if padded else None
            for rows in sorted_batches(split.lengths, batch_size):
                said = forward(model, to_device(split.collate(rows, pad_id, type_ids, pad_to), device), bool(kinds))
                if not padded:
                    logits[rows.numpy()] = said.logits_BC.float().cpu().numpy()
                for kind in kinds:
                    arrays[kind][rows.numpy()] = said.pooled(kind, layers).half().cpu().numpy()
        rows = probe_rows(len(data.splits["dev"]))
        np.save(temporary / "probe_rows.npy", rows.numpy())
        said = forward(model, to_device(data.splits["dev"].collate(rows, pad_id, type_ids), device))
        for kind in POOLINGS:
            np.save(temporary / f"probe_{kind}.npy", said.pooled(kind, layers).half().cpu().numpy())
    for array in (logits, *arrays.values()):
        array.flush()  # type: ignore[attr-defined]
    files = sorted(p.name for p in temporary.iterdir())
    write_json(
        temporary / "signals.json",
        {
            "fingerprints": fingerprints,
            "poolings": list(poolings),
            "precision": str(dtype).removeprefix("torch."),
            "sha256": {name: sha256_file(temporary / name) for name in files},
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
