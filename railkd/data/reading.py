"""Reads a task's splits from a local mirror or from the hub, and checks every row before anything is trained on it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from railkd.benchmark.paths import data_root
from railkd.benchmark.specification import Benchmark
from railkd.data.sampling import rows_of, share_of
from railkd.errors import UserError
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import mirrored, require
from railkd.tasks import DIAGNOSTIC, GLUE, GLUE_REVISION, OUT_OF_DOMAIN, TASKS, Hub, OutOfDomain, Task

if TYPE_CHECKING:
    import pandas as pd


SHOWN = 200  # characters of what stands in a file, in a message


# --- reading -------------------------------------------------------------------------------------------------------


def read_split(
    folder: str, split: str, columns: tuple[str, ...], root: Path | None, hub: Hub | None, cache: Path | None = None
) -> "tuple[pd.DataFrame, str]":
    """One split as a data frame, and where it came from: ``<root>/<folder>/<split>.parquet``, or the hub.

    ``cache``: where the hub's files are kept, if not where its library keeps them. Raises UserError that names the
    file and what is wrong with it.
    """
    import pandas as pd

    if root is not None:
        frame, place = _from_mirror(root, folder, split, pd.read_parquet)
        commit = mirrored(root).get(f"{folder}/{split}.parquet", {}).get("revision")
        place += f" at {commit[:12]}" if commit else ""
    else:
        if hub is None:
            raise UserError(
                f"{folder}: is on no hub; put it into a local mirror as {folder}/{split}.parquet "
                "(data.root or RAILKD_DATA)"
            )
        frame, place = _from_hub(hub, split, cache)
    _check_columns(place, columns, frame.columns)
    _check_rows(place, split, len(frame))
    return frame, place


def _from_mirror(root: Path, folder: str, split: str, read: Callable[[Path], Any]) -> tuple[Any, str]:
    """What ``read`` makes of a mirror's file, and the file; UserError when it is missing, damaged or no parquet."""
    path = root / folder / f"{split}.parquet"
    if not path.is_file():
        raise UserError(f"{path}: no such file (expected the split '{split}' of {folder} in the local mirror)")
    require(root, f"{folder}/{split}.parquet")
    try:
        return read(path), str(path)
    except Exception as error:  # pyarrow raises many kinds for a truncated or foreign file
        raise UserError(f"{path}: not a readable parquet file ({' '.join(str(error).split())[:120]})") from None


def _from_hub(hub: Hub, split: str, cache: Path | None) -> "tuple[pd.DataFrame, str]":
    import datasets

    place = f"{hub.repo} ({hub.config or 'default'}, {split}) at {hub.revision[:12]}"
    try:
        kept = None if cache is None else str(cache)
        loaded = datasets.load_dataset(hub.repo, hub.config, split=split, revision=hub.revision, cache_dir=kept)
    except Exception as error:  # offline mode, no route, unknown split: each a different class
        raise UserError(
            f"{place}: cannot be had from the Hugging Face hub ({' '.join(str(error).split())[:160]}); "
            "without network, set data.root or RAILKD_DATA to a local mirror"
        ) from None
    return loaded.to_pandas(), place


def files(
    benchmark: Benchmark, root: Path | None = None, tasks: Iterable[str] | None = None
) -> list[tuple[str, str, tuple[str, ...], Hub | None]]:
    """Every file of real data that the benchmark, or some of its tasks, reads: folder, split, text columns, and where
    it is on the hub."""
    if benchmark.synthetic:
        return []
    wanted: list[tuple[str, str, tuple[str, ...], Hub | None]] = []
    for name in benchmark.tasks if tasks is None else tasks:
        task = TASKS[name]
        tests = task.test if benchmark.data["test"] == "labels" else ()
        wanted += [(name, split, task.columns, task.hub) for split in ("train", *task.dev, *tests)]
        wanted += [(f, s, task.columns, hub) for f, s, hub in hidden_splits(benchmark, task, root).values()]
        for ood in (OUT_OF_DOMAIN[o] for o in benchmark.out_of_domain(name)):
            wanted.append((ood.folder, "test", ood.columns, ood.hub))
    return wanted


