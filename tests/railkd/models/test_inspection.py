"""What `railkd check` sees in a checkpoint's files before any compute, and what a load refuses by itself."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from railkd import cli
from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.jobs import preparing
from railkd.models import classifier, inspection, weight_headers
from railkd.models.checkpoints import Checkpoint, load_tokenizer, read_config
from railkd.models.classifier import load_classifier

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"
Edit = Callable[[Path], None]


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Edit:
    def edit(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})

    return edit


def renamed(prefix: str) -> Edit:
    return weights(lambda all: {prefix + name: tensor for name, tensor in all.items()})


def without(*parts: str) -> Edit:
    return weights(lambda all: {n: t for n, t in all.items() if not any(part in n for part in parts)})


def plus(**more: torch.Tensor) -> Edit:
    return weights(lambda all: all | {name.replace("__", "."): tensor for name, tensor in more.items()})


def edited(file: str, **changes: Any) -> Edit:
    """A JSON file with other values; ``...`` deletes."""

    def edit(folder: Path) -> None:
        content = {**json.loads((folder / file).read_text()), **changes}
        (folder / file).write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return edit


def sharded(damage: Callable[[Path, dict[str, Any]], None] = lambda folder, index: None) -> Edit:
    def edit(folder: Path) -> None:
        model = classifier.classifier_class(read_config(Checkpoint(str(folder)), "m"), "m")
        model.from_pretrained(folder, trust_remote_code=False).save_pretrained(folder, max_shard_size="30KB")
        (folder / WEIGHTS).unlink(missing_ok=True)
        index = json.loads((folder / weight_headers.INDEX).read_text())
        damage(folder, index)
        (folder / weight_headers.INDEX).write_text(json.dumps(index))

    return edit


def lose(folder: Path, index: dict[str, Any]) -> None:
    (folder / sorted(set(index["weight_map"].values()))[1]).unlink()


def forget(folder: Path, index: dict[str, Any]) -> None:
    index["weight_map"]["bert.no.such.weight"] = sorted(set(index["weight_map"].values()))[0]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def bare(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


def slow(folder: Path) -> None:
    bare(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))


def larger(folder: Path) -> None:
    tokenizer = load_tokenizer(Checkpoint(str(folder)), "m")
    tokenizer.add_tokens(["one", "two"])
    tokenizer.save_pretrained(folder)


def padless(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")).save_pretrained(folder)


QUERY, FIRST = "encoder.layer.0.attention.self.query.weight", "bert.embeddings.LayerNorm.bias"
REFUSED: dict[str, tuple[Edit, list[str]]] = {
    "prefix module": (renamed("module."), [f"weight '{FIRST}' is missing", "the prefix 'module.'"]),
    "prefix module.bert": (renamed("module.bert."), [FIRST, "'module.bert.", "the prefix 'module.'"]),
    "prefix of a wrapper": (renamed("student.encoder_model."), [FIRST, "the prefix 'student.encoder_model.'"]),
    "no embedding": (without("word_embeddings"), ["weight 'bert.embeddings.word_embeddings.weight' is missing (1 of "]),
    "no query": (without(QUERY), [f"weight 'bert.{QUERY}' is missing"]),
    "fewer layers": (
        without("layer.1."),
        ["'bert.encoder.layer.1.", "the file has layers up to 1, but config.json says num_hidden_layers = 2"],
    ),
    "config of more layers": (edited("config.json", num_hidden_layers=3), ["layers up to 2", "num_hidden_layers = 3"]),
    "config of fewer layers": (edited("config.json", num_hidden_layers=1), ["weights of layer 2", "hidden_layers = 1"]),
    "config of a million layers": (edited("config.json", num_hidden_layers=10**6), ["num_hidden_layers", "from 1 to"]),
    "config of half a layer": (edited("config.json", num_hidden_layers=1.5), ["num_hidden_layers", "1.5"]),
    "a weight too many": (
        plus(encoder__layer__0__attention__self__distance_embedding__weight=torch.ones(9, 16)),
        ["distance_embedding.weight' has no place in a BertForSequenceClassification"],
    ),
    "another shape": (
        weights(lambda all: all | {QUERY: torch.ones(16, 32)}),
        [f"weight 'bert.{QUERY}' has the shape (16, 32), expected (32, 32)"],
    ),
    "another width": (edited("config.json", hidden_size=48), ["has the shape (32,), expected (48,)"]),
    "a huge vocabulary": (edited("config.json", vocab_size=10**12), ["config.json needs", "but the file has"]),
    "whole numbers": (weights(lambda all: all | {QUERY: torch.ones(32, 32).char()}), ["is I8, expected F64, F32"]),
    "heads": (edited("config.json", num_attention_heads=3), ["hidden_size 32", "no multiple of num_attention_heads 3"]),
    "quantised": (edited("config.json", quantization_config={"quant_method": "gptq"}), ["quantization_config"]),
    "a causal decoder": (edited("config.json", is_decoder=True), ["the first position", "does not read what follows"]),
    "no such family": (edited("config.json", model_type="no_such"), ["cannot load the checkpoint folder"]),
    "no classifier": (edited("config.json", model_type="clip_text_model"), ["no sequence classifier for"]),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), ["model.safetensors: no such file", "pickled"]),
    "truncated": (lambda f: cut(f / WEIGHTS, 999), ["not a readable safetensors file"]),
    "a shard lost": (sharded(lose), ["no file 'model-00002-of-", "names it"]),
    "an index of more": (sharded(forget), ["the weight 'bert.no.such.weight' is missing"]),
    "no tokenizer": (bare, ["has no tokenizer"]),
    "slow tokenizer": (slow, ["is a slow one; expected a tokenizer.json"]),
    "no padding token": (padless, ["has no padding token; expected a pad_token"]),
    "more tokens than rows": (larger, ["has 76 entries", "the word embedding has 74 rows"]),
}  # fmt: skip


@pytest.fixture
def folder(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of bert2 to be edited."""
    return Path(shutil.copytree(checkpoints / "bert2", tmp_path / "edited"))


