"""Checks that a file has the weights that an architecture needs: no weight of an encoder is drawn at random.

`transformers` draws what a file lacks and drops what the architecture lacks, with a warning at most. Here a head or a
pooler alone may be drawn; everything else is refused by name.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from railkd.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Info = Mapping[str, Any]  # what from_pretrained(output_loading_info=True) gives beside the model


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts layer 10 behind layer 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def shown(name: str) -> str:
    """A name of a file in a message, a long one without its middle."""
    return name if len(name) <= 100 else f"{name[:48]}...{name[-48:]}"


def is_head(model: "PreTrainedModel", name: str) -> bool:
    """Whether a weight is of the classifier's head or of a pooler, which fine-tuning may begin at random."""
    prefix = f"{model.base_model_prefix}."
    return not name.startswith(prefix) or "pooler" in name.split(".")


def require_encoder(model: "PreTrainedModel", info: Info, place: str, head: bool = False) -> list[str]:
    """The head's weights that the file has with another number of outputs, and that were drawn anew.

    Raises UserError, one line that begins with ``place``, when a weight of the encoder is missing in the file, has
    another shape, or when the file has weights of layers that the architecture has not. With ``head`` a weight of the
    classification head, which nothing will train, is one of those that must not be missing.
    """
    parameters = {name for name, _ in model.named_parameters()}
    absent = sorted((name for name in info["missing_keys"] if name in parameters), key=natural)
    missing = [name for name in absent if not is_head(model, name)]
    unexpected = sorted(info["unexpected_keys"], key=natural)
    if missing:
        raise UserError(f"{place}: {_lack(model, missing, unexpected, len(parameters))}")
    if head and absent:
        raise UserError(
            f"{place}: the weight '{absent[0]}' of its classification head is missing, so it is not fine-tuned; "
            "expected fine_tuned: false, or a checkpoint with its head"
        )
    redrawn = []
    for name, found, wanted in sorted(info["mismatched_keys"], key=lambda key: natural(key[0])):
        if not is_head(model, name):
            raise UserError(
                f"{place}: the weight '{shown(name)}' has the shape {tuple(found)}, expected {tuple(wanted)} by "
                "config.json"
            )
        redrawn.append(name)
    for name in unexpected:
        layer = _layer(model, name)
        if layer is None:
            continue
        depth = model.config.num_hidden_layers
        if layer >= depth:
            raise UserError(
                f"{place}: the file has weights of layer {layer + 1} ('{shown(name)}'), but config.json says "
                f"num_hidden_layers = {depth}"
            )
        raise UserError(
            f"{place}: the weight '{shown(name)}' has no place in a {type(model).__name__}, and would be dropped"
        )
    return redrawn


def _lack(model: "PreTrainedModel", missing: list[str], unexpected: list[str], total: int) -> str:
    """What is missing, and why it may be."""
    first = missing[0]
    inner = first.removeprefix(f"{model.base_model_prefix}.")
    for name in unexpected:
        for wanted in (first, inner):
            if name.endswith(f".{wanted}"):
                prefix = name.removesuffix(wanted)
                return (
                    f"the weight '{first}' is missing; the file has '{shown(name)}', so its names probably carry the "
                    f"prefix '{shown(prefix)}', expected names without it"
                )
    layers = {_layer(model, name) for name in missing}
    present = min((layer for layer in layers if layer is not None), default=0)
    depth = model.config.num_hidden_layers
    if None not in layers and layers == set(range(present, depth)):
        return (
            f"the weight '{first}' is missing; the file has layers up to {present}, but config.json says "
            f"num_hidden_layers = {depth}"
        )
    seen = f"; the file has '{shown(unexpected[0])}', which the architecture has not" if unexpected else ""
    return f"the weight '{first}' is missing ({len(missing)} of {total} are){seen}"


def _layer(model: "PreTrainedModel", name: str) -> int | None:
    """The 0-based encoder layer of a weight, with the base model's prefix or without; None for others."""
    for path in _layer_paths(model):
        found = re.match(rf"{re.escape(path)}\.(\d+)\.", name.removeprefix(f"{model.base_model_prefix}."))
        if found:
            return int(found[1])
    return None


def _layer_paths(model: "PreTrainedModel") -> Iterable[str]:
    """Where the encoder's layers are, from the base model."""
    base = getattr(model, model.base_model_prefix, model)
    for path, module in base.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            yield path
            return
