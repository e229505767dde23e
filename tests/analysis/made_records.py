"""A benchmark folder full of made-up records, whose numbers the tests can recompute from the JSON files alone."""

import csv
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file
from scipy.special import ndtri

from analysis.__main__ import main
from railkd.method_facts import as_json
from railkd.method_sources import available, fingerprint, source_files
from railkd.metrics import predicted, score
from railkd.records.fields import SCHEMA_VERSION
from railkd.records.hashes import canonical, sha256_file, sha256_text
from railkd.tasks import OUT_OF_DOMAIN, TASKS

PAPER_METHODS = ["no_kd", "vanilla_kd", "pkd", "alp_kd", "rail_kd_l", "rail_kd_c", "ckd", "codir"]

MODELS = ["bert12", "roberta24", "roberta12", "distilbert6", "distilroberta6"]


def number(*key: object) -> float:
    """A fixed pseudo-random number in [0, 1) for a key: the same on every machine."""
    return int(hashlib.sha256(repr(key).encode()).hexdigest()[:8], 16) / 2**32


def spec() -> dict[str, Any]:
    """A benchmark with three pairs, as the default one has."""
    return {
        "name": "tiny",
        "title": "MiniGLUE",
        "seeds": [1, 2, 3],
        "data": {
            "source": "miniglue",
            "test": "labels",
            "max_length": 32,
            "tasks": {t: {"train_examples": 1000 + i} for i, t in enumerate(TASKS)},
            "out_of_domain": ["scitail", "paws_wiki", "imdb"],
        },
        "models": {m: {"hub": f"made-up/{m}"} for m in MODELS},
        "methods": {m: {} for m in PAPER_METHODS} | {"my_kd": {"external": True, "title": "My|KD_1"}},
        "pairs": {
            "bert12-distilbert6": {
                "teacher": "bert12",
                "student": "distilbert6",
                "methods": [*PAPER_METHODS, "my_kd"],
                "tables": [1, 2, 5, 6, "figure2", "figure3"],
            },
            "roberta24-distilroberta6": {
                "teacher": "roberta24",
                "student": "distilroberta6",
                "methods": PAPER_METHODS[:6],
                "tables": [3, 6],
            },
            "roberta12-distilroberta6": {
                "teacher": "roberta12",
                "student": "distilroberta6",
                "methods": ["no_kd", "rail_kd_c", "codir"],
                "tasks": [t for t in TASKS if t != "stsb"],
                "tables": [4],
            },
        },
    }


