"""Text without labels: every kind of file gives the same paragraphs, long ones are several rows, mistakes one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_tokenizers import bert_tokenizer

from railkd.data import plain_text
from railkd.errors import UserError

TEXTS = ["the film\nwas good", "a bad plot", "NA", "music in the garden"]


def _lines(texts: list[str], path: Path) -> None:
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8-sig")  # with a byte-order mark


WRITERS: dict[str, Callable[[list[str], Path], Any]] = {
    "txt": _lines,
    "csv": lambda texts, path: pd.DataFrame({"n": 1, "text": texts}).to_csv(path, index=False),
    "tsv": lambda texts, path: pd.DataFrame({"n": 1, "text": texts}).to_csv(path, index=False, sep="\t"),
    "jsonl": lambda texts, path: pd.DataFrame({"text": texts}).to_json(path, orient="records", lines=True),
    "parquet": lambda texts, path: pd.DataFrame({"n": 1, "text": texts}).to_parquet(path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_paragraphs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"text.{kind}"
    WRITERS[kind](TEXTS, path)
    assert list(plain_text.paragraphs(path, "text")) == TEXTS


def test_without_a_blank_line_each_line_is_a_paragraph(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one\ntwo\n   \nthree\n\n\n")  # at the end it separates nothing
    assert list(plain_text.paragraphs(tmp_path / "text.txt", "ignored")) == ["one", "two", "three"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_empty_rows_are_left_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"text.{kind}"
    WRITERS[kind](["one", None, "", " \t", "two"], path)  # type: ignore[list-item]
    assert list(plain_text.paragraphs(path, "text")) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "words\none\n", "no column 'text' .*found words"),
        ("a.parquet", pd.DataFrame({"words": ["one"]}), "no column 'text' .*found words"),
        ("a.parquet", pd.DataFrame({"text": [1, 2]}), "row 0: column 'text' is 1, expected a text"),
        (
            "a.jsonl",
            '{"text": "one"}\n{"text": ["two"]}\n',
            "row 1: column 'text' is .*two.*, expected a text|cannot be",
        ),
        ("a.jsonl", '{"text": 3}\n', "row 0: column 'text' is 3, expected a text"),
        ("a.parquet", "no parquet", "not a readable parquet file"),
        ("a.txt", b"caf\xe9\n", "line 1: byte 0xE9 is not UTF-8"),
        ("a.txt", "", "is empty"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        list(plain_text.paragraphs(path, "text"))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_long_paragraphs_are_several_rows_and_lose_no_token() -> None:
    tokenizer, texts = bert_tokenizer(), ["film plot scene city river house music", "good", "bad plot"]
    split, read = plain_text.token_rows(texts, tokenizer, 5, 100)
    rows = [split.tokens[a:b].tolist() for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)]
    assert read == 3 and [len(row) for row in rows] == [5, 5, 3, 3, 4]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(row[0] == first and row[-1] == last for row in rows)
    inner = [token for row in rows for token in row[1:-1]]
    assert tokenizer.convert_ids_to_tokens(inner) == " ".join(texts).split()
    inputs = split.collate(split.offsets[:0], 0, True, 5)
    assert inputs["token_type_ids"].sum() == 0


def test_no_more_is_read_than_is_wanted() -> None:
    texts = iter(["film plot"] * 10_000)
    split, read = plain_text.token_rows(texts, bert_tokenizer(), 8, 7)
    assert len(split) == read == 7 and len(list(texts)) == 10_000 - 7


def test_a_parquet_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "AT_ONCE", 2)
    WRITERS["parquet"](TEXTS, tmp_path / "text.parquet")
    found = plain_text.paragraphs(tmp_path / "text.parquet", "text")
    assert [next(found), *found] == TEXTS
