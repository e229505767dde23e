"""Trains in two stages within one run's epochs: intermediate terms first, then labels and the teacher's logits."""

import torch
from torch import Tensor

from railkd.errors import UserError
from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd
from railkd.signals import Batch, Signals


class TwoStage(Method):
    """``first_stage`` of the epochs train ``first_weights``' terms, the others ce_weight·CE + kd_weight·KD.

    The published code runs two trainings one after the other; here both share the run's epochs and its learning rate
    schedule, so that a method of two stages costs the steps that any other does. No epoch of the first stage is chosen:
    the classifier is not trained in it. A subclass gives the first stage's terms (``first_terms``).

    Records ``stage``: 1 or 2 for each epoch.
    """

    def __init__(
        self,
        setting: Setting,
        first_weights: dict[str, float],
        ce_weight: float,
        kd_weight: float,
        temperature: float,
        first_stage: float,
    ) -> None:
        super().__init__(setting)
        for key, value in {
            **{f"{name}_weight": w for name, w in first_weights.items()},
            "ce_weight": ce_weight,
        }.items():
            check_range(key, value)
        check_range("kd_weight", kd_weight)
        check_range("temperature", temperature, above=True)
        if not 0 < first_stage < 1:
            raise UserError(f"first_stage: {first_stage!r} is out of range, expected a share above 0 and below 1")
        self.temperature, self.first_stage = temperature, first_stage
        self.first_weights, self.second_weights = first_weights, {"ce": ce_weight, "kd": kd_weight}
        self.weights = dict(first_weights)
        self.first, self.first_epochs = True, 1

    @property
    def trains_classifier(self) -> bool:
        """From the second stage on."""
        return not self.first

    def check_run(self) -> None:
        """Raises UserError when there is one epoch alone."""
        if self.epochs < 2:
            raise UserError("first_stage: two stages need at least 2 epochs, this run has 1")

    def start_training(self, generator: torch.Generator) -> None:
        """Splits the run's epochs; raises UserError when there is one alone."""
        self.check_run()
        self.first_epochs = min(max(round(self.first_stage * self.epochs), 1), self.epochs - 1)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Takes the weights of the epoch's stage."""
        super().start_epoch(epoch, generator)
        self.first = epoch < self.first_epochs
        self.weights = dict(self.first_weights if self.first else self.second_weights)
        self.history.setdefault("stage", []).append(1 if self.first else 2)

    def first_terms(self, batch: Batch, student: Signals, teacher: Signals) -> dict[str, Tensor]:
        """Unweighted terms of the first stage."""
        raise NotImplementedError

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """The first stage's, or ``ce`` and ``kd``, scalars."""
        assert teacher is not None
        if self.first:
            return self.first_terms(batch, student, teacher)
        regression = self.setting.regression
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
        }
