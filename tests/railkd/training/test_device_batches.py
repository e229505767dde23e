"""A step on a GPU, as far as a CPU can prove it: where its data lies, and that the host waits for nothing.

The path of a GPU runs here on the CPU: data kept "on the device" or streamed, `transformers`' fused attention, torch's
own dropout.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import CPU, FAST, METHODS, Run, states_equal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from railkd.data.batches import epoch_batches
from railkd.devices import Staging
from railkd.jobs.model_sizes import setting_for
from railkd.methods import build, find
from railkd.methods.base import Method
from railkd.models.masks import FUSED, use_whole_masks
from railkd.random_streams import stream
from railkd.tasks import TASKS
from railkd.teacher.cached import CachedSignals
from railkd.teacher.live import LiveTeacher
from railkd.training import steps
from railkd.training.device_batches import DeviceBatches
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps

CACHED = [name for name in METHODS if not find(name).needs_live_teacher]
LIVE = [name for name in METHODS if find(name).needs_live_teacher]
BUDGETS = {"host": None, "device": 1 << 30, "streamed": 0}  # bytes of the device that data may take
# operations whose result decides on the host, or has a shape that the device's values decide
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2", "allclose")


class Waits(TorchDispatchMode):
    """Counts what would make the host wait if the tensors of a step lay on a GPU; ``host`` and drawn ones do not."""

    def __init__(self, host: list[Tensor]) -> None:
        super().__init__()
        self.found: list[str] = []
        self.host = host
        self.drawn: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_", "index_put") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if (name in WAITING or by_mask) and args[0].data_ptr() not in [drawn.data_ptr() for drawn in self.drawn]:
            self.found.append(name)
        made = func(*args, **(kwargs or {}))
        if name in ("randint", "randperm") and (kwargs or {}).get("generator") is not None:
            self.drawn.append(made)  # by a stream of the run: on the host, wherever the step is
        return made

    @contextmanager
    def watching(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Inside, calls of ``cpu``, ``numpy``, ``tolist`` and ``item`` count too: on a CPU they run no operation."""
        with patch.context() as inside, self:
            for name in ("cpu", "numpy", "tolist", "item"):
                original = getattr(Tensor, name)

                def counted(tensor: Tensor, *given: Any, name: str = name, call: Any = original) -> Any:
                    if not any(tensor is known for known in self.host):
                        self.found.append(name)
                    return call(tensor, *given)

                inside.setattr(Tensor, name, counted)
            yield


def stepped(
    pipeline: Any, patch: pytest.MonkeyPatch, name: str, place: str, task: str = "mrpc", masks: bool = True
) -> tuple[Steps, list[str]]:
    """Steps of a method with data in a place, and what waited in the second and third of them."""

    def as_on_a_gpu(module: Any) -> None:
        if masks and hasattr(module, "config"):
            use_whole_masks(module)

    patch.setattr("railkd.models.classifier.attention", lambda kind, device: "sdpa")
    patch.setattr(steps, "use_quick_dropout", as_on_a_gpu)
    patch.setattr(steps, "data_budget", lambda device, share: BUDGETS[place])
    data = pipeline.prepared(task)
    model = pipeline.student("distilbert2", outputs=data.task.outputs, whole=find(name).whole_last_layer)
    labels = data.splits["train"].labels
    method = build(name, setting_for((4, 32), (2, 16), TASKS[task], labels), pipeline.benchmark.options(name))
    source = pipeline.source(method, task)
    if isinstance(source, LiveTeacher) and masks:
        with patch.context() as inside:
            inside.setattr(source, "device", torch.device("cuda"))  # its own is where the model and its batches are
            source.quicken()
    step = Steps(model, method, source, data, TrainingSettings.of(FAST, 1, CPU))
    method.epochs = 2
    method.start_training(stream(1, "method"))
    method.start_epoch(0, stream(1, "method", 0))
    batches = epoch_batches(step.split.lengths, 16, stream(1, "order", 0))[:3]
    step(batches[0])  # memory is pinned, and the optimizer's state made, once
    waits = Waits(batches)
    with waits.watching(patch):
        for rows in batches[1:]:
            step(rows)
    return step, waits.found


