"""Copies a benchmark's data sets and checkpoints from the hub once, for machines without a network (``railkd mirror``).

``railkd mirror DIR`` writes ``DIR/data/<task>/<split>.parquet`` and ``DIR/models/<hub id>/…``, as RAILKD_DATA and
RAILKD_MODELS read them. Beside them ``mirror.json`` says of which commit each is, with the SHA-256 of its files: what
is present and whole is not fetched again, anything else is fetched anew, and a run's record names the commit. What lies
there without an entry was put there by someone else and is left alone.
"""

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from railkd.benchmark.specification import Benchmark
from railkd.data import reading
from railkd.errors import UserError
from railkd.records.files import sync
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import MIRRORED, mirrored, write_json

# Weights as safetensors, the configuration, and what fast tokenizers are made of; never code, never a pickle.
WANTED = re.compile(
    r"config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|tokenizer(_config)?\.json"
    r"|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|spm\.model|sentencepiece\.bpe\.model"
)
Say = Callable[[str], None]


class _Shelf:
    """One of the two halves of a mirror."""

    def __init__(self, root: Path, say: Say) -> None:
        self.root, self.say = root, say
        self.partial = root / ".partial"  # what was begun, and goes on at the next call

    def get(self, name: str, revision: str | None, fetch: Callable[[Path], str]) -> None:
        """Puts ``name`` (a file or a folder) in its place, unless it is present at this commit (None: at any).

        ``fetch`` writes it to the path it is given and returns its commit.
        """
        place, known = self.root / name, mirrored(self.root).get(name)
        if known is None and place.exists():
            self.say(f"{place}: there, not from here; left alone")
            return
        if known and revision in (None, known["revision"]) and self._whole(known["files"]):
            self.say(f"{place}: there, at {known['revision'][:12]}")
            return
        fresh = self.partial / "fresh" / name
        _remove(fresh)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        commit = fetch(fresh)
        files = sorted(p for p in (fresh.rglob("*") if fresh.is_dir() else [fresh]) if p.is_file())
        digests = {str(p.relative_to(self.partial / "fresh")): sha256_file(p) for p in files}
        for file in files:
            sync(file)
        # The list first: a fetch cut short here is one whose files are not whole, and is made again.
        write_json(self.root / MIRRORED, {**mirrored(self.root), name: {"revision": commit, "files": digests}})
        _remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh, place)
        self.say(
            f"{place}: fetched, {sum(p.stat().st_size for p in self._files(digests)) / 1e6:,.1f} MB, {commit[:12]}"
        )

    def _files(self, digests: dict[str, str]) -> list[Path]:
        return [self.root / name for name in digests]

    def _whole(self, digests: dict[str, str]) -> bool:
        paths = self._files(digests)
        return all(p.is_file() and sha256_file(p) == d for p, d in zip(paths, digests.values(), strict=True))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def mirror(benchmark: Benchmark, folder: Path, say: Say) -> None:
    """Fetches what the benchmark reads from the hub into ``folder``; says a line for each thing.

    Raises UserError, one line, for what cannot be fetched; what was fetched before stays.
    """
    models, sets = _Shelf(folder / "models", say), _Shelf(folder / "data", say)
    for name, entry in benchmark.models.items():
        if "hub" in entry:
            models.get(entry["hub"], entry.get("revision"), partial(_checkpoint, benchmark, name, models))
    for task_folder, split, columns, hub in reading.files(benchmark):
        if hub is None:
            place = sets.root / task_folder / f"{split}.parquet"
            say(f"{place}: {'there' if place.is_file() else 'is on no hub; put it there yourself'}")
            continue

        def fetch(to: Path, split: str = split, columns: tuple[str, ...] = columns, hub: Any = hub) -> str:
            frame, _ = reading.read_split(to.parent.name, split, columns, None, hub, cache=sets.partial / "hub")
            frame.to_parquet(to, index=False)
            return str(hub.revision)

        sets.get(f"{task_folder}/{split}.parquet", hub.revision, fetch)
    for shelf in (models, sets):
        _remove(shelf.partial)
    for shelf, variable in ((sets, "RAILKD_DATA"), (models, "RAILKD_MODELS")):
        if shelf.root.is_dir():
            say(f"export {variable}={shelf.root.resolve()}")


def _checkpoint(benchmark: Benchmark, name: str, shelf: _Shelf, to: Path) -> str:
    """Fetches a model's files to a folder; returns the commit."""
    from huggingface_hub import HfApi, hf_hub_download
    from safetensors import safe_open

    entry = benchmark.models[name]
    where = f"{benchmark.path}: models.{name}.hub"
    try:
        found = HfApi().model_info(entry["hub"], revision=entry.get("revision"))
        commit, names = str(found.sha), [str(file.rfilename) for file in found.siblings or []]
        wanted = [n for n in names if WANTED.fullmatch(n)]
        if "config.json" not in wanted or not any(n.endswith(".safetensors") for n in wanted):
            raise UserError(f"{where}: {entry['hub']} has no config.json and *.safetensors at {commit[:12]}")
        to.mkdir()
        for file in wanted:
            got = hf_hub_download(entry["hub"], file, revision=commit, cache_dir=shelf.partial / "hub")
            shutil.copyfile(got, to / file)
            if file.endswith(".safetensors"):
                with safe_open(to / file, framework="numpy"):  # a header that can be read
                    pass
    except UserError:
        raise
    except Exception as error:  # offline mode, no route, no such commit, no safetensors: each a different class
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: {entry['hub']} cannot be fetched from the Hugging Face hub ({text})") from None
    return commit
