"""CR-ILD distils the last layer on clean and mixed inputs, and keeps the two consistent."""

import torch
from torch import Tensor, nn

from railkd.methods.base import Setting, check_range
from railkd.methods.parts.mixing import draw_mix
from railkd.methods.parts.projection import Linear
from railkd.methods.parts.stages import TwoStage
from railkd.methods.parts.tokens import token_mse
from railkd.signals import Batch, Signals


class CRILD(TwoStage):
    """Imitates the last layer on plain and mixed examples first, the answers after (Ko et al., 2023).

    First I(x) + mixed_weight·I(x̃) + w·C, then ce_weight·CE + kd_weight·KD; see ``TwoStage``.

    I = MSE(W h^S, h^T) of the last layers' token states, on the clean batch and on the mixed one, x̃ as in mixkd with
    max(λ, 1 − λ). C = MSE(h^S(x̃), λ·h^S(x) + (1 − λ)·h^S(x′)), over tokens real in both examples; its target gets no
    gradient, as in the released code. w = consistency_weight · k/K in epoch k of the first stage's K. MSE: mean over
    width and an example's real tokens, then over the batch. W, D_S → D_T, is trained and bias-free, and is there when
    widths differ.

    The released script computes its consistency loss in no configuration that it runs, and matches the last layer's
    attention too: this is the paper's loss on token states alone.

    Options
        mixed_weight        ≥ 0; 1
        consistency_weight  ≥ 0, at the end of the first stage; .1 in the source
        concentration       > 0, λ ~ Beta(c, c); 1 in the source
        ce_weight, kd_weight, temperature  of the second stage; KD alone in the source
        first_stage         share of the epochs, above 0 and below 1
    """

    title = "CR-ILD"
    needs_logits = True
    needs_live_teacher = True
    whole_last_layer = True
    mixes_examples = True
    source = "Ko et al. (2023), CR-ILD"
    layer_mapping = "Last layer"
    complexity = "O(1)"
    limitation = "Teacher twice in every step"

    def __init__(  # noqa: PLR0913  each argument is an option of the benchmark file
        self,
        setting: Setting,
        mixed_weight: float = 1.0,
        consistency_weight: float = 0.1,
        concentration: float = 1.0,
        ce_weight: float = 0.0,
        kd_weight: float = 1.0,
        temperature: float = 1.0,
        first_stage: float = 0.5,
    ) -> None:
        weights = {"ild": 1.0, "mixed": mixed_weight, "consistency": consistency_weight}
        super().__init__(setting, weights, ce_weight, kd_weight, temperature, first_stage)
        check_range("concentration", concentration, above=True)
        self.concentration = concentration
        d_S, d_T = setting.student_width, setting.teacher_width
        self.project: nn.Module = Linear(d_S, d_T, bias=False) if d_S != d_T else nn.Identity()

    @property
    def needs_hidden(self) -> bool:
        """The last layer's states."""
        return True

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Also ramps the consistency term up."""
        super().start_epoch(epoch, generator)
        if self.first:
            self.weights["consistency"] *= (epoch + 1) / self.first_epochs

    def first_terms(self, batch: Batch, student: Signals, teacher: Signals) -> dict[str, Tensor]:
        """``ild``, ``mixed`` and ``consistency``, scalars."""
        last_S, last_T = self.setting.student_layers, self.setting.teacher_layers
        partner_B, share = draw_mix(len(batch.labels_B), self.concentration, self.generator)
        partner_B, share = partner_B.to(batch.labels_B.device, non_blocking=True), max(share, 1 - share)
        mixed_student, mixed_teacher = student.mixed(partner_B, share), teacher.mixed(partner_B, share)
        own_BTD, mixed_BTD = student.tokens(last_S), mixed_student.tokens(last_S)
        still_BTD = own_BTD.detach().float()
        target_BTD = share * still_BTD + (1 - share) * still_BTD[partner_B]
        both_BT = student.mask_BT * student.mask_BT[partner_B]
        return {
            "ild": token_mse(self.project(own_BTD), teacher.tokens(last_T), student.mask_BT),
            "mixed": token_mse(self.project(mixed_BTD), mixed_teacher.tokens(last_T), mixed_student.mask_BT),
            "consistency": token_mse(mixed_BTD, target_BTD, both_BT),
        }
