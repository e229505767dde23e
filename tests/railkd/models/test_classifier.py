"""Models: which layers a student takes, what a seed decides, how vectors are pooled, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.models.checkpoints import Checkpoint, commit, fingerprint, load_tokenizer, locate, read_config, taken_layers
from railkd.models.classifier import load_classifier, outputs_of, save_classifier, uses_type_ids
from railkd.models.forward import Forward, forward

LAYOUT = Layout("results")


def classifier(folder: Path, seed: int = 1, **options: Any) -> Any:
    return load_classifier(Checkpoint(str(folder), **options), 2, seed, "models.m")


def test_every_other_is_distilberts_choice() -> None:
    assert [i - 1 for i in taken_layers(12, 6, "every_other", "m")] == [0, 2, 4, 7, 9, 11]
    assert taken_layers(12, 6, "first", "m") == (1, 2, 3, 4, 5, 6)
    for depth in range(1, 25):
        assert taken_layers(depth, depth, "every_other", "m") == tuple(range(1, depth + 1))
        for count in range(2, depth + 1):
            taken = taken_layers(depth, count, "every_other", "m")
            assert len(set(taken)) == count and taken == tuple(sorted(taken)) and (taken[0], taken[-1]) == (1, depth)
    for count in (0, 5):
        with pytest.raises(UserError, match=f"^models.m.layers: {count} layers cannot be taken of 4$"):
            taken_layers(4, count, "first", "m")


def test_layers_of_copies_those_layers(make_benchmark: Any, checkpoints: Path) -> None:
    benchmark = make_benchmark(
        {
            "models.three": {"layers_of": "bert4", "layers": 3, "keep": "every_other"},
            "models.two": {"layers_of": "three", "layers": 2, "keep": "every_other"},
            "models.first": {"layers_of": "bert4", "layers": 2, "keep": "first"},
        }
    )
    weights = load_file(checkpoints / "bert4" / "model.safetensors")
    for name, expected in (("three", (1, 3, 4)), ("two", (1, 4)), ("first", (1, 2))):
        checkpoint = locate(benchmark, LAYOUT, name)
        assert checkpoint.layers == expected
        model: Any = load_classifier(checkpoint, 2, 1, name)
        assert len(model.bert.encoder.layer) == model.config.num_hidden_layers == len(expected)
        for mine, theirs in zip(model.bert.encoder.layer, expected, strict=True):
            for key, value in mine.state_dict().items():
                assert torch.equal(value, weights[f"encoder.layer.{theirs - 1}.{key}"])
        key = "embeddings.word_embeddings.weight"
        assert torch.equal(model.bert.state_dict()[key], weights[key])
        with torch.no_grad():
            said = forward(
                model.eval(), {"input_ids": torch.ones(1, 3).long(), "attention_mask": torch.ones(1, 3).long()}
            )
        assert len(said.hidden) == len(expected) + 1
    whole = fingerprint(locate(benchmark, LAYOUT, "bert4"), None)
    assert (
        len(
            {
                whole,
                *(fingerprint(locate(benchmark, LAYOUT, n), None) for n in ("three", "two")),
            }
        )
        == 3
    )


def test_saved_student_loads_again(checkpoints: Path, tmp_path: Path) -> None:
    place = Checkpoint(str(checkpoints / "bert4"), layers=(1, 4))
    model, tokenizer = load_classifier(place, 2, 1, "m"), load_tokenizer(place, "m")
    save_classifier(model, tokenizer, ("no", "yes"), tmp_path / "s")
    again = classifier(tmp_path / "s", seed=2)
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)


@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_the_seed_alone_decides_the_head(checkpoints: Path, name: str) -> None:
    torch.manual_seed(5)
    first = classifier(checkpoints / name).state_dict()
    torch.manual_seed(6)
    torch.rand(7)
    second, other = classifier(checkpoints / name).state_dict(), classifier(checkpoints / name, seed=2).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    head = [key for key in first if key.startswith(("classifier", "pre_classifier")) and key.endswith("weight")]
    assert head and all(not torch.equal(first[key], other[key]) for key in head)
    stored = load_file(checkpoints / name / "model.safetensors")
    body = [key for key in first if key.split(".", 1)[-1] in stored]
    assert len(body) > 10 and all(torch.equal(first[k], stored[k.split(".", 1)[1]]) for k in body)
    assert all(torch.equal(first[key], other[key]) for key in body)


def test_the_attention_is_that_of_the_device_which_the_run_is_given(checkpoints: Path, monkeypatch: Any) -> None:
    """And not of what else the machine has: with --device cpu its numbers are those of a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    place = Checkpoint(str(checkpoints / "bert2"))
    kernels = [load_classifier(place, 2, 1, "m", device=torch.device(name)).config for name in ("cpu", "cuda:0")]
    assert [config._attn_implementation for config in kernels] == ["eager", "sdpa"]
    assert load_classifier(place, 2, 1, "m").config._attn_implementation == "eager"


