"""A student may be any checkpoint that splits text as its teacher: wider, of another family; what cannot be is said."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tokenizers import bert_tokenizer

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.jobs import distillation, fine_tuning, preparing, students
from railkd.method_sources import available
from railkd.records import run_record

METHODS = available()
CPU = torch.device("cpu")
SIZES = {"intermediate_size": 64, "max_position_embeddings": 80, "initializer_range": 0.2}
LAYERS = "a student of 1 layer has no intermediate layer, expected at least 2 layers"
ATTENTION = "reads queries, keys and values, which models.student does not show"


def save(kind: str, folder: Path, layers: int, width: int, heads: int = 2) -> None:
    """A checkpoint of random weights with the tokenizer of the teacher bert4."""
    from transformers import AutoConfig, AutoModel

    tokenizer = bert_tokenizer()
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, **SIZES}
    own = {"roberta": {"pad_token_id": 0, "type_vocab_size": 1}, "albert": {"embedding_size": 16}}.get(kind, {})
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes, **own))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def benchmark_of(make_benchmark: Any, tmp_path: Path) -> Any:
    def make(*methods: str, options: Any = None) -> Any:
        pair = {"teacher": "bert4", "student": "student", "methods": list(methods)}
        changes = {
            "data.tasks": ["mrpc"],
            "models.student": {"path": str(tmp_path / "student")},
            "methods": dict.fromkeys(methods, options or {}),
            "pairs": {"p": pair},
            "seeds": [1],
            "training.student.epochs": 2,
        }
        return make_benchmark(changes)

    return make


def test_every_method_trains_a_wider_student_of_another_family(benchmark_of: Any, tmp_path: Path) -> None:
    save("roberta", tmp_path / "student", 2, 48)  # the teacher is a BERT, 32 wide
    benchmark, layout = benchmark_of(*METHODS), Layout(tmp_path / "results")
    check(benchmark, layout)
    preparing.prepare(benchmark, layout, "bert4", "mrpc")
    fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lambda line: None)
    for method in METHODS:
        cell = Cell("p", method, "mrpc")
        distillation.distil(benchmark, layout, cell, [1], CPU, lambda line: None)
        record = run_record.read(layout.run(cell, 1))
        assert all(torch.tensor(list(epoch["loss"].values())).isfinite().all() for epoch in record["epochs"]), method
        assert students.kept(layout.run(cell, 1), record)


INTERMEDIATE = ("pkd", "ckd", "alp_kd", "codir", "rail_kd_l", "rail_kd_c")
DRAWN = "random_sorted draws 5 different teacher layers, this teacher has 3 intermediate ones"
BUCKETS = "5 buckets need at least 5 intermediate teacher layers, this teacher has 3"
HEADS = "the scores of 2 teacher heads and 4 student heads cannot be compared"


@pytest.mark.parametrize(
    ("student", "refusals"),  # kind, layers, width, heads; method -> what is said; every other method takes the student
    [
        (("bert", 2, 48, 4), {"tinybert": HEADS}),
        (("bert", 6, 32, 2), {"ckd": BUCKETS, "rail_kd_l": DRAWN, "rail_kd_c": DRAWN}),
        (("bert", 1, 32, 2), dict.fromkeys(INTERMEDIATE, LAYERS)),
        (("albert", 2, 24, 2), {"tinybert": ATTENTION, "minilm_v2": ATTENTION}),
        (("deberta-v2", 2, 24, 2), {"tinybert": ATTENTION, "minilm_v2": ATTENTION}),
    ],
)
def test_what_a_method_cannot_do_is_said_before_compute(
    benchmark_of: Any, tmp_path: Path, student: tuple[str, int, int, int], refusals: dict[str, str]
) -> None:
    kind, *sizes = student
    save(kind, tmp_path / "student", *sizes)
    layout = Layout(tmp_path / "results")
    for method in METHODS:
        if method not in refusals:
            check(benchmark_of(method), layout)
            continue
        with pytest.raises(UserError, match=rf"tiny.yaml: methods\.{method}\b.*{re.escape(refusals[method])}"):
            check(benchmark_of(method), layout)


def test_maps_are_needed_for_other_widths(benchmark_of: Any, tmp_path: Path) -> None:
    save("bert", tmp_path / "student", 2, 48)
    for method in ("rail_kd_l", "rail_kd_c"):
        with pytest.raises(UserError, match=f"methods.{method}.projection: none needs equal widths"):
            check(benchmark_of(method, options={"projection": "none"}), Layout(tmp_path / "results"))