def file_digests(benchmark: Benchmark, task: str, digest: Callable[[Path], str] = sha256_file) -> dict[str, str]:
    """SHA-256 of every file of the local mirror that a task is prepared from, by its place in the mirror.

    None for generated text, which follows from its settings, and for the hub, whose commits are pinned. Raises
    UserError for a file that is missing.
    """
    root = data_root(benchmark)
    if benchmark.synthetic or root is None:
        return {}
    places = [f"{folder}/{split}.parquet" for folder, split, _, _ in files(benchmark, root, [task])]
    try:
        return {place: digest(root / place) for place in places}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None


def check_files(benchmark: Benchmark) -> None:
    """Whether a local mirror holds every file the benchmark reads, with its columns and enough rows, by their footers.

    Raises UserError that names the file. Generated data and the hub's are checked when they are read.
    """
    for name in benchmark.tasks:
        limit, classes = benchmark.task_settings(name).get("train_examples"), TASKS[name].outputs
        if limit and limit < classes:
            raise UserError(
                f"data.tasks.{name}.train_examples: {limit}, expected at least one of each of {classes} classes"
            )
    root = data_root(benchmark)
    if benchmark.synthetic or root is None:
        return
    import pyarrow.parquet

    for folder, split, columns, _ in files(benchmark, root):
        footer, place = _from_mirror(root, folder, split, pyarrow.parquet.read_metadata)
        _check_columns(place, columns, footer.schema.to_arrow_schema().names)
        _check_rows(place, split, footer.num_rows)


def hidden_splits(benchmark: Benchmark, task: Task, root: Path | None) -> dict[str, tuple[str, str, Hub]]:
    """With ``test: hidden`` GLUE's unlabelled test sets (of a mirror, those it has): split -> folder, file and hub."""
    if benchmark.data["test"] != "hidden":
        return {}
    found = {f"test{s}": (task.name, f, task.hub) for s, f in zip(("", "_mismatched"), task.test, strict=False)}
    if task.name == "mnli":
        found[DIAGNOSTIC] = (DIAGNOSTIC, "test", Hub(GLUE, DIAGNOSTIC, GLUE_REVISION))
    return {
        split: place
        for split, place in found.items()
        if root is None or (root / place[0] / f"{place[1]}.parquet").is_file()
    }


def _check_columns(place: str, columns: tuple[str, ...], found: Iterable[str]) -> None:
    there = list(map(str, found))
    for column in (*columns, "label"):
        if there.count(column) != 1:
            what = "no column" if column not in there else "more than one column"
            raise UserError(
                f"{place}: {what} '{column}' (expected {', '.join((*columns, 'label'))}; "
                f"found {', '.join(there)[:SHOWN] or 'none'})"
            )


def _check_rows(place: str, split: str, rows: int) -> None:
    """A model is trained on two rows at least, and both halves of dev are scored."""
    least = 1 if split.startswith("test") else 2
    if rows < least:
        raise UserError(f"{place}: has {rows or 'no'} row{'' if rows == 1 else 's'}, expected at least {least}")


def _texts(frame: "pd.DataFrame", columns: tuple[str, ...], place: str, empty: bool = False) -> list[list[str]]:
    texts = []
    for column in columns:
        values = frame[column].tolist()
        for row, value in enumerate(values):
            if not isinstance(value, str) or not (empty or value.strip()):
                said = repr(value)[:SHOWN]
                raise UserError(f"{place}: row {row}: column '{column}' is {said}, expected a non-empty text")
        texts.append(values)
    return texts


