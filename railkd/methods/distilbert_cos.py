"""The cosine term of DistilBERT compares the directions of the last layer's token states."""

from torch import Tensor

from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.methods.parts.projection import Linear
from railkd.methods.parts.tokens import token_cosine
from railkd.signals import Batch, Signals


class DistilBERTCosine(Method):
    """Also imitates the direction of each token's vector in the last layer (Sanh et al., 2019).

    ce_weight·CE + kd_weight·KD + cos_weight·C, with C = 1 − cos(h^S, h^T) of the last layers' token states.

    Mean over an example's real tokens, then over the batch. When widths differ a trained bias-free linear map brings
    the student's states to the teacher's width, so that the target stays fixed.

    Options
        ce_weight, kd_weight, cos_weight  ≥ 0; 2 : 5 : 1 in the source's pre-training script, there with the masked
                     words' loss in place of CE; here as shares of 1
        temperature  τ > 0 of KD; 2 in the source's script, 1 here as for the other methods
    """

    title = "DistilBERT-cos"
    needs_logits = True
    needs_live_teacher = True
    whole_last_layer = True
    source = "Sanh et al. (2019), sec. 3; weights from the released script"
    layer_mapping = "Last layer"
    complexity = "O(1)"
    limitation = "Teacher in every step"

    def __init__(
        self,
        setting: Setting,
        ce_weight: float = 0.25,
        kd_weight: float = 0.625,
        cos_weight: float = 0.125,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(setting)
        check_range("ce_weight", ce_weight)
        check_range("kd_weight", kd_weight)
        check_range("cos_weight", cos_weight)
        check_range("temperature", temperature, above=True)
        self.temperature = temperature
        self.weights = {"ce": ce_weight, "kd": kd_weight, "cos": cos_weight}
        d_S, d_T = setting.student_width, setting.teacher_width
        self.project = Linear(d_S, d_T, bias=False) if d_S != d_T else None

    @property
    def needs_hidden(self) -> bool:
        """The last layer's states."""
        return True

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``cos``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        student_BTD = student.tokens(self.setting.student_layers)
        if self.project is not None:
            student_BTD = self.project(student_BTD)
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "cos": token_cosine(student_BTD, teacher.tokens(self.setting.teacher_layers), student.mask_BT),
        }
