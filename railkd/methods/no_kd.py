"""Plain fine-tuning is the row "w/o KD" of the tables."""

from torch import Tensor

from railkd.methods.base import Method, cross_entropy
from railkd.signals import Batch, Signals


class NoKD(Method):
    """The student alone, trained on the labels: what distillation has to beat.

    CE(z_S, y) and nothing else; no teacher is read.

    For STS-B, CE is the mean squared error on the score. No options.
    """

    title = "w/o KD"
    source = "fine-tuning; Devlin et al. (2019), sec. 3.2"

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, a scalar."""
        return {"ce": cross_entropy(student.logits_BC, batch.labels_B, self.setting.regression)}
