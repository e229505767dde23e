"""Finds where a model's weights and tokenizer are, and which of its layers are taken. It reads no weight.

Only safetensors are read (no pickled weights), and never code that comes with a checkpoint.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from railkd.benchmark.paths import Layout, checkpoint_path, model_root
from railkd.benchmark.specification import Benchmark
from railkd.errors import UserError
from railkd.models import package_parts
from railkd.records.hashes import sha256_file, sha256_once, sha256_text
from railkd.records.sealed_files import mirrored, require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Checkpoint:
    """Where a backbone's weights are, and which of its layers to take."""

    place: str  # folder, or hub id
    revision: str | None = None
    layers: tuple[int, ...] | None = None  # 1-based, of the checkpoint; None: all
    fine_tuned: bool = False  # its classification head is used as it is, so none may be drawn
    own: bool = False  # a folder that the benchmark file names, whose config.json may be edited

    def options(self) -> dict[str, Any]:
        return {"revision": self.revision} if self.revision else {}


def locate(benchmark: Benchmark, layout: Layout, name: str, distilled: bool = True) -> Checkpoint:
    """The checkpoint behind a model of the benchmark file; raises UserError when a local one is missing.

    With ``distilled=False`` what it was before any general distillation: layers of a published checkpoint.
    """
    entry = benchmark.models[name]
    fine_tuned = bool(entry.get("fine_tuned"))
    if "pretrain" in entry or (distilled and "general_distillation" in entry):
        return Checkpoint(str(layout.model(name)))
    if "path" in entry:
        return Checkpoint(str(checkpoint_path(benchmark, name)), fine_tuned=fine_tuned, own=True)
    if "package" in entry:
        return Checkpoint(str(_in_packages(entry, f"models.{name}")), fine_tuned=fine_tuned)
    if "layers_of" in entry:
        return layers_taken(benchmark, layout, name, distilled)
    root = model_root(benchmark)
    if root is not None:
        folder = root / entry["hub"]
        if not (folder / "config.json").is_file():
            raise UserError(f"models.{name}.hub: no {folder}/config.json in the local mirror of checkpoints")
        there, wanted = mirrored(root).get(entry["hub"], {}).get("revision"), entry.get("revision")
        if there and wanted and there != wanted:
            raise UserError(
                f"models.{name}.revision: {folder} is commit {there}, expected {wanted}; railkd mirror fetches it"
            )
        return Checkpoint(str(folder), there, fine_tuned=fine_tuned)
    return Checkpoint(entry["hub"], entry.get("revision"), fine_tuned=fine_tuned)


def layers_taken(benchmark: Benchmark, layout: Layout, name: str, distilled: bool = True) -> Checkpoint:
    """The layers of another model with which a model that has ``layers_of`` begins; ``distilled`` as in ``locate``."""
    entry = benchmark.models[name]
    parent = locate(benchmark, layout, entry["layers_of"], distilled)
    where = f"models.{entry['layers_of']}"
    depth = positive(read_config(parent, where), "num_hidden_layers", where)
    there = parent.layers or tuple(range(1, depth + 1))  # the parent may itself have some layers only
    taken = taken_layers(len(there), entry["layers"], entry["keep"], name)
    return Checkpoint(parent.place, parent.revision, tuple(there[i - 1] for i in taken), own=parent.own)


def _in_packages(entry: dict[str, Any], where: str) -> Path:
    """The folder of a checkpoint that one installed package carries, or that several carry in parts."""
    if isinstance(entry["package"], list):
        return package_parts.assembled(entry, where)
    spec = importlib.util.find_spec(entry["package"])
    if spec is None or spec.origin is None:
        raise UserError(f"{where}.package: the Python package '{entry['package']}' is not installed")
    return Path(spec.origin).parent / entry.get("folder", ".")


def taken_layers(depth: int, count: int, keep: str, name: str) -> tuple[int, ...]:
    """1-based layers a shallow student takes: the first ones, or every other as DistilBERT does (Sanh et al., 2019).

    DistilBERT's script takes 0-based layers 0, 2, 4, 7, 9, 11 of 12: evenly spaced from the first to the last.
    """
    if not 1 <= count <= depth:
        raise UserError(f"models.{name}.layers: {count} layers cannot be taken of {depth}")
    if keep == "first":
        return tuple(range(1, count + 1))
    if count == 1:
        return (1,)
    return tuple(round(i * (depth - 1) / (count - 1)) + 1 for i in range(count))


