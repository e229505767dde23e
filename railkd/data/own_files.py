"""Reads a file of one's own, of examples or of text: CSV, TSV, JSON lines, parquet or plain text, through `datasets`.

A text file is first looked at line by line, because a parser that goes on after a mistake loses or shifts examples: its
encoding, the number of fields in every row, quotes, JSON.
"""

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd.errors import UserError
from railkd.tasks import Source

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t"}
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}  # that people's files have
SHOWN = 120  # characters of somebody else's message
LONGEST_FIELD = 2**31 - 1  # characters; Python's csv stops at 131,072


def read(path: Path, source: Source) -> "pd.DataFrame":
    """A file's examples; the index of a text file is the line on which each begins, from 1.

    Columns of a CSV or TSV file hold text as it stands: "NA" and "null" are texts, not missing values. A plain text
    (.txt) is one column ``text`` of paragraphs: blank lines separate them, and without any each line is one. Nothing is
    kept on disk. Raises UserError that names the file, and the line where there is one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty, expected a file with examples")
    kind = path.suffix.lower()
    lines: list[int] | None = None
    if kind in SEPARATORS:
        header, lines = _look_at_rows(path, SEPARATORS[kind], source.quoted)
        frame = _load(path, "csv", _csv_options(SEPARATORS[kind], header, source.quoted))
    elif kind == ".jsonl":
        lines = _look_at_json(path)
        frame = _load(path, "json", {})
    elif kind == ".txt":
        frame = _load(path, "text", {"sample_by": _look_at_lines(path), "encoding": "utf-8-sig"})
    else:
        look_at_footer(path)
        frame = _load(path, "parquet", {})
    if lines is not None and len(lines) == len(frame):
        frame.index = lines
        frame.index.name = "line"
    return frame


def _load(path: Path, kind: str, options: dict[str, Any]) -> "pd.DataFrame":
    """What `datasets` reads; its cache is a temporary folder, deleted afterwards."""
    import datasets

    load = getattr(datasets.Dataset, f"from_{kind}")
    log = datasets.utils.logging
    shown, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity(log.CRITICAL)  # what it would log is in the one line below
    try:
        with tempfile.TemporaryDirectory(prefix="railkd-") as cache:
            return load(str(path), cache_dir=cache, keep_in_memory=True, **options).to_pandas()
    except Exception as error:  # of pandas, pyarrow or datasets itself: each a different class
        text = " ".join(str(error.__cause__ or error).split())[:SHOWN]
        raise UserError(f"{path}: cannot be read as {kind.upper()} ({text})") from None
    finally:
        log.set_verbosity(level)
        if shown:
            log.enable_progress_bar()


def _csv_options(separator: str, header: list[str], quoted: bool) -> dict[str, Any]:
    from datasets import Features, Value

    return {
        "sep": separator,
        "names": header,
        "header": 0,
        "features": Features({name: Value("string") for name in header}),
        "keep_default_na": False,
        "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        "encoding": "utf-8",
    }


def _decoded(path: Path) -> Iterator[str]:
    """The lines of a text file; a byte-order mark is left out. Raises UserError for a line that is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise UserError(
                    f"{path}: line {number}: byte 0x{byte:02X} is not UTF-8; save the file as UTF-8 and try again"
                ) from None
            if "\0" in text:
                raise UserError(f"{path}: line {number}: holds a zero byte, expected UTF-8 text")
            yield text


def _look_at_rows(path: Path, separator: str, quoted: bool) -> tuple[list[str], list[int]]:
    """The columns of a CSV or TSV file, each under a name of its own, and the line on which each row begins."""
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(
        _decoded(path), delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True
    )
    header: list[str] = []
    lines: list[int] = []
    begins = 1
    try:
        for row in reader:
            if row and not header:
                header = row
                _look_at_separator(path, header, separator)
            elif row:
                lines.append(begins)
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: line {begins}: has {len(row)} fields, expected {len(header)} as in the first line "
                        f"({', '.join(header)[:SHOWN]}); a text that holds the separator must stand in double quotes"
                    )
            begins = reader.line_num + 1
    except csv.Error as error:
        if str(error).startswith("new-line character"):  # old Mac line ends
            raise UserError(
                f"{path}: line {begins}: has a carriage return without a line feed behind it, expected line ends as of "
                "Unix or Windows; save the file again with those"
            ) from None
        hint = "a double quote is left open, or one inside a quoted text is not doubled"
        raise UserError(
            f"{path}: line {begins}: {hint} ({error}); for a file that quotes nothing, set quoted: false"
        ) from None
    if not header:
        raise UserError(f"{path}: is empty, expected a first line with the columns' names")
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: has two columns '{name}' in its first line, expected names that differ")
    if not lines:
        raise UserError(f"{path}: has no rows below the columns' names")
    return header, lines


def _look_at_separator(path: Path, header: list[str], separator: str) -> None:
    """Raises UserError for a first line of one field that holds the separator of another kind of file."""
    other = next((mark for mark in OTHER_SEPARATORS if mark != separator and mark in header[0]), None)
    if len(header) == 1 and other is not None:
        raise UserError(
            f"{path}: line 1: is one column, {header[0][:SHOWN]!r}; a {path.suffix.lower()} file has "
            f"{OTHER_SEPARATORS[separator]} between its columns, this one seems to have {OTHER_SEPARATORS[other]}"
        )


def _look_at_lines(path: Path) -> str:
    """What a paragraph of a plain text file is, in the word of `datasets`: ``paragraph`` or ``line``."""
    blank, seen = False, False  # a blank line behind a written one; a written line
    separated = False
    for line in _decoded(path):
        written = bool(line.strip("\r\n"))
        separated = separated or (written and blank)
        seen = seen or written
        blank = seen and not written
    return "paragraph" if separated else "line"


def look_at_footer(path: Path) -> None:
    """Raises UserError unless a parquet file has rows."""
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_metadata(path).num_rows
    except Exception as error:  # pyarrow raises many kinds for a truncated or foreign file
        raise UserError(f"{path}: not a readable parquet file ({' '.join(str(error).split())[:SHOWN]})") from None
    if not rows:
        raise UserError(f"{path}: has no rows")


def _look_at_json(path: Path) -> list[int]:
    """The line of each example of a file of JSON lines."""
    lines = []
    for number, line in enumerate(_decoded(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: line {number}: is not JSON ({error.msg}), expected one object a line") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: line {number}: {line.strip()[:SHOWN]} is not an object, expected one a line")
        lines.append(number)
    if not lines:
        raise UserError(f"{path}: has no rows, expected one JSON object a line")
    return lines
