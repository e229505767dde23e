"""The rows of MiniGLUE's files: distinct ones, in splits that share none."""

from collections.abc import Callable
from random import Random
from typing import Any

from railkd.errors import UserError

Row = dict[str, Any]
NOISE = {"sst2": 0.02}  # share of labels drawn wrong, in every split


def texts(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of its columns."""
    return tuple(v for k, v in row.items() if isinstance(v, str) and k != "label")


def unique_rows(draw: Callable[[Random], Row], number: int, rng: Random, seen: set[frozenset[str]]) -> list[Row]:
    """``number`` rows whose texts are not in ``seen``, which grows; labels are flipped at the task's noise rate."""
    rows: list[Row] = []
    wanted = None  # the label of a rejected draw: redrawing it keeps the class shares the task asks for
    for _ in range(500 * number):
        if len(rows) == number:
            return rows
        row = draw(rng)
        if wanted is not None and row["label"] != wanted:
            continue
        key = frozenset(texts(row))
        if key in seen or len(key) < len(texts(row)):  # a sentence beside itself teaches nothing
            wanted = None if isinstance(row["label"], float) else row["label"]
            continue
        seen.add(key)
        wanted = None
        if rng.random() < NOISE.get(draw.__name__, 0.0):
            row["label"] = 1 - row["label"]
        rows.append(row)
    if len(rows) == number:
        return rows
    raise UserError(
        f"{draw.__name__}: the grammar has too few sentences for {number} different examples; ask for fewer"
    )


def drawn_splits(parts: dict[Callable[[Random], Row], dict[str, int]], rng: Random) -> dict[str, list[Row]]:
    """Disjoint splits by name; ``parts`` maps what draws a row to the sizes of the splits that it fills.

    All splits of one grammar are drawn together and shuffled. Drawn one after the other, each would lack the short
    sentences that those before it had used up, and the last would be the hardest.
    """
    splits: dict[str, list[Row]] = {}
    seen: set[frozenset[str]] = set()
    for draw, sizes in parts.items():
        rows = unique_rows(draw, sum(sizes.values()), rng, seen)
        rng.shuffle(rows)
        for split, size in sizes.items():
            splits[split] = [rows.pop() for _ in range(size)]
    return splits


def check_disjoint(task: str, splits: dict[str, list[Row]]) -> None:
    """Raise ``RuntimeError`` if an example (or a pair and its mirror image) is in two splits of ``task``."""
    owner: dict[frozenset[str], str] = {}
    for split, rows in splits.items():
        for row in rows:
            other = owner.setdefault(frozenset(texts(row)), split)
            if other != split:
                raise RuntimeError(f"{task}: an example is in both {other} and {split}: {texts(row)}")
