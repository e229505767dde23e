"""Stands for the package tensorboardX: writes a line of JSON for each number."""

import json
from pathlib import Path


class SummaryWriter:
    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = open(Path(folder) / "events.jsonl", "a")  # noqa: SIM115

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.file.write(json.dumps([name, value, step]) + "\n")

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.file.close()
