"""Holds what the two forms of RAIL-KD share: the layer draw, the projections, the loss and what is recorded.

Dimensions as in ``railkd.methods.base``; ``G`` groups of layers: M for the layer-wise form, 1 for the concatenated.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from railkd.errors import UserError
from railkd.methods.base import Method, Setting, check_range, cross_entropy, kd, normalise
from railkd.methods.parts.mapping import RailMap, check_drawable, draw_layers, fixed_layers
from railkd.methods.parts.projection import LayerLinear, Spectrum
from railkd.signals import Batch, Pooling, Signals

Projection = Literal["learned", "learned_student", "frozen_random", "none"]
RailPooling = Literal["mean", "cls"]


class Rail(Method):
    """ce_weight·CE + kd_weight·KD + rail_weight·R (Eq. 4).

    R = Σ_g α_g ‖ n(W^T_g x^T_g) − n(W^S_g x^S_g) ‖², mean over the batch, sum over groups; x_g is one layer's
    pooled vector, or all M of them concatenated (``concatenated``).

    Options
        ce_weight, kd_weight, rail_weight  λ₁, λ₂, λ₃ ≥ 0; thirds in the paper
        temperature     τ > 0 of KD; not stated in the paper
        projection_dim  U, dimensions; 128 in the paper
        mapping         which teacher layer s(i), 1 to n − 1, the student layer i = 1..m reads:
                        random_sorted       a sorted random m-subset, redrawn each epoch (the paper)
                        random_sorted_step  the same, redrawn each step
                        random_once         the same, drawn once per run
                        random_unsorted     a random m-subset in random order, redrawn each epoch
                        skip | last         PKD's maps: 2, 4, 6, 8, 10 | 7 … 11 for 12 → 6
                        reverse             the skip map from the top: 10, 8, 6, 4, 2
                        all_to_one          every student layer reads the teacher's last intermediate layer
                        a list              one teacher layer for each student layer, fixed
        projection      learned: both maps trained (the paper); learned_student: the teacher's map stays random;
                        frozen_random: both do, which leaves the loss a floor where the student is narrower
                        than U; none: no maps, needs equal widths. Maps are bias-free.
        pooling         mean: over real tokens (the paper); cls: the first token
        pool_padding    true: the mean is over all positions of the padded batch, Eq. 1 to the letter
    Records ``layers`` (epochs, M), or for random_sorted_step ``layer_counts`` (M, N), and, where there are
    projections, in each epoch what ``Spectrum`` says of the projected teacher vectors and ``teacher_map_drift``,
    ‖W − W₀‖ / ‖W₀‖ of the teacher's maps from where they started.
    """

    needs_logits = True
    layer_mapping = "Random Selection"
    complexity = "O(m)"
    limitation = "-"
    concatenated: ClassVar[bool]

    group_weight_G: Tensor
    start_GDU: Tensor  # the teacher's maps before training

    def __init__(  # noqa: PLR0913  each argument is an option of the benchmark file
        self,
        setting: Setting,
        ce_weight: float = 1 / 3,
        kd_weight: float = 1 / 3,
        rail_weight: float = 1 / 3,
        temperature: float = 1.0,
        projection_dim: int = 128,
        mapping: RailMap | list[int] = "random_sorted",
        projection: Projection = "learned",
        pooling: RailPooling = "mean",
        pool_padding: bool = False,
    ) -> None:
        super().__init__(setting)
        check_range("ce_weight", ce_weight)
        check_range("kd_weight", kd_weight)
        check_range("rail_weight", rail_weight)
        check_range("temperature", temperature, above=True)
        check_range("projection_dim", projection_dim, 1)
        if pool_padding and pooling != "mean":
            raise UserError(f"pool_padding: true asks for a mean over all positions, but pooling is {pooling}")
        self.temperature, self.mapping = temperature, mapping
        self._pooling: Pooling = "mean_padded" if pool_padding else pooling
        self.weights = {"ce": ce_weight, "kd": kd_weight, "rail": rail_weight}
        m, n = len(setting.student_intermediate), len(setting.teacher_intermediate)
        self.layers: list[int] = []  # 1-based; empty until drawn
        if isinstance(mapping, str) and mapping.startswith("random"):
            check_drawable(mapping, setting)
        else:
            self.layers = fixed_layers(mapping, setting)
        self.counts_MN = [[0] * n for _ in range(m)]  # of random_sorted_step, over the run

        self.register_buffer("group_weight_G", torch.ones(1 if self.concatenated else m), persistent=False)
        self.student_map: nn.Module = nn.Identity()
        self.teacher_map: nn.Module = nn.Identity()
        self.spectrum: Spectrum | None = None
        self._make_maps(projection, projection_dim)

    def _make_maps(self, projection: Projection, width: int) -> None:
        """The maps of both models to ``width`` dimensions, and the measure of what they keep."""
        d_S, d_T, m = self.setting.student_width, self.setting.teacher_width, len(self.setting.student_intermediate)
        groups, stacked = (1, m) if self.concatenated else (m, 1)
        if projection == "none":
            if d_S != d_T:
                raise UserError(f"projection: none needs equal widths, the teacher has {d_T} and the student {d_S}")
            return
        self.student_map = LayerLinear(groups, stacked * d_S, width, trained=projection != "frozen_random")
        self.teacher_map = LayerLinear(groups, stacked * d_T, width, trained=projection == "learned")
        self.spectrum = Spectrum(groups, width)
        # no part of the state: a run that resumes has the same start, from its seed
        self.register_buffer("start_GDU", self.teacher_map.weight.detach().clone(), persistent=False)

    @property
    def pooling(self) -> Pooling:
        """As the options say."""
        return self._pooling

    def start_training(self, generator: torch.Generator) -> None:
        """Draws the layers of random_once: from the run's seed alone, so a resumed run has the same ones."""
        if self.mapping == "random_once":
            self.layers = draw_layers(self.setting, generator)

    def resume(self, history: dict[str, list[Any]]) -> None:
        """Goes on counting the layers of random_sorted_step."""
        super().resume(history)
        self.counts_MN = [list(row) for row in history.get("layer_counts", self.counts_MN)]

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draws the epoch's layers from (seed, epoch) alone."""
        super().start_epoch(epoch, generator)
        if self.spectrum is not None:
            self.spectrum.reset()
        if self.mapping in ("random_sorted", "random_unsorted"):
            self.layers = draw_layers(self.setting, generator, ordered=self.mapping == "random_sorted")
        if self.mapping != "random_sorted_step":
            self.history.setdefault("layers", []).append(list(self.layers))

    def end_epoch(self) -> None:
        """Keeps what the epoch accumulated."""
        if self.mapping == "random_sorted_step":
            self.history["layer_counts"] = [list(row) for row in self.counts_MN]
        if self.spectrum is not None and self.spectrum.examples:
            for name, value in self.spectrum.summary().items():
                self.history.setdefault(name, []).append(value)
            assert isinstance(self.teacher_map, LayerLinear)
            drift = (self.teacher_map.weight.detach() - self.start_GDU).norm() / self.start_GDU.norm()
            self.history.setdefault("teacher_map_drift", []).append(round(drift.item(), 6))

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """``ce``, ``kd`` and ``rail``, scalars."""
        assert teacher is not None
        if self.mapping == "random_sorted_step" and (self.training or not self.layers):
            self.layers = draw_layers(self.setting, self.generator)
            for i, layer in enumerate(self.layers):
                self.counts_MN[i][layer - 1] += 1
        if not self.layers:
            raise RuntimeError(f"mapping {self.mapping}: no layers drawn, call start_training and start_epoch first")
        regression = self.setting.regression
        student_BMD = student.pooled(self.pooling, self.setting.student_intermediate)
        teacher_BMD = teacher.pooled(self.pooling, self.layers)  # an index into data: no graph depends on the draw
        return {
            "ce": cross_entropy(student.logits_BC, batch.labels_B, regression),
            "kd": kd(student.logits_BC, teacher.logits_BC, self.temperature, regression),
            "rail": self._distance(teacher_BMD, student_BMD),
        }

    def _distance(self, teacher_BMD: Tensor, student_BMD: Tensor) -> Tensor:
        if self.concatenated:  # one group, of width M·D
            teacher_BMD, student_BMD = teacher_BMD.flatten(1)[:, None], student_BMD.flatten(1)[:, None]
        teacher_BGU = normalise(self.teacher_map(teacher_BMD))
        student_BGU = normalise(self.student_map(student_BMD))
        if self.spectrum is not None and self.training:
            self.spectrum.add(teacher_BGU)
        gap_BG = (teacher_BGU - student_BGU).square().sum(-1)
        return (gap_BG.mean(0) * self.group_weight_G).sum()