@pytest.mark.parametrize("name", ["bert2", "distilbert2", "roberta3"])
def test_dropout_setting_reaches_every_layer(checkpoints: Path, name: str) -> None:
    model = load_classifier(Checkpoint(str(checkpoints / name)), 2, 1, "m", dropout=0.37)
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.37}
    assert outputs_of(model) == 2 and uses_type_ids(model) == (name == "bert2")


def test_pooling_by_hand_and_padding(checkpoints: Path) -> None:
    model = classifier(checkpoints / "bert4").eval()
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    inputs = {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}
    longer = {k: torch.nn.functional.pad(v, (0, 5)) for k, v in inputs.items()}
    with torch.no_grad():
        said, padded = forward(model, inputs), forward(model, longer)
    layers = [3, 1]
    mean, cls, all_positions = (said.pooled(kind, layers) for kind in ("mean", "cls", "mean_padded"))
    assert mean.shape == cls.shape == (3, 2, 32)
    for row in range(3):
        for place, layer in enumerate(layers):
            real = said.hidden[layer][row][mask[row]]
            torch.testing.assert_close(mean[row, place], real.sum(0) / len(real))
            assert torch.equal(cls[row, place], said.hidden[layer][row, 0])
            torch.testing.assert_close(all_positions[row, place], said.hidden[layer][row].mean(0))
    torch.testing.assert_close(padded.pooled("mean", layers), mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.pooled("cls", layers), cls, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.logits_BC, said.logits_BC, atol=1e-5, rtol=1e-4)
    assert (padded.pooled("mean_padded", layers) - all_positions)[1].abs().max() > 1e-3
    junk = Forward(said.logits_BC, [h.masked_fill(~mask[..., None], 1e4) for h in said.hidden], mask.long())
    torch.testing.assert_close(junk.pooled("mean", layers), mean)
    assert forward(model, inputs, hidden=False).hidden == ()


def one_line(action: Any, *expected: str) -> None:
    with pytest.raises(UserError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and all(part in text for part in expected), text


def test_damaged_and_foreign_checkpoints_are_one_line(checkpoints: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(checkpoints / "bert2", tmp_path / name))

    pickled = copy("pickled")
    weights = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    one_line(lambda: classifier(pickled), "models.m: cannot load the checkpoint folder", str(pickled))
    truncated = copy("truncated")
    content = (truncated / "model.safetensors").read_bytes()
    (truncated / "model.safetensors").write_bytes(content[: len(content) // 2])
    one_line(lambda: classifier(truncated), "models.m: cannot load", str(truncated))
    foreign = copy("foreign")
    (foreign / "config.json").write_text("{")
    one_line(lambda: classifier(foreign), "models.m: cannot load", str(foreign))
    (foreign / "config.json").write_text('{"model_type": "no_such_model"}')
    one_line(lambda: classifier(foreign), "models.m: cannot load", str(foreign))
    bare = copy("bare")
    for file in bare.glob("token*"):
        file.unlink()
    one_line(lambda: load_tokenizer(Checkpoint(str(bare)), "models.m"), "models.m: cannot load", str(bare))


def test_hub_and_its_mirror(make_benchmark: Any, checkpoints: Path, tmp_path: Path, monkeypatch: Any) -> None:
    changes = {"models.far": {"hub": "someone/far-away", "revision": "0" * 40}}
    far = locate(make_benchmark(changes), LAYOUT, "far")
    assert far == Checkpoint("someone/far-away", "0" * 40)
    for action in (read_config, load_tokenizer, lambda c, w: load_classifier(c, 2, 1, w)):
        expected = ("models.far: cannot load the hub checkpoint someone/far-away", "RAILKD_MODELS")
        one_line(lambda act=action: act(far, "models.far"), *expected)
    shutil.copytree(checkpoints / "bert2", tmp_path / "hub" / "someone" / "far-away")
    benchmark = make_benchmark({**changes, "data.model_root": "hub"})  # relative to the benchmark file
    near = locate(benchmark, LAYOUT, "far")
    assert near == Checkpoint(str(tmp_path / "hub" / "someone" / "far-away"))
    assert load_classifier(near, 3, 1, "m").config.num_labels == 3 and commit(near, "m") is None
    monkeypatch.setenv("RAILKD_MODELS", str(tmp_path))
    one_line(lambda: locate(benchmark, LAYOUT, "far"), "models.far.hub: no ", "someone/far-away/config.json")


def test_a_checkpoint_in_shards_is_known_by_them(checkpoints: Path, tmp_path: Path) -> None:
    """Not by the folder that it lies in."""
    from transformers import AutoModel

    prints = []
    for name in ("here", "there", "other"):
        model = AutoModel.from_pretrained(checkpoints / "bert4")
        if name == "other":
            with torch.no_grad():
                model.embeddings.word_embeddings.weight[5, 0] += 1
        model.save_pretrained(tmp_path / name, max_shard_size="20KB")
        assert not (tmp_path / name / "model.safetensors").exists()
        prints.append(fingerprint(Checkpoint(str(tmp_path / name)), None))
    assert prints[0] == prints[1] != prints[2] and str(tmp_path) not in prints[0]
