"""ALP-KD projects by attention: every student layer attends to all intermediate teacher layers."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.methods.parts.mapping import check_intermediate
from railkd.methods.parts.projection import Linear
from railkd.signals import Batch, Pooling, Signals


class ALPKD(Method):
    """Each student layer imitates a learned mixture of all teacher layers (Passban et al., 2021).

    ce_weight·CE + kd_weight·KD + alp_weight·A, with A = Σᵢ MSE(cls^S_i, Σⱼ w_ij cls^T_j).

    w_i = softmaxⱼ(cls^S_i · cls^T_j), j over the teacher's intermediate layers 1..n − 1, i over the student's 1..m.
    MSE: mean over batch and width. When widths differ, both models' cls are first mapped linearly, bias-free and
    trained, one map per model, to ``projection_dim``; both are unnormalised, so shrinking maps also lower A.

    Options
        ce_weight, kd_weight, alp_weight  ≥ 0; .1, .7, .2 as in a public re-implementation
        temperature     τ > 0 of KD
        scale           none: raw dot products, as published (at width 768 the softmax is nearly one-hot);
                        sqrt: divided by the square root of the width they are taken over
        projection_dim  common width, dimensions; used only when widths differ

    Records ``attention``: w averaged over the training examples of the last epoch, (M, N), and
    ``attention_per_epoch``.
    """

    title = "ALP-KD"
    needs_logits = True
    source = "Passban et al. (2021), Eq. 3-6"
    layer_mapping = "Attention"
    complexity = "O(m × n)"
    limitation = "Slow Training time"

    attention_MN: Tensor

    def __init__(
        self,
        setting: Setting,
        ce_weight: float = 0.1,
        kd_weight: float = 0.7,
        alp_weight: float = 0.2,
        temperature: float = 1.0,
        scale: Literal["none", "sqrt"] = "none",
        projection_dim: int = 128,
    ) -> None:
        super().__init__(setting)
        check_range("ce_weight", ce_weight)
        check_range("kd_weight", kd_weight)
        check_range("alp_weight", alp_weight)
        check_range("temperature", temperature, above=True)
        check_range("projection_dim", projection_dim, 1)
        check_intermediate(setting, "alp_weight")
        self.temperature, self.scale = temperature, scale
        self.weights = {"ce": ce_weight, "kd": kd_weight, "alp": alp_weight}
        d_S, d_T = setting.student_width, setting.teacher_width
        self.student_map = Linear(d_S, projection_dim, bias=False) if d_S != d_T else None
        self.teacher_map = Linear(d_T, projection_dim, bias=False) if d_S != d_T else None
        size = len(setting.student_intermediate), len(setting.teacher_intermediate)
        self.register_buffer("attention_MN", torch.zeros(size), persistent=False)  # sum over the epoch's examples
        self.examples = 0

    @property
    def pooling(self) -> Pooling:
        """The first token of each layer."""
        return "cls"

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Forgets the attention of the epoch before."""
        super().start_epoch(epoch, generator)
        self.attention_MN.zero_()
        self.examples = 0

    def end_epoch(self) -> None:
        """Keeps the epoch's mean attention."""
        if self.examples:
            mean = (self.attention_MN / self.examples).double().cpu()
            rows = [[round(weight, 6) for weight in row] for row in mean.tolist()]
            self.history.setdefault("attention_per_epoch", []).append(rows)

    def record(self) -> dict[str, Any]:
        """``attention`` (M, N) of the last finished epoch, and of every one."""
        epochs = self.history.get("attention_per_epoch", [])
        return {"attention": epochs[-1], "attention_per_epoch": epochs} if epochs else {}

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``alp``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        student_BMD = student.pooled("cls", self.setting.student_intermediate)
        teacher_BND = teacher.pooled("cls", self.setting.teacher_intermediate)
        if self.student_map is not None and self.teacher_map is not None:
            student_BMD = self.student_map(student_BMD)
            teacher_BND = self.teacher_map(teacher_BND)
        # Unscaled scores run into the hundreds: half precision would decide the softmax by rounding.
        with torch.autocast(student_BMD.device.type, enabled=False):
            student_BMD, teacher_BND = student_BMD.float(), teacher_BND.float()
            score_BMN = student_BMD @ teacher_BND.mT
            if self.scale == "sqrt":
                score_BMN = score_BMN / math.sqrt(student_BMD.shape[-1])
            weight_BMN = score_BMN.softmax(-1)
            gap_BMD = (student_BMD - weight_BMN @ teacher_BND).square()
        if self.training:
            self.attention_MN += weight_BMN.detach().sum(0)
            self.examples += len(weight_BMN)
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "alp": gap_BMD.mean((0, 2)).sum(),
        }