def failed(where: str, checkpoint: Checkpoint, error: Exception) -> UserError:
    """One line for whatever a library says of a checkpoint that it cannot load."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    local = Path(checkpoint.place).is_dir()
    hint = "" if local else "; without network, set data.model_root or RAILKD_MODELS to a local mirror"
    kind = "checkpoint folder" if local else "hub checkpoint"
    return UserError(f"{where}: cannot load the {kind} {checkpoint.place} ({text}){hint}")


def read_config(checkpoint: Checkpoint, where: str) -> Any:
    """The checkpoint's `transformers` configuration; raises UserError when it cannot be read."""
    from transformers import AutoConfig

    require(Path(checkpoint.place))
    try:
        config = AutoConfig.from_pretrained(checkpoint.place, trust_remote_code=False, **checkpoint.options())
    except Exception as error:  # missing, truncated, offline: each a different class
        raise failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "config.json", getattr(config, "auto_map", None))
    return config


def positive(config: Any, key: str, where: str, most: int = 10**6) -> int:
    """A count of a `transformers` configuration; UserError unless it is a whole number from 1 to ``most``."""
    value = getattr(config, key, None)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        kind = str(getattr(config, "model_type", ""))[:40]
        shown = repr(value)[:40]
        raise UserError(
            f"{where}: config.json: {key} of this {kind} is {shown}, expected a whole number from 1 to {most}"
        )
    return value


def _refuse_code(where: str, checkpoint: Checkpoint, file: str, auto_map: object) -> None:
    """Without its own code, which is never run, a checkpoint would be another model than its authors meant."""
    if auto_map:
        raise failed(where, checkpoint, ValueError(f"{file} names code of its own, auto_map, which is never run"))


def commit(checkpoint: Checkpoint, where: str) -> str | None:
    """The hub commit that was resolved; of a local folder, the one that ``railkd mirror`` fetched, else None."""
    return getattr(read_config(checkpoint, where), "_commit_hash", None) or checkpoint.revision


def load_tokenizer(checkpoint: Checkpoint, where: str) -> "PreTrainedTokenizerBase":
    """The checkpoint's fast tokenizer; UserError for one that is slow or has no padding token."""
    from transformers import AutoTokenizer

    require(Path(checkpoint.place))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.place, use_fast=True, trust_remote_code=False, **checkpoint.options()
        )
        auto_map, pad_id = tokenizer.init_kwargs.get("auto_map"), tokenizer.pad_token_id
        empty = len(tokenizer) <= len(tokenizer.all_special_ids)  # what `transformers` makes of a folder without one
    except Exception as error:  # as above; an attribute that was not set is looked for without end
        raise failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "tokenizer_config.json", auto_map)
    if empty:
        raise failed(where, checkpoint, ValueError("it has no tokenizer: tokenizer.json or vocab.txt is missing"))
    if not tokenizer.is_fast:
        why = f"its tokenizer, a {type(tokenizer).__name__}, is a slow one; expected a tokenizer.json"
        raise failed(where, checkpoint, ValueError(why))
    if pad_id is None:
        why = "its tokenizer has no padding token; expected a pad_token in tokenizer_config.json"
        raise failed(where, checkpoint, ValueError(why))
    return tokenizer


TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")


def tokenizer_fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over a local checkpoint's tokenizer files, or the hub id and commit as far as the benchmark names it."""
    folder = Path(checkpoint.place)
    if not folder.is_dir():
        return f"{checkpoint.place}@{checkpoint.revision}"
    files = sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})
    return sha256_text("".join(f"{file.name} {sha256_once(file)}\n" for file in files))


def fingerprint(checkpoint: Checkpoint, resolved: str | None, digest: Callable[[Path], str] = sha256_file) -> str:
    """SHA-256 of a local checkpoint's weights, or the hub commit; with the layers taken, if not all.

    Of a fine-tuned checkpoint and of a folder of one's own also the SHA-256 of config.json, which names the outputs of
    the head and says what dropout is.

    ``digest`` gives a file's SHA-256: it may remember it.
    """
    folder = Path(checkpoint.place)
    weights = folder / "model.safetensors"
    shards = sorted(folder.glob("model-*.safetensors"))
    if weights.is_file():
        what = digest(weights)
    elif shards:
        what = sha256_text("".join(f"{shard.name} {digest(shard)}\n" for shard in shards))
    else:
        what = f"{checkpoint.place}@{resolved or checkpoint.revision}"
    if (checkpoint.fine_tuned or checkpoint.own) and (weights.is_file() or shards):
        what = f"{what} config {digest(folder / 'config.json')}"
    return f"{what} layers {list(checkpoint.layers)}" if checkpoint.layers else what
