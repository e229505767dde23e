"""Reads the names, shapes and types of a checkpoint's weights from the headers of its files, and no weight itself."""

from pathlib import Path
from typing import Any, NamedTuple

from railkd.errors import UserError
from railkd.models import checkpoints
from railkd.models.checkpoints import Checkpoint
from railkd.models.missing_weights import shown
from railkd.records.sealed_files import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class Weight(NamedTuple):
    """One tensor of a safetensors header."""

    shape: tuple[int, ...]
    dtype: str  # as safetensors names it: F32, BF16, I64, ...


def headers(checkpoint: Checkpoint, config: Any, where: str) -> dict[str, Weight]:
    """Every weight's shape and type, by its name in the file, from the safetensors headers alone.

    Raises UserError for a missing, truncated or foreign file, or a shard that the index does not name.
    """
    folder = Path(checkpoint.place)
    try:
        if folder.is_dir():
            return _local(folder, getattr(config, "transformers_weights", None) or WEIGHTS)
        return _on_hub(checkpoint)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # a header that is none, no route, no such file: each a different class
        raise checkpoints.failed(where, checkpoint, error) from None


def _local(folder: Path, name: str) -> dict[str, Weight]:
    if (folder / name).is_file():
        return _header(folder / name)
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder / name}: no such file (expected weights as safetensors; pickled ones are not read)")
    found: dict[str, Weight] = {}
    index = read_json(folder / INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise UserError(f"{folder / INDEX}: expected a mapping 'weight_map' from weights to files")
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise UserError(f"{folder}: no file '{shown(shard)}', though {INDEX} names it")
        found.update(_header(folder / shard))
    lost = next((name for name in shards if name not in found), None)
    if lost is not None:
        raise UserError(f"{folder / shards[lost]}: the weight '{shown(lost)}' is missing, though {INDEX} names it")
    return found


def _header(path: Path) -> dict[str, Weight]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: Weight(tuple(s.get_shape()), str(s.get_dtype())) for name, s in slices.items()}
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({str(error)[:160]})") from None


def _on_hub(checkpoint: Checkpoint) -> dict[str, Weight]:
    """From the cache when it has the files; else the hub is asked for the headers' bytes alone."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    for name in (WEIGHTS, INDEX):
        cached = try_to_load_from_cache(checkpoint.place, name, revision=checkpoint.revision)
        if isinstance(cached, str):
            return _local(Path(cached).parent, name)
    metadata = HfApi().get_safetensors_metadata(checkpoint.place, revision=checkpoint.revision)
    return {
        name: Weight(tuple(tensor.shape), str(tensor.dtype))
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    }