def asked(benchmark: Any, capsys: Any) -> list[str]:
    """What `railkd check` says, apart from models that no pair uses: nothing when the file is valid, else one line."""
    status = cli.main(["check", str(benchmark.path)])
    said = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("such as pairs.p")]
    assert (status == 0) == (not said) and len(said) <= 1, said
    return [line.removeprefix("railkd: error: ") for line in said]


@pytest.mark.parametrize("case", REFUSED)
def test_check_refuses_by_one_line(case: str, folder: Path, make_benchmark: Any, capsys: Any) -> None:
    """Before, these trained from random weights, or failed in the job that had been waited for."""
    edit, expected = REFUSED[case]
    edit(folder)
    benchmark = make_benchmark({"models.bert2.path": str(folder), "pairs.p.student": "bert2"})
    (said,) = asked(benchmark, capsys)
    assert said.startswith(f"{benchmark.path}: models.bert2: ") and all(part in said for part in expected), said


@pytest.mark.parametrize("case", ["prefix module", "prefix module.bert", "no query", "fewer layers"])
def test_a_load_refuses_what_check_has_not_seen(case: str, folder: Path) -> None:
    """A job called by hand, or files that were replaced after the check: no encoder weight is drawn."""
    REFUSED[case][0](folder)
    with pytest.raises(UserError, match="the weight 'bert.* is missing"):
        load_classifier(Checkpoint(str(folder)), 2, 1, "models.m")


