"""Reads a task's splits from a local mirror, the hub or files of one's own, and checks every row before training."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from railkd.benchmark.paths import data_root, resolve_path
from railkd.benchmark.specification import Benchmark
from railkd.data import own_files
from railkd.data.checking import (
    Raw,
    checked,
    compare_splits,
    require_classes,
    require_columns,
    require_rows,
    require_several,
    select_rows,
    texts_of,
    warn_of_repeated,
)
from railkd.data.held_out import without_held_out
from railkd.data.sampling import rows_of
from railkd.errors import UserError
from railkd.records.hashes import canonical, sha256_file
from railkd.records.sealed_files import mirrored, require
from railkd.tasks import DIAGNOSTIC, GLUE, GLUE_REVISION, Hub, Source, Task

if TYPE_CHECKING:
    import pandas as pd


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
    require_columns(place, (*columns, "label"), frame.columns)
    require_rows(place, split, len(frame))
    return frame.reset_index(drop=True), place


def own_path(benchmark: Benchmark, source: Source, split: str) -> Path:
    """Where a file of one's own lies: relative to the benchmark file."""
    path = resolve_path(benchmark, dict(source.files)[split])
    assert path is not None
    return path


def read_own(benchmark: Benchmark, source: Source, split: str) -> "tuple[pd.DataFrame, str]":
    """A file of one's own, its columns and rows checked, and where it lies."""
    path = own_path(benchmark, source, split)
    frame = own_files.read(path, source)
    require_columns(str(path), (*source.columns, source.label_column), frame.columns)
    require_rows(str(path), split, len(frame))
    return frame, str(path)


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
            f"{place}: cannot be fetched from the Hugging Face hub ({' '.join(str(error).split())[:160]}); "
            "without network, set data.root or RAILKD_DATA to a local mirror"
        ) from None
    return loaded.to_pandas(), place


def files(
    benchmark: Benchmark, root: Path | None = None, tasks: Iterable[str] | None = None
) -> list[tuple[str, str, tuple[str, ...], Hub | None]]:
    """Every file of GLUE's and the built-in sets' data that the benchmark, or some of its tasks, reads: folder, split,
    text columns, and where it is on the hub."""
    if benchmark.synthetic:
        return []
    wanted: list[tuple[str, str, tuple[str, ...], Hub | None]] = []
    for name in benchmark.tasks if tasks is None else tasks:
        task = benchmark.task(name)
        if not task.own:
            tests = task.test if benchmark.data["test"] == "labels" else ()
            wanted += [(name, split, task.columns, task.hub) for split in ("train", *task.dev, *tests)]
            wanted += [(f, s, task.columns, hub) for f, s, hub in hidden_splits(benchmark, task, root).values()]
        for foreign in map(benchmark.out_of_domain_set, benchmark.out_of_domain(name)):
            if not foreign.own:
                wanted.append((foreign.folder, "test", foreign.columns, foreign.hub))
    return wanted


def own_paths(benchmark: Benchmark, task: str) -> dict[str, Path]:
    """The files of one's own that a task is prepared from, under names that do not depend on where they lie."""
    sources = [benchmark.task(task), *map(benchmark.out_of_domain_set, benchmark.out_of_domain(task))]
    named = [(source, split, own_path(benchmark, source, split)) for source in sources for split, _ in source.files]
    return {f"{source.name}/{split}{path.suffix.lower()}": path for source, split, path in named}


def training_rows(benchmark: Benchmark, task: Task) -> int:
    """Rows of the training file of a task of one's own that are left when dev is held out."""
    rows = len(read_own(benchmark, task, "train")[0])
    return rows if "dev" in dict(task.files) else rows - round(rows * task.heldout)


def file_digests(benchmark: Benchmark, task: str, digest: Callable[[Path], str] = sha256_file) -> dict[str, str]:
    """SHA-256 of every local file that a task is prepared from: by its place in the mirror, or by split for one's own.

    None for generated text, which follows from its settings, and for the hub, whose commits are pinned. Raises
    UserError for a file that is missing.
    """
    places = own_paths(benchmark, task)
    root = data_root(benchmark)
    if root is not None:
        names = [f"{folder}/{split}.parquet" for folder, split, _, _ in files(benchmark, root, [task])]
        places |= {name: root / name for name in names}
    try:
        return {name: digest(place) for name, place in places.items()}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None


def check_files(benchmark: Benchmark) -> None:
    """Whether every local file that the benchmark reads can be used, before anything is computed.

    A local mirror's files by their footers: columns, and enough rows. Files of one's own are read whole and checked row
    by row. Raises UserError that names the file. Generated data and the hub's are checked when they are read.
    """
    for name in benchmark.tasks:
        limit, classes = benchmark.task_settings(name).get("train_examples"), benchmark.task(name).outputs
        if limit and limit < classes:
            raise UserError(
                f"data.tasks.{name}.train_examples: {limit}, expected at least one of each of {classes} classes"
            )
    _check_own_files(benchmark)
    root = data_root(benchmark)
    if benchmark.synthetic or root is None:
        return
    import pyarrow.parquet

    for folder, split, columns, _ in files(benchmark, root):
        footer, place = _from_mirror(root, folder, split, pyarrow.parquet.read_metadata)
        require_columns(place, (*columns, "label"), footer.schema.to_arrow_schema().names)
        require_rows(place, split, footer.num_rows)


