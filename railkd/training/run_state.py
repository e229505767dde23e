"""Stores the state of an unfinished run at the end of an epoch, so that a killed run goes on where it was.

Streams of random numbers are seeded by (seed, name, epoch), so no generator is part of the state: model, method,
optimizer and what the loop has counted are all there is, and a resumed run ends with the bytes of an undisturbed one
(on a CPU; GPU kernels are not deterministic to the bit).
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from railkd.errors import UserError
from railkd.records.files import atomic
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import read_sealed, sealed, write_json

EVERY = 60.0  # seconds between two states, each at the end of an epoch: a miniature run ends before the first


class State:
    """Where one run's state is kept, and of which run it is: ``identity`` is all that its numbers depend on.

    ``<path>.json`` names the tensors' file and its checksum, and is written last; a state that is torn, tampered with
    or another run's is not read. Tensors are safetensors: nothing is unpickled.
    """

    def __init__(self, path: Path, identity: dict[str, Any], every: float = EVERY) -> None:
        self.path, self.identity, self.every = path, identity, every
        self._written = time.monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """The facts and tensors last saved; None where there are none to trust."""
        from safetensors.torch import load_file

        try:
            facts = read_sealed(self.path.with_name(f"{self.path.name}.json"))
            file = self.path.with_name(str(facts["file"]))
            if facts["identity"] != json.loads(json.dumps(self.identity)) or sha256_file(file) != facts["sha256"]:
                return None
            return facts["state"], load_file(file)
        except (UserError, OSError, KeyError, TypeError, ValueError):
            return None

    @property
    def due(self) -> bool:
        """Whether so much time has passed that what was computed is worth writing down."""
        return time.monotonic() - self._written >= self.every

    def save(self, epoch: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replaces the state before, which stays until the new one is whole on disk."""
        from safetensors.torch import save_file

        file = self.path.with_name(f"{self.path.name}-{epoch}.safetensors")
        with atomic(file) as temporary:
            save_file({k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}, temporary)
        facts = {"identity": self.identity, "file": file.name, "sha256": sha256_file(file), "state": state}
        write_json(self.path.with_name(f"{self.path.name}.json"), sealed(facts))
        self._clear(keep=file)
        self._written = time.monotonic()

    def clear(self) -> None:
        """Forgets the state of a run that is finished."""
        self.path.with_name(f"{self.path.name}.json").unlink(missing_ok=True)
        self._clear()

    def _clear(self, keep: Path | None = None) -> None:
        for file in self.path.parent.glob(f"{self.path.name}-*.safetensors"):
            if file != keep:
                with suppress(OSError):
                    file.unlink()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and counts, by the place of their parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {f"{i}.{name}": t for i, p in enumerate(parameters) for name, t in optimizer.state.get(p, {}).items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what ``optimizer_tensors`` gave."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, tensor in tensors.items():
        place, name = key.split(".", 1)
        parameter = parameters[int(place)]
        optimizer.state[parameter][name] = tensor.to(parameter.device)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with their names below a prefix."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names ``under`` put below a prefix."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")}