def legacy(all: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of the first conversions from TensorFlow."""
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {next((n.replace(a, b) for a, b in old.items() if n.endswith(a)), n): t for n, t in all.items()}


ACCEPTED: dict[str, Edit] = {
    "as it is": lambda folder: None,
    "the base model's prefix": renamed("bert."),
    "no pooler": without("pooler"),
    "a head and more": plus(classifier__weight=torch.ones(2, 32), cls__predictions__bias=torch.ones(75)),
    "a head of three outputs": plus(classifier__weight=torch.ones(3, 32), classifier__bias=torch.ones(3)),
    "gamma and beta": weights(legacy),
    "half precision": weights(lambda all: {name: tensor.half() for name, tensor in all.items()}),
    "shards": sharded(),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_accepted_is_loaded_as_the_file_has_it(
    case: str, folder: Path, checkpoints: Path, make_benchmark: Any, capsys: Any
) -> None:
    stored = load_file(checkpoints / "bert2" / WEIGHTS)
    ACCEPTED[case](folder)
    assert not asked(make_benchmark({"models.bert2.path": str(folder), "pairs.p.student": "bert2"}), capsys)
    lines: list[str] = []
    model: Any = load_classifier(Checkpoint(str(folder)), 2, 1, "models.m", log=lines.append)
    loaded = model.bert.state_dict()
    kept = [n for n in loaded if "position_ids" not in n and not (case == "no pooler" and "pooler" in n)]
    assert len(kept) > 30
    for name in kept:
        torch.testing.assert_close(loaded[name], stored[name], atol=2e-3 if case == "half precision" else 0, rtol=0)
    new = "models.m: its head has another number of outputs than 2; drawn anew: classifier.bias, classifier.weight"
    assert lines == ([new] if case == "a head of three outputs" else [])
    if case == "a head and more":
        assert torch.equal(model.classifier.weight, torch.ones(2, 32))


@pytest.mark.parametrize(
    ("name", "key", "rows"),
    [("bert2", "max_length", 80), ("roberta3", "max_length", 80), ("bert2", "ood_max_length", 80)],
)
def test_positions_against_both_lengths(
    checkpoints: Path, make_benchmark: Any, capsys: Any, name: str, key: str, rows: int
) -> None:
    usable = rows - (2 if name == "roberta3" else 0)  # RoBERTa's table has two rows that no text reaches
    changes = {
        f"models.{name}": {"path": str(checkpoints / name)},
        "pairs.p.teacher": name,
        "pairs.p.student": name,
        "data.out_of_domain": ["imdb"],
    }
    for length in (usable, usable + 1):
        said = asked(make_benchmark({**changes, f"data.{key}": length}), capsys)
        line = f"data.{key}: {length} tokens, but models.{name} has positions for {usable}"
        assert [line in text for text in said] == ([] if length == usable else [True])
    if key == "ood_max_length":  # without such a set it is not read
        assert not asked(make_benchmark({**changes, f"data.{key}": rows + 9, "data.out_of_domain": []}), capsys)


def test_positions_of_what_is_pre_trained(make_benchmark: Any) -> None:
    own = {"family": "bert", "layers": 2, "width": 16, "heads": 2, "vocabulary": 300, "max_length": 32, "steps": 1,
           "batch_size": 2, "learning_rate": 0.1}  # fmt: skip
    changes = {"models.own": {"pretrain": own}, "pairs.p.teacher": "own", "pairs.p.student": "own",
               "data.source": "miniglue", "data.root": ...}  # fmt: skip
    check(make_benchmark({**changes, "data.max_length": 32}), Layout("results"))
    with pytest.raises(UserError, match="data.max_length: 33 tokens, but models.own has positions for 32$"):
        check(make_benchmark({**changes, "data.max_length": 33}), Layout("results"))


def test_pad_ids_that_differ(folder: Path, checkpoints: Path) -> None:
    """RoBERTa's positions skip the padding id of config.json: with another one, a real token would be taken for it."""
    at = Path(shutil.copytree(checkpoints / "roberta3", folder.parent / "roberta"))
    edited("config.json", pad_token_id=4)(at)
    with pytest.raises(UserError, match="models.m: its tokenizer pads with id 1, but its positions take id 4"):
        look(at)


def look(folder: Path) -> Any:
    return inspection.look(Checkpoint(str(folder)), 2, {"max_length": 16}, "models.m")


def test_one_tokenisation_for_both(folder: Path, make_benchmark: Any, capsys: Any) -> None:
    """One vocabulary is not enough: a cased student of an uncased teacher would be trained on another's tokens."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    changes = {"models.bert2.path": str(folder), "pairs.p.student": "bert2"}
    (said,) = asked(make_benchmark(changes), capsys)
    assert "models.bert2: its tokenizer splits " in said and "differently from that of its teacher bert4" in said
    with pytest.raises(UserError, match="differently from that of its teacher"):
        preparing.prepare(make_benchmark(changes), Layout(folder.parent / "results"), "bert4", "mrpc")
    content["model"]["vocab"]["other"] = content["model"]["vocab"].pop("film")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "its vocabulary differs from that of its teacher bert4" in asked(make_benchmark(changes), capsys)[0]


def test_layers_of_are_seen_with_their_parent(folder: Path, make_benchmark: Any, capsys: Any) -> None:
    renamed("module.")(folder)
    changes = {
        "models.bert2.path": str(folder),
        "models.one": {"layers_of": "bert2", "layers": 1, "keep": "first"},
        "pairs.p.student": "one",
    }
    assert "models.one: " in (said := asked(make_benchmark(changes), capsys)[0]) and "module." in said
    edited("config.json", num_hidden_layers=0)(folder)
    assert "models.bert2: config.json: num_hidden_layers of this bert is 0" in asked(make_benchmark(changes), capsys)[0]


def test_the_hub_is_left_alone_in_a_dry_run(make_benchmark: Any) -> None:
    """The layers of a hub's model are on the hub, too."""
    changes = {
        "models.far": {"hub": "someone/far-away"},
        "models.two": {"layers_of": "far", "layers": 2, "keep": "first"},
        "pairs.p.student": "two",
    }
    check(make_benchmark(changes), Layout("results"), reach=False)
    with pytest.raises(UserError, match="cannot load the hub checkpoint someone/far-away"):
        check(make_benchmark(changes), Layout("results"))


def test_check_says_its_own_lines_alone(make_benchmark: Any) -> None:
    """In a process whose library speaks as it comes: no progress bar, no report of the head that is missing."""
    command = [sys.executable, "-m", "railkd", "check", str(make_benchmark({"models.bert2": ...}).path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1 and "valid" in done.stdout


def test_no_weight_is_read(folder: Path) -> None:
    """The file's data may be anything: a header and a hole of the right size are enough."""
    path = folder / WEIGHTS
    length = int.from_bytes(path.read_bytes()[:8], "little") + 8
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:length])
    with open(path, "r+b") as file:
        file.truncate(size)
    seen = look(folder)
    assert seen.unreadable is None and seen.unmixable is None
