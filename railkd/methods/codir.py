"""CoDIR contrasts intermediate representations with a memory bank of teacher vectors."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from railkd.errors import UserError
from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd, normalise
from railkd.methods.parts.mapping import FixedMap, fixed_layers
from railkd.methods.parts.projection import Linear
from railkd.signals import Batch, Pooling, Signals


class CoDIR(Method):
    """Tells its own example's teacher vectors from other examples' by a contrastive loss (Sun et al., 2020).

    (1 − α)·CE + α·KD + β·NCE, with NCE = −log( e^{s·t/θ} / (e^{s·t/θ} + Σₖ e^{s·bₖ/θ}) ), mean over the batch.

    s = n(W^S [h^S_1; …; h^S_m]) is the student's anchor, t = n(W^T [h^T_{map(1)}; …]) the teacher's vector of the
    same example, bₖ are K rows of a memory bank (examples, U) drawn uniformly, with replacement, among training
    examples of the other classes. After use, the batch's rows become n(μ·b + (1 − μ)·t). Both maps are trained.

    The loss is the paper's InfoNCE; the released code instead uses CRD's symmetric noise-contrastive loss with the
    positive read from the bank, the first token, and every other teacher layer from the first up to the last layer.

    Options
        alpha, temperature  of CE and KD, as in vanilla_kd
        beta             β ≥ 0, weight of NCE; the source names no default, 1 here
        negatives        K ≥ 1 per example; 100 in the released code
        nce_temperature  θ > 0
        momentum         μ in [0, 1]: how slowly bank rows follow the teacher's map
        projection_dim   U, dimensions
        pooling          mean (paper) | cls (released code)
        mapping          skip | last | one teacher layer, 1 to n − 1, for each student layer

    Undefined for regression, as in the paper: a score has no other class to draw negatives from.
    """

    title = "CoDIR"
    needs_logits = True
    source = "Sun et al. (2020), Eq. 3-6"
    regression = False
    layer_mapping = "Contrastive Learning"
    complexity = "O(K × m)"
    limitation = "Slow Training time"

    bank: Tensor | None  # (examples, U), unit rows
    order: Tensor  # training examples sorted by class
    first_C: Tensor  # where each class starts in it
    count_C: Tensor

    def __init__(  # noqa: PLR0913  each argument is an option of the benchmark file
        self,
        setting: Setting,
        alpha: float = 0.5,
        temperature: float = 1.0,
        beta: float = 1.0,
        negatives: int = 100,
        nce_temperature: float = 0.07,
        momentum: float = 0.5,
        projection_dim: int = 128,
        pooling: Literal["mean", "cls"] = "mean",
        mapping: FixedMap | list[int] = "skip",
    ) -> None:
        super().__init__(setting)
        check_range("alpha", alpha, 0, 1)
        check_range("temperature", temperature, above=True)
        check_range("beta", beta)
        check_range("negatives", negatives, 1)
        check_range("nce_temperature", nce_temperature, above=True)
        check_range("momentum", momentum, 0, 1)
        check_range("projection_dim", projection_dim, 1)
        if setting.regression:
            raise UserError("negatives: a score has no other class to draw negatives from; undefined for regression")
        self.temperature, self.nce_temperature = temperature, nce_temperature
        self.negatives, self.momentum, self._pooling = negatives, momentum, pooling
        self.layers = fixed_layers(mapping, setting)
        self.weights = {"ce": 1 - alpha, "kd": alpha, "nce": beta}
        self.student_map = Linear(len(self.layers) * setting.student_width, projection_dim)
        self.teacher_map = Linear(len(self.layers) * setting.teacher_width, projection_dim)
        self.register_buffer("bank", None)
        if setting.train_labels is not None:
            self._fill(setting.train_labels, setting.outputs, projection_dim)

    def _fill(self, labels: Tensor, classes: int, width: int) -> None:
        count = torch.bincount(labels, minlength=classes)
        if int(count.max()) == len(labels):
            raise UserError("negatives: all training examples have one label, expected at least two classes")
        self.register_buffer("order", torch.argsort(labels, stable=True), persistent=False)
        self.register_buffer("count_C", count, persistent=False)
        self.register_buffer("first_C", count.cumsum(0) - count, persistent=False)
        self.bank = normalise(torch.rand(len(labels), width) - 0.5)  # random until first visited, as in the source

    @property
    def pooling(self) -> Pooling:
        """As the option says."""
        return self._pooling

    def draw(self, labels_B: Tensor) -> Tensor:
        """(B, K) rows of the bank, none of the example's own class; depends on the examples seen, not on B."""
        # The sorted examples without one class are a range with a gap: draw in its length, jump over the gap.
        uniform_BK = torch.rand(
            (len(labels_B), self.negatives),
            dtype=torch.float64,
            generator=self.generator,
            device="cpu",
            pin_memory=labels_B.is_cuda,  # or the copy would wait for the device
        ).to(labels_B.device, non_blocking=True)
        count_B1, first_B1 = self.count_C[labels_B, None], self.first_C[labels_B, None]
        place_BK = (uniform_BK * (len(self.order) - count_B1)).long()
        return self.order[place_BK + count_B1 * (place_BK >= first_B1)]

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``nce``, scalars."""
        assert teacher is not None
        if self.bank is None:
            raise RuntimeError("CoDIR was built without training labels, for checking its options only")
        student_BX = student.pooled(self._pooling, self.setting.student_intermediate).flatten(1)
        teacher_BX = teacher.pooled(self._pooling, self.layers).flatten(1)
        student_BU = normalise(self.student_map(student_BX))
        teacher_BU = normalise(self.teacher_map(teacher_BX))
        negative_BKU = self.bank[self.draw(batch.labels_B)]
        with torch.autocast(student_BU.device.type, enabled=False):  # θ = .07 magnifies rounding
            positive_B1 = (student_BU * teacher_BU).sum(-1, keepdim=True)
            negative_BK = (negative_BKU @ student_BU[:, :, None]).squeeze(-1)
            score_BK = torch.cat([positive_B1, negative_BK], 1) / self.nce_temperature
        if self.training:
            with torch.no_grad():
                kept_BU = self.bank[batch.index_B]
                mixed_BU = self.momentum * kept_BU + (1 - self.momentum) * teacher_BU.detach()
                self.bank[batch.index_B] = normalise(mixed_BU)
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, False),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, False),
            "nce": F.cross_entropy(score_BK, torch.zeros_like(batch.labels_B)),
        }
