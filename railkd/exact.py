"""Work that a step can leave out without changing what it computes: positions and rows that nothing reads."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def narrow_last_layer(layer: nn.Module) -> bool:
    """Lets an encoder's last layer compute its first position alone, which is all that the classifier reads.

    The position still attends to all others; what follows the attention (5/6 of a layer's products) is done for one
    position instead of T. Hidden states 0 to n - 1 are whole; the last one is (B, 1, D). Knows the layers of BERT,
    RoBERTa and ELECTRA, and of DistilBERT; returns False, and changes nothing, for any other.
    """
    output: Any = getattr(getattr(layer, "attention", None), "output", None)
    first: Any = getattr(layer, "sa_layer_norm", None)
    if all(hasattr(output, part) for part in ("dense", "LayerNorm")):
        output.register_forward_pre_hook(lambda module, given: tuple(x_BTD[:, :1] for x_BTD in given))
    elif first is not None and hasattr(layer, "ffn"):
        first.register_forward_pre_hook(lambda module, given: (given[0][:, :1],))
    else:
        return False
    return True


class UsedRows(nn.Module):
    """An embedding matrix (V, D) cut to the rows of the tokens that a run can meet.

    A GLUE task meets a tenth to a half of a 30,000-token vocabulary; the other rows have no gradient, yet the
    optimizer reads and writes them in each step. AdamW would only shrink them: ``restore`` does that at once.
    """

    def __init__(self, full: nn.Embedding, tokens: Iterable[Tensor]) -> None:
        super().__init__()
        used_U = torch.unique(torch.cat([t.flatten().long() for t in tokens]))
        if full.padding_idx is not None:
            used_U = torch.unique(torch.cat([used_U, torch.tensor([full.padding_idx])]))
        device = full.weight.device
        position_V = torch.zeros(full.num_embeddings, dtype=torch.long)
        position_V[used_U] = torch.arange(len(used_U))
        self.padding_row = None if full.padding_idx is None else int(position_V[full.padding_idx])
        self.register_buffer("position_V", position_V.to(device), persistent=False)
        self.register_buffer("used_U", used_U.to(device), persistent=False)
        self.position_V: Tensor
        self.used_U: Tensor
        self.weight = nn.Parameter(full.weight.detach()[self.used_U])
        self._full = (full,)  # in a tuple: not a sub-module, so neither trained nor copied with the best weights

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T) token ids to (B, T, D)."""
        return F.embedding(self.position_V[ids_BT], self.weight, self.padding_row)

    def restore(self, shrink: float) -> nn.Embedding:
        """The whole embedding, its used rows as trained, the others times ``shrink``: ∏(1 − lr·weight decay)."""
        full = self._full[0]
        with torch.no_grad():
            full.weight.mul_(shrink)
            full.weight[self.used_U] = self.weight
        return full
