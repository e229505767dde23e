"""MiniLMv2 compares which tokens a layer's queries, keys and values hold alike, in teacher and student."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from railkd.errors import UserError
from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.methods.parts.tokens import token_mean
from railkd.signals import AttentionVector, Batch, Signals

PARTS: tuple[AttentionVector, ...] = ("query", "key", "value")


class MiniLMv2(Method):
    """Imitates how tokens relate to one another inside one teacher layer (Wang et al., 2021).

    ce_weight·CE + kd_weight·KD + relation_weight·R, R = Σ over a ∈ {Q, K, V} of KL(p^T_a ‖ p^S_a).

    p_a = softmax(a aᵀ/√d_r) (B, R, T, T): the vectors a of all heads, side by side, are cut into R relation heads of
    width d_r = D/R each, so the models' widths and head counts may differ. Teacher layer L against the student's last.
    Padding is masked as key; KL: mean over relation heads and an example's real tokens, then over the batch. The source
    distils in pre-training with R alone; here it stands beside CE and KD, as every other method's term does.

    Options
        ce_weight, kd_weight, relation_weight  ≥ 0; equal thirds by default
        temperature     τ > 0 of KD
        relation_heads  R, a divisor of both widths; null: 48 as in the source, or the greatest divisor below
        teacher_layer   L, 1 to n; null: the last, as in the source for 12 layers (for 24 it takes the 21st)

    Records ``relation_heads``.
    """

    title = "MiniLMv2"
    needs_logits = True
    needs_live_teacher = True
    whole_last_layer = True
    source = "Wang et al. (2021), sec. 3"
    layer_mapping = "One layer"
    complexity = "O(1)"
    limitation = "Teacher in every step"

    def __init__(
        self,
        setting: Setting,
        ce_weight: float = 1 / 3,
        kd_weight: float = 1 / 3,
        relation_weight: float = 1 / 3,
        temperature: float = 1.0,
        relation_heads: int | None = None,
        teacher_layer: int | None = None,
    ) -> None:
        super().__init__(setting)
        check_range("ce_weight", ce_weight)
        check_range("kd_weight", kd_weight)
        check_range("relation_weight", relation_weight)
        check_range("temperature", temperature, above=True)
        self.temperature = temperature
        self.weights = {"ce": ce_weight, "kd": kd_weight, "relation": relation_weight}
        self.teacher_layer = setting.teacher_layers if teacher_layer is None else teacher_layer
        check_range("teacher_layer", self.teacher_layer, 1, setting.teacher_layers)
        common = math.gcd(setting.teacher_width, setting.student_width)
        if relation_heads is None:
            relation_heads = next(r for r in range(min(48, common), 0, -1) if common % r == 0)
        elif relation_heads < 1 or common % relation_heads:
            raise UserError(
                f"relation_heads: {relation_heads} does not divide both widths, {setting.teacher_width} of the teacher "
                f"and {setting.student_width} of the student; expected a divisor of {common}"
            )
        self.relation_heads = relation_heads

    @property
    def attention_layers(self) -> tuple[list[int], list[int]]:
        """The student's last layer and the teacher's chosen one."""
        return [self.setting.student_layers], [self.teacher_layer]

    def record(self) -> dict[str, Any]:
        """``relation_heads``."""
        return {**super().record(), "relation_heads": self.relation_heads}

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``relation``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        apart = [
            self._distance(
                teacher.vectors(part, self.teacher_layer),
                student.vectors(part, self.setting.student_layers),
                student.mask_BT,
            )
            for part in PARTS
        ]
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "relation": torch.stack(apart).sum(),
        }

    def _distance(self, teacher_BTD: Tensor, student_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        log_teacher, log_student = (self._relation(x_BTD, mask_BT) for x_BTD in (teacher_BTD, student_BTD))
        kl_BRT = F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)
        return token_mean(kl_BRT.mean(1), mask_BT)

    def _relation(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, R, T, T) float32 log-probabilities."""
        with torch.autocast(x_BTD.device.type, enabled=False):
            x_BRTd = x_BTD.float().unflatten(-1, (self.relation_heads, -1)).transpose(1, 2)
            score_BRTT = x_BRTd @ x_BRTd.mT / math.sqrt(x_BRTd.shape[-1])
            # finite, so that padding's share of the divergence is 0 · 0
            return score_BRTT.masked_fill(~mask_BT.bool()[:, None, None, :], -1e9).log_softmax(-1)
