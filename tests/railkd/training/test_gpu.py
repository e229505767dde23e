"""What only a GPU shows: ``make gpu`` runs it, and without one every test is skipped with a reason."""

from typing import Any

import numpy as np
import pytest
import torch
from test_loop import FAST, METHODS

from railkd import devices
from railkd.data.batches import epoch_batches
from railkd.jobs.model_sizes import setting_for
from railkd.jobs.teacher_signals import TeacherSignals
from railkd.methods import build, find
from railkd.random_streams import stream
from railkd.tasks import TASKS
from railkd.training.loop import train
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]
CARD = torch.device("cuda:0")


def parts(pipeline: Any, name: str) -> tuple[Any, Any, Any, Any]:
    data = pipeline.prepared("mrpc")
    setting = setting_for((4, 32), (2, 16), TASKS["mrpc"], data.splits["train"].labels)
    torch.manual_seed(1)
    method = build(name, setting, pipeline.benchmark.options(name))
    signals = TeacherSignals(pipeline.benchmark, pipeline.layout, "bert4", data, CARD, print)
    source = signals.source(method, "live" if method.needs_live_teacher else "cached", "float32")
    whole = find(name).whole_last_layer
    return data, pipeline.student("distilbert2", dropout=0.0, whole=whole, device=CARD), method, source


@pytest.mark.parametrize("share", [0.5, 0.0])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_waits_for_nothing(pipeline: Any, name: str, share: float) -> None:
    data, model, method, source = parts(pipeline, name)
    step = Steps(model, method, source, data, TrainingSettings.of(FAST, 1, CARD, share))
    assert step.place == ("device" if share else "streamed")
    method.epochs = 2
    method.start_training(stream(1, "method"))
    method.start_epoch(0, stream(1, "method", 0))
    batches = epoch_batches(step.split.lengths, 16, stream(1, "order", 0))
    for rows in batches[:2]:  # both buffers are pinned, the optimizer's state is made
        step(rows)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for rows in batches[2:]:
            step(rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", METHODS)
def test_the_place_of_data_and_the_precision_change_little(pipeline: Any, name: str) -> None:
    losses = []
    for share, precision in ((0.5, "float32"), (0.0, "float32"), (0.5, "bfloat16")):
        data, model, method, source = parts(pipeline, name)
        settings = TrainingSettings.of({**FAST, "precision": precision}, 1, CARD, share)
        outcome = train(model, method, source, data, settings)
        assert np.isfinite(outcome.dev_logits).all()
        losses.append([epoch["loss"]["total"] for epoch in outcome.epochs])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)  # streamed, or on the device
    assert losses[2] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("name", ["rail_kd_c", "codir", "minilm_v2", "mixkd"])
def test_compiled_training_gives_nearly_the_same_losses(pipeline: Any, name: str) -> None:
    losses = []
    for compiled in (False, True):
        data, model, method, source = parts(pipeline, name)
        settings = TrainingSettings.of({**FAST, "batch_size": 14, "compile": compiled}, 1, CARD)
        losses.append([epoch["loss"]["total"] for epoch in train(model, method, source, data, settings).epochs])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_budget_is_a_share_of_what_is_free() -> None:
    free = torch.cuda.mem_get_info(CARD)[0]
    half = devices.data_budget(CARD, 0.5)
    assert half is not None and 0.4 * free < half and devices.data_budget(CARD, 0.0) == 0
