"""MixKD asks the teacher about interpolations of training examples too."""

from torch import Tensor
from torch.nn import functional as F

from railkd.methods.base import Method, Setting, check_range, cross_entropy
from railkd.methods.parts.mixing import draw_mix
from railkd.signals import Batch, Signals


class MixKD(Method):
    """Also asks the teacher about mixtures of training examples (Liang et al., 2021).

    CE + mixed_weight·CE_mix + kd_weight·‖ z_T(x̃) − z_S(x̃) ‖², x̃ the mixed example.

    x̃_b has the word embeddings λ·e_b + (1 − λ)·e_p(b), p a random permutation of the batch and λ ~ Beta, one for each
    step; teacher and student each mix their own embeddings with the same p and λ.
    CE_mix = λ·CE(y_b) + (1 − λ)·CE(y_p(b)). The distance is the mean over batch and classes. The teacher reads mixed
    examples alone.

    Options
        mixed_weight, kd_weight  ≥ 0, the source's α_SM and α_TMKD; 1
        concentration            > 0, of Beta(c, c); .4 in the source
    """

    title = "MixKD"
    needs_logits = True
    needs_live_teacher = True
    mixes_examples = True
    source = "Liang et al. (2021), sec. 3"
    layer_mapping = "None"
    complexity = "O(1)"
    limitation = "Teacher in every step"

    def __init__(
        self, setting: Setting, mixed_weight: float = 1.0, kd_weight: float = 1.0, concentration: float = 0.4
    ) -> None:
        super().__init__(setting)
        check_range("mixed_weight", mixed_weight)
        check_range("kd_weight", kd_weight)
        check_range("concentration", concentration, above=True)
        self.concentration = concentration
        self.weights = {"ce": 1.0, "ce_mixed": mixed_weight, "kd_mixed": kd_weight}

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``ce_mixed`` and ``kd_mixed``, scalars."""
        assert teacher is not None
        regression, label_B = self.setting.regression, batch.labels_B
        partner_B, share = draw_mix(len(label_B), self.concentration, self.generator)
        partner_B = partner_B.to(label_B.device, non_blocking=True)
        mixed_BC = student.mixed(partner_B, share).logits_BC.float()
        target_BC = teacher.mixed(partner_B, share).logits_BC.float()
        own, other = (cross_entropy(mixed_BC, y_B, regression) for y_B in (label_B, label_B[partner_B]))
        return {
            "ce": cross_entropy(student.logits_BC, label_B, regression),
            "ce_mixed": share * own + (1 - share) * other,
            "kd_mixed": F.mse_loss(mixed_BC, target_BC),
        }
