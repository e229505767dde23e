"""Work that a step can leave out without changing what it computes: positions and rows that nothing reads."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from railkd.attention import projections

# scores q·k/√d and nothing else: by name, for others (RoFormer, ConvBERT) have the same parts and do more with them
PLAIN_ATTENTION = {f"{family}SelfAttention" for family in ("Bert", "Roberta", "XLMRoberta", "Electra", "DistilBert")}


def narrow_last_layer(layer: nn.Module) -> bool:
    """Lets an encoder's last layer compute its first position alone, which is all that the classifier reads.

    What follows the attention (two thirds of a layer's products and more) is done for one position instead of T, and so
    is the attention itself if it is a ``PLAIN_ATTENTION``. Hidden states 0 to n - 1 are whole; the last one is
    (B, 1, D). Knows the layers of BERT and its kin, and of DistilBERT; returns False, and changes nothing, for others.
    """
    output: Any = getattr(getattr(layer, "attention", None), "output", None)
    first: Any = getattr(layer, "sa_layer_norm", None)
    if all(hasattr(output, part) for part in ("dense", "LayerNorm")):
        output.register_forward_pre_hook(lambda module, given: tuple(x_BTD[:, :1] for x_BTD in given))
    elif first is not None and hasattr(layer, "ffn"):
        first.register_forward_pre_hook(lambda module, given: (given[0][:, :1],))
    else:
        return False
    for module in layer.modules():
        if type(module).__name__ in PLAIN_ATTENTION:
            parts = projections(layer)
            # not a module of its own: the weights keep their names in a checkpoint
            module.forward = partial(_attend_first, module, parts["query"], parts["key"], parts["value"])
    return True


def _attend_first(
    attention: Any,
    query: nn.Linear,
    key: nn.Linear,
    value: nn.Linear,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    **unread: Any,
) -> tuple[Tensor, Tensor]:
    """A self-attention's output at the first position, (B, 1, D), and its weights, (B, H, 1, T).

    No key or value is made: q·(K x) = (Kᵀ q)·x and Σ p (V x) = V Σ p x cost H·T·D products an example, not 2·T·D².
    """
    x_BTD, size = hidden_states, attention.attention_head_size
    query_BHd = query(x_BTD[:, 0]).unflatten(-1, (-1, size))
    key_HdD, value_HdD = (part.weight.unflatten(0, (-1, size)) for part in (key, value))
    key_bias_Hd, value_bias_Hd = (part.bias.unflatten(0, (-1, size)) for part in (key, value))
    score_BHT = torch.einsum("bhd,hdc->bhc", query_BHd, key_HdD) @ x_BTD.transpose(1, 2)
    score_BHT = (score_BHT + (query_BHd * key_bias_Hd).sum(dim=-1, keepdim=True)) * size**-0.5
    if attention_mask is not None:
        mask_B1T = attention_mask[:, :, 0]
        if mask_B1T.dtype == torch.bool:
            score_BHT = score_BHT.masked_fill(~mask_B1T, torch.finfo(score_BHT.dtype).min)
        else:
            score_BHT = score_BHT + mask_B1T
    weight_BHT = attention.dropout(score_BHT.softmax(dim=-1))
    seen_BHd = torch.einsum("bhc,hdc->bhd", weight_BHT @ x_BTD, value_HdD)
    seen_BHd = seen_BHd + weight_BHT.sum(dim=-1, keepdim=True) * value_bias_Hd
    output_B1D = seen_BHd.flatten(1).unsqueeze(1)
    last = getattr(attention, "out_lin", None)  # DistilBERT's output map is inside
    return output_B1D if last is None else last(output_B1D), weight_BHT.unsqueeze(2)


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
