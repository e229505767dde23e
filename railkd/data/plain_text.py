"""Reads text without labels, for training before any task: paragraphs of a file, and rows of tokens made of them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from railkd.data import own_files
from railkd.data.batches import Split
from railkd.data.checking import require_columns
from railkd.errors import UserError
from railkd.tasks import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 256  # paragraphs that are read or tokenised together


def paragraphs(path: Path, column: str) -> Iterator[str]:
    """The texts of a file that are more than white space, in their order; of a parquet file without reading it whole.

    ``column`` holds them, but in a plain text file (see ``own_files.read``). Raises UserError that names the file, and
    the row where there is one, for a file that cannot be read, a missing column, and a value that is no text.
    """
    number = 0
    for values in _columns(path, column):
        for value in values:
            if isinstance(value, str) and value.strip():
                yield value.strip("\n")
            elif isinstance(value, str | None):
                pass  # a corpus has empty rows
            elif value == value:  # not pandas' NaN, which is an empty row too
                raise UserError(f"{path}: row {number}: column '{column}' is {repr(value)[:80]}, expected a text")
            number += 1


def _columns(path: Path, column: str) -> Iterator[Iterable[Any]]:
    """The column in parts."""
    if path.suffix.lower() != ".parquet":
        plain = path.suffix.lower() == ".txt"
        frame = own_files.read(path, Source(path.name, path.name, (), (), (), ""))
        if not plain:
            require_columns(str(path), (column,), frame.columns)
        yield frame["text" if plain else column].tolist()
        return
    own_files.look_at_footer(path)
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        require_columns(str(path), (column,), file.schema_arrow.names)
        parts = file.iter_batches(AT_ONCE, columns=[column])
        while True:
            try:
                part = next(parts, None)
            except (OSError, pyarrow.ArrowException) as error:  # a damaged page
                text = " ".join(str(error).split())[: own_files.SHOWN]
                raise UserError(f"{path}: cannot be read as PARQUET ({text})") from None
            if part is None:
                return
            yield part.column(0).to_pylist()


def token_rows(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase", max_length: int, wanted: int
) -> tuple[Split, int]:
    """The first ``wanted`` rows of tokens of these texts, or all there are, and how many texts were read.

    A text of more than ``max_length`` tokens is several rows, each with its special tokens. Their labels are zeros.
    """
    parts: list[np.ndarray[Any, Any]] = []
    lengths: list[int] = []
    remaining, read = iter(texts), 0
    before, after = _special_tokens(tokenizer)
    room = max_length - len(before) - len(after)
    while len(lengths) < wanted and (some := list(islice(remaining, min(AT_ONCE, wanted - len(lengths))))):
        read += len(some)
        texts_of_tokens = tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
        rows = [
            [*before, *tokens[at : at + room], *after]
            for tokens in texts_of_tokens
            for at in range(0, max(1, len(tokens)), room)
        ][: wanted - len(lengths)]
        lengths += map(len, rows)
        parts.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]))
    length_R = torch.tensor(lengths, dtype=torch.int64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), length_R.cumsum(0)])
    tokens = torch.from_numpy(np.concatenate(parts) if parts else np.empty(0, np.int32))
    return Split(tokens, offsets, length_R.int(), torch.zeros(len(lengths), dtype=torch.int64)), read


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text.

    The rows are cut here because tokenizers up to 0.23.2 lose what is left of a text after its second row.
    """
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:at], whole[at + len(bare) :]
