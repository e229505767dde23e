"""A teacher's signals: cached and live say the same, and a damaged cache is noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from railkd.errors import UserError
from railkd.methods.base import Batch
from railkd.models import forward, uses_type_ids
from railkd.teacher import LiveTeacher, SignalStore, write_signals

CPU = torch.device("cpu")


@pytest.fixture
def store_folder(pipeline: Any, tmp_path: Path) -> Path:
    """Signals of every pooling, in a folder that a test may damage."""
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    folder = tmp_path / "signals"
    write_signals(model, prepared, ["cls", "mean", "mean_padded"], folder, CPU, "float32", {"data": "d"}, batch_size=7)
    return folder


def batch_of(prepared: Any, rows: torch.Tensor, type_ids: bool, pad_to: int | None = None) -> Batch:
    split = prepared.splits["train"]
    return Batch(rows, split.labels[rows], split.collate(rows, prepared.facts["pad_id"], type_ids, pad_to))


@pytest.mark.parametrize("type_ids", [True, False])
def test_cached_equals_live(pipeline: Any, store_folder: Path, type_ids: bool) -> None:
    """Also for a student whose batches carry no type ids, though the teacher needs them."""
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    assert uses_type_ids(model) and not uses_type_ids(pipeline.student("distilbert2"))
    store, live = SignalStore(store_folder, CPU), LiveTeacher(model, prepared, CPU, "float32")
    rows = torch.randperm(len(prepared.splits["train"]))[:20]
    for kind, pad_to in (("cls", None), ("mean", None), ("mean_padded", prepared.facts["max_length"])):
        batch = batch_of(prepared, rows, type_ids, pad_to)
        cached, said = store.signals(batch), live.signals(batch)
        torch.testing.assert_close(cached.logits_BC, said.logits_BC, atol=1e-5, rtol=1e-4)
        for layers in ([1, 2, 3], [3], [2, 1]):
            found = cached.pooled(kind, layers)
            assert found.dtype == torch.float32 and found.shape == (20, len(layers), 32)
            torch.testing.assert_close(found, said.pooled(kind, layers), atol=2e-3, rtol=2e-3)
    stripped = batch_of(prepared, rows, False).inputs
    with torch.no_grad():
        ignorant = forward(model, stripped).logits_BC
    assert (ignorant - said.logits_BC).abs().max() > 1e-3  # so the ids above mattered


def test_a_teacher_without_type_ids_ignores_those_of_the_batch(pipeline: Any) -> None:
    prepared, rows = pipeline.prepared("mrpc"), torch.arange(4)
    teacher = LiveTeacher(pipeline.student("distilbert2"), prepared, CPU, "float32")
    with_ids, without = (teacher.signals(batch_of(prepared, rows, ids)).logits_BC for ids in (True, False))
    assert torch.equal(with_ids, without) and not with_ids.requires_grad


def test_only_what_was_asked_is_stored(pipeline: Any, tmp_path: Path, store_folder: Path) -> None:
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    write_signals(model, prepared, ["cls"], tmp_path / "s", CPU, "float32", {"data": "d"})
    names = {p.name for p in (tmp_path / "s").iterdir()}
    assert names == {"logits.npy", "cls.npy", "probe_rows.npy", "probe_cls.npy", "probe_mean.npy", "signals.json"}
    assert not list(tmp_path.glob(".s*"))
    store = SignalStore(tmp_path / "s", CPU)
    assert store.array("cls").shape == (len(prepared.splits["train"]), 3, 32) and store.facts["poolings"] == ["cls"]
    other_batch_size = SignalStore(store_folder, CPU).array("cls")
    np.testing.assert_allclose(store.array("cls"), other_batch_size, atol=4e-3, rtol=2e-3)  # a rounding of float16
    with pytest.raises(UserError, match=r"mean.npy: these signals were not asked for"):
        store.signals(batch_of(prepared, torch.arange(3), True)).pooled("mean", [1])
    write_signals(model, prepared, ["mean"], tmp_path / "s", CPU, "float32", {"data": "d"})  # in place of the old
    assert "cls.npy" not in {p.name for p in (tmp_path / "s").iterdir()}


def test_a_damaged_store_is_noticed(store_folder: Path) -> None:
    path = store_folder / "mean.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"mean.npy: missing or not what was written \(checksum\)"):
        SignalStore(store_folder, CPU)
    path.unlink()
    with pytest.raises(UserError, match=r"mean.npy: missing"):
        SignalStore(store_folder, CPU)
    with pytest.raises(UserError, match=r"signals.json: no such file"):
        SignalStore(store_folder.parent, CPU)


def test_a_failed_write_keeps_the_old_store(pipeline: Any, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("railkd.teacher.sha256_file", fail)
    with pytest.raises(OSError):
        write_signals(model, prepared, ["cls"], store_folder, CPU, "float32", {"data": "d"})
    monkeypatch.undo()
    assert SignalStore(store_folder, CPU).facts["poolings"] == ["cls", "mean", "mean_padded"]


def test_the_pipelines_teacher_is_the_saved_one(pipeline: Any) -> None:
    """The signals on disk are those of the checkpoint that was saved."""
    prepared = pipeline.prepared("stsb")
    store = SignalStore(pipeline.layout.signals("bert4", "stsb"), CPU)
    live = LiveTeacher(pipeline.teacher("stsb", 1), prepared, CPU, "float32")
    batch = batch_of(prepared, torch.arange(10), True)
    torch.testing.assert_close(store.signals(batch).logits_BC, live.signals(batch).logits_BC, atol=1e-5, rtol=1e-4)
    assert store.facts["precision"] == "float32"
