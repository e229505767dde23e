"""A compiled forward pass: the numbers of the plain one, one graph for each length, and one line where it cannot be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from railkd.errors import UserError
from railkd.models import compiled
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.models.compiled import CompiledForward, padded_lengths, require_compiler
from railkd.models.dropout import use_quick_dropout
from railkd.models.forward import forward

CPU = torch.device("cpu")


class Graphs:
    """A backend that runs a graph as it is, and counts the graphs that it is given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, examples: Any) -> Any:
        self.count += 1
        return graph.forward


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    counted = Graphs()
    torch.compiler.reset()
    monkeypatch.setattr(compiled, "how", lambda device: {"backend": counted})
    return counted


def batch(size: int, length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(size * length)
    ids = torch.randint(5, 60, (size, length), generator=generator)
    mask = torch.arange(length) < torch.randint(2, length + 1, (size, 1), generator=generator)
    return {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}


def student(checkpoints: Path, name: str, seed: int, dropout: float = 0.0, whole: bool = False) -> Any:
    model = load_classifier(Checkpoint(str(checkpoints / name)), 2, seed, name, dropout, whole)
    for parameter in model.parameters():  # another model than that of another seed, not in its head alone
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(seed))
    use_quick_dropout(model)
    return model.train()


@pytest.mark.parametrize("name", ["bert2", "distilbert2", "roberta3"])
def test_outputs_and_gradients_are_those_of_the_model_and_its_graphs_serve_the_next_one(
    checkpoints: Path, graphs: Graphs, name: str
) -> None:
    for seed in (1, 2):
        model = student(checkpoints, name, seed)
        run = CompiledForward(model, 6, hidden=True, attention=[1])
        for size, length in ((6, 8), (6, 16), (4, 8)):
            inputs, sums = batch(size, length), []
            for made in (run(inputs), forward(model, inputs, attention=[1])):
                model.zero_grad()
                value = made.vectors("value", 1)
                (
                    made.logits_BC.square().sum() + made.pooled("mean", [1]).square().sum() + value.square().sum()
                ).backward()
                gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
                vectors = [value, *(made.vectors(part, 1) for part in ("query", "key"))]
                sums.append([made.logits_BC, made.tokens(1), *vectors, *gradients])
            for ours, plain in zip(*sums, strict=True):
                torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)
        assert graphs.count == 2
        assert not any(module._forward_hooks for module in model.modules() if isinstance(module, nn.Linear))


def test_mixed_inputs_have_a_graph_of_their_own(checkpoints: Path, graphs: Graphs) -> None:
    model = student(checkpoints, "bert2", 1)
    run, inputs, partner = CompiledForward(model, 4, hidden=False), batch(3, 8), torch.tensor([2, 0, 1])
    for share in (0.3, 0.8):
        mixed = run(inputs).mixed(partner, share)
        plain = forward(model, inputs, hidden=False).mixed(partner, share)
        torch.testing.assert_close(mixed.logits_BC, plain.logits_BC, atol=1e-5, rtol=1e-4)
    assert graphs.count == 2


def test_dropout_is_inside_the_graph(checkpoints: Path, graphs: Graphs) -> None:
    run, inputs = CompiledForward(student(checkpoints, "bert2", 1, dropout=0.2), 4, hidden=False), batch(4, 8)
    torch.manual_seed(0)
    first, second = run(inputs).logits_BC, run(inputs).logits_BC
    torch.manual_seed(0)
    assert torch.equal(run(inputs).logits_BC, first) and not torch.equal(first, second)
    assert graphs.count == 1


def test_lengths_are_few() -> None:
    assert padded_lengths(128, 128) == [16, 32, 48, 64, 80, 96, 112, 128]
    assert padded_lengths(20, 20) == [8, 16, 20]
    assert padded_lengths(3, 64) == [8]
    assert padded_lengths(100, 128) == [16, 32, 48, 64, 80, 96, 104]
    for longest in range(1, 513):
        lengths = padded_lengths(longest, 512)
        assert len(lengths) <= 8 and longest <= lengths[-1] <= longest + 7
        assert lengths == sorted(set(lengths)) and all(length % 8 == 0 for length in lengths)


def test_a_model_that_cannot_be_compiled_is_named_in_one_line(checkpoints: Path, graphs: Graphs) -> None:
    model = student(checkpoints, "bert2", 1)
    run = CompiledForward(model, 4, hidden=False)

    def asks_the_device(module: nn.Module, given: Any) -> None:
        if given[0].sum().item() > 0:
            module.asked = True

    model.bert.encoder.layer[0].attention.output.register_forward_pre_hook(asks_the_device)
    with pytest.raises(
        UserError, match=r"^compile: true: a BertForSequenceClassification cannot be compiled whole \(.+\)$"
    ):
        run(batch(4, 8))


def test_a_machine_that_cannot_compile_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **how: Any) -> Any:
        raise RuntimeError(
            "No working C++ compiler found in torch._inductor:\n('g++',)\n\nSet TORCHDYNAMO_VERBOSE=1 for"
        )

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        UserError,
        match=r"device cpu \(No working C\+\+ compiler found in \S+ \('g\+\+',\)\); expected a C\+\+ compiler",
    ):
        require_compiler(CPU)
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    with pytest.raises(UserError, match="it is switched off, as by TORCH_COMPILE_DISABLE=1"):
        require_compiler(CPU)


def test_a_machine_that_compiles_passes(graphs: Graphs) -> None:
    require_compiler(CPU)
    assert graphs.count == 1
