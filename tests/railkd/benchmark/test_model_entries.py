"""Entries of ``models:`` whose keys do not go together, each refused in one line that names the key."""

import json
from typing import Any

import pytest

from railkd.benchmark.config import SCHEMA
from railkd.benchmark.model_entries import ORIGINS
from railkd.errors import UserError

HALF = {"layers_of": "bert4", "layers": 2, "keep": "every_other"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models.bert4.labels": ["a", "b"]}, "models.bert4.labels: belongs to a checkpoint that is fine-tuned"),
        ({"models.distilbert2.fine_tuned": True}, "distilbert2.fine_tuned: 'distilbert2' is the student of pairs.p"),
        ({"models.half": {"layers_of": "bert4", "layers": 2, "keep": "first", "fine_tuned": True}},
         "models.half.fine_tuned: belongs to a checkpoint, expected an entry with hub, path or package"),
        ({"models.bert4.fine_tuned": True, "models.bert4.training": {"epochs": 3}},
         "models.bert4.training.epochs: the model is fine-tuned already .* expected only precision"),
        ({"models.bert4.fine_tuned": "yes"}, "models.bert4.fine_tuned: found the text 'yes', expected true or false"),
        ({"models.bert4": {"package": ["a", "b"]}}, "models.bert4.files: missing, expected a pattern"),
        ({"models.bert4": {"package": "json", "files": "*"}}, "models.bert4.files: belongs to a list of packages"),
        ({"models.bert4.version": "1"}, "models.bert4.version: belongs to a list of packages"),
        ({"models.bert4": {"package": ["a", "a"], "files": "*"}}, "models.bert4.package: .*non-unique"),
        ({"models.bert4": {"package": "no_such_package_here"}}, "'no_such_package_here' is not installed"),
        ({"models.bert4": {"package": "no-dash"}}, "models.bert4.package: 'no-dash' does not match"),
        ({"models.bert4.general_distillation": {"text": "a.txt"}},
         "models.bert4.general_distillation: belongs to layers of another model.* expected layers_of"),
        ({"models.s": {**HALF, "general_distillation": {}}}, "models.s.general_distillation: 'text' is a required"),
        ({"models.s": {**HALF, "general_distillation": {"text": "a.txt", "step": 1}}},
         "models.s.general_distillation: unknown key 'step'; did you mean 'steps'"),
        ({"models.s": {**HALF, "general_distillation": {"text": "a.pdf"}}},
         "models.s.general_distillation.text: 'a.pdf' has no known ending, expected .txt, .csv"),
        ({"models.s": {**HALF, "general_distillation": {"text": f"{'a' * 300}.txt"}}}, "yaml: .*File name too long"),
        ({"models.s": {**HALF, "general_distillation":
                       {"text": "a.txt", "objective": "distilbert_cos", "relation_heads": 2}}},
         "general_distillation.relation_heads: belongs to objective: minilm_v2, but the objective is distilbert_cos"),
        ({"models.bert4.layers": 1}, "models.bert4.layers: belongs to layers_of, the entry has path$"),
        ({"models.bert4.keep": "first"}, "models.bert4.keep: belongs to layers_of, the entry has path$"),
        ({"models.bert4.from": "bert2"}, "models.bert4.from: belongs to pretrain, the entry has path$"),
        ({"models.bert4.revision": "a" * 40}, "models.bert4.revision: belongs to hub, the entry has path$"),
        ({"models.bert4.folder": "a"}, "models.bert4.folder: belongs to package, the entry has path$"),
        ({"models.s": {**HALF, "from": "bert4"}}, "models.s.from: belongs to pretrain, the entry has layers_of$"),
    ],
)  # fmt: skip
def test_entries_whose_keys_do_not_go_together(make_benchmark: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_benchmark(changes)


def test_precision_is_a_setting_of_a_fine_tuned_model(make_benchmark: Any) -> None:
    changes = {"models.bert4.fine_tuned": True, "models.bert4.training": {"precision": "bfloat16"}}
    assert make_benchmark(changes).teacher_config("bert4", "mrpc")["training"] == {"precision": "bfloat16"}


def test_every_key_of_an_entry_is_of_an_origin_or_of_all() -> None:
    """A key that the schema gets and the table does not would be ignored beside another origin."""
    keys = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]["model"]["properties"].keys()
    assert keys - {"fine_tuned", "training"} == {*ORIGINS, *(key for of in ORIGINS.values() for key in of)}
