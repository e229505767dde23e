"""What an encoder's outputs show before it is trained."""

from typing import Any

import pytest
import torch

from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning
from railkd.models import classifier, probe
from railkd.models.checkpoints import Checkpoint

CPU = torch.device("cpu")


class PadReader(torch.nn.Module):
    """Adds the mean over all positions, padding included, to what the head reads."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_BTD: torch.Tensor, *given: Any, **named: Any) -> Any:
        return self.inner(hidden_BTD + hidden_BTD.mean(dim=1, keepdim=True), *given, **named)


def test_padding_that_is_read_is_refused_before_training(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = pipeline.prepared("mrpc")
    model = pipeline.student("bert2").train()
    before = torch.get_rng_state()
    probe.require_padding_unread(model, prepared, CPU, "models.m")
    assert model.training and torch.equal(before, torch.get_rng_state())
    whole = classifier.load_classifier(
        Checkpoint(str(pipeline.checkpoints / "bert2")), 2, 1, "m", whole_last_layer=True
    )
    bert: Any = whole
    bert.bert.pooler = PadReader(bert.bert.pooler)
    with pytest.raises(UserError, match="^models.m: the outputs of a BertForSequenceClassification depend on"):
        probe.require_padding_unread(whole, prepared, CPU, "models.m")
    broken = pipeline.student("bert2")
    broken.bert.embeddings.LayerNorm.weight.data[3] = float("nan")
    with pytest.raises(UserError, match="^models.m: its logits are not finite before training"):
        probe.require_padding_unread(broken, prepared, CPU, "models.m")
    asked_of: list[str] = []

    def stop(model: Any, data: Any, device: Any, where: str) -> None:
        asked_of.append(where)
        raise UserError("stop")

    monkeypatch.setattr(probe, "require_padding_unread", stop)
    for action in (
        lambda: fine_tuning.fine_tune(pipeline.benchmark, pipeline.layout, "bert4", "mrpc", CPU, print),
        lambda: distillation.distil(
            pipeline.benchmark, pipeline.layout, Cell("bert2", "no_kd", "mrpc"), [9], CPU, print
        ),
    ):
        with pytest.raises(UserError, match="stop"):
            action()
    assert asked_of == ["models.bert4", "models.bert2"]
