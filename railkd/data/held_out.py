"""Takes a test or dev set out of a training set, as far apart from the rest as the task's own dev set is.

Measured on GLUE's files (of QQP, MNLI and QNLI on 20,000 to 44,000 rows of train): of the examples of dev 37 % have a
text in common with train in RTE, 26 % in QQP, 17 % in STS-B, 11 % in MRPC and 2 % in CoLA, and rows drawn from train
one by one about as many. In MNLI and QNLI dev has under 1 %, where such rows would have 15 % and 37 %. SST-2 trains on
phrases and has whole sentences for dev: of rows drawn one by one 88 % lie inside a row of train.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from railkd.data.checking import CheckedRows, Raw, select_rows
from railkd.data.sampling import rows_of, share_of
from railkd.errors import UserError
from railkd.tasks import Task


def without_held_out(
    train: CheckedRows, task: Task, split: str, share: float, seed: int, limit: int | None = None
) -> Raw:
    """The training set without a share of every class, and that share as ``split``; both cut to ``limit`` rows.

    What is held out whole is the task's ``held_out_by``: a row; all rows with a text in common; a sentence, without
    which train also lacks the phrases inside it. Raises UserError where too few rows are there.
    """
    by_sentence = task.held_out_by == "sentence"  # which needs the whole file, so that train is cut afterwards
    if limit and not by_sentence:
        train = select_rows(train, rows_of(train[1], limit, seed))
    texts, labels, place = train
    if by_sentence:
        held, left_out = _sentences(texts[0], labels, share, seed, limit)
    else:
        held = share_of(labels, share, seed, sharing(texts) if task.held_out_by == "text" else None)
        left_out = held
    if not held.any() or left_out.all():
        raise UserError(f"{place}: {len(labels)} rows are too few to hold {share} of them out as {split}")
    rest = np.flatnonzero(~left_out)
    if limit and by_sentence:
        rest = rest[rows_of(labels[rest], max(limit - int(held.sum()), 1), seed)]
    return {"train": select_rows(train, rest), split: select_rows(train, held, f"{place} (held out)")}


def sharing(columns: Sequence[Sequence[str]]) -> NDArray[np.intp]:
    """The number of each row's group, (rows,): rows that share a text, whatever its column, are in one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.tile(np.arange(len(columns[0])), len(columns))
    _, texts = np.unique(np.concatenate([np.asarray(column, dtype=object) for column in columns]), return_inverse=True)
    nodes = len(columns[0]) + int(texts.max()) + 1
    edges = (np.ones(len(rows)), (rows, texts + len(columns[0])))
    return np.asarray(
        connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)[1][: len(columns[0])]
    )


def phrases_of(text: str) -> set[str]:
    """Every run of words of a text, itself among them."""
    words = text.split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def _sentences(
    texts: Sequence[str], labels: NDArray[np.generic], share: float, seed: int, limit: int | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the rows that are held out, a share of the whole sentences, and of those that train may not have.

    A whole sentence lies inside no other row. With ``limit`` they are a share of so many rows, if there are as many.
    """
    spoken = [" ".join(text.split()) for text in texts]
    inside: set[str] = set()
    for text in sorted(set(spoken), key=len, reverse=True):
        if text not in inside:  # else the row that holds it has given its phrases
            inside |= phrases_of(text) - {text}
    whole = np.array([text not in inside for text in spoken])
    rows = np.flatnonzero(whole)
    wanted = min(share, share * limit / len(rows)) if limit else share
    held = np.zeros(len(texts), dtype=bool)
    held[rows[share_of(labels[rows], wanted, seed)]] = True
    known = set().union(*(phrases_of(spoken[row]) for row in np.flatnonzero(held)))
    return held, np.array([text in known for text in spoken])
