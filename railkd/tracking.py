"""Writes a run's curves for TensorBoard or Weights & Biases: losses, dev scores, learning rate, by epoch and step.

A tracker is told what the training loop logs; what goes wrong with it is a warning and ends the tracking, not the run.
"""

import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from railkd.errors import UserError, warn
from railkd.records import hashes
from railkd.records.fields import epoch_metrics, run_label

if TYPE_CHECKING:
    from torch import Tensor

    from railkd.training.loop import AfterStep, MetricsLog
    from railkd.training.steps import Steps

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}  # tracker -> the package that it needs, as imported


def require(kind: str, where: str = "tracker") -> None:
    """Raises UserError unless the package that a tracker needs is installed."""
    if kind != "none" and importlib.util.find_spec(PACKAGES[kind]) is None:
        raise UserError(
            f"{where}: {kind} needs the package {PACKAGES[kind]}, which is not installed; "
            f"pip install 'railkd[{kind}]', or tracker: none"
        )


class Writer(Protocol):
    """Where the numbers of one run go."""

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics by name after so many steps."""

    def close(self) -> None:
        """Everything is written."""


class TensorBoard:
    """Event files in ``folder``; without ``resumed`` those of an earlier training are deleted."""

    def __init__(self, folder: Path, resumed: bool) -> None:
        from tensorboardX import SummaryWriter

        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases below ``folder``. WANDB_MODE=offline keeps it there, for ``wandb sync``."""

    def __init__(self, folder: Path, run: "TrackedRun", resumed: bool) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=run.project, name=run.name, id=run.identity, dir=str(folder), config=run.config,
            resume="allow" if resumed else None, reinit="finish_previous",
        )  # fmt: skip

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


class TrackedRun:
    """What a tracker calls a run, and the run's numbers on their way to it. Opened by the first of them."""

    def __init__(self, project: str, name: str, identity: str, config: Mapping[str, Any]) -> None:
        """``identity``: a text that no other run of the project has, such as a hash of what its numbers depend on."""
        self.project, self.name, self.identity, self.config = project, name, identity, dict(config)
        self._kind, self._folder, self._steps = "none", Path(), False
        self._writer: Writer | None = None
        self._held: list[tuple[int, float, list[str], Tensor]] = []  # of steps: number, learning rate, names, losses

    def to(self, kind: str, folder: Path, steps: bool = False) -> "TrackedRun":
        """Sends the numbers to a tracker; ``steps``: also of every step. Raises UserError without its package."""
        require(kind)
        self._kind, self._folder, self._steps = kind, folder, steps
        return self

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """After an epoch, with what the loop logs; it may begin with ``resumed_after_epoch``."""
        if self._kind == "none":
            return
        try:
            if self._writer is None:
                self._writer = self._opened("resumed_after_epoch" in metrics)
            for number, rate, names, losses in self._held:
                each = dict(zip(names, losses.tolist(), strict=True))
                self._writer.write({f"step/{k}": v for k, v in each.items()} | {"step/learning_rate": rate}, number)
            self._held.clear()
            self._writer.write(metrics, step)
        except Exception as error:  # whatever another library raises, its service or the disk
            self._kind = "none"
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            warn(f"{self.name}: no curves any more, training goes on ({text})")

    def step(self, steps: "Steps", losses: "Tensor") -> None:
        """After a step: kept until the epoch's end, so that no step waits for the device."""
        if self._steps and self._kind != "none":
            self._held.append((steps.done, steps.learning_rate, steps.names, losses))

    def beside(self, log: "MetricsLog", after_step: "AfterStep") -> "tuple[MetricsLog, AfterStep]":
        """What the loop calls after an epoch and after a step, to tell the tracker what others are told."""

        def both(metrics: Mapping[str, float], step: int) -> None:
            log(metrics, step)
            self.epoch(metrics, step)

        def both_steps(steps: "Steps", losses: "Tensor") -> None:
            after_step(steps, losses)
            self.step(steps, losses)

        return both, both_steps

    def close(self) -> None:
        """After the run, also a failed one."""
        if self._writer is not None and self._kind != "none":
            try:
                self._writer.close()
            except Exception as error:
                warn(f"{self.name}: its curves may not be whole ({type(error).__name__}: {error})"[:300])
        self._writer = None

    def _opened(self, resumed: bool) -> Writer:
        if self._kind == "tensorboard":
            return TensorBoard(self._folder, resumed)
        return WandB(self._folder, self, resumed)


@contextmanager
def tracked(run: TrackedRun) -> Iterator[TrackedRun]:
    """The run inside the block; closed after it."""
    try:
        yield run
    finally:
        run.close()


def export(record: Mapping[str, Any], kind: str, folder: Path) -> None:
    """The curves of a finished run, from its record. Raises UserError without the tracker's package."""
    run = TrackedRun(record["benchmark"], run_label(record), record_identity(record), record["config"]).to(kind, folder)
    epochs = record["epochs"]
    with tracked(run):
        for entry in epochs:
            run.epoch(epoch_metrics(entry), round(record["cost"]["steps"] * entry["epoch"] / len(epochs)))


def record_identity(record: Mapping[str, Any]) -> str:
    """What no other run of a benchmark has: the run's keys, its configuration and what it read."""
    keys = ("stage", "pair", "teacher", "student", "method", "seed", "task", "config_hash", "fingerprints")
    return hashes.sha256_text(hashes.canonical({key: record[key] for key in keys}))[:32]
