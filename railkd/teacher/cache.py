"""Computes a frozen teacher's signals once for each task, and reads them row by row for every student.

The cache holds what a pooled-vector method reads: logits, and one vector per example and intermediate layer. Signals
are taken in eval mode, without dropout or augmentation, so the two regimes give the same numbers. Token states, vectors
of the attention and mixed inputs are had live alone.
"""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from railkd.data.batches import Prepared
from railkd.devices import autocast, precision, to_device
from railkd.errors import Undeclared, UserError
from railkd.models.classifier import outputs_of, uses_type_ids
from railkd.models.forward import forward
from railkd.random_streams import stream
from railkd.records.files import atomic_folder
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import read_json, read_sealed, sealed, write_json
from railkd.signals import Pooling
from railkd.teacher.cached import CachedSignals
from railkd.teacher.computation import computed, finite, fitting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_EXAMPLES = 100  # of dev, for the layer similarities of Figure 2
POOLINGS: tuple[Pooling, ...] = ("cls", "mean")
SEEN = "seen.json"  # in a store: what its files looked like when their checksums were last computed


class SignalStore(CachedSignals):
    """The signals of one (teacher, task) on disk, read row by row: memory stays flat however large they are.

    ``logits.npy`` (examples, C) float32; ``cls.npy``, ``mean.npy``, ``mean_padded.npy`` (examples, N, D), layer l at
    index l - 1; ``probe_<kind>.npy`` (probe examples, N, D) with ``probe_rows.npy``, rows of dev. Vectors are float16,
    or float32 where a value is beyond float16's largest, 65,504; ``facts["dtypes"]`` says which. A teacher of one layer
    has no intermediate one, and its store no vectors.

    Opening one checks that its files are what was written: by SHA-256, or, where ``seen.json`` says that this was done,
    by size, inode and the times of the last change of content and of status. Any write through the file system moves
    the last, which no user can set back, so it is noticed; what is not: a disk that changes bits by itself, and someone
    who rewrites ``seen.json`` too. Without it (a copy, another host's inodes) everything is read once.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(device)
        self.folder = folder
        self.facts: dict[str, Any] = read_sealed(folder / "signals.json")
        _check(folder, self.facts["sha256"])
        self._open: dict[str, tuple[FileIO, np.memmap[Any, Any]]] = {}

    def _file(self, name: str) -> "tuple[FileIO, np.memmap[Any, Any]]":
        if name not in self._open:
            path = self.folder / f"{name}.npy"
            if not path.is_file():
                raise Undeclared(
                    f"{path}: these signals were not asked for: name {name} in the property pooling, or, where it is "
                    f"named, delete {self.folder} and run again"
                )
            try:
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:  # objects, which would be a pickle; or no array
                raise UserError(
                    f"{path}: not an array of numbers ({error}); delete {self.folder} and run again"
                ) from None
            self._open[name] = (FileIO(path), mapped)
        return self._open[name]

    def probed(self, kind: Pooling) -> bool:
        """Whether the probe examples' vectors of a pooling are kept."""
        return f"probe_{kind}.npy" in self.facts["sha256"]

    def array(self, name: str) -> NDArray[Any]:
        """The whole file, memory-mapped."""
        return self._file(name)[1]

    def read(self, name: str, rows_B: NDArray[np.int64]) -> NDArray[Any]:
        """(B, …): these rows, read with one call each.

        Not through the map: a touched page maps its neighbours, on a recent Linux megabytes, and they stay with the
        process until memory is short.
        """
        file, array = self._file(name)
        found = np.empty((len(rows_B), *array.shape[1:]), array.dtype)
        size = found[0].nbytes
        for row, target in zip(rows_B.tolist(), found, strict=True):
            if os.preadv(file.fileno(), [memoryview(target).cast("B")], array.offset + row * size) != size:
                raise UserError(f"{self.folder / name}.npy: row {row} cannot be read whole; delete it and run again")
        return found


class _RowFile:
    """An array's file while it is written, row by row in any order: ``shape`` is (rows, …).

    Not a memory map: a full disk is an error of the write, on any file system, and the process does not grow.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._row_bytes = math.prod(shape[1:]) * self.dtype.itemsize
        self._file = open(path, "w+b")  # noqa: SIM115
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._file.truncate(self._start + shape[0] * self._row_bytes)

    def write(self, rows_B: NDArray[np.int64], values: NDArray[Any]) -> None:
        """``values`` (B, …) become these rows, in the file's type."""
        for row, value in zip(rows_B.tolist(), np.ascontiguousarray(values, dtype=self.dtype), strict=True):
            self._file.seek(self._start + row * self._row_bytes)
            self._file.write(value.tobytes())

    def widened(self) -> "_RowFile":
        """The same rows in float32, in this file's place."""
        wide = _RowFile(self.path.with_suffix(".wide"), self.shape, np.float32)
        self._file.seek(self._start)
        for _ in range(self.shape[0]):
            wide._file.write(np.frombuffer(self._file.read(self._row_bytes), self.dtype).astype(wide.dtype).tobytes())
        self._file.close()
        os.replace(wide.path, self.path)
        wide.path = self.path
        return wide

    def close(self) -> None:
        self._file.close()


