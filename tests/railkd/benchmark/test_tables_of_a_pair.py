"""Tables and figures that a pair names: it has to have what they are made of."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_config import message

from railkd.benchmark import config


def test_table_4_needs_another_task_than_stsb(make_spec: Any, tmp_path: Path) -> None:
    path, pair = tmp_path / "bad.yaml", {"data.tasks": ["sst2", "stsb"], "pairs.p.tasks": ["stsb"]}
    path.write_text(yaml.safe_dump(make_spec({**pair, "pairs.p.tables": [2, 4]})))
    assert message(path).startswith(f"{path}: pairs.p.tables names 4, but Table 4 leaves out STS-B, its only task; ")
    path.write_text(yaml.safe_dump(make_spec({**pair, "pairs.p.tables": [2]})))
    assert config.load(path).pair_tasks("p") == ["stsb"]


VARIED = {"mapping": "skip", "projection": "none"}


@pytest.mark.parametrize(
    ("figure", "entry", "methods", "fills"),
    [
        ("ablation", {**VARIED, "vary": {"projection": ["learned"]}}, ["rail_kd_c", "rail_kd_c.*"], True),
        ("ablation", {**VARIED, "vary": {"projection": ["learned"]}}, ["rail_kd_c"], False),
        ("ablation", {**VARIED, "vary": {"projection": ["learned"]}}, ["rail_kd_c.*"], False),
        ("ablation", VARIED, ["rail_kd_c"], False),
        ("layer_maps", {**VARIED, "vary": {"mapping": [[1]]}}, ["rail_kd_c", "rail_kd_c.*"], True),
        ("layer_maps", {**VARIED, "vary": {"mapping": [[1]]}}, ["rail_kd_c.*"], False),
        ("layer_maps", {**VARIED, "vary": {"mapping": ["last"]}}, ["rail_kd_c", "rail_kd_c.*"], False),
        ("layer_maps", {**VARIED, "cross": {"mapping": [[1]], "projection": ["learned"]}},
         ["rail_kd_c", "rail_kd_c.*"], False),
        ("budget", {}, ["rail_kd_c"], False),
    ],
)  # fmt: skip
def test_a_pair_names_a_figure_that_it_can_fill(
    make_spec: Any, tmp_path: Path, figure: str, entry: dict[str, Any], methods: list[str], fills: bool
) -> None:
    path, changes = tmp_path / "one.yaml", {"methods.rail_kd_c": entry, "pairs.p.methods": ["no_kd", *methods]}
    path.write_text(yaml.safe_dump(make_spec({**changes, "pairs.p.tables": [2, figure]})))
    if fills:
        assert config.load(path).pairs["p"]["tables"] == [2, figure]
    else:
        assert message(path).startswith(f"{path}: pairs.p.tables names {figure}, ")
    path.write_text(yaml.safe_dump(make_spec({**changes, "pairs.p.tables": [2]})))
    assert config.load(path).pairs["p"]["tables"] == [2]


def test_budgets_are_compared_between_pairs_of_the_same_models(make_spec: Any, tmp_path: Path) -> None:
    path, content = tmp_path / "one.yaml", make_spec({"pairs.p.tables": [2, "budget"]})
    content["pairs"]["long"] = {**content["pairs"]["p"], "training": {"epochs": 9}}
    path.write_text(yaml.safe_dump(content))
    assert set(config.load(path).pairs) == {"p", "long"}
    content["pairs"]["long"]["student"] = "bert2"
    path.write_text(yaml.safe_dump(content))
    assert message(path).startswith(
        f"{path}: pairs.long.tables names budget, which compares pairs of the same two models"
    )
