"""Encoder families beyond BERT, RoBERTa and DistilBERT: the whole path from checkpoint to record."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning, preparing
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.models.forward import forward
from railkd.records import run_record

CPU = torch.device("cpu")
FAMILIES = ["electra", "deberta", "modernbert"]
METHODS = ["no_kd", "vanilla_kd", "pkd", "rail_kd_l", "rail_kd_c", "mixkd", "cr_ild", "distilbert_cos", "tinybert"]


@pytest.fixture(scope="module")
def family_checkpoints(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """electra4, electra2 (embeddings narrower than the layers), deberta4 …, modernbert4 …; students are narrower."""
    from transformers import (
        AutoTokenizer,
        DebertaV2Config,
        DebertaV2Model,
        ElectraConfig,
        ElectraModel,
        ModernBertConfig,
        ModernBertModel,
    )  # fmt: skip

    root = tmp_path_factory.mktemp("families")
    tokenizer = AutoTokenizer.from_pretrained(checkpoints / "bert4")
    torch.manual_seed(0)
    for layers, width in ((4, 32), (2, 16)):
        size = {
            "vocab_size": len(tokenizer), "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": 2,
            "intermediate_size": 2 * width, "max_position_embeddings": 80, "initializer_range": 0.2, "pad_token_id": 0,
        }  # fmt: skip
        relative = {
            "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
        }  # fmt: skip
        ids = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        models = {
            "electra": ElectraModel(ElectraConfig(embedding_size=8, **size)),
            "deberta": DebertaV2Model(DebertaV2Config(**size, **relative)),
            "modernbert": ModernBertModel(ModernBertConfig(**size, **ids, local_attention=8)),
        }
        for name, model in models.items():
            model.save_pretrained(root / f"{name}{layers}")
            tokenizer.save_pretrained(root / f"{name}{layers}")
    return root


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_from_checkpoint_to_record(
    family: str, mirror: Path, family_checkpoints: Path, tmp_path: Path
) -> None:
    settings = {"learning_rate": 3e-3, "batch_size": 16, "epochs": 2, "precision": "float32", "dropout": 0.1}
    spec = {
        "name": "tiny",
        "title": "Tiny",
        "seeds": [1],
        "data": {"source": "glue", "root": str(mirror), "max_length": 32, "test": "none", "tasks": ["mrpc"]},
        "models": {f"{family}{n}": {"path": str(family_checkpoints / f"{family}{n}")} for n in (4, 2)},
        "training": {"teacher": settings, "student": settings},
        "methods": {name: {"attention_weight": 0.0} if name == "tinybert" else {} for name in METHODS},
        "pairs": {"p": {"teacher": f"{family}4", "student": f"{family}2", "methods": METHODS, "tables": [2]}},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    benchmark, layout = config.load(path), Layout(tmp_path / "results")
    preparing.prepare(benchmark, layout, f"{family}4", "mrpc")
    fine_tuning.fine_tune(benchmark, layout, f"{family}4", "mrpc", CPU, lambda line: None)
    fine_tuning.signals(benchmark, layout, f"{family}4", "mrpc", CPU)
    for method in METHODS:
        cell = Cell("p", method, "mrpc")
        distillation.distil(benchmark, layout, cell, [1], CPU, lambda line: None)
        record = run_record.read(layout.run(cell, 1))
        assert len(record["epochs"]) == 2 and 0 <= record["scores"]["dev"]["accuracy"] <= 1


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_is_exact_narrow_or_whole(family: str, family_checkpoints: Path) -> None:
    """ELECTRA's and DeBERTa's last layer is narrowed, ModernBERT's is not known and left whole."""
    place = Checkpoint(str(family_checkpoints / f"{family}4"))
    said = []
    for whole in (True, False):
        model: Any = load_classifier(place, 2, 1, "m", whole_last_layer=whole).eval()
        result = forward(model, inputs())
        nn.functional.cross_entropy(result.logits_BC, torch.tensor([0, 1, 1])).backward()
        said.append((result, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (whole_said, gradients), (narrow_said, same) = said
    assert len(whole_said.hidden) == 5 and all(h.shape == (3, 9, 32) for h in whole_said.hidden)
    assert narrow_said.hidden[-1].shape[1] == (9 if family == "modernbert" else 1)
    torch.testing.assert_close(narrow_said.logits_BC, whole_said.logits_BC, atol=1e-6, rtol=1e-5)
    assert gradients.keys() == same.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(same[key], gradient, atol=1e-6, rtol=1e-4, msg=key)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_reaches_every_layer(family: str, family_checkpoints: Path) -> None:
    model: Any = load_classifier(Checkpoint(str(family_checkpoints / f"{family}4")), 2, 1, "m", dropout=0.37)
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.37}


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_vectors_are_read_or_refused(family: str, family_checkpoints: Path) -> None:
    """ELECTRA's scores are q·k/√d; the others put positions into them."""
    model = load_classifier(Checkpoint(str(family_checkpoints / f"{family}2")), 2, 1, "m", whole_last_layer=True)
    if family == "electra":
        assert forward(model, inputs(), attention=[1, 2]).vectors("value", 2).shape == (3, 9, 16)
    else:
        with pytest.raises(UserError, match="its queries, keys and values cannot be read, expected an encoder like"):
            forward(model, inputs(), attention=[1, 2])