def _labels(frame: "pd.DataFrame", task: Task | OutOfDomain, place: str) -> NDArray[Any]:
    """Labels as classes or scores."""
    values = frame["label"].tolist()
    if isinstance(task, Task) and task.regression:
        for row, value in enumerate(values):
            if not (isinstance(value, int | float) and 0 <= value <= 5):
                raise UserError(f"{place}: row {row}: label {repr(value)[:SHOWN]}, expected a score from 0 to 5")
        return np.asarray(values, dtype=np.float32)
    allowed: dict[Any, int] = (
        {i: i for i in range(len(task.labels))} if isinstance(task, Task) else {v: i for i, v in enumerate(task.labels)}
    )
    classes = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if isinstance(value, int | float | str) and value in allowed:
            classes[row] = allowed[value]
        else:
            expected = ", ".join(map(str, allowed))
            raise UserError(f"{place}: row {row}: label {repr(value)[:SHOWN]}, expected one of {expected}")
    return classes


def _require_classes(labels: NDArray[Any], task: Task, place: str) -> None:
    """A class that no training row has is one that no model can learn."""
    for number, name in enumerate(task.labels):
        if not (labels == number).any():
            raise UserError(
                f"{place}: none of the {len(labels)} training rows has label {number} ('{name}'), expected every class "
                f"of {task.name}"
            )


Raw = dict[str, tuple[list[list[str]], NDArray[Any], str]]  # split -> texts by column, labels, place


def read_task(benchmark: Benchmark, task: Task, mirror: Path | None) -> Raw:
    """Every split of a task and of its out-of-domain sets, checked."""
    data = benchmark.data
    raw: Raw = {}

    def add(name: str, folder: str, split: str, source: Task | OutOfDomain) -> None:
        frame, place = read_split(folder, split, source.columns, mirror, source.hub)
        raw[name] = (_texts(frame, source.columns, place), _labels(frame, source, place), place)

    add("train", task.name, "train", task)
    for suffix, split in zip(("", "_mismatched"), task.dev, strict=False):
        add(f"dev{suffix}", task.name, split, task)
    if data["test"] == "labels":
        for suffix, split in zip(("", "_mismatched"), task.test, strict=False):
            add(f"test{suffix}", task.name, split, task)
    for name, (folder, split, hub) in hidden_splits(benchmark, task, mirror).items():
        frame, place = read_split(folder, split, task.columns, mirror, hub)
        # an empty text is GLUE's own there, and no row may be left out; a label, as MRPC's file has, is not looked at
        hidden = np.full(len(frame), -1, dtype=np.float32 if task.regression else np.int64)
        raw[name] = (_texts(frame, task.columns, place, empty=True), hidden, place)
    for name in benchmark.out_of_domain(task.name):
        ood = OUT_OF_DOMAIN[name]
        add(name, ood.folder, "test", ood)
        limit = data.get("ood_examples")
        if limit:
            texts, labels, place = raw[name]
            keep = np.sort(np.random.default_rng(data["seed"]).permutation(len(labels))[:limit])
            raw[name] = ([[column[i] for i in keep] for column in texts], labels[keep], place)
    limit = benchmark.task_settings(task.name).get("train_examples")
    texts, labels, place = raw["train"]
    if limit:
        drawn = rows_of(labels, limit, data["seed"])
        texts, labels = [[column[i] for i in drawn] for column in texts], labels[drawn]
    if data["test"] == "heldout":
        held = share_of(labels, data["heldout"], data["seed"])
        if not held.any() or held.all():
            raise UserError(f"{place}: {len(labels)} rows are too few to hold {data['heldout']} of them out as test")
        raw["test"] = (
            [[t for t, h in zip(c, held, strict=True) if h] for c in texts],
            labels[held],
            f"{place} (held out)",
        )
        texts, labels = [[t for t, h in zip(c, held, strict=True) if not h] for c in texts], labels[~held]
    _require_classes(labels, task, place)
    raw["train"] = (texts, labels, place)
    return raw


def locate(benchmark: Benchmark, generated: Path) -> Path | None:
    """The folder that holds the data as parquet: MiniGLUE's in the results, the local mirror, or None for the hub."""
    return generated if benchmark.synthetic else data_root(benchmark)
