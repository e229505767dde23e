"""A record is whole: every setting at its value, so that a default changed in code is another configuration."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from published import BENCHMARK, REFERENCE, UNFINISHED, unfinished_benchmark

from analysis.load import read as load
from analysis.reported_benchmark import read
from railkd import cli
from railkd.benchmark import config, defaults
from railkd.benchmark.config import ROOT
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.jobs import distillation
from railkd.method_facts import Facts, facts
from railkd.method_sources import FOLDER, available, fingerprint, source_files
from railkd.outdated import SOURCE, differences, misjudged, misplaced, scores_of_points
from railkd.records import hashes, run_record, sealed_files

CPU = torch.device("cpu")
PUBLISHED = ROOT / "results" / "reference" / "methods" / "runs"
MINE = """
from railkd.methods.base import Method, cross_entropy


class Base(Method):
    complexity = "O(1)"
    regression = False

    def __init__(self, setting, alpha: float = 0.5, names: list[str] | None = None):
        super().__init__(setting)
        self.weights = {"ce": alpha}

    def terms(self, batch, student, teacher):
        return {"ce": cross_entropy(student.logits_BC, batch.labels_B, False)}


class Mine(Base):
    "One sentence."

    def __init__(self, setting, beta: float = 1.0, **options):
        super().__init__(setting, **options)
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path / 'mine.py'}:Mine"


def test_facts_are_the_classs_inherited_ones_too(mine: str) -> None:
    found = facts(mine)
    assert (found.complexity, found.regression, found.needs_live_teacher) == ("O(1)", False, False)
    assert found.summary == "One sentence." and found.title == ""
    assert found.defaults == {"alpha": 0.5, "beta": 1.0, "names": None}
    for name in ("rail_kd_l", "rail_kd_c"):
        assert facts(name).complexity == "O(m)" and facts(name).limitation == "-"
    assert (
        facts("rail_kd_c").title == "RAIL-KD^c" and facts("cr_ild").needs_live_teacher and not facts("codir").regression
    )


def test_a_moved_file_is_the_same_method_and_an_edited_one_is_not(
    make_benchmark: Any, mine: str, tmp_path: Path
) -> None:
    """Another working folder or machine has another path to it; the source is in the fingerprints."""
    moved = f"{tmp_path / 'elsewhere' / 'mine.py'}:Mine"
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "mine.py", tmp_path / "elsewhere")
    configs = [
        make_benchmark({"methods.mine": {"method": name}, "pairs.p.methods": ["mine"]}).run_config("p", "mine", "mrpc")
        for name in (mine, moved)
    ]
    assert configs[0] == configs[1] and configs[0]["method"]["method"] == "mine.py:Mine"
    record = {"schema": 2, "config": configs[0], "fingerprints": {"method": fingerprint(source_files(mine))}}
    assert differences(record, configs[1], moved) == []
    (tmp_path / "elsewhere" / "mine.py").write_text(f"{MINE}\n\nHERE = 1\n")
    assert differences(record, configs[1], moved) == [SOURCE]


