"""Shows a progress bar of a run's steps, in a terminal or a notebook."""

from collections.abc import Mapping

from torch import Tensor

from railkd.training.steps import Steps


class ProgressBar:
    """Steps done of ``steps``, with the loss and the ``shown`` metric on dev of the last epoch beside it."""

    def __init__(self, title: str, steps: int, shown: str) -> None:
        from tqdm.auto import tqdm

        self.shown = shown
        self._bar = tqdm(total=steps, desc=title, unit="step")

    def step(self, steps: Steps, losses: Tensor) -> None:
        """After a step; reads no loss, which would wait for the device."""
        self._bar.update()

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """After an epoch, with the loop's metrics."""
        shown = {"loss": metrics["train/total"], f"dev {self.shown}": metrics[f"dev/{self.shown}"]}
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})

    def close(self) -> None:
        """Leaves the last state on the screen."""
        self._bar.close()
