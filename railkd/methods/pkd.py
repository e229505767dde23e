"""Patient knowledge distillation reads the first token of teacher layers that a fixed map names."""

from typing import Literal

from torch import Tensor

from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd, normalise
from railkd.methods.parts.mapping import FixedMap, fixed_layers
from railkd.methods.parts.projection import LayerLinear
from railkd.signals import Batch, Pooling, Signals


class PKD(Method):
    """Also imitates the first token's vector in fixed teacher layers, every so many (Sun et al., 2019).

    (1 − α)·CE + α·KD + β·PT, with PT = Σᵢ ‖ n(cls^T_{map(i)}) − n(cls^S_i) ‖² over the student layers 1..m.

    When widths differ the source has no answer: a trained bias-free linear map per layer brings the student's
    cls (B, M, D_S) to the teacher's width (B, M, D_T), so that the target itself stays fixed.

    Options
        alpha        α in [0, 1], share of the soft loss; source's grid {.2, .5, .7}
        temperature  τ > 0 of KD; source's grid {5, 10, 20}, but 1 here so that methods differ in the
                     intermediate term only
        beta         β ≥ 0, weight of PT; source's grid {10, 100, 500, 1000}
        mapping      skip (2, 4, 6, 8, 10 for 12 → 6) | last (7 … 11) | one teacher layer, 1 to n − 1, for each
                     student layer
        reduction    source: mean over batch, layers and width, as in the published code (β's grid belongs to it);
                     sum: sum over layers and width, mean over the batch, as printed in the paper
    """

    title = "PKD"
    needs_logits = True
    source = "Sun et al. (2019), Eq. 5-7"
    layer_mapping = "Extra Hyperparameter"
    complexity = "O(m)"
    limitation = "Extensive Search"

    def __init__(
        self,
        setting: Setting,
        alpha: float = 0.5,
        temperature: float = 1.0,
        beta: float = 100.0,
        mapping: FixedMap | list[int] = "skip",
        reduction: Literal["source", "sum"] = "source",
    ) -> None:
        super().__init__(setting)
        check_range("alpha", alpha, 0, 1)
        check_range("temperature", temperature, above=True)
        check_range("beta", beta)
        self.temperature, self.reduction = temperature, reduction
        self.layers = fixed_layers(mapping, setting)
        self.weights = {"ce": 1 - alpha, "kd": alpha, "pt": beta}
        d_S, d_T = setting.student_width, setting.teacher_width
        self.project = LayerLinear(len(self.layers), d_S, d_T) if d_S != d_T else None

    @property
    def pooling(self) -> Pooling:
        """The first token of each layer."""
        return "cls"

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``pt``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        student_BMD = student.pooled("cls", self.setting.student_intermediate)
        if self.project is not None:
            student_BMD = self.project(student_BMD)
        gap_BMD = (normalise(student_BMD) - normalise(teacher.pooled("cls", self.layers))).square()
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "pt": gap_BMD.mean() if self.reduction == "source" else gap_BMD.sum((1, 2)).mean(),
        }
