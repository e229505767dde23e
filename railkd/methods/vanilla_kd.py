"""Vanilla distillation imitates the teacher's output distribution alone."""

from torch import Tensor

from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.signals import Batch, Signals


class VanillaKD(Method):
    """The student also imitates the teacher's output probabilities.

    (1 − α)·CE + α·KD, with KD = τ²·KL(p_T ‖ p_S) at temperature τ; mean squared error for STS-B.

    Options
        alpha        α in [0, 1], share of the soft loss. Equal weights by default, as in RAIL-KD's family;
                     PKD's grid for its KD baseline is {.2, .5, .7}.
        temperature  τ > 0, no unit; 1 by default for the same reason, PKD's grid is {5, 10, 20}.
    """

    title = "Vanilla KD"
    needs_logits = True
    source = "Hinton et al. (2015), sec. 2; weights as in Sun et al. (2019), Eq. 4"

    def __init__(self, setting: Setting, alpha: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__(setting)
        check_range("alpha", alpha, 0, 1)
        check_range("temperature", temperature, above=True)
        self.temperature = temperature
        self.weights = {"ce": 1 - alpha, "kd": alpha}

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce`` and ``kd``, scalars."""
        assert teacher is not None
        regression = self.setting.regression
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
        }
