"""What of a model's size is known without its weights, and which pooled vectors a benchmark needs."""

from pathlib import Path
from typing import Any

import pytest

from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.jobs import model_sizes, preparing


@pytest.mark.parametrize(
    "methods, poolings",
    [(["no_kd", "vanilla_kd"], []), (["pkd", "no_kd"], ["cls"]), (["rail_kd_l", "rail_kd_c"], ["mean"]),
     (["pkd", "rail_kd_c"], ["cls", "mean"])],
)  # fmt: skip
def test_poolings_needed(bench: Any, methods: list[str], poolings: list[str]) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["pairs"] = {"p": {"teacher": "bert4", "student": "bert2", "methods": methods}}

    assert model_sizes.poolings_needed(*bench(edit), "bert4", "mrpc") == poolings

    def padded(spec: dict[str, Any]) -> None:
        edit(spec)
        spec["methods"]["rail_kd_c"]["pool_padding"] = True
        spec["methods"]["pkd"]["external"] = True

    expected = (["mean"] if "rail_kd_l" in methods else []) + (["mean_padded"] if "rail_kd_c" in methods else [])
    assert model_sizes.poolings_needed(*bench(padded), "bert4", "mrpc") == expected


def test_a_pooling_that_is_searched_is_needed_with_each_of_its_values(bench: Any) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["pairs"] = {"p": {"teacher": "bert4", "student": "bert2", "methods": ["rail_kd_l"]}}
        spec["search"] = {"seed": 0, "grid": {"learning_rate": [1e-3]}}
        spec["methods"]["rail_kd_l"]["search"] = {"pooling": ["mean", "cls"]}

    assert model_sizes.poolings_needed(*bench(edit), "bert4", "mrpc") == ["cls", "mean"]


def test_a_live_regime_needs_no_cache(bench: Any) -> None:
    def live(spec: dict[str, Any]) -> None:
        spec["training"]["student"]["regime"] = "live"

    assert model_sizes.poolings_needed(*bench(live), "bert4", "mrpc") == []


def test_shape_reads_no_weights(make_benchmark: Any) -> None:
    pretrain = {"family": "bert", "layers": 12, "width": 64, "heads": 2, "vocabulary": 99, "max_length": 64, "steps": 1,
                "batch_size": 1, "learning_rate": 0.1}  # fmt: skip
    benchmark = make_benchmark(
        {
            "models.mini": {"pretrain": pretrain},
            "models.half": {"layers_of": "mini", "layers": 6, "keep": "first"},
            "models.two": {"layers_of": "bert4", "layers": 3, "keep": "first"},
        }
    )
    layout = Layout("nowhere")
    shapes = {
        name: model_sizes.shape(benchmark, layout, name) for name in ("mini", "half", "two", "bert4", "distilbert2")
    }
    assert shapes == {
        "mini": (12, 64, 2),
        "half": (6, 64, 2),
        "two": (3, 32, 2),
        "bert4": (4, 32, 2),
        "distilbert2": (2, 16, 2),
    }


def test_vocabularies_must_agree(make_benchmark: Any, checkpoints: Path, tmp_path: Path) -> None:
    benchmark = make_benchmark(
        {"models.roberta3": {"path": str(checkpoints / "roberta3")}, "pairs.p.student": "roberta3"}
    )
    with pytest.raises(UserError, match="^models.roberta3: its vocabulary differs from that of its teacher bert4"):
        preparing.prepare(benchmark, Layout(tmp_path / "r"), "bert4", "mrpc")
