"""MiniGLUE: eight tasks with GLUE's columns and labels, three out-of-domain sets, and a pre-training text.

Every text comes from a small probabilistic grammar (:mod:`railkd.miniglue.single_sentences` and
:mod:`railkd.miniglue.sentence_pairs`), so a whole benchmark runs without a network and in minutes. Unlike GLUE, the
test splits are labelled. Numbers on MiniGLUE say nothing about English.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from railkd.benchmark.defaults import SIZES, resolved
from railkd.errors import UserError, unknown
from railkd.miniglue import sentence_pairs, single_sentences
from railkd.miniglue.pretraining_corpus import corpus_lines
from railkd.miniglue.rows import Row, check_disjoint, drawn_splits, texts, unique_rows
from railkd.records.files import atomic
from railkd.records.sealed_files import SEAL, seal

TASKS: dict[str, tuple[Callable[[Random], Row], dict[str, str]]] = {
    "cola": (single_sentences.cola, {"sentence": "string", "label": "int64"}),
    "sst2": (single_sentences.sst2, {"sentence": "string", "label": "int64"}),
    "mrpc": (sentence_pairs.mrpc, {"sentence1": "string", "sentence2": "string", "label": "int64"}),
    "stsb": (sentence_pairs.stsb, {"sentence1": "string", "sentence2": "string", "label": "float32"}),
    "qqp": (sentence_pairs.qqp, {"question1": "string", "question2": "string", "label": "int64"}),
    "mnli": (sentence_pairs.mnli, {"premise": "string", "hypothesis": "string", "label": "int64"}),
    "qnli": (sentence_pairs.qnli, {"question": "string", "sentence": "string", "label": "int64"}),
    "rte": (sentence_pairs.rte, {"sentence1": "string", "sentence2": "string", "label": "int64"}),
}
OUT_OF_DOMAIN: dict[str, tuple[Callable[[Random], Row], dict[str, str]]] = {
    "scitail": (sentence_pairs.scitail, {"premise": "string", "hypothesis": "string", "label": "string"}),
    "paws": (sentence_pairs.paws, {"id": "int32", "sentence1": "string", "sentence2": "string", "label": "int64"}),
    "imdb": (single_sentences.imdb, {"text": "string", "label": "int64"}),
}


def train_sizes(sized: dict[str, Any]) -> dict[str, int]:
    """Task -> training examples, of resolved ``SIZES``; raises UserError for any size that is not positive."""
    sizes = dict.fromkeys(TASKS, sized["train"])
    for task, size in (sized["train_sizes"] or {}).items():
        if task not in TASKS:
            raise unknown("task", task, TASKS, "train_sizes")
        sizes[task] = size
    named = {key: size for key, size in sized.items() if key != "train_sizes"}
    for key, size in (named | {f"train_sizes.{task}": size for task, size in sizes.items()}).items():
        if size <= 0:
            raise UserError(f"{key}: expected a positive number of examples, got {size}")
    return sizes


def generate(directory: Path, seed: int = 7, **given: Any) -> None:
    """Write MiniGLUE to ``directory``, laid out as ``<task>/<split>.parquet`` with GLUE's columns and label encodings.

    ``given`` are the keys of ``SIZES``: ``train``, ``dev`` and ``test`` are examples per task and split, ``ood`` per
    out-of-domain test set, ``corpus_sentences`` lines of ``corpus/corpus.parquet``; ``train_sizes`` overrides ``train``
    for single tasks. The same arguments give the same bytes (with the same pyarrow). Raises :class:`UserError` naming a
    size that is unknown or not positive, or an unknown task.
    """
    for key in given:
        if key not in SIZES:
            raise unknown("key", key, SIZES, "data.sizes")
    sized = resolved(SIZES, given)
    sizes = train_sizes(sized)
    dev, test, ood, corpus_sentences = (sized[key] for key in ("dev", "test", "ood", "corpus_sentences"))

    (directory / SEAL).unlink(missing_ok=True)
    written: list[str] = []

    def put(name: str, rows: list[Row], columns: dict[str, str]) -> None:
        write(directory / name, rows, columns)
        written.append(name)

    held_out: set[tuple[str, ...]] = set()
    for task, (draw, columns) in TASKS.items():
        parts = {draw: {"train": sizes[task], "validation": dev, "test": test}}
        if task == "mnli":
            matched = {"train": sizes[task], "validation_matched": dev, "test_matched": test}
            parts = {
                draw: matched,
                sentence_pairs.mnli_mismatched: {"validation_mismatched": dev, "test_mismatched": test},
            }
        splits = drawn_splits(parts, Random(f"{seed}/{task}"))
        check_disjoint(task, splits)
        for split, rows in splits.items():
            if split != "train":
                held_out.update(texts(row) for row in rows)
            for idx, row in enumerate(rows):
                row["idx"] = idx
            put(f"{task}/{split}.parquet", rows, columns | {"idx": "int32"})
    for task, (draw, columns) in OUT_OF_DOMAIN.items():
        rows = unique_rows(draw, ood, Random(f"{seed}/{task}"), set())
        held_out.update(texts(row) for row in rows)
        if "id" in columns:
            rows = [{"id": n + 1} | row for n, row in enumerate(rows)]
        put(f"{task}/test.parquet", rows, columns)
    lines = corpus_lines(Random(f"{seed}/corpus"), corpus_sentences, held_out)
    put("corpus/corpus.parquet", [{"text": line} for line in lines], {"text": "string"})
    seal(directory, written, made_of={"seed": seed, "sizes": sized})


def write(path: Path, rows: list[Row], columns: dict[str, str]) -> None:
    """One parquet file with exactly ``columns`` (name → Arrow type), whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in columns.items()])
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    with atomic(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished, compression="zstd")
