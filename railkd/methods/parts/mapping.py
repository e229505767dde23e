"""Says which teacher layer each intermediate student layer reads: by a fixed map or a random draw.

``M`` intermediate student layers, ``N`` intermediate teacher layers; layers are 1-based.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from railkd.errors import UserError
from railkd.methods.base import Setting, check_mapping, last_mapping, skip_mapping

FixedMap = Literal["skip", "last"]
RailMap = Literal[
    "random_sorted", "random_sorted_step", "random_once", "random_unsorted", "skip", "last", "reverse", "all_to_one"
]


def check_intermediate(setting: Setting, key: str) -> None:
    """Raises UserError naming the key unless both models have at least one intermediate layer."""
    for model, layers in (("student", setting.student_layers), ("teacher", setting.teacher_layers)):
        if layers < 2:
            raise UserError(f"{key}: a {model} of {layers} layer has no intermediate layer, expected at least 2 layers")


def fixed_layers(mapping: str | Sequence[int], setting: Setting, key: str = "mapping") -> list[int]:
    """The M teacher layers of a fixed map; raises UserError naming the key.

    ``skip``        layer i reads i·n/(m+1): 2, 4, 6, 8, 10 for 12 → 6 (PKD-skip)
    ``last``        the m topmost intermediate layers: 7 … 11 (PKD-last)
    ``reverse``     the skip map from the top: 10, 8, 6, 4, 2
    ``all_to_one``  every student layer reads the teacher's last intermediate layer: 11, 11, 11, 11, 11
    a list          as given
    """
    check_intermediate(setting, key)
    if not isinstance(mapping, str):
        return check_mapping(mapping, setting, key)
    maps = {
        "skip": skip_mapping(setting),
        "last": last_mapping(setting),
        "reverse": skip_mapping(setting)[::-1],
        "all_to_one": [setting.teacher_layers - 1] * len(setting.student_intermediate),
    }
    return check_mapping(maps[mapping], setting, key)


def check_drawable(mapping: str, setting: Setting, key: str = "mapping") -> None:
    """Raises UserError naming the key unless M different layers can be drawn from N."""
    check_intermediate(setting, key)
    m, n = len(setting.student_intermediate), len(setting.teacher_intermediate)
    if m > n:
        raise UserError(f"{key}: {mapping} draws {m} different teacher layers, this teacher has {n} intermediate ones")


def draw_layers(setting: Setting, generator: torch.Generator, *, ordered: bool = True) -> list[int]:
    """A uniformly random M-subset of the teacher's intermediate layers, sorted upwards or in random order.

    Sorted, the i-th layer is i(n+1)/(m+1) on average over the N = n candidates: 2, 4, 6, 8, 10 for 5 of 11.
    """
    m, n = len(setting.student_intermediate), len(setting.teacher_intermediate)
    layers = (torch.randperm(n, generator=generator, device="cpu")[:m] + 1).tolist()
    return sorted(layers) if ordered else layers