_SOUND: set[str] = set()  # states of files of one's own that this process has read and found good


def _check_own_files(benchmark: Benchmark) -> None:
    for name in benchmark.tasks:
        task = benchmark.task(name)
        paths = own_paths(benchmark, name)
        looks = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths.values() if path.is_file()]
        state = canonical([benchmark.data_config(name), looks])
        if not paths or state in _SOUND and len(looks) == len(paths):
            continue
        if task.own:
            read_task(benchmark, task, None)
        else:
            for foreign in map(benchmark.out_of_domain_set, benchmark.out_of_domain(name)):
                if foreign.own:
                    checked(*read_own(benchmark, foreign, "test"), foreign)
        _SOUND.add(state)


def hidden_splits(benchmark: Benchmark, task: Task, root: Path | None) -> dict[str, tuple[str, str, Hub]]:
    """With ``test: hidden`` GLUE's unlabelled test sets (of a mirror, those it has): split -> folder, file and hub."""
    if benchmark.data["test"] != "hidden":
        return {}
    pinned = Hub(GLUE, task.name, GLUE_REVISION)
    found = {f"test{s}": (task.name, f, pinned) for s, f in zip(("", "_mismatched"), task.test, strict=False)}
    if task.name == "mnli":
        found[DIAGNOSTIC] = (DIAGNOSTIC, "test", Hub(GLUE, DIAGNOSTIC, GLUE_REVISION))
    return {
        split: place
        for split, place in found.items()
        if root is None or (root / place[0] / f"{place[1]}.parquet").is_file()
    }


def read_task(benchmark: Benchmark, task: Task, mirror: Path | None) -> Raw:
    """Every split of a task and of its out-of-domain sets, checked."""
    data = benchmark.data
    raw = _own_splits(benchmark, task) if task.own else _built_in_splits(benchmark, task, mirror)
    for name in benchmark.out_of_domain(task.name):
        foreign = benchmark.out_of_domain_set(name)
        if foreign.own:
            raw[name] = checked(*read_own(benchmark, foreign, "test"), foreign)
            if foreign.regression:
                require_several(raw[name], name, foreign)
        else:
            raw[name] = checked(*read_split(foreign.folder, "test", foreign.columns, mirror, foreign.hub), foreign)
        limit = data.get("ood_examples")
        if limit:
            kept = np.sort(np.random.default_rng(data["seed"]).permutation(len(raw[name][1]))[:limit])
            raw[name] = select_rows(raw[name], kept)
    limit = benchmark.task_settings(task.name).get("train_examples")
    if data["test"] == "heldout" and "test" not in raw:
        raw |= without_held_out(raw["train"], task, "test", data["heldout"], data["seed"], limit)
    elif limit:
        raw["train"] = select_rows(raw["train"], rows_of(raw["train"][1], limit, data["seed"]))
    require_classes(raw["train"][1], task, raw["train"][2])
    if task.own:
        if task.regression:
            require_several(raw["train"], "train", task)
        compare_splits(raw, task)
    sets = map(benchmark.out_of_domain_set, benchmark.out_of_domain(task.name))
    warn_of_repeated(raw, [foreign.name for foreign in sets if foreign.own])
    return raw


def _built_in_splits(benchmark: Benchmark, task: Task, mirror: Path | None) -> Raw:
    raw: Raw = {}
    tests = task.test if benchmark.data["test"] == "labels" else ()
    ends = ("", "_mismatched")
    wanted = {"train": "train", **{f"dev{end}": split for end, split in zip(ends, task.dev, strict=False)}}
    wanted |= {f"test{end}": split for end, split in zip(ends, tests, strict=False)}
    for name, split in wanted.items():
        raw[name] = checked(*read_split(task.name, split, task.columns, mirror, task.hub), task)
    for name, (folder, split, hub) in hidden_splits(benchmark, task, mirror).items():
        frame, place = read_split(folder, split, task.columns, mirror, hub)
        # an empty text is GLUE's own there, and no row may be left out; a label, as MRPC's file has, is not looked at
        hidden = np.full(len(frame), -1, dtype=np.float32 if task.regression else np.int64)
        raw[name] = (texts_of(frame, task.columns, place, empty=True), hidden, place)
    return raw


def _own_splits(benchmark: Benchmark, task: Task) -> Raw:
    raw = {split: checked(*read_own(benchmark, task, split), task) for split, _ in task.files}
    if "dev" not in raw:
        raw |= without_held_out(raw["train"], task, "dev", task.heldout, benchmark.data["seed"])
    return raw


def locate(benchmark: Benchmark, generated: Path) -> Path | None:
    """The folder that holds the data as parquet: MiniGLUE's in the results, the local mirror, or None for the hub."""
    return generated if benchmark.synthetic else data_root(benchmark)
