"""The CPU's dropout: the right share, the right scale, gradients through what is kept, and torch's seed alone."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from railkd import train as training
from railkd.config import TRAINING
from railkd.dropout import dropout, kept, quick_dropout
from railkd.methods import build
from railkd.runs import setting_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.83])
def test_the_share_and_the_mean(p: float) -> None:
    torch.manual_seed(3)
    noise = kept(torch.empty(1001, 999), p)
    share = (noise == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / noise.numel()) ** 0.5 + 2**-16
    assert noise.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    assert noise.double().mean().item() == pytest.approx(1, abs=0.01)
    rows, columns = (noise == 0).double().mean(1), (noise == 0).double().mean(0)  # no row or column is favoured
    assert rows.std().item() == pytest.approx((p * (1 - p) / 999) ** 0.5, rel=0.15)
    assert columns.std().item() == pytest.approx((p * (1 - p) / 1001) ** 0.5, rel=0.15)


def test_neighbours_and_calls_are_independent() -> None:
    torch.manual_seed(4)
    first, second = (kept(torch.empty(400_000), 0.5) > 0 for _ in range(2))
    for one, other in ((first, second), (first[:-1], first[1:]), (first[:-4], first[4:])):
        assert (one == other).double().mean().item() == pytest.approx(0.5, abs=0.005)


def test_the_seed_decides() -> None:
    x = torch.ones(7, 5, 3)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append((dropout(x, 0.3), dropout(x, 0.3)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1]) and not torch.equal(drawn[0][0], drawn[2][0])


def test_gradients_pass_what_was_kept() -> None:
    x = torch.full((50, 8), 2.0, requires_grad=True)
    made = dropout(x, 0.25)
    made.sum().backward()
    assert x.grad is not None and torch.equal(made.detach(), 2 * x.grad) and (x.grad == 0).any()


def test_nothing_is_dropped_without_cause() -> None:
    x = torch.randn(4, 4)
    assert dropout(x, 0.5, training=False) is x and torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()


def test_it_is_used_within_the_block_alone() -> None:
    before = F.dropout
    with pytest.raises(KeyError), quick_dropout(CPU):
        assert F.dropout is dropout
        torch.manual_seed(1)
        module = nn.Dropout(0.4)(torch.ones(9, 9))
        torch.manual_seed(1)
        assert torch.equal(module, dropout(torch.ones(9, 9), 0.4))
        raise KeyError
    assert F.dropout is before


def test_a_run_draws_with_it(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place of a student that drops out does so here, attention included."""
    data, drawn = pipeline.prepared("mrpc"), []

    def counted(like: torch.Tensor, p: float) -> torch.Tensor:
        drawn.append((tuple(like.shape), p))
        return kept(like, p)

    monkeypatch.setattr("railkd.dropout.kept", counted)
    model = pipeline.student("bert2")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    method = build("no_kd", setting_for((4, 32), (2, 32), "mrpc"), {})
    settings = {**TRAINING, "batch_size": 16, "epochs": 1}
    outcome = training.train(model, method, None, data, settings, 1, CPU)
    of_a_step = 1 + 2 * 3 + 1  # embeddings; weights, attention, feed-forward of two layers; the head
    assert len(drawn) == of_a_step * outcome.cost["steps"]
    heads = model.config.num_attention_heads
    weights = [shape for shape, _ in drawn if shape[1] == heads and shape[-1] != model.config.hidden_size]
    assert sum(len(shape) == 4 for shape in weights) == outcome.cost["steps"]  # (B, H, T, T)
    assert sum(len(shape) == 3 for shape in weights) == outcome.cost["steps"]  # the last layer's: (B, H, T)
