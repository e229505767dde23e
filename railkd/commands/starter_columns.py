"""Guesses the columns of a user's file of examples: the defaults that ``railkd init`` offers."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from railkd.errors import UserError, unknown
from railkd.tasks import Source, label_text

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 20  # more different numbers than that are scores, and more different texts no labels
USUAL = ("label", "labels", "class", "category", "sentiment", "target", "score", "stars", "rating", "y")


@functools.cache
def _frame(path: Path) -> "pd.DataFrame":
    from railkd.data import own_files

    return own_files.read(path, Source(path.name, path.name, (), (), (), ""))


def columns(path: Path) -> list[str]:
    """The names of a file's columns. Raises UserError for a file that cannot be read."""
    return [str(name) for name in _frame(path)]


def row_count(path: Path) -> int:
    """How many rows a file has. Raises UserError for a file that cannot be read."""
    return len(_frame(path))


def check_columns(path: Path, names: list[str], option: str) -> None:
    """Raises UserError for a column that the file does not have."""
    for name in names:
        if name not in columns(path):
            raise unknown("column", name, columns(path), f"{option}: {path}")


def label_column(path: Path) -> list[str]:
    """The column that is called as labels often are, else the one with the fewest different values."""
    names = columns(path)
    usual = [name for word in USUAL for name in names if name.lower() == word]
    counts = {name: len(_values(path, name)) for name in names}
    few = sorted((name for name in names if 2 <= counts[name] <= MOST_CLASSES), key=lambda name: counts[name])
    return (usual or few)[:1]


def text_column(path: Path, label: str) -> list[str]:
    """The column with the longest texts, apart from the labels."""
    lengths = {name: _frame(path)[name].astype(str).str.len().mean() for name in columns(path) if name != label}
    return [max(lengths, key=lambda name: float(lengths[name]))] if lengths else []


def _values(path: Path, column: str) -> list[str]:
    """The different labels of a column, numbers in their order, others by the alphabet."""
    texts = {label_text(value) for value in _frame(path)[column].dropna().drop_duplicates()} - {""}
    numbers = _numbers(texts)
    return sorted(texts) if numbers is None else sorted(texts, key=lambda text: (float(text), text))


def _numbers(texts: set[str]) -> list[float] | None:
    try:
        return sorted(map(float, texts))
    except ValueError:
        return None


def score_range(path: Path, column: str) -> list[str]:
    """The least and the greatest value of a column of scores; empty for a column of labels.

    Numbers are scores when there are more than ``MOST_CLASSES`` different ones, or one is a fraction.
    """
    numbers = _numbers(set(_values(path, column)))
    if not numbers or (len(numbers) <= MOST_CLASSES and all(number.is_integer() for number in numbers)):
        return []
    return [f"{numbers[0]:g}", f"{numbers[-1]:g}"]


def labels(path: Path, column: str) -> list[str]:
    """The labels of a column in their order; empty when there are too many or only one. See ``_values``."""
    found = _values(path, column)
    return found if 2 <= len(found) <= MOST_CLASSES else []


def check_labels(path: Path, column: str, given: list[str]) -> None:
    """Raises UserError when a label of the file is not among those given."""
    missing = [value for value in _values(path, column) if value not in [label_text(word) for word in given]]
    if missing:
        raise UserError(f"--labels: {path} has also {', '.join(map(repr, missing[:5]))} in its column '{column}'")