def test_a_subclass_of_codir_is_not_run_on_scores(make_benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from railkd.methods.codir import CoDIR\n\n\nclass Mine(CoDIR):\n    pass\n")
    benchmark = make_benchmark(
        {"data.tasks": ["mrpc", "stsb"], "methods.mine": {"method": f"{tmp_path / 'mine.py'}:Mine"},
         "pairs.p.methods": ["no_kd", "mine"]}
    )  # fmt: skip
    assert [tuple(c) for c in benchmark.cells() if c.method == "mine"] == [("p", "mine", "mrpc")]


def test_every_option_and_every_key_of_training_is_in_the_configuration(make_benchmark: Any, mine: str) -> None:
    benchmark = make_benchmark({"methods.mine": {"method": mine, "beta": 3}, "pairs.p.methods": ["mine", "pkd"]})
    assert benchmark.run_config("p", "mine", "mrpc")["method"] == {
        "method": "mine.py:Mine", "alpha": 0.5, "beta": 3.0, "names": None
    }  # fmt: skip
    found = benchmark.run_config("p", "pkd", "mrpc", {"warmup": 0})
    assert found["method"] == {
        "method": "pkd", "alpha": 0.5, "temperature": 1.0, "beta": 100.0, "mapping": "skip", "reduction": "source"
    }  # fmt: skip
    assert found["training"].keys() == found["teacher"]["training"].keys() == defaults.TRAINING.keys()
    assert repr(found["training"]["warmup"]) == "0.0"
    benchmark = make_benchmark({"training.student": {}})
    assert benchmark.run_config("p", "no_kd", "mrpc")["training"]["precision"] == "auto"  # the dtype is in cost


def test_pre_training_and_generated_text_are_in_the_configuration_whole() -> None:
    found = config.load(ROOT / "benchmarks" / "mini.yaml").run_config("bert12-distilbert6", "no_kd", "rte")
    assert found["data"]["sizes"].keys() == defaults.SIZES.keys() and found["data"]["sizes"]["train"] == 320
    for model in (found["student"], found["student"]["from"], found["teacher"]["model"]):
        assert model["pretrain"].keys() == defaults.PRETRAINING.keys()


@pytest.mark.parametrize("role", ["method", "training", "pretraining"])
def test_a_default_changed_in_code_is_another_configuration(
    role: str, make_benchmark: Any, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = {"family": "bert", "layers": 4, "width": 16, "heads": 2, "vocabulary": 600, "max_length": 64, "steps": 1,
            "batch_size": 8, "learning_rate": 1e-3}  # fmt: skip
    changes = {"methods.mine": {"method": mine}, "pairs.p.methods": ["mine"], "models.bert2": {"pretrain": bert},
               "pairs.p.student": "bert2", "data.source": "miniglue", "data.root": ...}  # fmt: skip
    before = make_benchmark(changes).run_config("p", "mine", "mrpc")
    if role == "method":
        path = Path(mine.partition(":")[0])
        path.write_text(MINE.replace("alpha: float = 0.5", "alpha: float = 0.75"))
    elif role == "training":
        monkeypatch.setitem(defaults.TRAINING, "weight_decay", 0.02)
    else:
        monkeypatch.setitem(defaults.PRETRAINING, "masked", 0.2)
    after = make_benchmark(changes).run_config("p", "mine", "mrpc")
    assert hashes.canonical(before) != hashes.canonical(after)
    record = {"schema": 2, "config": before, "fingerprints": {}}
    expected = {"method": ["method"], "training": ["teacher", "training"], "pretraining": ["student"]}
    assert differences(record, after) == expected[role]


def test_what_is_given_and_what_is_the_default_are_one_configuration(make_benchmark: Any) -> None:
    for option in ({}, {"temperature": 1}, {"temperature": 1.0}, {"alpha": 0.5, "mapping": "skip"}):
        benchmark = make_benchmark({"methods.pkd": option})
        assert benchmark.run_config("p", "pkd", "mrpc") == make_benchmark().run_config("p", "pkd", "mrpc")
        text = hashes.canonical(benchmark.run_config("p", "pkd", "mrpc"))
        assert text == hashes.canonical(make_benchmark().run_config("p", "pkd", "mrpc"))


def test_an_option_without_a_default_must_be_given(make_benchmark: Any, mine: str) -> None:
    path = Path(mine.partition(":")[0])
    path.write_text(MINE.replace("alpha: float = 0.5", "alpha"))
    changes = {"methods.mine": {"method": mine}, "pairs.p.methods": ["mine"], "pairs.p.tasks": ["mrpc"]}
    with pytest.raises(UserError, match=r"methods\.mine\.alpha: is not given and has no default$"):
        check(make_benchmark(changes), Layout("nowhere"))
    check(make_benchmark({**changes, "methods.mine": {"method": mine, "alpha": 0.5}}), Layout("nowhere"))


def test_a_base_class_in_a_file_beside_is_source_too(tmp_path: Path) -> None:
    base, derived = MINE.split("\n\nclass Mine")
    for line in ("from my_base import Base", "import my_base", "from .my_base import Base", "from . import my_base"):
        (tmp_path / "my_base.py").write_text(base)
        (tmp_path / "mine.py").write_text(f"{line}\n\n\nclass Mine{derived}")
        files = source_files(f"{tmp_path / 'mine.py'}:Mine")
        assert [f.name for f in files] == ["mine.py", "my_base.py", "base.py"], line
        before = fingerprint(files)
        (tmp_path / "my_base.py").write_text(base + "\n# edited\n")
        assert fingerprint(files) != before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from pkg import losses", ["pkg/losses.py", "pkg/__init__.py"]),
        ("from pkg import SCALE", ["pkg/__init__.py"]),
        ("import pkg.losses", ["pkg/losses.py", "pkg/__init__.py"]),
        ("from pkg.losses import SCALE", ["pkg/losses.py", "pkg/__init__.py"]),
        ("from pkg.inner import terms", ["pkg/__init__.py", "pkg/inner/__init__.py", "pkg/inner/terms.py"]),
        ("from .pkg import losses", ["pkg/losses.py", "__init__.py", "pkg/__init__.py"]),
        ("from railkd.methods import pkd, pkg", ["pkd.py", "base.py", "mapping.py", "projection.py"]),
        ("from railkd.methods.parts import tokens", ["tokens.py"]),
        ("import railkd.methods.parts.tokens, losses", ["tokens.py", "losses.py"]),
        ("import railkd\nfrom railkd import errors, signals", []),
    ],
)
def test_a_module_that_is_imported_from_its_package_is_source_too(
    tmp_path: Path, line: str, expected: list[str]
) -> None:
    """And each package's own file; of the suite's packages, whose files compute nothing, the module alone."""
    for place in ("losses.py", "__init__.py", "pkg/__init__.py", "pkg/losses.py", "pkg/inner/__init__.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("SCALE = 1.0\n")
    (tmp_path / "pkg" / "inner" / "terms.py").write_text("")
    (tmp_path / "mine.py").write_text(f"{line}\n")
    found = source_files(f"{tmp_path / 'mine.py'}:Mine")[1:]
    shown = [str(f.relative_to(tmp_path)) if tmp_path in f.parents else f.name for f in found]
    assert sorted(shown) == sorted(expected)
    for file in [f for f in found if tmp_path in f.parents]:
        before = fingerprint(source_files(f"{tmp_path / 'mine.py'}:Mine"))
        file.write_text("SCALE = 2.0  # edited\n")
        assert fingerprint(source_files(f"{tmp_path / 'mine.py'}:Mine")) != before, file


def test_a_file_of_a_package_is_read_from_within_it(tmp_path: Path, monkeypatch: Any) -> None:
    """A relative path has no folder above the one that one works in."""
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "mine.py").write_text("from ..losses import SCALE\nimport numpy\n")
    monkeypatch.chdir(tmp_path)
    assert source_files("mine.py") == [Path("mine.py")]


