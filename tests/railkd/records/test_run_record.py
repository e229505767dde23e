"""Run records: what makes one invalid, and that a file is written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from railkd import cli
from railkd.errors import UserError
from railkd.records import provenance, run_record, sealed_files
from railkd.records.fields import FIELDS, OPTIONAL
from railkd.records.hashes import canonical, sha256_text
from railkd.records.run_record import problems


@pytest.fixture
def record() -> dict[str, Any]:
    values: dict[type, Any] = {int: 1, str: "x", bool: True, dict: {}, list: []}
    made = {key: values[kind] for key, (kind, _) in FIELDS.items() if isinstance(kind, type)}
    del made["checksum"]
    config = {"training": {"epochs": 1}}
    return {
        **made,
        "config": config,
        "config_hash": sha256_text(canonical(config)),
        "shown": "f1",
        "scores": {"dev": {"f1": 0.5, "accuracy": 1}, "imdb": {"accuracy": 0.25}},
    }


def test_a_good_record_round_trips(record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "seed-1.json"
    run_record.write(path, record)
    assert problems(record) == [] and run_record.read(path) == record
    assert cli.main(["record", str(path)]) == 0 and "valid" in capsys.readouterr().out


@pytest.mark.parametrize("key", FIELDS)
def test_each_field_is_needed_and_typed(record: dict[str, Any], key: str) -> None:
    wrong = "text" if FIELDS[key][0] is not str else 3
    assert any(f"'{key}'" in line for line in problems({**record, key: wrong}))
    assert any(f"'{key}'" in line for line in problems({**record, key: None}))
    record.pop(key, None)
    missing = [line for line in problems(record) if f"missing key '{key}'" in line]
    assert bool(missing) == (key not in OPTIONAL)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"extra": 1}, "unknown key 'extra'"),
        ({"schema": 3}, "schema version 3, expected 1 or 2"),
        ({"schema": True}, "'schema' is bool"),
        ({"seed": 1.0}, "'seed' is float"),
        ({"config": {"training": {"epochs": 2}}}, "config_hash does not match config"),
        ({"config": {"rate": float("nan")}}, "'config'"),
        ({"scores": {"dev": {"f1": 50.0}}}, "scores.dev.f1 is 50.0"),
        ({"scores": {"dev": {"f1": float("nan")}}}, "scores.dev.f1 is nan"),
        ({"scores": {"dev": {"f1": True}}}, "scores.dev.f1 is True"),
        ({"scores": {"dev": {"f1": "0.5"}}}, "scores.dev.f1"),
        ({"scores": {"dev": 0.5}}, "scores.dev"),
        ({"scores": {"test": {"f1": 0.5}}}, "scores has no 'dev'"),
        ({"scores": {"dev": {"accuracy": 0.5}}}, "scores.dev has no 'f1'"),
    ],
)
def test_wrong_contents(record: dict[str, Any], tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    found = problems({**record, **changes})
    assert any(expected in line for line in found), found
    path = tmp_path / "r.json"
    with pytest.raises(ValueError, match="r.json"):
        run_record.write(path, {**record, **changes})
    assert not path.exists()
    path.write_text(json.dumps({**record, **changes}))
    with pytest.raises(UserError) as caught:
        run_record.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_object_is_no_record() -> None:
    assert problems([1]) == problems(None) == ["a record is a JSON object"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "r.json"
    sealed_files.write_json(path, {"old": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UserError, match=r"r.json: cannot be written \(disk full\)"):
        sealed_files.write_json(path, {"new": 2})
    monkeypatch.undo()
    assert sealed_files.read_json(path) == {"old": 1} and [p.name for p in tmp_path.iterdir()] == ["r.json"]
    with pytest.raises(ValueError):
        sealed_files.write_json(path, {"new": float("nan")})
    assert sealed_files.read_json(path) == {"old": 1}


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"nonsense"])
def test_unreadable_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    for broken in (path, tmp_path / "absent.json", tmp_path):
        with pytest.raises(UserError) as caught:
            run_record.read(broken)
        assert str(broken) in str(caught.value) and "\n" not in str(caught.value)


def test_canonical_text_and_provenance() -> None:
    assert canonical({"b": 1, "a": [1.5, "ü", None]}) == '{"a":[1.5,"ü",null],"b":1}'
    found = provenance.provenance()
    assert {"suite", "commit", "dirty", "python", "versions", "platform", "processor", "cores"} <= set(found)
    assert {"torch", "transformers"} <= set(found["versions"]) and json.dumps(found)
