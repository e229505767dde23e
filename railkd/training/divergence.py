"""Stops a run whose loss or whose model is not finite any more, and says at which step and after which values."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from railkd.errors import Diverged
from railkd.methods.base import Method
from railkd.methods.mistakes import located

EXPLODED = 1e8  # of a loss or a term of it: as good as infinite, four orders above what any method here begins with


class FiniteCheck:
    """Looks at an epoch's losses and dev logits, and keeps the last finite losses, in words, for the message."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.last = "none"

    def resume(self, epoch: int, losses: dict[str, float]) -> None:
        """Takes the mean losses of the last epoch (1-based) of the process before."""
        self.last = f"mean of epoch {epoch}: {_named(losses)}"

    def losses(self, losses: Tensor, names: list[str], first_step: int) -> None:
        """Raises Diverged unless every one of an epoch's losses, (steps, terms), is finite and not enormous.

        ``names`` are the terms', ``first_step`` the number of steps before the epoch.
        """

        def step(row: int) -> str:
            return f"step {first_step + row + 1}: {_named(dict(zip(names, losses[row].tolist(), strict=True)))}"

        bad = (~(losses.abs() <= EXPLODED)).any(dim=1).nonzero()
        if len(bad):
            at = int(bad[0])
            last = step(at - 1) if at else self.last
            what = "is not finite" if not losses[at].isfinite().all() else f"explodes, beyond {EXPLODED:g},"
            if at + first_step == 0:
                where = located(type(self.method).terms)
                last += f"; no weight has changed yet: look at {where} and at the teacher's signals"
            raise Diverged(f"loss {what} at {step(at)}; last finite values: {last}")
        self.last = step(len(losses) - 1)

    def logits(self, logits: NDArray[np.float32], step: int) -> None:
        """Raises Diverged unless the dev logits, (examples, C), are finite.

        A gradient that was not finite shows in no loss after the last step.
        """
        if not np.isfinite(logits).all():
            raise Diverged(f"the model's dev logits are not finite after step {step} (last losses: {self.last})")


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