@pytest.mark.parametrize("name", available())
def test_the_sources_of_a_built_in_method_are_files_of_methods(name: str) -> None:
    """The published records hold their hash: with another file among them, or another comment in one, all of them
    would count as outdated."""
    files = source_files(name)
    assert {file.parent for file in files} <= {FOLDER, FOLDER / "parts"}
    assert not {file.name for file in files} & {"__init__.py", "mistakes.py"}
    (published,) = PUBLISHED.glob(f"*/{name}/mnli/seed-1.json")
    assert run_record.read(published)["fingerprints"]["method"] == fingerprint(files)


@pytest.fixture
def trained(pipeline: Any, tmp_path: Path) -> Callable[..., tuple[config.Benchmark, Layout, dict[str, Any]]]:
    """One run of PKD and its record."""
    shutil.copytree(pipeline.layout.root, tmp_path / "results", ignore=shutil.ignore_patterns("runs", ".kept"))
    spec = yaml.safe_load(pipeline.benchmark.path.read_text())
    spec["pairs"] = {"bert2": {**spec["pairs"]["bert2"], "methods": ["pkd"], "tasks": ["mrpc"]}}
    spec["seeds"] = [1]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec))
    benchmark, layout = config.load(path), Layout(tmp_path / "results")
    cell = Cell("bert2", "pkd", "mrpc")
    distillation.distil(benchmark, layout, cell, [1], CPU, lambda line: None)
    return benchmark, layout, run_record.read(layout.run(cell, 1))


