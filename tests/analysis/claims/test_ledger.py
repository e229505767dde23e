"""The ledger against its JSON schema, and the schema against the code that reads the ledger."""

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from analysis.claims import audit, ledger
from analysis.reported_benchmark import FIGURES, TABLES
from analysis.tables.measures import MEASURES
from railkd.errors import UserError

SCHEMA = json.loads(ledger.SCHEMA.read_text(encoding="utf-8"))
ENTRIES = yaml.safe_load(ledger.LEDGER.read_text(encoding="utf-8"))


def test_the_whole_file_satisfies_the_schema_that_an_editor_reads() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    as_json = {k: v if isinstance(v, list) else {str(a): b for a, b in v.items()} for k, v in ENTRIES.items()}
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert list(validator.iter_errors(as_json)) == []
    assert list(validator.iter_errors({**as_json, "claims": [{**ENTRIES["claims"][0], "relation": "over"}]}))


def test_the_schema_knows_what_the_code_knows() -> None:
    claim = SCHEMA["$defs"]["claim"]["properties"]
    assert set(claim) == {field.name for field in fields(ledger.Claim)}
    assert set(claim["measure"]["enum"]) == set(MEASURES)
    assert set(SCHEMA["$defs"]["setting"]["enum"]) == {*TABLES, *FIGURES}
    assert set(SCHEMA["$defs"]["statements"]) == set(audit.CHECKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stated": "much"}, "(gap-to-vanilla-dev): 'stated' is a number, got 'much'"),
        ({"stated": None}, "(gap-to-vanilla-dev): missing key 'stated'"),
        ({"check": "gaps"}, "(gap-to-vanilla-dev): unknown check 'gaps'; did you mean 'gap'"),
        ({"check": None}, "(gap-to-vanilla-dev): missing key 'check'"),
        ({"splitt": "dev"}, "(gap-to-vanilla-dev): unknown key 'splitt'; did you mean 'split'"),
        ({"split": "train"}, "(gap-to-vanilla-dev): unknown split 'train'"),
        ({"best_of": [1]}, "(gap-to-vanilla-dev): 'best_of.0' is a text, got 1"),
    ],
)
def test_a_statement_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = copy.deepcopy(ENTRIES)
    content["printed"][0].update(change)
    assert message in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claims": {}}, "expected two lists, 'claims' and 'printed'"),
        ({"claims": ["above"]}, "claims[0]: expected a mapping, got 'above'"),
        ({"dev_examples": {"rte": "many"}}, "'dev_examples.rte' is a whole number, got 'many'"),
        ({"dev_exampels": {}}, "unknown key 'dev_exampels'; did you mean 'dev_examples'"),
    ],
)
def test_the_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, ENTRIES | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "zero"}, "(above-ild-12-dev): 'target' is a number, got 'zero'"),
        ({"block": "train"}, "(above-ild-12-dev): unknown block 'train'"),
        ({"measure": "sd", "relation": "same", "margin": 1}, "'margin' is 1, expected a factor above 1"),
        ({"variants": ["beta"]}, "expected either 'over' or 'variants'"),
    ],
)
def test_a_claim_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = copy.deepcopy(ENTRIES)
    content["claims"][0].update(change)
    assert message in refusal(tmp_path, content)


def refusal(tmp_path: Path, content: dict[str, Any]) -> str:
    """The one line that a ledger of this content is refused with."""
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError) as error:
        ledger.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)
