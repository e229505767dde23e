"""TinyBERT's task stage imitates token states and attention scores of evenly spaced layers, then the logits."""

import math

import torch
from torch import Tensor, nn

from railkd.errors import UserError
from railkd.methods.base import Setting
from railkd.methods.parts.projection import Linear
from railkd.methods.parts.stages import TwoStage
from railkd.methods.parts.tokens import token_mean, token_mse
from railkd.signals import Batch, Signals


class TinyBERT(TwoStage):
    """Imitates vectors and attention of evenly spaced layers first, the answers after (Jiao et al., 2020).

    First hidden_weight·H + attention_weight·A, then ce_weight·CE + kd_weight·KD; see ``TwoStage``.

    H = Σᵢ MSE(W h^S_i, h^T_{g(i)}) over i = 0 (the embedding layer) … m + 1, A = Σᵢ MSE(S^S_i, S^T_{g(i)}) over
    i = 1 … m + 1, S = q·k/√d_head the scores of each head before the softmax, g(i) = i·n/(m + 1): 2, 4, …, 12 for
    12 → 6.
    MSE: mean over width (heads) and an example's real tokens (pairs of them), then over the batch; the source counts
    padding. W, D_S → D_T, is trained and bias-free, one for the embedding layer and one for all others, and is there
    when widths differ; the source has one with bias for all, always. Head counts must be equal.

    The paper's data augmentation and its general distillation are no part of this.

    Options
        hidden_weight, attention_weight    ≥ 0; 1. attention_weight 0 leaves the scores unread, for any encoder
        ce_weight, kd_weight, temperature  of the second stage; KD alone at temperature 1 in the source
        first_stage                        share of the epochs, above 0 and below 1; the source trains 20, then 3
    """

    title = "TinyBERT"
    needs_logits = True
    needs_live_teacher = True
    whole_last_layer = True
    source = "Jiao et al. (2020), Eq. 7-11"
    layer_mapping = "Uniform"
    complexity = "O(m)"
    limitation = "Teacher in every step, equal head counts"

    def __init__(
        self,
        setting: Setting,
        hidden_weight: float = 1.0,
        attention_weight: float = 1.0,
        ce_weight: float = 0.0,
        kd_weight: float = 1.0,
        temperature: float = 1.0,
        first_stage: float = 0.5,
    ) -> None:
        weights = {"hidden": hidden_weight}
        if attention_weight != 0:
            weights["attention"] = attention_weight
        super().__init__(setting, weights, ce_weight, kd_weight, temperature, first_stage)
        if attention_weight != 0 and setting.student_heads != setting.teacher_heads:
            raise UserError(
                f"attention_weight: the scores of {setting.teacher_heads} teacher heads and {setting.student_heads} "
                "student heads cannot be compared, expected equal numbers (0 leaves the scores out)"
            )
        n, k = setting.teacher_layers, setting.student_layers
        self.layers = [0, *(max(1, round(i * n / k)) for i in range(1, k + 1))]  # g(0), …, g(m + 1)
        d_S, d_T = setting.student_width, setting.teacher_width
        self.project_embedding: nn.Module = Linear(d_S, d_T, bias=False) if d_S != d_T else nn.Identity()
        self.project: nn.Module = Linear(d_S, d_T, bias=False) if d_S != d_T else nn.Identity()

    @property
    def needs_hidden(self) -> bool:
        """Every layer's states."""
        return True

    @property
    def attention_layers(self) -> tuple[list[int], list[int]]:
        """All student layers, and the teacher's that they read."""
        if "attention" not in self.first_weights:
            return [], []
        return list(range(1, len(self.layers))), sorted(set(self.layers[1:]))

    def first_terms(self, batch: Batch, student: Signals, teacher: Signals) -> dict[str, Tensor]:
        """``hidden`` and ``attention``, scalars."""
        mask_BT = student.mask_BT
        gaps = [
            token_mse((self.project if i else self.project_embedding)(student.tokens(i)), teacher.tokens(j), mask_BT)
            for i, j in enumerate(self.layers)
        ]
        found = {"hidden": torch.stack(gaps).sum()}
        if "attention" in self.weights:
            heads = self.setting.student_heads
            apart = [
                _score_mse(scores(student, i, heads), scores(teacher, j, heads), mask_BT)
                for i, j in enumerate(self.layers)
                if i
            ]
            found["attention"] = torch.stack(apart).sum()
        return found


def scores(signals: Signals, layer: int, heads: int) -> Tensor:
    """(B, H, T, T) float32: q·k/√d_head of a layer, before mask and softmax."""
    query_BTD, key_BTD = signals.vectors("query", layer), signals.vectors("key", layer)
    with torch.autocast(query_BTD.device.type, enabled=False):
        query_BHTd, key_BHTd = (x.float().unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_BTD, key_BTD))
        return query_BHTd @ key_BHTd.mT / math.sqrt(query_BHTd.shape[-1])


def _score_mse(a_BHTT: Tensor, b_BHTT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over heads, pairs of real tokens and batch."""
    gap_BTT = (a_BHTT - b_BHTT).square().mean(1)
    real_BTT = mask_BT[:, :, None] * mask_BT[:, None, :]
    return token_mean(gap_BTT.flatten(1), real_BTT.flatten(1))