def test_a_record_is_whole_and_says_what_its_class_says(trained: Any, capsys: Any) -> None:
    benchmark, layout, record = trained
    assert record["schema"] == 2 and record["config"] == benchmark.run_config("bert2", "pkd", "mrpc")
    assert record["config"]["method"]["reduction"] == "source"
    assert Facts(**record["method_class"]) == facts("pkd") and record["method_class"]["title"] == "PKD"
    assert record["fingerprints"]["method"] == fingerprint(source_files("pkd"))
    assert differences(record, record["config"]) == []
    shutil.rmtree(layout.root / "teachers" / "bert4" / "stsb")
    base = [str(benchmark.path), "--results", str(layout.root)]
    assert cli.main(["verify", *base]) == 0
    path = layout.run(Cell("bert2", "pkd", "mrpc"), 1)
    path.unlink()
    run_record.write(path, {**record, "fingerprints": {**record["fingerprints"], "method": "0" * 64}})
    capsys.readouterr()
    assert cli.main(["verify", *base]) == 1
    assert (
        f"{path}: trained with another version of its method's source than the present one" in capsys.readouterr().out
    )


def test_a_teachers_record_is_whole(trained: Any) -> None:
    benchmark, layout, _ = trained
    record = run_record.read(layout.teacher("bert4", "mrpc") / "record.json")
    assert record["config"]["training"].keys() == defaults.TRAINING.keys() and "method_class" not in record
    assert differences(record, run_record.expected_teacher_config(benchmark, "bert4", "mrpc")) == []


def test_records_of_the_schema_before_load_and_are_compared_by_what_they_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, cell = config.load(unfinished_benchmark(tmp_path, monkeypatch)), Cell("minilm6-minilm3", "pkd", "mrpc")
    record, asked = run_record.read(UNFINISHED.run(cell, 1)), benchmark.run_config(*cell)
    assert record["schema"] == 1 and record["config"]["method"] == {"method": "pkd"}
    assert differences(record, asked) == []
    stated = {**record, "config": {**record["config"], "method": {"method": "pkd", "alpha": 0.7}}}
    assert differences(stated, asked) == ["method"]
    assert differences(record, {**asked, "method": {**asked["method"], "alpha": 0.7}}) == ["method"]
    assert differences(record, {**asked, "training": {**asked["training"], "epochs": 5}}) == ["training"]
    assert SOURCE not in differences({**record, "fingerprints": {"method": "0" * 64}}, asked)
    gone = {**record, "config": {**record["config"], "method": {"method": "no_such_file.py:Gone"}}}
    assert differences(gone, asked) == ["method"]


def test_the_published_references_load_and_nothing_in_them_is_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, layout, schema, students in (
        (BENCHMARK, REFERENCE, 2, 375),
        (unfinished_benchmark(tmp_path, monkeypatch), UNFINISHED, 1, 48),
    ):
        found = load(read(path), layout.root)
        assert len(found.students) == students and {record["schema"] for record in found.everything} == {schema}
        assert not found.edited and not found.left_out
        # the old records hold out single rows of SST-2, phrases of sentences in train
        assert {task for tasks in found.outdated.values() for task in tasks} == ({"sst2"} if schema == 1 else set())


POINTS = [{"learning_rate": 1e-3}, {"learning_rate": 2e-3}, {"learning_rate": 4e-3}]
CHOICES: dict[str, tuple[Callable[[Layout, Cell], Any], str | None]] = {
    "as it was made": (lambda at, cell: None, None),
    "no best.json": (lambda at, cell: at.best(cell).unlink(), "missing or not what was written"),
    "half of it": (lambda at, cell: at.best(cell).write_text('{"point"'), "missing or not what was written"),
    "another score": (lambda at, cell: scored(at, cell, 0, 0.9), "its points have changed"),
    "a point without scores": (lambda at, cell: at.point(cell, 2).write_text("{}"), "its points have changed"),
    "no point": (lambda at, cell: at.point(cell, 2).unlink(), "its points have changed"),
    "another grid": (lambda at, cell: chosen(at, cell, 1, POINTS[:2]), "its points have changed"),
    "the second best": (
        lambda at, cell: chosen(at, cell, 2, POINTS),
        "{'learning_rate': 0.004} is not the point with the best f1 on dev",
    ),
}


