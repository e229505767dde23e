"""Mixes inputs: interpolates each example's word embeddings with those of another one of its batch (mixup)."""

import torch
from torch import Tensor, nn


def mixed_inputs(embedding: nn.Module, inputs: dict[str, Tensor], partner_B: Tensor, share: float) -> dict[str, Tensor]:
    """What a model is called with in place of token ids: embeddings share·e_b + (1 − share)·e_partner(b), (B, T, D).

    Positions and type ids are added by the model as for any input: type ids are the example's own, its partner's past
    its end. A position is real if it is so in an example with a share, so share = 1 leaves the batch as it was.
    """
    state_BTD = embedding(inputs["input_ids"])
    own_BT = inputs["attention_mask"].bool()
    real_BT = (own_BT & (share > 0)) | (own_BT[partner_B] & (share < 1))
    mixed = {
        "inputs_embeds": share * state_BTD + (1 - share) * state_BTD[partner_B],
        "attention_mask": real_BT.to(inputs["attention_mask"].dtype),
    }
    if "token_type_ids" in inputs:
        type_BT = inputs["token_type_ids"]
        mixed["token_type_ids"] = torch.where(own_BT, type_BT, type_BT[partner_B])
    return mixed
