"""CKD combines layers: every student layer reads a bucket of teacher layers."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from railkd.errors import UserError
from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.methods.parts.mapping import check_intermediate
from railkd.methods.parts.projection import Linear
from railkd.signals import Batch, Pooling, Signals

Variant = Literal["regular", "overlap", "skip", "cross"]


def buckets(variant: Variant, layers: int, count: int) -> list[list[int]]:
    """``count`` buckets of the 1-based layers 1..layers, as even as possible; 11 layers in 5 buckets:

    ``regular``  contiguous groups: {1,2} {3,4} {5,6} {7,8} {9,10,11}
    ``overlap``  each group also takes the first layer of the next: {1,2,3} {3,4,5} … {9,10,11}
    ``skip``     each group leaves out its last layer, unless it is its only one: {1} {3} {5} {7} {9,10}
    ``cross``    every count-th layer: {1,6,11} {2,7} {3,8} {4,9} {5,10}

    The source shows the last three as sketches for its own depths; these are the rules read from them.
    """
    if variant == "cross":
        return [list(range(i, layers + 1, count)) for i in range(1, count + 1)]
    edges = [i * layers // count for i in range(count + 1)]
    groups = [list(range(low + 1, high + 1)) for low, high in zip(edges, edges[1:], strict=False)]
    if variant == "overlap":
        return [group + upper[:1] for group, upper in zip(groups, [*groups[1:], []], strict=True)]
    if variant == "skip":
        return [group[:-1] or group for group in groups]
    return groups


class CKD(Method):
    """Each student layer imitates a learned combination of a group of teacher layers (Wu et al., 2020).

    ce_weight·CE + kd_weight·KD + ckd_weight·C, with C = Σᵢ MSE(cls^S_i, Wᵢ [cls^T_j : j ∈ bucket i]).

    Wᵢ is bias-free and trained, (|bucket i|·D_T) → D_S, so widths may differ. MSE: mean over batch and width.

    Options
        ce_weight, kd_weight, ckd_weight  ≥ 0; equal thirds by default
        temperature  τ > 0 of KD
        variant      regular | overlap | skip | cross: how the n − 1 teacher layers fall into buckets, see ``buckets``
    """

    title = "CKD"
    needs_logits = True
    source = "Wu et al. (2020), Eq. 1-3"
    layer_mapping = "Extra Hyperparameter"
    complexity = "O(m)"
    limitation = "Extensive Search"

    def __init__(
        self,
        setting: Setting,
        ce_weight: float = 1 / 3,
        kd_weight: float = 1 / 3,
        ckd_weight: float = 1 / 3,
        temperature: float = 1.0,
        variant: Variant = "regular",
    ) -> None:
        super().__init__(setting)
        check_range("ce_weight", ce_weight)
        check_range("kd_weight", kd_weight)
        check_range("ckd_weight", ckd_weight)
        check_range("temperature", temperature, above=True)
        check_intermediate(setting, "variant")
        m, n = len(setting.student_intermediate), len(setting.teacher_intermediate)
        if m > n:
            raise UserError(f"variant: {m} buckets need at least {m} intermediate teacher layers, this teacher has {n}")
        self.temperature = temperature
        self.weights = {"ce": ce_weight, "kd": kd_weight, "ckd": ckd_weight}
        self.buckets = buckets(variant, n, m)
        self.combine = nn.ModuleList(
            Linear(len(bucket) * setting.teacher_width, setting.student_width, bias=False) for bucket in self.buckets
        )

    @property
    def pooling(self) -> Pooling:
        """The first token of each layer."""
        return "cls"

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``ckd``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        student_BMD = student.pooled("cls", self.setting.student_intermediate)
        read = [layer for bucket in self.buckets for layer in bucket]
        parts = teacher.pooled("cls", read).split([len(bucket) for bucket in self.buckets], dim=1)
        gaps = [
            F.mse_loss(student_BD.float(), combine(part_BXD.flatten(1)).float())  # X layers in this bucket
            for student_BD, part_BXD, combine in zip(student_BMD.unbind(1), parts, self.combine, strict=True)
        ]
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "ckd": torch.stack(gaps).sum(),
        }
