"""Checks every row of a split and makes texts and labels of it. A mistake is told with file, row, column and value."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from railkd.errors import UserError, warn
from railkd.tasks import Source, Task, label_text

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 200  # characters of what stands in a file, in a message
LARGEST = 1e4  # a score whose squared error is training.divergence.EXPLODED
WIDEST = 10.0  # scores that a head learns in the usual number of steps; STS-B has 0 to 5


def require_columns(place: str, columns: tuple[str, ...], found: Iterable[str]) -> None:
    there = list(map(str, found))
    for column in columns:
        if there.count(column) != 1:
            what = "no column" if column not in there else "more than one column"
            raise UserError(
                f"{place}: {what} '{column}' (expected {', '.join(columns)}; "
                f"found {', '.join(there)[:SHOWN] or 'none'})"
            )


def require_rows(place: str, split: str, rows: int) -> None:
    """A model is trained on two rows at least, and both halves of dev are scored."""
    least = 1 if split.startswith("test") else 2
    if rows < least:
        raise UserError(f"{place}: has {rows or 'no'} row{'' if rows == 1 else 's'}, expected at least {least}")


def _where(frame: "pd.DataFrame", row: int) -> str:
    """A row in words: its line in a text file, else its number from 0."""
    return f"{frame.index.name or 'row'} {frame.index[row]}"


def texts_of(frame: "pd.DataFrame", columns: tuple[str, ...], place: str, empty: bool = False) -> list[list[str]]:
    texts = []
    for column in columns:
        values = frame[column].tolist()
        for row, value in enumerate(values):
            if not isinstance(value, str) or not (empty or value.strip()):
                shown = repr(value)[:SHOWN]
                raise UserError(
                    f"{place}: {_where(frame, row)}: column '{column}' is {shown}, expected a non-empty text"
                )
        texts.append(values)
    return texts


def labels_of(frame: "pd.DataFrame", source: Source, place: str) -> NDArray[Any]:
    """Labels as classes or scores."""
    values, classes = frame[source.label_column].tolist(), source.classes
    found = np.empty(len(values), dtype=np.float32 if source.regression else np.int64)
    for row, value in enumerate(values):
        value = value.item() if isinstance(value, np.generic) else value
        readable = isinstance(value, int | float | str)
        label = _score(value, *source.score_range) if source.regression else classes.get(label_text(value))
        if label is None or not readable:
            what = "label" if source.label_column == "label" else f"column '{source.label_column}' is"
            low, high = source.score_range
            expected = f"a score from {low:g} to {high:g}" if source.regression else f"one of {', '.join(classes)}"
            raise UserError(f"{place}: {_where(frame, row)}: {what} {repr(value)[:SHOWN]}, expected {expected[:SHOWN]}")
        found[row] = label
    return found


def _score(value: Any, low: float, high: float) -> float | None:
    """A score in its range; a text file holds it as text."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    return score if low <= score <= high else None


def advise_on_scores(low: float, high: float, place: str) -> None:
    """Warns of scores that train slowly: they are learnt as they stand, and a step of AdamW moves a bias by the
    learning rate at most. Raises UserError for those whose squared error would count as a loss that explodes.
    """
    largest = max(abs(low), abs(high))
    if math.inf > largest > LARGEST:
        raise UserError(
            f"{place}: scores from {low:g} to {high:g}, expected none beyond {LARGEST:g}, best none beyond {WIDEST:g}; "
            "divide them"
        )
    if max(abs(low), abs(high), high - low) > WIDEST:
        warn(
            f"{place}: scores from {low:g} to {high:g} are learnt as they stand, which takes many steps; divide them, "
            f"so that none is beyond {WIDEST:g} (STS-B has 0 to 5)"
        )


def require_classes(labels: NDArray[Any], task: Task, place: str) -> None:
    """A class that no training row has is one that no model can learn."""
    for number, name in enumerate(task.labels):
        if not (labels == number).any():
            raise UserError(
                f"{place}: none of the {len(labels)} training rows has label {number} ('{name}'), expected every class "
                f"of {task.name}"
            )


CheckedRows = tuple[list[list[str]], NDArray[Any], str]  # texts by column, labels, place
Raw = dict[str, CheckedRows]  # by split


def checked(frame: "pd.DataFrame", place: str, source: Source) -> CheckedRows:
    return texts_of(frame, source.columns, place), labels_of(frame, source, place), place


def select_rows(split: CheckedRows, rows: NDArray[Any], place: str | None = None) -> CheckedRows:
    """Some rows of a split, by number or by mask."""
    texts, labels, known = split
    numbers = np.arange(len(labels))[rows]
    return [[column[i] for i in numbers] for column in texts], labels[rows], place or known


def require_several(rows: CheckedRows, split: str, source: Source) -> None:
    """Refuses a split of one class, or of one score, with which no correlation is."""
    _, labels, place = rows
    if len(labels) < 2:
        raise UserError(f"{place}: has {len(labels)} rows for {split}, expected at least 2")
    if (labels == labels[0]).all():
        only = f"score {labels[0]:g}" if source.regression else f"label '{source.labels[labels[0]]}'"
        raise UserError(f"{place}: every one of the {len(labels)} rows of {split} has the {only}, expected several")


def compare_splits(raw: Raw, task: Task) -> None:
    """Refuses a dev or test set of one class, on which no score means anything; warns of examples that train has."""
    for split in ("dev", "test"):
        if split not in raw:
            continue
        require_several(raw[split], split, task)
    warn_of_repeated(raw, [split for split in ("dev", "test") if split in raw])


def warn_of_repeated(raw: Raw, splits: Iterable[str]) -> None:
    """Warns of splits with texts that a training row has: their scores tell what was learnt by heart."""
    known = set(zip(*raw["train"][0], strict=True))
    for split in splits:
        texts, labels, place = raw[split]
        repeated = sum(example in known for example in zip(*texts, strict=True))
        if repeated:
            warn(f"{place}: {repeated:,} of {len(labels):,} rows of {split} have the same text as a training row")
