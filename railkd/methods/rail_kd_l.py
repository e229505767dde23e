"""RAIL-KD in its layer-wise form has one distance for each student layer."""

import torch

from railkd.errors import UserError
from railkd.methods.base import Setting, check_range
from railkd.methods.parts.mapping import RailMap
from railkd.methods.parts.rail import Projection, Rail, RailPooling


class RailKDLayerwise(Rail):
    """The paper's proposal: in each epoch, each student layer imitates a teacher layer drawn at random.

    (CE + KD + R_l)/3, with R_l = Σᵢ αᵢ ‖ n(W^T_i mean^T_{s(i)}) − n(W^S_i mean^S_i) ‖² over i = 1..m.

    mean_l (B, D) is the mean over tokens of layer l; s is a sorted random m-subset of the teacher's intermediate
    layers 1..n − 1, redrawn each epoch. Each student layer i has its own W^T_i (D_T, U) and W^S_i (D_S, U),
    whichever teacher layer it reads. R_l sums m terms in [0, 4].

    Options as in ``Rail``, and
        layer_weights  αᵢ ≥ 0, one per student layer; 1 in the paper
    """

    title = "RAIL-KD^l"
    source = "Haidar et al. (2022), Eq. 2 and 4"
    concatenated = False

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
        layer_weights: list[float] | None = None,
    ) -> None:
        super().__init__(
            setting,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            rail_weight=rail_weight,
            temperature=temperature,
            projection_dim=projection_dim,
            mapping=mapping,
            projection=projection,
            pooling=pooling,
            pool_padding=pool_padding,
        )
        if layer_weights is not None:
            self._weigh(layer_weights)

    def _weigh(self, layer_weights: list[float]) -> None:
        layers = len(self.group_weight_G)
        if len(layer_weights) != layers:
            raise UserError(f"layer_weights: {layer_weights} has {len(layer_weights)} weights, expected {layers}")
        for weight in layer_weights:
            check_range("layer_weights", weight)
        self.group_weight_G.copy_(torch.tensor(layer_weights))
