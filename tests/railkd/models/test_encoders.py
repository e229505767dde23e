"""Any encoder of `AutoModelForSequenceClassification` works, or `railkd check` says in one line what it lacks."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny_tokenizers import bert_tokenizer, roberta_tokenizer
from torch import nn

from railkd.errors import UserError
from railkd.models import classifier, inspection
from railkd.models.checkpoints import Checkpoint, load_tokenizer, read_config
from railkd.models.classifier import load_classifier
from railkd.models.forward import forward
from railkd.models.shortcuts import UsedRows

DEPTH, WIDTH = 4, 32
PADDING = "depend on the padding to the right of a text"
CAUSAL = "does not read what follows it, expected an encoder"
EMBEDDING = "expected a plain table of rows"
GEMMA = {"head_dim": 16, "num_key_value_heads": 2}
WHOLE = "cannot be taken"  # of layers


class Family(NamedTuple):
    """A row of the table: how a tiny one is made, and what is right."""

    type: str  # model_type
    refused: str = ""  # a part of check's line; empty: it works
    options: dict[str, Any] = {}  # of its configuration, beside the usual ones
    like: str = "bert"  # whose tokenizer it has
    layers: str = ""  # a part of check's line for some of its layers; empty: they work
    sized: bool = True  # takes the usual names of sizes


SHORT = {"n_layers": DEPTH, "dim": WIDTH, "hidden_dim": 64, "n_heads": 2}
RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
SPECIAL = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
FAMILIES = [
    Family("bert"),
    Family("distilbert", options=SHORT),
    Family("electra", options={"embedding_size": 8}),
    Family("albert", options={"embedding_size": 16}, layers=WHOLE),
    Family("deberta", options=RELATIVE),
    Family("deberta-v2", options={**RELATIVE, "position_buckets": 8, "share_att_key": True, "type_vocab_size": 0}),
    Family("modernbert", options={**SPECIAL, "local_attention": 8, "global_attn_every_n_layers": 3}),
    Family("nomic_bert"),
    Family("eurobert", options=GEMMA),
    Family("roformer"),
    Family("big_bird"),
    Family("squeezebert", options={"embedding_size": WIDTH}),
    Family("megatron-bert"),
    Family("rembert", options={"input_embedding_size": 16}),
    Family("ernie"),
    Family("layoutlm"),
    Family("roc_bert"),
    Family("gte"),
    Family("flaubert", options={"n_layers": DEPTH, "emb_dim": WIDTH, "n_heads": 2}, layers=WHOLE),
    Family("xlm", options={"n_layers": DEPTH, "emb_dim": WIDTH, "n_heads": 2}, layers=WHOLE),
    Family("roberta", like="roberta"),
    Family("roberta-prelayernorm", like="roberta"),
    Family("camembert", like="roberta"),
    Family("xlm-roberta", like="roberta"),
    Family("xlm-roberta-xl", like="roberta"),
    Family("data2vec-text", like="roberta"),
    Family("mpnet", like="roberta"),
    Family("longformer", like="roberta", options={"attention_window": 8}),
    Family("luke", like="roberta"),
    Family("esm", like="roberta", options={"mask_token_id": 4}, layers=WHOLE),
    Family("ibert", EMBEDDING, like="roberta"),
    Family("fnet", PADDING),
    Family("convbert", PADDING, {"embedding_size": WIDTH}),
    Family("mobilebert", PADDING, {"embedding_size": 16, "intra_bottleneck_size": 16}),
    Family("nystromformer", PADDING),
    Family("xlnet", PADDING, {"d_model": WIDTH, "n_layer": DEPTH, "n_head": 2, "d_inner": 64}, sized=False),
    Family(
        "funnel",
        "hidden states (one of them (1, 3, 32)), expected 5 of shape (1, 6, 32)",
        {"d_model": WIDTH, "n_head": 2, "d_inner": 64, "block_sizes": [2, 2], "d_head": 16},
        sized=False,
    ),
    Family("gpt2", CAUSAL, {"n_layer": DEPTH, "n_embd": WIDTH, "n_head": 2, "n_positions": 80}),
    Family("llama", CAUSAL, GEMMA),
    Family("opt", CAUSAL, {"ffn_dim": 64, "word_embed_proj_dim": WIDTH}),
    Family("bloom", CAUSAL, {"n_layer": DEPTH, "n_head": 2}),
    Family("gpt_neox", CAUSAL),
    Family("modernbert-decoder", CAUSAL, SPECIAL),
    Family("gemma", EMBEDDING, GEMMA),
    Family("bart", "'bart' is an encoder-decoder, expected an encoder"),
    Family("t5", "'t5' is an encoder-decoder, expected an encoder"),
]


def make(family: Family, folder: Path) -> None:
    """A tiny random checkpoint of a family, without head where that is how they are published."""
    from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

    tokenizer = roberta_tokenizer() if family.like == "roberta" else bert_tokenizer()
    sizes = {
        "num_hidden_layers": DEPTH, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 80,
    }  # fmt: skip
    common = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    config = CONFIG_MAPPING[family.type](**{**common, **(sizes if family.sized else {}), **family.options})
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    getattr(model, model.base_model_prefix).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def inputs() -> dict[str, torch.Tensor]:
    """Two texts, one of them padded."""
    ids_BT, mask_BT = torch.arange(5, 23).view(2, 9), torch.ones(2, 9).long()
    mask_BT[1, 5:] = 0
    return {"input_ids": ids_BT, "attention_mask": mask_BT}


def look(folder: Path, layers: tuple[int, ...] | None) -> Any:
    return inspection.look(Checkpoint(str(folder), layers=layers), 2, {"max_length": 64}, "models.m")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.type)
def test_works_or_says_in_one_line_why_not(family: Family, tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING

    if family.type not in CONFIG_MAPPING:
        pytest.skip("this version of transformers has no such family")
    make(family, tmp_path / "m")
    for layers, line in ((None, family.refused), ((1, 2, 4), family.refused or family.layers)):
        if line:
            with pytest.raises(UserError) as caught:
                look(tmp_path / "m", layers)
            said = str(caught.value)
            assert said.startswith("models.m: ") and line in said and len(said) < 400, said
            continue
        look(tmp_path / "m", layers)
        place = Checkpoint(str(tmp_path / "m"), layers=layers)
        model: Any = load_classifier(place, 2, 1, "models.m", whole_last_layer=True).eval()
        said_of = forward(model, inputs())
        assert len(said_of.hidden) == (len(layers) if layers else DEPTH) + 1
        narrow = forward(load_classifier(place, 2, 1, "models.m").eval(), inputs())
        torch.testing.assert_close(narrow.logits_BC, said_of.logits_BC, atol=1e-5, rtol=1e-4)

        still = load_classifier(place, 2, 1, "models.m", dropout=0.0)
        assert {module.p for module in still.modules() if isinstance(module, nn.Dropout)} <= {0.0}, family.type

        full = classifier.embedding_of(model, "m")
        model.set_input_embeddings(UsedRows(full, (inputs()["input_ids"],)))
        trained = forward(model, inputs())
        nn.functional.cross_entropy(trained.logits_BC, torch.tensor([0, 1])).backward()
        gradients = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert any("rows" in name or "embed" in name for name in gradients) and len(gradients) > 10
        torch.testing.assert_close(trained.logits_BC, said_of.logits_BC)
        model.set_input_embeddings(full)

        saved = tmp_path / f"saved-{len(layers or ())}"
        classifier.save_classifier(model, load_tokenizer(place, "m"), ("no", "yes"), saved)
        look(saved, None)
        again = load_classifier(Checkpoint(str(saved)), 2, 2, "models.m", whole_last_layer=True).eval()
        torch.testing.assert_close(forward(again, inputs()).logits_BC, said_of.logits_BC)


def test_layer_types_are_cut_with_the_layers(tmp_path: Path) -> None:
    family = next(f for f in FAMILIES if f.type == "modernbert")
    make(family, tmp_path / "m")
    place = Checkpoint(str(tmp_path / "m"), layers=(1, 2, 4))
    whole = read_config(place, "m").layer_types
    assert whole == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    model = load_classifier(place, 2, 1, "models.m")
    assert model.config.layer_types == [whole[i - 1] for i in (1, 2, 4)] and model.config.num_hidden_layers == 3
    window = next(f for f in FAMILIES if f.type == "longformer")
    config = read_config(Checkpoint(str(tmp_path / "m")), "m")
    config.attention_window, config.other = [8, 16, 32, 64], [1, 2, 3, 4]
    classifier.take_config(config, (1, 4))
    assert config.attention_window == [8, 64] and config.other == [1, 2, 3, 4] and window.options


@pytest.mark.parametrize(
    ("type", "why"), [("roberta", None), ("distilbert", None), ("roformer", "softmax"), ("albert", "no list")]
)
def test_what_attention_methods_read_is_seen_before_training(type: str, why: str | None, tmp_path: Path) -> None:
    """RoFormer has maps of those names too, and turns what they give before it is scored."""
    make(next(f for f in FAMILIES if f.type == type), tmp_path / "m")
    seen = look(tmp_path / "m", None)
    assert seen.unreadable is None if why is None else why in seen.unreadable


def test_methods_are_checked_against_what_their_models_have(tmp_path: Path, make_benchmark: Any) -> None:
    from railkd.benchmark.paths import Layout
    from railkd.commands.checking import check

    for type in ("roformer", "esm"):
        make(next(f for f in FAMILIES if f.type == type), tmp_path / type)
    for method, type, line in (
        (
            "minilm_v2",
            "roformer",
            "methods.minilm_v2: reads queries, keys and values, which models.m does not show (the attent",
        ),
        (
            "mixkd",
            "esm",
            "methods.mixkd: mixes word embeddings, which models.m does not take: a EsmForSequenceClassification",
        ),
    ):
        changes = {
            "models": {"m": {"path": str(tmp_path / type)}},
            "methods": {method: {}},
            "pairs": {"p": {"teacher": "m", "student": "m", "methods": [method]}},
        }
        with pytest.raises(UserError) as caught:
            check(make_benchmark(changes), Layout("results"))
        assert line in str(caught.value), caught.value


def test_a_method_that_compares_examples_needs_no_mixed_embeddings(tmp_path: Path, make_benchmark: Any) -> None:
    """It declares mixes_examples as one that mixes them does, for its loss is no mean over examples either."""
    from railkd.benchmark.paths import Layout
    from railkd.commands.checking import check

    make(next(f for f in FAMILIES if f.type == "esm"), tmp_path / "esm")
    (tmp_path / "relations.py").write_text(
        "from railkd.methods.vanilla_kd import VanillaKD\n\n\nclass Relations(VanillaKD):\n    mixes_examples = True\n"
    )
    changes = {
        "models": {"m": {"path": str(tmp_path / "esm")}},
        "methods": {"relations": {"method": str(tmp_path / "relations.py")}},
        "pairs": {"p": {"teacher": "m", "student": "m", "methods": ["relations"]}},
    }
    check(make_benchmark(changes), Layout("results"))