@pytest.mark.parametrize("place", ["device", "streamed"])
@pytest.mark.parametrize("name", CACHED)
def test_a_step_of_a_cached_method_waits_for_nothing(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    step, found = stepped(pipeline, monkeypatch, name, place)
    assert found == []
    assert step.place == place and step.model.config._attn_implementation == FUSED


@pytest.mark.parametrize("name", LIVE)
def test_a_step_of_a_live_method_waits_for_nothing(pipeline: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    step, found = stepped(pipeline, monkeypatch, name, "device")
    assert found == []
    assert isinstance(step.teacher, LiveTeacher) and step.teacher.model.config._attn_implementation == FUSED


def test_a_live_teachers_own_mask_waits_in_every_step(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("railkd.teacher.live.use_whole_masks", lambda model: None)
    found = stepped(pipeline, monkeypatch, "minilm_v2", "device")[1]
    assert len(found) >= 2 and set(found) <= {"_local_scalar_dense", "is_nonzero"}


def _back_and_forth(patch: pytest.MonkeyPatch) -> None:
    rows = CachedSignals._rows
    patch.setattr(CachedSignals, "_rows", lambda store, name, batch, layers: (
        batch.index_B.cpu(), rows(store, name, batch, layers))[1])  # fmt: skip


def _by_mask(patch: pytest.MonkeyPatch) -> None:
    loss = Method.loss
    patch.setattr(Method, "loss", lambda method, batch, *signals: (
        batch.labels_B[batch.labels_B > 0], loss(method, batch, *signals))[1])  # fmt: skip


def _longest_on_device(patch: pytest.MonkeyPatch) -> None:
    batch = DeviceBatches.__call__
    patch.setattr(DeviceBatches, "__call__", lambda batches, rows: (
        int(batches.split.lengths.max()), batch(batches, rows))[1])  # fmt: skip


@pytest.mark.parametrize(
    ("mutant", "expected"),
    [(_back_and_forth, "cpu"), (_by_mask, "index"), (_longest_on_device, "_local_scalar_dense")],
)
def test_what_waits_is_counted(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None], expected: str
) -> None:
    mutant(monkeypatch)
    assert expected in stepped(pipeline, monkeypatch, "rail_kd_l", "device")[1]


def test_transformers_own_mask_waits_in_every_step(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stepped(pipeline, monkeypatch, "no_kd", "device", masks=False)[1]
    assert len(found) >= 2 and set(found) <= {"_local_scalar_dense", "is_nonzero"}


@pytest.mark.parametrize("method", ["rail_kd_l", "codir", "minilm_v2"])
def test_the_place_of_data_changes_no_bit(pipeline: Any, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    runs = []
    for place, budget in BUDGETS.items():
        monkeypatch.setattr(steps, "data_budget", lambda device, share, budget=budget: budget)
        runs.append(Run(pipeline, method))
        assert runs[-1].outcome.cost["data"] == place
    for run in runs[1:]:
        assert states_equal(run.model, runs[0].model) and states_equal(run.method, runs[0].method)
        assert run.curve == runs[0].curve


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("budget", [1 << 30, 0])
def test_a_batch_is_what_the_host_makes_of_its_rows(pipeline: Any, budget: int, padded: bool) -> None:
    data = pipeline.prepared("stsb")
    split, longest, pad_id = data.splits["train"], data.facts["max_length"], 7
    batches = DeviceBatches(split, pad_id, True, [longest] if padded else [], CPU, budget)
    made = [(rows, batches(rows)) for rows in epoch_batches(split.lengths, 7, stream(1, "order", 0))]
    for rows, batch in made:  # after all were made: a buffer that is used again must not change an earlier batch
        own = split.collate(rows, pad_id, True, longest if padded else None)
        assert batch.inputs.keys() == own.keys()
        assert all(torch.equal(batch.inputs[key], own[key]) for key in own)
        assert torch.equal(batch.labels_B, split.labels[rows]) and torch.equal(batch.index_B, rows)
        assert batch.index_B is not rows and batch.rows_B is rows


def test_signals_that_do_not_fit_are_streamed(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pipeline.prepared("mrpc")
    method = build("pkd", setting_for((4, 32), (2, 16), TASKS["mrpc"], data.splits["train"].labels), {})
    store = pipeline.source(method, "mrpc")
    examples, logits, vectors = data.splits["train"].nbytes, *(store.array(k).nbytes for k in ("logits", "cls"))
    for budget, place, kept in (
        (examples + logits + vectors, "device", {"logits", "cls"}),
        (examples + logits + vectors - 1, "device, signals streamed", {"logits"}),
        (examples + logits - 1, "device, signals streamed", set()),
        (0, "streamed", set()),
    ):

        def free(device: torch.device, share: float, budget: int = budget) -> int:
            """What the device has left beside the signals that an earlier seed has put there."""
            return budget - int(share * store.bytes_on_device)

        monkeypatch.setattr(steps, "data_budget", free)
        for _ in range(3):  # seeds of one job
            step = Steps(pipeline.student("distilbert2"), method, store, data, TrainingSettings.of(FAST, 1, CPU))
            assert (step.place, store.on_device) == (place, kept)
    monkeypatch.undo()
    step = Steps(pipeline.student("distilbert2"), method, store, data, TrainingSettings.of(FAST, 1, CPU))
    assert step.place == "host" and step.batches.split is data.splits["train"]


def test_staged_tensors_are_copies_that_a_later_batch_leaves_alone() -> None:
    staging, drawn = Staging(CPU), np.random.default_rng(0)
    kept = []
    for size in (3, 1, 7, 2, 5):
        given = {
            "half": torch.from_numpy(drawn.normal(size=(size, 3)).astype(np.float16)),
            "rows": torch.from_numpy(drawn.integers(0, 99, size)),
            "score": torch.from_numpy(drawn.normal(size=size).astype(np.float32)),
        }
        kept.append(({name: tensor.clone() for name, tensor in given.items()}, staging(given)))
        for tensor in given.values():
            tensor.zero_()
    for before, placed in kept:
        assert before.keys() == placed.keys()
        assert all(torch.equal(placed[name], tensor) and placed[name].dtype == tensor.dtype
                   for name, tensor in before.items())  # fmt: skip
