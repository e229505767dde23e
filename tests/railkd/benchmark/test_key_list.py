"""The list of keys: the page is what the schema and the defaults say, and no key is without a meaning."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from railkd import cli
from railkd.benchmark import key_list
from railkd.benchmark.config import SCHEMA
from railkd.benchmark.defaults import DATA, PRETRAINING, SIZES, TRAINING

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "benchmark-file.md"


def test_the_page_is_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == key_list.markdown(), "make docs writes the page again"


def test_every_key_has_a_type_and_a_sentence() -> None:
    rows = re.findall(r"^\| `(.+?)` \| (.*?) \| (.*?) \| (.*) \|$", key_list.markdown(), re.MULTILINE)
    assert len(rows) > 70
    for key, kind, _, meaning in rows:
        assert kind and meaning.endswith(".") and meaning[0].isupper(), key


def keys(node: Any) -> Iterator[str]:
    """Every property anywhere in the schema."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        if name == "properties":
            yield from value
        if isinstance(value, dict | list):
            yield from keys(value)


def test_no_key_of_the_schema_is_left_out() -> None:
    listed = set(re.findall(r"^\| `(.+?)` \|", key_list.markdown(), re.MULTILINE))
    assert listed == set(keys(json.loads(SCHEMA.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("section", "defaults"),
    [("data", DATA), ("data.sizes", SIZES), ("training.student", TRAINING), ("models.<name>.pretrain", PRETRAINING)],
)
def test_defaults_are_those_of_the_code(section: str, defaults: dict[str, Any]) -> None:
    text = key_list.markdown(section).split("\n## ")[0]  # without the sections below it
    for key, value in defaults.items():
        (shown,) = re.findall(rf"^\| `{key}` \|.*?\| (`.*?`|required|) \|", text, re.MULTILINE)
        assert shown == "required" or json.loads(shown.strip("`")) == value, key


def test_examples_in_the_schema_are_yaml() -> None:
    for example in re.findall(r"^Example: `(.*)`$", key_list.markdown(), re.MULTILINE):
        assert isinstance(yaml.safe_load(example), dict)


def test_a_section_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keys", "training"]) == 0
    assert re.findall(r"^## (.*)$", capsys.readouterr().out, re.MULTILINE) == [
        "`training`", "`training.teacher`", "`training.student`",
    ]  # fmt: skip
    assert cli.main(["keys", "trainign"]) == 1
    assert "unknown section 'trainign'; did you mean 'training'?" in capsys.readouterr().err
