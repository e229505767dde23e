"""Stands for the package wandb: keeps what it is told, in a list of runs."""

from typing import Any

RUNS: list["Run"] = []


class Run:
    def __init__(self, **settings: Any) -> None:
        self.settings, self.logged, self.finished = settings, [], False

    def log(self, metrics: dict[str, Any], step: int) -> None:
        if self.logged and step < self.logged[-1][0]:
            raise ValueError("steps must not fall")
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished = True


def init(*, project: str, name: str, id: str, dir: str, config: Any, resume: Any, reinit: Any) -> Run:
    RUNS.append(Run(project=project, name=name, id=id, dir=dir, config=config, resume=resume, reinit=reinit))
    return RUNS[-1]
