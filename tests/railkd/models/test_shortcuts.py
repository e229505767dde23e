"""What a step leaves out changes nothing: same logits, gradients and trained weights as with everything computed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from railkd import errors
from railkd.benchmark.defaults import TRAINING
from railkd.jobs.model_sizes import setting_for
from railkd.methods import build
from railkd.models import classifier, shortcuts
from railkd.models.attention import projections
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.models.forward import forward
from railkd.models.shortcuts import UsedRows, narrow_last_layer
from railkd.tasks import TASKS
from railkd.training import loop, steps
from railkd.training.settings import TrainingSettings


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    return {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}


def said(model: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    model.eval().zero_grad()
    result = forward(model, inputs())
    nn.functional.cross_entropy(result.logits_BC, torch.tensor([0, 1, 1])).backward()
    return result, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])  # they are given masks of different kinds
@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_the_narrow_last_layer_is_exact(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, name: str, kernel: str
) -> None:
    monkeypatch.setattr(classifier, "attention", lambda kind, device: kernel)
    checkpoint = Checkpoint(str(checkpoints / name))
    whole, gradients = said(load_classifier(checkpoint, 2, 1, "m", whole_last_layer=True))
    narrow, same = said(load_classifier(checkpoint, 2, 1, "m"))
    assert narrow.hidden[-1].shape[1] == 1 and whole.hidden[-1].shape[1] == 9
    torch.testing.assert_close(narrow.logits_BC, whole.logits_BC, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(narrow.hidden[-1][:, 0], whole.hidden[-1][:, 0], atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(narrow.hidden[:-1], whole.hidden[:-1], strict=True):
        assert torch.equal(ours, theirs)
    assert gradients.keys() == same.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(same[key], gradient, atol=1e-6, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_the_narrow_attention_makes_no_keys_and_values(checkpoints: Path, name: str) -> None:
    """Also in a copy, which has its own weights."""
    model = load_classifier(Checkpoint(str(checkpoints / name)), 2, 1, "m").eval()
    twin = copy.deepcopy(model)
    before = forward(twin, inputs()).logits_BC
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(forward(twin, inputs()).logits_BC, before) and before.abs().min() > 0
    made = []
    for number, layer in enumerate(classifier.layers_of(twin), 1):
        for part, module in projections(layer).items():
            module.register_forward_hook(lambda *seen, key=(number, part): made.append((key, seen[2].shape[:-1])))
    forward(twin, inputs())
    last = twin.config.num_hidden_layers
    assert [(key, shape) for key, shape in made if key[0] == last] == [((last, "query"), (3,))]
    assert all(shape == (3, 9) for key, shape in made if key[0] < last) and len(made) == 3 * (last - 1) + 1


def test_the_narrow_attention_drops_out(checkpoints: Path) -> None:
    """As often as the whole one: the mean over many draws is the value without dropout."""
    model = load_classifier(Checkpoint(str(checkpoints / "bert4")), 2, 1, "m", dropout=0.0).eval()
    attention = classifier.layers_of(model)[-1].attention.self
    hidden = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        calm, _ = attention(hidden)
        attention.dropout.p = 0.4
        attention.train()
        torch.manual_seed(0)
        drawn = torch.stack([attention(hidden)[0] for _ in range(4000)])
    assert (drawn.std(dim=0) > 0).all()
    error = (drawn.mean(dim=0) - calm) / (drawn.std(dim=0) / len(drawn) ** 0.5)
    assert error.abs().max() < 4.5


def test_an_unknown_layer_is_left_whole() -> None:
    assert not narrow_last_layer(nn.TransformerEncoderLayer(8, 2))


def mutate(model: Any, how: str) -> None:
    """What a new version of a library might do under an old name; ``last`` is the last layer's attention."""
    last = classifier.layers_of(model)[-1].attention.self
    before = type(last)

    def scale(self: Any, hidden_BTD: torch.Tensor, **others: Any) -> Any:
        self.scaling = 1.1 * self.attention_head_size**-0.5
        return before.forward(self, hidden_BTD, **others)

    def positions(self: Any, hidden_BTD: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> Any:
        position_T = torch.arange(hidden_BTD.shape[1])
        bias_TT = -0.1 * (position_T - position_T[:, None]).abs()
        return before.forward(self, hidden_BTD, attention_mask=attention_mask + bias_TT, **others)

    def argument(self: Any, hidden_BTD: torch.Tensor, head_mask: torch.Tensor, **others: Any) -> Any:
        return before.forward(self, hidden_BTD * head_mask, **others)

    if how == "pooler":
        model.bert.pooler.forward = lambda hidden_BTD: hidden_BTD.mean(dim=1)
        return
    if how == "argument":
        last.register_forward_pre_hook(
            lambda module, given, named: (given, {**named, "head_mask": torch.tensor(0.5)}), with_kwargs=True
        )
    changed = {"scale": scale, "positions": positions, "argument": argument}[how]
    last.__class__ = type("BertSelfAttention", (before,), {"forward": changed})


@pytest.mark.parametrize("how", ["scale", "positions", "argument", "pooler"])
@pytest.mark.parametrize("new", [False, True], ids=["trained", "new"])
def test_a_layer_that_computes_something_else_stays_whole(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str, new: bool
) -> None:
    """Said once; also where new weights are so small that attention is the same everywhere."""
    monkeypatch.setattr(shortcuts, "_verdicts", {})
    errors.warn.cache_clear()
    for _ in range(2):
        model = load_classifier(Checkpoint(str(checkpoints / "bert4")), 2, 1, "m", whole_last_layer=True)
        if new:
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(0.1)
        mutate(model, how)
        before, whole = copy.deepcopy(model.state_dict()), forward(model, inputs())
        state, training_before = torch.get_rng_state(), model.training
        classifier.narrow(model)
        after = forward(model, inputs())
        assert torch.equal(after.logits_BC, whole.logits_BC) and after.hidden[-1].shape == (3, 9, 32)
        assert torch.equal(state, torch.get_rng_state()) and model.training == training_before
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    lines = [line for line in capsys.readouterr().err.splitlines() if "not narrowed" in line]
    why = "TypeError: BertSelfAttention is given head_mask" if how == "argument" else "it would give other numbers"
    assert len(lines) == 1 and why in lines[0], lines


def test_an_architecture_is_compared_once(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any weights and names of labels; the comparison leaves weights, modes and random numbers as they were."""
    compared: list[str] = []
    real = shortcuts._same_when_narrow

    def counted(model: Any, layer: Any) -> bool:
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        compared.append(type(model).__name__)
        verdict = real(model, layer)
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        return verdict

    monkeypatch.setattr(shortcuts, "_verdicts", {})
    monkeypatch.setattr(shortcuts, "_same_when_narrow", counted)
    for name, seed in (("bert4", 1), ("bert4", 2), ("distilbert2", 1), ("roberta3", 1), ("bert4", 1), ("bert2", 1)):
        model = load_classifier(Checkpoint(str(checkpoints / name)), 2, seed, "m")
        assert forward(model, inputs()).hidden[-1].shape[1] == 1
    assert [name[:4] for name in compared] == ["Bert", "Dist", "Robe", "Bert"]  # bert2 has another depth
    monkeypatch.setattr(classifier, "attention", lambda kind, device: "sdpa")
    load_classifier(Checkpoint(str(checkpoints / "bert4")), 2, 1, "m")
    assert len(compared) == 5


class Whole(nn.Module):
    """UsedRows without the idea."""

    def __init__(self, full: nn.Embedding, tokens: Any) -> None:
        super().__init__()
        self.full = full

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.full(ids)

    def restore(self, shrink: float) -> nn.Embedding:
        return self.full


@pytest.mark.parametrize("student", ["bert2", "distilbert2"])
def test_used_rows_train_as_the_whole_embedding(pipeline: Any, monkeypatch: pytest.MonkeyPatch, student: str) -> None:
    data = pipeline.prepared("mrpc")
    settings = {**TRAINING, "learning_rate": 3e-3, "batch_size": 16, "epochs": 3, "weight_decay": 0.1}
    finished = []
    for variant in (UsedRows, Whole):
        monkeypatch.setattr(steps, "UsedRows", variant)
        model = pipeline.student(student)
        start = model.get_input_embeddings().weight.detach().clone()
        method = build("no_kd", setting_for((4, 32), (2, 32), TASKS["mrpc"]), {})
        loop.train(model, method, None, data, TrainingSettings.of(settings, 1, torch.device("cpu")))
        finished.append(model)
    ours, theirs = (model.state_dict() for model in finished)
    assert ours.keys() == theirs.keys() and type(finished[0].get_input_embeddings()) is nn.Embedding
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=1e-4, msg=key)
    met = torch.cat([data.splits[s].tokens for s in ("train", "dev")]).unique().long()
    never = torch.ones(len(start), dtype=torch.bool)
    never[met] = False
    after = finished[0].get_input_embeddings().weight
    ratio = (after[never].norm() / start[never].norm()).item()
    assert never.any() and 0.9 < ratio < 0.9999  # weight decay alone
    assert (after[met] - start[met]).abs().max() > 1e-3


def test_used_rows_keep_the_padding_row_without_gradient() -> None:
    full = nn.Embedding(10, 4, padding_idx=1)
    rows = UsedRows(full, [torch.tensor([5, 7, 7])])
    assert rows.weight.shape == (3, 4)
    out = rows(torch.tensor([[5, 7, 1]]))
    assert torch.equal(out, full(torch.tensor([[5, 7, 1]])))
    out.sum().backward()
    assert rows.weight.grad is not None and rows.weight.grad[0].abs().sum() == 0 and (rows.weight.grad[1:] == 1).all()
