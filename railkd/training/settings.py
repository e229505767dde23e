"""Says how one run trains: by the keys of ``training:`` in a benchmark file, the run's seed and its device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from railkd.benchmark.defaults import LATER, TRAINING, resolved
from railkd.errors import unknown


@dataclass(frozen=True)
class TrainingSettings:
    """What the loop and its optimizer go by. ``of`` fills in what is not given, by ``benchmark.defaults.TRAINING``."""

    learning_rate: float  # peak
    batch_size: int  # examples
    epochs: int  # at most
    warmup: float  # share of all steps, linear; then linear decay to 0
    weight_decay: float  # of AdamW; not on biases and layer norms
    max_gradient_norm: float  # to which gradients are clipped
    patience: int | None  # epochs without a better dev score before stopping; None: never
    precision: str  # float32 | bfloat16 | auto: see ``railkd.devices.precision``
    regime: str  # cached | live: where the teacher's signals come from; the loop takes them as it is given them
    dropout: float | None  # of the student; None: as its checkpoint says; the loop takes the model as it is
    seed: int  # of every random stream of the run
    device: torch.device
    compile: bool = False  # whether ``models.compiled`` runs the model
    device_memory: float = 0.5  # share of a GPU's free memory that data may take; it decides on no number

    @classmethod
    def of(
        cls, given: Mapping[str, Any], seed: int, device: torch.device, device_memory: float = 0.5
    ) -> "TrainingSettings":
        """The settings of a benchmark file's ``training:`` entry, with defaults for what it leaves out.

        Raises UserError for a key that is none.
        """
        for key in given:
            if key not in TRAINING | LATER:
                raise unknown("setting", key, TRAINING | LATER, "training")
        return cls(**resolved(TRAINING, given), seed=seed, device=device, device_memory=device_memory)
