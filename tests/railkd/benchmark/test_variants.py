"""Entries that stand for several: what they are called, what they hold, and the mistakes that are named."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from railkd.benchmark import config
from railkd.benchmark.variants import Variant, expand
from railkd.errors import UserError
from railkd.methods.parts.mapping import RailMap
from railkd.methods.parts.rail import Projection

ROOT = Path(__file__).parents[3]
RAIL = {"mapping": "random_sorted", "projection": "learned", "projection_dim": 8}


def spec(entry: dict[str, Any], methods: list[str], **others: Any) -> dict[str, Any]:
    return {"methods": {"no_kd": {}, "rail_kd_l": {**RAIL, **entry}, **others}, "pairs": {"p": {"methods": methods}}}


def test_one_option_at_a_time_and_every_combination() -> None:
    entry = {
        "vary": {"projection_dim": [4, 8], "mapping": ["last"]},
        "cross": {"mapping": ["random_sorted", "last"], "projection": ["learned", "none"]},
    }
    given = spec(entry, ["no_kd", "rail_kd_l", "rail_kd_l.*"])
    made, variants = expand(given)
    names = ["rail_kd_l.projection_dim-4", "rail_kd_l.last", "rail_kd_l.none", "rail_kd_l.last.none"]
    assert list(variants) == names  # the entry's own values are the entry itself, and nothing is there twice
    assert made["pairs"]["p"]["methods"] == ["no_kd", "rail_kd_l", *names]
    assert made["methods"]["rail_kd_l"] == RAIL and list(made["methods"]) == ["no_kd", "rail_kd_l", *names]
    crossed = {"method": "rail_kd_l", **RAIL, "mapping": "last", "projection": "none"}
    assert made["methods"]["rail_kd_l.last.none"] == crossed
    assert variants["rail_kd_l.last.none"] == Variant("rail_kd_l", {"mapping": "last", "projection": "none"})
    assert "vary" in given["methods"]["rail_kd_l"] and given["pairs"]["p"]["methods"][-1] == "rail_kd_l.*"


def test_an_entry_under_another_name_keeps_its_method() -> None:
    made, _ = expand(spec({"vary": {"mapping": [[1, 2]]}, "method": "rail_kd_c"}, ["rail_kd_l.*"]))
    assert made["methods"]["rail_kd_l.1-2"] == {**RAIL, "method": "rail_kd_c", "mapping": [1, 2]}
    assert made["pairs"]["p"]["methods"] == ["rail_kd_l.1-2"]


def maps(**choice: int) -> list[list[int]]:
    made, variants = expand(spec({"vary": {"mapping": [choice]}}, ["rail_kd_l.*"]))
    return [made["methods"][v]["mapping"] for v in variants]


def test_a_survey_holds_every_sorted_map_once() -> None:
    found = maps(choose=5, of=11)
    assert len(found) == len({tuple(m) for m in found}) == math.comb(11, 5) == 462
    assert all(m == sorted(set(m)) and m[0] >= 1 and m[-1] <= 11 for m in found) and found == sorted(found)


def test_a_larger_sample_holds_a_smaller_one() -> None:
    small, large = maps(choose=5, of=11, sample=20), maps(choose=5, of=11, sample=60)
    assert len(small) == 20 and len(large) == 60 and all(m in large for m in small)
    assert small == maps(choose=5, of=11, sample=20)
    average = [sum(column) / 60 for column in zip(*large, strict=True)]
    assert average == pytest.approx([2, 4, 6, 8, 10], abs=0.8)  # no corner of the survey


@pytest.mark.parametrize(
    ("entry", "methods", "said"),
    [
        ({"vary": {"temperature": [1]}}, [], "methods.rail_kd_l.vary.temperature: the entry does not state its own"),
        ({"cross": {"method": ["pkd"]}}, [], "methods.rail_kd_l.cross.method: the entry does not state its own"),
        ({"vary": {"mapping": [{"choose": 5}]}}, [], "methods.rail_kd_l.vary.mapping: {'choose': 5} is not valid"),
        ({"vary": {"mapping": [{"choose": 5, "of": "all"}]}}, [], "is not valid, expected a value or {choose: 5"),
        ({"vary": {"mapping": [{"choose": 5, "of": 11, "sample": 463}]}}, [], "there are 462 such maps, expected"),
        ({"vary": {"mapping": [{"choose": 9, "of": 5}]}}, [], "there are 0 such maps"),
        ({"vary": {"mapping": [{"choose": 15, "of": 30}]}}, [], "there are 155,117,520 such maps"),
        ({"vary": {"mapping": [list(range(40))]}}, [], "is no name, expected at most 64"),
        ({"vary": {"mapping": ["none"], "projection": ["none"]}}, [], "two entries would be named 'rail_kd_l.none'"),
        ({}, ["rail_kd_l.*"], "pairs.p.methods: 'rail_kd_l.*' names no variant"),
    ],
)
def test_mistakes_are_named(entry: dict[str, Any], methods: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(spec(entry, methods))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_taken() -> None:
    with pytest.raises(UserError, match="two entries would be named 'rail_kd_l.last'"):
        expand(spec({"vary": {"mapping": ["last"]}}, [], **{"rail_kd_l.last": {"method": "rail_kd_l"}}))


def test_a_benchmark_file_is_written_out_when_it_is_read(make_spec: Any, tmp_path: Path) -> None:
    content = make_spec(
        {
            "methods.rail_kd_l": {"mapping": "random_sorted", "vary": {"mapping": ["last", [2]]}},
            "pairs.p.methods": ["no_kd", "rail_kd_l", "rail_kd_l.*"],
            "pairs.p.tables": ["ablation"],
        }
    )
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    benchmark = config.load(path)
    assert [c.method for c in benchmark.cells() if c.task == "mrpc"] == [
        "no_kd", "rail_kd_l", "rail_kd_l.last", "rail_kd_l.2",
    ]  # fmt: skip
    assert benchmark.method_class("rail_kd_l.2") == "rail_kd_l" and benchmark.options("rail_kd_l.2") == {"mapping": [2]}
    own = benchmark.run_config("p", "rail_kd_l", "mrpc")["method"]
    content["methods"]["rail_kd_l"] = {"mapping": "random_sorted"}
    content["pairs"]["p"] |= {"methods": ["no_kd", "rail_kd_l"], "tables": [2]}
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(content))
    assert own == config.load(plain).run_config("p", "rail_kd_l", "mrpc")["method"]  # what a run without `vary` has
    assert own["method"] == "rail_kd_l" and own["mapping"] == "random_sorted"
    content["methods"]["rail_kd_l"]["vary"] = {"mapping": "last"}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="methods.rail_kd_l.vary.mapping: found the text 'last', expected a list"):
        config.load(path)
    content["methods"]["rail_kd_l"]["vary"] = {"maping": ["last"]}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"^{path}: methods.rail_kd_l.vary.maping: the entry does not state its own"):
        config.load(path)


def test_the_two_benchmarks_hold_what_they_say() -> None:
    ablation, survey = (config.load(ROOT / "benchmarks" / f"{name}.yaml") for name in ("ablation", "layer_maps"))
    for entry in ("rail_kd_l", "rail_kd_c"):
        changed = [v.changed for v in ablation.variants.values() if v.entry == entry]
        alone = {name: [c[name] for c in changed if list(c) == [name]] for c in changed for name in c}
        assert sorted(alone["mapping"]) == sorted({*get_args(RailMap)} - {"random_sorted"})
        assert sorted(alone["projection"]) == sorted({*get_args(Projection)} - {"learned"})
        assert alone["pooling"] == ["cls"] and alone["pool_padding"] == [True]
        both = [{"mapping": mapping, "projection": "none"} for mapping in ("skip", "last")]
        assert [c for c in changed if len(c) > 1] == both and len(changed) == 7 + 3 + 2 + 2
    fixed = [v.changed["mapping"] for v in survey.variants.values() if isinstance(v.changed["mapping"], list)]
    assert len(fixed) == 60 and {"mapping": "skip"} in [v.changed for v in survey.variants.values()]
    for benchmark, students in ((ablation, 640), (survey, 594)):
        assert len(list(benchmark.cells())) * len(benchmark.seeds) == students
        assert f"{students:,} students" in benchmark.path.read_text()