def record(pair: str, teacher: str, method: str, task: str, seed: int) -> dict[str, Any]:
    """One valid record; every number follows from the arguments."""
    config = {"pair": pair, "method": method, "task": task, "training": {"epochs": 3, "learning_rate": 5e-4}}
    splits = ["dev", "test", *(o.name for o in OUT_OF_DOMAIN.values() if o.source == task and o.hub)]
    scores, baselines, examples = {}, {}, {"train": 1000 + list(TASKS).index(task)}
    for split in splits:
        names = ["accuracy"] if split in OUT_OF_DOMAIN else [*TASKS[task].metrics, TASKS[task].shown]
        level, wide = 0.6 + 0.25 * number("level", method, task, split), 0.04
        if method == "teacher":  # above all its students
            level, wide = 0.98, 0.01
        scores[split] = {m: level + wide * number(pair, method, task, seed, split, m) for m in names}
        baselines[split] = {m: {"accuracy": 0.55, "f1": 0.7}.get(m, 0.0) for m in names}
        examples[split] = 400
    depth = 24 if "24" in teacher else 12
    attention = [[number(task, seed, i, j) + (j == depth - 2) for j in range(depth - 1)] for i in range(5)]
    attention = [[w / sum(row) for w in row] for row in attention]
    cosine = {
        kind: [[0.3 + 0.5 * number(kind, method, seed // 9, i, j) + 0.05 * number(seed, j) for j in range(depth - 1)]
               for i in range(5)]
        for kind in ("mean", "cls")
    }  # fmt: skip
    shown = TASKS[task].shown
    course = [0.8, 1.0, 0.95][: 2 if teacher == "roberta24" and seed == 3 else 3]  # patience ends some runs early
    epochs = [
        {"epoch": e + 1, "dev": {shown: share * scores["dev"][shown]}, "loss": {"total": 1 / (e + 1)}, "seconds": 1.0}
        for e, share in enumerate(course)
    ]
    said: dict[str, Any] = {"attention": attention} if method == "alp_kd" else {}
    if method.startswith("rail_kd"):
        said = {"layers": [sorted(range(1, depth), key=lambda j: number("draw", seed, e, j))[:5] for e in range(3)]}
        said["layers"] = [sorted(layers) for layers in said["layers"]]
    teaching = method == "teacher"
    fingerprints = {key: sha256_text(repr((key, teacher, task))) for key in ("data", "teacher", "student")}
    own = {}
    if method in available():
        fingerprints["method"] = fingerprint(source_files(method))
        own = {"method_class": as_json(method)}
    return {
        "schema": SCHEMA_VERSION,
        "benchmark": "tiny",
        "synthetic": True,
        "stage": "teacher" if teaching else "distil",
        "pair": pair,
        "teacher": teacher,
        "student": teacher if teaching else pair.partition("-")[2],
        "method": method,
        "task": task,
        "seed": seed,
        "config": config,
        "config_hash": sha256_text(canonical(config)),
        "shown": TASKS[task].shown,
        "scores": scores,
        "baselines": baselines,
        "examples": examples,
        "best_epoch": 2,
        "epochs": epochs,
        **own,
        "method_record": said,
        "similarity": cosine if task == "sst2" and not teaching else {},
        "cost": {
            "train_seconds": 10 + 30 * number("time", method, task, seed),
            "step_seconds": 0.01 + 0.02 * number("step", method, task, seed),
            "steps": 100,
            "eval_seconds": 1.0,
            "peak_memory_bytes": 10**8,
            "regime": "none" if method in ("teacher", "no_kd") else "cached",
            "device": "cpu",
        },
        "fingerprints": fingerprints,
        "predictions": {},
        "provenance": {
            "suite": "0.1.0",
            "commit": "0123456789abcdef0123",
            "dirty": False,
            "python": "3.11.7",
            "versions": {"torch": "2.5.0", "numpy": "2.0.0"},
            "platform": "Linux",
            "processor": "Some_CPU <2>",
            "cores": 2,
            "started": "2026-01-01T00:00:00Z",
            "finished": "2026-01-01T00:01:00Z",
        },
    }


@functools.cache
def text_of(pair: str, teacher: str, method: str, task: str, seed: int) -> str:
    """A record as JSON, made once for all tests."""
    return json.dumps(record(pair, teacher, method, task, seed))


class Folder:
    """A benchmark file and its results in a temporary folder."""

    def __init__(self, root: Path, content: dict[str, Any]) -> None:
        self.root, self.spec = root, content
        self.results = root / "results" / "tiny"
        self.file = root / "tiny.yaml"
        self.save()

    def save(self) -> None:
        """Writes the benchmark file."""
        self.file.write_text(yaml.safe_dump(self.spec, sort_keys=False), encoding="utf-8")

    def path(self, pair: str, method: str, task: str, seed: int = 1) -> Path:
        """Where a record lies."""
        if method == "teacher":
            return self.results / "teachers" / self.spec["pairs"][pair]["teacher"] / task / "record.json"
        return self.results / "runs" / pair / method / task / f"seed-{seed}.json"

    def read(self, pair: str, method: str, task: str, seed: int = 1) -> dict[str, Any]:
        """A record as plain JSON."""
        return json.loads(self.path(pair, method, task, seed).read_text(encoding="utf-8"))

    def edit(
        self, change: Callable[[dict[str, Any]], object], pair: str, method: str, task: str, seed: int = 1
    ) -> None:
        """Changes a record in place."""
        content = self.read(pair, method, task, seed)
        change(content)
        self.path(pair, method, task, seed).write_text(json.dumps(content), encoding="utf-8")

    def fill(self) -> "Folder":
        """Writes every record that the benchmark file asks for."""
        for pair, options in self.spec["pairs"].items():
            teacher = options["teacher"]
            for task in options.get("tasks") or self.spec["data"]["tasks"]:
                made = [(self.path(pair, "teacher", task), text_of(teacher, teacher, "teacher", task, 1))]
                made += [
                    (self.path(pair, method, task, seed), text_of(pair, teacher, method, task, seed))
                    for method in options["methods"]
                    if (method, task) != ("codir", "stsb")
                    for seed in self.spec["seeds"]
                ]
                for path, content in made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(content, encoding="utf-8")
        return self

    def predict(self, skill: Callable[[str, str], float], examples: int = 400) -> "Folder":
        """Gives every student run predictions, and the scores that follow from them.

        A run answers right with probability skill(method, split) and else at random, some examples harder than others;
        a score is its label plus noise. Labels lie where the workflow prepares them.
        """
        for pair, options in self.spec["pairs"].items():
            for task in options.get("tasks") or self.spec["data"]["tasks"]:
                prepared = self.results / "prepared" / options["teacher"] / f"{task}.safetensors"
                sets = ["dev", "test", *(o.name for o in OUT_OF_DOMAIN.values() if o.source == task and o.hub)]
                labels, hard = {}, {}
                for split in sets:
                    draw = np.random.default_rng([len(split), *task.encode(), *split.encode()])
                    classes = len(OUT_OF_DOMAIN[split].labels if split in OUT_OF_DOMAIN else TASKS[task].labels)
                    labels[split] = draw.integers(classes, size=examples) if classes else draw.normal(size=examples)
                    hard[split] = draw.normal(size=examples)
                prepared.parent.mkdir(parents=True, exist_ok=True)
                save_file({f"{s}.labels": y for s, y in labels.items()}, prepared)
                prepared.with_suffix(".json").write_text(json.dumps({"sha256": sha256_file(prepared)}))
                for method in options["methods"]:
                    for seed in self.spec["seeds"]:
                        path = self.path(pair, method, task, seed)
                        if path.exists():
                            self._predict(path, skill, labels, hard)
        return self

    def _predict(
        self, path: Path, skill: Callable[[str, str], float], labels: dict[str, Any], hard: dict[str, Any]
    ) -> None:
        run = json.loads(path.read_text(encoding="utf-8"))
        task = TASKS[run["task"]]
        logits = {}
        for split, y in labels.items():
            draw = np.random.default_rng([run["seed"], *f"{run['pair']} {run['method']} {task.name} {split}".encode()])
            names, collapse = (*task.metrics, task.shown), ()
            if split in OUT_OF_DOMAIN:
                names, collapse = OUT_OF_DOMAIN[split].metrics, OUT_OF_DOMAIN[split].collapse
            if task.outputs == 1:
                logits[split] = (y + draw.normal(size=len(y)) / skill(run["method"], split))[:, None]
            else:
                knows = hard[split] / 2 + draw.normal(size=len(y)) < 1.118 * ndtri(skill(run["method"], split))
                answer = np.where(knows, y, draw.integers(max(y) + 1, size=len(y)))
                logits[split] = np.eye(task.outputs)[answer]
            logits[split] = np.ascontiguousarray(logits[split], dtype=np.float32)
            run["scores"][split] = score(names, predicted(logits[split], collapse), y)
            run["examples"][split] = len(y)
        file = path.with_suffix(".safetensors")
        save_file(logits, file)
        run["predictions"] = {"file": file.name, "sha256": sha256_file(file)}
        prepared = self.results / "prepared" / run["teacher"] / f"{task.name}.safetensors"
        method = {key: run["fingerprints"][key] for key in ("method",) if key in run["fingerprints"]}
        run["fingerprints"] = {"data": sha256_file(prepared), **method}
        path.write_text(json.dumps(run), encoding="utf-8")


GLUE = list(TASKS)
BERT, LARGE, ROBERTA = "bert12-distilbert6", "roberta24-distilroberta6", "roberta12-distilroberta6"
OOD = {"scitail": "mnli", "paws_wiki": "qqp", "imdb": "sst2"}
REFERENCE = Path(__file__).parents[2] / "benchmarks" / "reference"


def cells(folder: Folder, number: int) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """(pair, block, row, column) -> CSV row."""
    with open(folder.results / "tables" / f"table{number}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["pair"], r["block"], r["row"], r["column"]): r for r in rows}
    assert len(found) == len(rows)
    return found


def markdown(folder: Folder, number: int) -> str:
    """The Markdown file, non-breaking spaces as spaces."""
    return (folder.results / "tables" / f"table{number}.md").read_text(encoding="utf-8").replace("\xa0", " ")


def run_all(folder: Folder, *numbers: int) -> None:
    """Writes the tables; with numbers only those, to save time."""
    pairs = folder.spec["pairs"]
    for name, pair in list(pairs.items()):
        pair["tables"] = [t for t in pair["tables"] if not numbers or t in numbers]
        if not pair["tables"]:
            del pairs[name]
    folder.save()
    assert main(["tables", str(folder.file), "--results", str(folder.results)]) == 0


def scores(folder: Folder, pair: str, method: str, task: str, split: str) -> list[float]:
    """scores: (runs,), in percent, of one cell."""
    metric = "accuracy" if split in OOD else TASKS[task].shown
    seeds = [1] if method == "teacher" else [1, 2, 3]
    return [100 * folder.read(pair, method, task, s)["scores"][split][metric] for s in seeds]


def write_speed(folder: Folder, seconds: dict[tuple[str, str], float], rounds: int = 5) -> None:
    """A ``speed.json`` of (pair, method) -> seconds of a step, whose rounds differ by a tenth of a percent."""
    spec = folder.spec
    groups = [
        {
            "pair": pair,
            "kind": "pair",
            "jobs": [
                {
                    "method": method,
                    "regime": regime,
                    "own": True,
                    "seconds": [
                        seconds.get((pair, method), 10.0) * (1 + 0.001 * (k * len(method) % 7)) for k in range(rounds)
                    ],
                }
                for method in options["methods"]
                for regime in (["none"] if method == "no_kd" else ["cached", "live"])
            ],
        }
        for pair, options in spec["pairs"].items()
    ]
    machine = {"device": "cpu", "processor": "P", "threads": 2, "versions": {"torch": "2"}}
    content = {
        "schema": 1,
        "benchmark": spec["name"],
        "shapes": "own",
        "environment": machine,
        "settings": {"rounds": rounds, "steps": 5, "batch_size": 8},
        "groups": groups,
    }
    (folder.results / "speed.json").write_text(json.dumps(content), encoding="utf-8")
