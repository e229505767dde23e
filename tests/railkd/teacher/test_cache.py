"""A teacher's signals: cached and live say the same, and a damaged cache is noticed."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from railkd.devices import autocast
from railkd.errors import UserError
from railkd.evaluation.diagnostics import probes
from railkd.jobs.model_sizes import setting_for
from railkd.methods import build
from railkd.models.classifier import take_layers, uses_type_ids
from railkd.models.forward import forward
from railkd.signals import Batch
from railkd.tasks import TASKS
from railkd.teacher import cache, computation
from railkd.teacher.cache import SignalStore, write_signals
from railkd.teacher.live import LiveTeacher

CPU = torch.device("cpu")


@pytest.fixture
def store_folder(pipeline: Any, tmp_path: Path) -> Path:
    """Signals of every pooling, in a folder that a test may damage."""
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    folder = tmp_path / "signals"
    write_signals(model, prepared, ["cls", "mean", "mean_padded"], folder, "float32", {"data": "d"}, batch_size=7)
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
    write_signals(model, prepared, ["cls"], tmp_path / "s", "float32", {"data": "d"})
    names = {p.name for p in (tmp_path / "s").iterdir()}
    assert names == {
        "logits.npy",
        "cls.npy",
        "probe_rows.npy",
        "probe_cls.npy",
        "probe_mean.npy",
        "signals.json",
        "seen.json",
    }
    assert not list(tmp_path.glob(".s*"))
    store = SignalStore(tmp_path / "s", CPU)
    assert store.array("cls").shape == (len(prepared.splits["train"]), 3, 32) and store.facts["poolings"] == ["cls"]
    other_batch_size = SignalStore(store_folder, CPU).array("cls")
    np.testing.assert_allclose(store.array("cls"), other_batch_size, atol=4e-3, rtol=2e-3)  # a rounding of float16
    with pytest.raises(UserError, match=r"mean.npy: these signals were not asked for"):
        store.signals(batch_of(prepared, torch.arange(3), True)).pooled("mean", [1])
    write_signals(model, prepared, ["mean"], tmp_path / "s", "float32", {"data": "d"})  # in place of the old
    assert "cls.npy" not in {p.name for p in (tmp_path / "s").iterdir()}


def test_a_teacher_of_one_layer_has_logits_alone(pipeline: Any, tmp_path: Path) -> None:
    """So a method that reads no more can have it, and its layers are compared with none."""
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    take_layers(model, [1], "teacher")
    write_signals(model, prepared, [], tmp_path / "s", "float32", {})
    store = SignalStore(tmp_path / "s", CPU)
    assert set(store.facts["sha256"]) == {"logits.npy", "probe_rows.npy"}
    assert probes(pipeline.student("bert2"), prepared, store, CPU) == {}


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


def test_a_checked_store_is_not_read_again(store_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But any write to it, and any copy of it, is: also a write whose time was set back."""
    read: list[str] = []
    real = cache.sha256_file

    def sha256_file(path: Path) -> str:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(cache, "sha256_file", sha256_file)
    SignalStore(store_folder, CPU)
    assert read == []
    copy = tmp_path / "copy"
    shutil.copytree(store_folder, copy)
    SignalStore(copy, CPU)
    assert sorted(read) == sorted(SignalStore(copy, CPU).facts["sha256"])  # each file once, none the second time
    before = (copy / "mean.npy").stat()
    content = bytearray((copy / "mean.npy").read_bytes())
    content[-1] ^= 1
    with open(copy / "mean.npy", "r+b") as file:
        file.write(bytes(content))
    os.utime(copy / "mean.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (copy / "mean.npy").stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(UserError, match=r"mean.npy: missing or not what was written"):
        SignalStore(copy, CPU)
    facts = (store_folder / "signals.json").read_text()
    (store_folder / "signals.json").write_text(facts.replace('"cls.npy": "', '"cls.npy": "0'))
    with pytest.raises(UserError, match=r"signals.json: not what was written"):
        SignalStore(store_folder, CPU)


def resident() -> int:
    """Bytes of this process in RAM, mapped files included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see its own memory")
def test_memory_stays_flat_however_large_the_store(tmp_path: Path) -> None:
    """192 MiB of signals are read in less than 24 MiB; through the map they would all be resident."""
    examples, batch_size = 6144, 32
    (tmp_path / "store").mkdir()
    shape = (examples, 16, 1024)
    array = np.lib.format.open_memmap(tmp_path / "store" / "mean.npy", mode="w+", dtype=np.float16, shape=shape)
    for row in range(examples):
        array[row] = row % 100
    array.flush()
    del array
    cache.seal(tmp_path / "store", {}, ["mean"], "float32")

    store, before, most = SignalStore(tmp_path / "store", CPU), resident(), 0
    for rows in torch.randperm(examples, generator=torch.Generator().manual_seed(0)).split(batch_size):
        picked = store.signals(Batch(rows, rows, {})).pooled("mean", [1, 8, 16])
        assert torch.equal(picked[:, 1, 5], (rows % 100).float())
        most = max(most, resident() - before)
    assert most < 24 << 20
    store.array("mean")[:, 0].max()
    assert resident() - before > 96 << 20  # so the measurement sees mapped pages


@pytest.mark.parametrize("method", ["vanilla_kd", "pkd", "ckd", "alp_kd", "codir", "rail_kd_l", "rail_kd_c"])
def test_losses_agree_in_half_precision(pipeline: Any, tmp_path: Path, method: str) -> None:
    """An epoch's mean to 1e-3, with the teacher's signals stored as float16 and both models in bfloat16."""
    data, teacher = pipeline.prepared("mrpc"), pipeline.teacher("mrpc")
    write_signals(teacher, data, ["cls", "mean"], tmp_path / "s", "bfloat16", {}, batch_size=16)
    student = pipeline.student("bert2").eval()
    setting = setting_for((4, 32), (2, 32), TASKS["mrpc"], data.splits["train"].labels)
    sources = SignalStore(tmp_path / "s", CPU), LiveTeacher(teacher, data, CPU, "bfloat16")
    losses = []
    for source in sources:
        torch.manual_seed(3)
        objective = build(method, setting, pipeline.benchmark.options(method)).eval()
        objective.start_epoch(0, torch.Generator().manual_seed(3))
        of_batches = []
        for rows in torch.arange(64).split(16):
            batch = batch_of(data, rows, True)
            with torch.no_grad(), autocast(CPU, torch.bfloat16):
                said = forward(student, batch.inputs)
                of_batches.append(float(objective.loss(batch, said, source.signals(batch))[0]))
        losses.append(of_batches)
    assert np.mean(losses[0]) == pytest.approx(np.mean(losses[1]), rel=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=3e-3)  # CoDIR's θ = .07 magnifies the rounding of a batch
    assert method == "vanilla_kd" or losses[0] != losses[1]  # they are two computations; its logits are not rounded


def test_a_failed_write_keeps_the_old_store(pipeline: Any, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("railkd.teacher.cache.sha256_file", fail)
    with pytest.raises(UserError, match=r"cannot be written \(disk full\)"):
        write_signals(model, prepared, ["cls"], store_folder, "float32", {"data": "d"})
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


def scaled(pipeline: Any, factor: float) -> Any:
    """The teacher with the hidden states of its second layer multiplied."""
    model = pipeline.teacher("mrpc")
    norm = model.bert.encoder.layer[1].output.LayerNorm
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
    return model


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_padded"])
def test_values_beyond_half_precision_are_kept_in_float32(
    pipeline: Any, tmp_path: Path, pooling: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the store and of the probes; the numbers are those of the live teacher, and what fits stays as it was."""
    model, prepared = scaled(pipeline, 7e4), pipeline.prepared("mrpc")
    write_signals(model, prepared, [pooling], tmp_path / "s", "float32", {}, batch_size=7)
    store, live = SignalStore(tmp_path / "s", CPU), LiveTeacher(model, prepared, CPU, "float32")
    assert store.facts["dtypes"] == {
        "logits.npy": "float32",
        f"{pooling}.npy": "float32",
        "probe_rows.npy": "int64",
        "probe_cls.npy": "float32",
        "probe_mean.npy": "float32",
    }
    rows = torch.arange(len(prepared.splits["train"]))
    batch = batch_of(prepared, rows, True, prepared.facts["max_length"] if pooling == "mean_padded" else None)
    cached, said = (source.signals(batch).pooled(pooling, [1, 2, 3]) for source in (store, live))
    assert cached.isfinite().all() and cached[:, 1].abs().max() > 65504
    torch.testing.assert_close(cached, said, atol=2e-3, rtol=2e-3)
    lines = [line for line in capfd.readouterr().err.splitlines() if f"/{pooling}.npy" in line]
    assert len(lines) == 1 and "kept in float32, because layer 2 has " in lines[0], lines


def test_an_array_becomes_wide_in_the_middle(tmp_path: Path) -> None:
    """What was written before is kept; a row that was not is still to come."""
    file = cache._RowFile(tmp_path / "a.npy", (5, 2, 3), np.float16)
    first, second = np.arange(12).reshape(2, 2, 3) / 8, np.full((1, 2, 3), 1e6)
    file.write(np.array([3, 0]), first)
    file = file.widened()
    file.write(np.array([2]), second)
    file.close()
    made = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert made.dtype == np.float32 and made.shape == (5, 2, 3) and [p.name for p in tmp_path.iterdir()] == ["a.npy"]
    assert (made[[3, 0]] == first).all() and (made[2] == second[0]).all() and not made[[1, 4]].any()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_teacher_that_is_not_finite_is_one_line(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """It names the file, the layer and the example."""
    model, prepared = pipeline.teacher("mrpc"), pipeline.prepared("mrpc")
    row = 5
    tokens = prepared.splits["train"].collate(torch.tensor([row]), prepared.facts["pad_id"], False)["input_ids"][0]

    def poisoned(model: Any, inputs: dict[str, torch.Tensor], hidden: bool) -> Any:
        said = forward(model, inputs, hidden)
        for ids_T, state_TD in zip(inputs["input_ids"], said.hidden[2], strict=True):
            if torch.equal(ids_T[ids_T != prepared.facts["pad_id"]], tokens):
                state_TD[0, 3] = value
        return said

    monkeypatch.setattr(computation, "forward", poisoned)
    with pytest.raises(
        UserError, match=rf"s/cls.npy: the teacher's vector of layer 2 is not finite for example {row},"
    ):
        write_signals(model, prepared, ["cls"], tmp_path / "s", "float32", {})
    monkeypatch.undo()
    with torch.no_grad():
        model.classifier.bias.fill_(value)
    with pytest.raises(UserError, match=r"s/logits.npy: the teacher's logits are not finite for example \d+, counted"):
        write_signals(model, prepared, ["cls"], tmp_path / "s", "float32", {})
    assert not list(tmp_path.iterdir())
