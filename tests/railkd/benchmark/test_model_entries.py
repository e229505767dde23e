"""Entries of ``models:`` whose keys do not go together, each refused in one line that names the key."""

from typing import Any

import pytest

from railkd.errors import UserError


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
    ],
)  # fmt: skip
def test_entries_whose_keys_do_not_go_together(make_benchmark: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_benchmark(changes)


def test_precision_is_a_setting_of_a_fine_tuned_model(make_benchmark: Any) -> None:
    changes = {"models.bert4.fine_tuned": True, "models.bert4.training": {"precision": "bfloat16"}}
    assert make_benchmark(changes).teacher_config("bert4", "mrpc")["training"] == {"precision": "bfloat16"}
