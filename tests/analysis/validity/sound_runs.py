"""Records of one pair that pass every question of the validity, and changes that make them fail one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from made_records import BERT, PAPER_METHODS, Folder

from analysis import load
from analysis.claims import evaluation, ledger
from analysis.reported_benchmark import read

TASKS = ["sst2", "qqp", "qnli", "rte"]
METHODS = PAPER_METHODS[:6]
CLAIM = "above-ild-12-dev"  # RAIL-KD l and c above PKD and ALP-KD
RISING = [0.8, 0.9, 0.95, 1.0]


def skill(method: str, split: str) -> float:
    """RAIL-KD is really better than the others."""
    return 0.85 if method.startswith("rail") else 0.6


def judged(folder: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The claim and the section of the only pair."""
    benchmark, book = read(folder.file), folder.root / "claims.yaml"
    entries = yaml.safe_load(ledger.LEDGER.read_text(encoding="utf-8"))["claims"]
    book.write_text(yaml.safe_dump({"claims": [c for c in entries if c["id"] == CLAIM], "printed": []}))
    data = evaluation.evaluate(benchmark, load.read(benchmark, folder.results), folder.results, book)
    (claim,) = data["claims"]
    (pair,) = data["validity"]["pairs"]
    return claim, {a["question"]: a for a in pair["answers"]} | {"headline": data["validity"]["headline"]}


def change(
    folder: Folder, of: Callable[[dict[str, Any]], object], methods: list[str], tasks: list[str] = TASKS,
    seeds: tuple[int, ...] = (1, 2, 3),
) -> None:  # fmt: skip
    for method in methods:
        for task in tasks:
            for seed in (1,) if method == "teacher" else seeds:
                folder.edit(of, BERT, method, task, seed)


def course(shares: list[float], patience: int | None = None) -> Callable[[dict[str, Any]], None]:
    """Gives a record this course of dev, as shares of its score, and the best epoch that follows."""

    def apply(run: dict[str, Any]) -> None:
        shown = run["shown"]
        best = run["scores"]["dev"][shown]
        run["epochs"] = [{"epoch": i + 1, "dev": {shown: s * best}} for i, s in enumerate(shares)]
        run["best_epoch"] = int(np.argmax(shares)) + 1
        run["config"]["training"]["patience"] = patience
        run.update(config_hash=_hash(run["config"]))

    return apply


def _hash(config: dict[str, Any]) -> str:
    from railkd.records.hashes import canonical, sha256_text

    return sha256_text(canonical(config))


def failed(claim: dict[str, Any]) -> list[str]:
    """The questions that its runs fail; a claim is not decided if and only if there is one."""
    assert (claim["verdict"] == "not decided") == bool(claim["validity"])
    assert all(part["verdict"] == "not decided" for part in claim["parts"]) == bool(claim["validity"])
    return [entry["question"] for entry in claim["validity"]]
