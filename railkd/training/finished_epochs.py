"""Keeps what the finished epochs of a run gave, and lets a stopped run go on after them."""

from typing import Any

from railkd.methods.base import Method
from railkd.training.best_epoch import BestEpoch
from railkd.training.run_state import State
from railkd.training.steps import Steps


class FinishedEpochs:
    """What the finished epochs of a run gave, and what evaluation has cost."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []  # as in a run record
        self.eval_seconds = 0.0
        self.resumed = 0  # how often the run went on in another process

    def resume(self, state: State, step: Steps, method: Method, best: BestEpoch) -> bool:
        """Goes on at the last epoch kept in ``state``; False where there is none to trust."""
        found = state.load()
        if found is None:
            return False
        facts, tensors = found
        step.load(facts["step"], tensors)
        method.resume(facts["history"])
        best.load(facts, tensors)
        self.epochs, self.eval_seconds, self.resumed = facts["epochs"], facts["eval_seconds"], facts["resumed"] + 1
        return True

    def save(self, state: State, step: Steps, method: Method, best: BestEpoch) -> None:
        """Writes down all that ``resume`` reads."""
        epoch = len(self.epochs)
        facts = {
            "step": step.facts(),
            "history": method.history,
            "epochs": self.epochs,
            "eval_seconds": self.eval_seconds,
            "resumed": self.resumed,
            **best.facts(),
        }
        state.save(epoch, facts, step.tensors() | best.tensors(epoch))