def scored(layout: Layout, cell: Cell, number: int, score: float) -> None:
    sealed_files.write_json(layout.point(cell, number), {"scores": {"dev": {"f1": score}, "test": {"f1": 1 - score}}})


def chosen(layout: Layout, cell: Cell, number: int, grid: list[dict[str, float]]) -> None:
    best = {"point": POINTS[number], "scores": [0.4, 0.7, 0.7], "grid": grid}
    sealed_files.write_json(layout.best(cell), sealed_files.sealed(best))


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_of_a_search(make_benchmark: Any, tmp_path: Path, name: str) -> None:
    rates = [point["learning_rate"] for point in POINTS]
    benchmark = make_benchmark({"search": {"seed": 0, "grid": {"learning_rate": rates}}})
    layout, cell = Layout(tmp_path / "results"), Cell("p", "pkd", "mrpc")
    for number, score in enumerate((0.4, 0.7, 0.7)):  # the first of equals is the best
        scored(layout, cell, number, score)
    chosen(layout, cell, 1, POINTS)
    change, expected = CHOICES[name]
    change(layout, cell)
    assert misjudged(benchmark, layout, cell) == expected


def test_the_choice_for_a_task_that_the_search_leaves_out(make_benchmark: Any, tmp_path: Path) -> None:
    """The point with the best mean over the tasks that it names, each by its own metric."""
    grid = {"learning_rate": [point["learning_rate"] for point in POINTS]}
    tasks = {"mrpc": None, "cola": None, "sst2": None}
    search = {"seed": 0, "grid": grid, "tasks": ["mrpc", "cola"]}
    benchmark = make_benchmark({"search": search, "data.tasks": tasks})
    layout, cell = Layout(tmp_path / "results"), Cell("p", "pkd", "sst2")
    for number, (f1, matthews) in enumerate(((0.9, 0.1), (0.6, 0.5), (0.5, 0.4))):
        scored(layout, cell._replace(task="mrpc"), number, f1)
        record = {"scores": {"dev": {"matthews": matthews}}}
        sealed_files.write_json(layout.point(cell._replace(task="cola"), number), record)
    best = {"point": POINTS[1], "tasks": ["mrpc", "cola"], "grid": POINTS}
    best["scores"] = scores_of_points(benchmark, layout, cell, sealed_files.read_json)
    assert best["scores"] == pytest.approx([0.5, 0.55, 0.45])
    sealed_files.write_json(layout.best(cell), sealed_files.sealed(best))
    assert misjudged(benchmark, layout, cell) is None
    sealed_files.write_json(layout.best(cell), sealed_files.sealed({**best, "point": POINTS[0]}))
    assert "is not the point with the best mean score on dev" in str(misjudged(benchmark, layout, cell))
    sealed_files.write_json(layout.best(cell), sealed_files.sealed(best))
    alone = make_benchmark({"search": {**search, "tasks": ["mrpc"]}, "data.tasks": tasks})
    assert misjudged(alone, layout, cell) == "the search is decided on mrpc now"
    every = make_benchmark({"search": {"seed": 0, "grid": grid}, "data.tasks": tasks})
    assert misjudged(every, layout, cell) == "the search is decided on sst2 now"


def test_a_record_in_the_place_of_another_run() -> None:
    identity = {"stage": "distil", "seed": 1, "task": "rte"}
    assert list(misplaced({**identity, "more": 3}, identity)) == []
    lines = list(misplaced({**identity, "seed": 2, "stage": "search"}, identity))
    assert lines == ["'stage' is 'search', expected 'distil'", "'seed' is 2, expected 1"]
