"""Reads queries, keys and values of an encoder's layers, by hooks on the projections that make them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from railkd.errors import UserError
from railkd.signals import AttentionVector

_Key = tuple[AttentionVector, int]  # which vectors, of which layer (1-based)
NAMES: dict[AttentionVector, tuple[str, ...]] = {
    "query": ("query", "q_lin"),  # BERT, RoBERTa, ELECTRA | DistilBERT
    "key": ("key", "k_lin"),
    "value": ("value", "v_lin"),
}


def projections(layer: nn.Module) -> dict[AttentionVector, nn.Linear]:
    """The three linear maps of a layer's self-attention.

    Raises UserError for a layer whose scores are not q·k/√d of three such maps (DeBERTa and ModernBERT put positions
    into them).
    """
    found: dict[AttentionVector, nn.Linear] = {}
    for path, module in layer.named_modules():
        for part, names in NAMES.items():
            if path.rpartition(".")[2] in names and isinstance(module, nn.Linear):
                found[part] = module
    if len(found) < len(NAMES):
        raise UserError(
            f"{type(layer).__name__}: its queries, keys and values cannot be read, expected an encoder like BERT, "
            "RoBERTa, ELECTRA or DistilBERT"
        )
    return found


@contextmanager
def capture(
    layers: Sequence[nn.Module] | nn.ModuleList, wanted: Sequence[int], kept: dict[_Key, Tensor] | None = None
) -> Iterator[dict[_Key, Tensor]]:
    """Keeps what the projections of the wanted layers (1-based) give inside the block: (part, layer) -> (B, T, D).

    In ``kept``, where that is given: a compiled pass writes into the one that it was compiled with.
    """
    kept = {} if kept is None else kept
    with ExitStack() as hooks:
        for number in wanted:
            for part, module in projections(layers[number - 1]).items():
                key = (part, number)

                def keep(module: nn.Module, given: tuple[Tensor], made: Tensor, key: _Key = key) -> None:
                    kept[key] = made

                hooks.callback(module.register_forward_hook(keep).remove)
        yield kept
