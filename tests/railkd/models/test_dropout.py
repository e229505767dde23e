"""The CPU's dropout: the right share, the right scale, gradients through what is kept, and torch's seed alone."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from railkd.benchmark.defaults import TRAINING
from railkd.jobs.model_sizes import setting_for
from railkd.methods import build
from railkd.models import classifier, dropout
from railkd.models.checkpoints import Checkpoint, load_tokenizer
from railkd.models.dropout import QuickDropout, drop_out, kept, use_quick_dropout
from railkd.tasks import TASKS
from railkd.training import loop, steps
from railkd.training.settings import TrainingSettings

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
        drawn.append((drop_out(x, 0.3), drop_out(x, 0.3)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1]) and not torch.equal(drawn[0][0], drawn[2][0])


def test_gradients_pass_what_was_kept() -> None:
    x = torch.full((50, 8), 2.0, requires_grad=True)
    made = drop_out(x, 0.25)
    made.sum().backward()
    assert x.grad is not None and torch.equal(made.detach(), 2 * x.grad) and (x.grad == 0).any()


def test_nothing_is_dropped_without_cause() -> None:
    x = torch.randn(4, 4)
    assert drop_out(x, 0.5, training=False) is x and torch.equal(drop_out(x, 0.0), x)
    assert not drop_out(x, 1.0).any()


def test_the_parts_of_a_module_are_swapped_and_nothing_else() -> None:
    part = nn.Dropout(0.4)
    module = nn.Sequential(nn.Linear(9, 9), part, nn.ModuleDict({"again": part, "other": nn.AlphaDropout(0.4)}))
    before = module.state_dict().keys(), str(nn.Sequential(nn.Dropout(0.4))), nn.Dropout.forward
    use_quick_dropout(module)
    assert type(part) is QuickDropout and isinstance(part, nn.Dropout) and type(module[2]["other"]) is nn.AlphaDropout
    assert (module.state_dict().keys(), str(nn.Sequential(nn.Dropout(0.4))), nn.Dropout.forward) == before
    x = torch.ones(9, 9)
    torch.manual_seed(1)
    made = part(x)
    torch.manual_seed(1)
    assert torch.equal(made, drop_out(x, 0.4)) and part.eval()(x) is x


def run(pipeline: Any, name: str, rate: float = 0.1) -> dict[str, torch.Tensor]:
    """The state of a student after two epochs with dropout."""
    folder = Checkpoint(str(pipeline.checkpoints / name))
    model: Any = classifier.load_classifier(folder, 2, 1, name, dropout=rate)
    method = build("no_kd", setting_for((4, 32), (2, 32), TASKS["mrpc"]), {})
    settings = {**TRAINING, "batch_size": 16, "epochs": 2, "learning_rate": 1e-3, "precision": "float32"}
    loop.train(model, method, None, pipeline.prepared("mrpc"), TrainingSettings.of(settings, 1, CPU))
    return dict(model.state_dict())


@pytest.mark.parametrize("name", ["bert2", "distilbert2", "roberta3"])
def test_the_same_bits_as_if_the_function_were_replaced(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As it was once, for the whole process: the order of draws is that of the library's own code."""
    ours, plain = run(pipeline, name), F.dropout

    def everywhere(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        return drop_out(input, p, training, inplace) if training and p else plain(input, p, training, inplace)

    monkeypatch.setattr(steps, "use_quick_dropout", lambda module: None)
    assert not all(map(torch.equal, ours.values(), run(pipeline, name).values()))  # torch's own bits are others
    monkeypatch.setattr(F, "dropout", everywhere)
    theirs = run(pipeline, name)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_no_function_of_another_library_is_replaced(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even during a step."""
    known, during = (F.dropout, torch.dropout, nn.Dropout.forward), []

    def watched(like: torch.Tensor, p: float) -> torch.Tensor:
        during.append((F.dropout, torch.dropout, nn.Dropout.forward) == known)
        return kept(like, p)

    monkeypatch.setattr(dropout, "kept", watched)
    run(pipeline, "bert2")
    assert during and all(during)


def test_two_threads_do_not_disturb_each_other(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is stopped in the middle of its first step until the other has trained; each ends as alone."""
    inside, done = threading.Event(), threading.Event()
    counted: dict[str, int] = {}

    def by_shape(like: torch.Tensor, p: float) -> torch.Tensor:  # the generator is one for all threads
        name = threading.current_thread().name
        counted[name] = counted.get(name, 0) + 1
        if name == "first" and counted[name] == 2:
            inside.set()
            assert done.wait(120)
        drawn = torch.rand(like.shape, generator=torch.Generator().manual_seed(like.numel()))
        return (drawn >= p).to(like.dtype) / (1 - p)

    monkeypatch.setattr(dropout, "kept", by_shape)
    alone = {name: run(pipeline, name) for name in ("bert2", "distilbert2")}
    calls, together = counted.pop(threading.current_thread().name), {}

    def first() -> None:
        together["bert2"] = run(pipeline, "bert2")

    thread = threading.Thread(target=first, name="first")
    thread.start()
    assert inside.wait(120)
    together["distilbert2"] = run(pipeline, "distilbert2")
    done.set()
    thread.join()
    assert sum(counted.values()) == calls
    for name, state in alone.items():
        assert all(torch.equal(state[key], together[name][key]) for key in state), name


def test_an_attention_that_computes_something_else_keeps_its_own(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a library's eager attention with another scale."""
    from transformers.models.bert import modeling_bert

    monkeypatch.setattr(dropout, "_verdicts", {})
    model = pipeline.student("bert2")
    use_quick_dropout(model)
    assert model.config._attn_implementation == dropout.ATTENTION and list(dropout._verdicts.values()) == [True]
    plain, calls = modeling_bert.eager_attention_forward, []

    def sharper(*given: Any, scaling: float, **named: Any) -> Any:
        calls.append(1)
        return plain(*given, scaling=2 * scaling, **named)

    monkeypatch.setattr(modeling_bert, "eager_attention_forward", sharper)
    monkeypatch.setattr(dropout, "_verdicts", {})
    for _ in range(2):
        model = pipeline.student("bert2")
        use_quick_dropout(model)
        assert model.config._attn_implementation == "eager" and list(dropout._verdicts.values()) == [False]
    calls.clear()
    run(pipeline, "bert2")
    assert calls


def test_an_argument_of_unknown_effect_is_refused() -> None:
    part, x = nn.Identity(), torch.randn(2, 2, 3, 4)
    assert dropout.attention(part, x, x, x, None, position_ids=None, output_hidden_states=True)[0].shape == (2, 3, 2, 4)
    with pytest.raises(TypeError, match="attention is given position_bias, whose effect is not known"):
        dropout.attention(part, x, x, x, None, position_bias=x)


def test_what_is_saved_is_the_same(pipeline: Any, tmp_path: Path) -> None:
    saved = []
    tokenizer = load_tokenizer(Checkpoint(str(pipeline.checkpoints / "bert2")), "m")
    for swapped in (False, True):
        model = pipeline.student("bert2")
        if swapped:
            use_quick_dropout(model)
        classifier.save_classifier(model, tokenizer, ("no", "yes"), tmp_path / str(swapped))
        saved.append({p.name: p.read_bytes() for p in (tmp_path / str(swapped)).iterdir()})
    assert saved[0] == saved[1] and b"railkd" not in saved[1]["config.json"]
    assert classifier.load_classifier(Checkpoint(str(tmp_path / "True")), 2, 1, "m").config.hidden_size == 32


def test_a_run_draws_with_it(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place of a student that drops out does so here, attention included."""
    data, drawn = pipeline.prepared("mrpc"), []

    def counted(like: torch.Tensor, p: float) -> torch.Tensor:
        drawn.append((tuple(like.shape), p))
        return kept(like, p)

    monkeypatch.setattr("railkd.models.dropout.kept", counted)
    model = pipeline.student("bert2")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    method = build("no_kd", setting_for((4, 32), (2, 32), TASKS["mrpc"]), {})
    settings = {**TRAINING, "batch_size": 16, "epochs": 1}
    outcome = loop.train(model, method, None, data, TrainingSettings.of(settings, 1, CPU))
    of_a_step = 1 + 2 * 3 + 1  # embeddings; weights, attention, feed-forward of two layers; the head
    assert len(drawn) == of_a_step * outcome.cost["steps"]
    heads = model.config.num_attention_heads
    weights = [shape for shape, _ in drawn if shape[1] == heads and shape[-1] != model.config.hidden_size]
    assert sum(len(shape) == 4 for shape in weights) == outcome.cost["steps"]  # (B, H, T, T)
    assert sum(len(shape) == 3 for shape in weights) == outcome.cost["steps"]  # the last layer's: (B, H, T)