def _looks(folder: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """File -> size, inode, times of the last change of content and of status (ns)."""
    found = {name: (folder / name).stat() for name in names}
    return {name: [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for name, s in found.items()}


def _check(folder: Path, digests: dict[str, str]) -> None:
    """Raises UserError unless every file is what was written; reads no file that ``seen.json`` vouches for."""
    try:
        looks = _looks(folder, ["signals.json", *digests])
        if (folder / SEEN).is_file() and read_json(folder / SEEN) == looks:
            return
    except (OSError, UserError):  # the loop below says which file is missing
        looks = {}
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise UserError(f"{path}: missing or not what was written (checksum); delete {folder} and run again")
    with suppress(OSError, UserError):  # a folder that cannot be written to is read again by the next job
        write_json(folder / SEEN, looks)


def probe_rows(examples: int) -> Tensor:
    """The dev rows on which layers are compared: the same for every run of a task."""
    return torch.randperm(examples, generator=stream(0, "probe"))[:PROBE_EXAMPLES].sort().values


def write_signals(
    model: "PreTrainedModel",
    data: Prepared,
    poolings: Sequence[Pooling],
    folder: Path,
    precision_setting: str,
    fingerprints: dict[str, str],
    batch_size: int = 64,
) -> None:
    """Computes a teacher's signals on the training set, on its own device, and writes them, whole or not at all."""
    device, width = model.device, model.config.hidden_size
    split, dev = data.splits["train"], data.splits["dev"]
    layers = list(range(1, model.config.num_hidden_layers))
    dtype = precision(precision_setting, device, width)
    with atomic_folder(folder) as unfinished:
        logits = _RowFile(unfinished / "logits.npy", (len(split), outputs_of(model)), np.float32)
        shape = (len(split), len(layers), width)
        arrays = {kind: _RowFile(unfinished / f"{kind}.npy", shape, np.float16) for kind in poolings}
        for name, rows, values in computed(model, data, poolings, precision_setting, batch_size):
            if name == "logits":
                logits.write(rows.numpy(), finite(values, rows, folder / "logits.npy"))
                continue
            kind = cast(Pooling, name)
            vectors = fitting(values, rows, folder / f"{kind}.npy", arrays[kind].dtype == np.float32)
            if vectors.dtype != arrays[kind].dtype:
                arrays[kind] = arrays[kind].widened()
            arrays[kind].write(rows.numpy(), vectors)
        rows = probe_rows(len(dev))
        np.save(unfinished / "probe_rows.npy", rows.numpy())
        with torch.inference_mode(), autocast(device, dtype):
            inputs = to_device(dev.collate(rows, data.facts["pad_id"], uses_type_ids(model)), device)
            outputs = forward(model, inputs)
            for kind in POOLINGS if layers else ():
                name = f"probe_{kind}.npy"
                np.save(unfinished / name, fitting(outputs.pooled(kind, layers), rows, folder / name))
        for array in (logits, *arrays.values()):
            array.close()
        seal(unfinished, fingerprints, poolings, str(dtype).removeprefix("torch."))


def lacks(folder: Path, fingerprints: Mapping[str, str | None], poolings: Sequence[str] | None) -> str | None:
    """Why a store cannot serve: it is missing, of another teacher, tokenizer or data, or without what is to be read.

    A fingerprint that is None is not compared. ``poolings`` None: nothing will be read, so its arrays may be missing.
    """
    if not (folder / "signals.json").is_file():
        return "missing"
    try:
        facts = read_sealed(folder / "signals.json")
        made_of, files, kinds = dict(facts["fingerprints"]), dict(facts["sha256"]), list(facts["poolings"])
    except (KeyError, TypeError, ValueError) as error:  # UserError among them
        return str(error) if isinstance(error, UserError) else "it is no store of signals"
    found = [f"other {key}" for key, value in fingerprints.items() if value and made_of.get(key) != value]
    if poolings is not None:
        found += [] if all((folder / name).is_file() for name in files) else ["missing"]
        found += [f"without {kind}" for kind in poolings if kind not in kinds]
    return ", ".join(found) or None


def seal(folder: Path, fingerprints: dict[str, str], poolings: Sequence[Pooling], precision: str) -> None:
    """Writes what a store is and the checksums of its files, which makes it one."""
    files = sorted(p.name for p in folder.iterdir())
    facts = {
        "fingerprints": fingerprints,
        "poolings": list(poolings),
        "precision": precision,
        "dtypes": {name: str(np.load(folder / name, mmap_mode="r", allow_pickle=False).dtype) for name in files},
        "sha256": {name: sha256_file(folder / name) for name in files},
    }
    write_json(folder / "signals.json", sealed(facts))
    write_json(folder / SEEN, _looks(folder, ["signals.json", *files]))
