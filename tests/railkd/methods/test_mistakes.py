"""A mistake in a method's file is one sentence with file, line and remedy: once, in check-method and in training."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from written_mistakes import CE, HEAD, MISTAKES, START, method, terms

from railkd import cli
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.commands.checking import check
from railkd.errors import MethodError, UserError
from railkd.jobs import distillation
from railkd.methods import find
from railkd.methods.base import Method
from railkd.methods.mistakes import RENAMED
from railkd.records import run_record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A benchmark of one method on one task, and the results that a run of it reads."""
    root = tmp_path_factory.mktemp("small")
    shutil.copytree(pipeline.layout.root, root / "results", ignore=shutil.ignore_patterns("runs", ".kept", "stsb*"))
    spec = yaml.safe_load(pipeline.benchmark.path.read_text())
    spec["data"]["tasks"] = ["mrpc"]
    spec["training"]["student"] = {**spec["training"]["student"], "epochs": 1}
    return spec, root / "results"


def benchmark_of(small: tuple[dict[str, Any], Path], folder: Path, name: str) -> config.Benchmark:
    spec = {**small[0], "methods": {"my_kd": {"method": name}}}
    spec["pairs"] = {"bert2": {"teacher": "bert4", "student": "bert2", "methods": ["my_kd"]}}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec))
    return config.load(path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_once_and_alike(
    mistake: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, pattern = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    Path("my_kd.py").write_text(content)
    sentence = re.compile(r"my_kd\.py" + pattern)
    cached_only = mistake == "token states of a cached teacher"  # check-method's teacher is a live one
    assert cli.main(["check-method", "my_kd.py:MyKD"]) == 1
    said = capsys.readouterr()
    if cached_only:
        told = [line for line in said.out.splitlines() if line.startswith("FAIL")]
        assert len(told) == 1 and sentence.fullmatch(told[0].removeprefix("FAIL cached = live: "))
    else:
        assert said.out == "" and said.err.count("\n") == 1
        assert sentence.fullmatch(said.err.removeprefix("railkd: error: ").strip()), said.err
    with pytest.raises(UserError) as caught:
        made = benchmark_of(small, tmp_path, "my_kd.py:MyKD")
        distillation.distil(made, Layout(small[1]), Cell("bert2", "my_kd", "mrpc"), [1, 2], CPU, lambda line: None)
    text = str(caught.value).removeprefix("bert2 my_kd mrpc seed 1, 2: ")
    assert sentence.fullmatch(text), text
    if "seed" not in str(caught.value):  # what needs no run is seen before any
        with pytest.raises(UserError, match=re.escape(text)):
            check(benchmark_of(small, tmp_path, "my_kd.py:MyKD"), Layout(small[1]))


def test_a_number_that_is_not_finite_is_no_matter_of_precision(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_kd.py").write_text(method(terms(f'return {{"ce": {CE} * float("nan")}}')))
    assert cli.main(["check-method", "my_kd.py:MyKD"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "compute it in float32" not in said.err
    assert "my_kd.py:7: MyKD.terms() returned a term 'ce' that is nan in the first step, in float32" in said.err
    made = benchmark_of(small, tmp_path, "my_kd.py:MyKD")
    with pytest.raises(UserError, match="loss is not finite at step 1: .*look at my_kd.py:7: MyKD.terms"):
        distillation.distil(made, Layout(small[1]), Cell("bert2", "my_kd", "mrpc"), [1], CPU, lambda line: None)


def test_a_weight_of_0_needs_no_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A method of stages gives a term its weight when it returns it."""
    monkeypatch.chdir(tmp_path)
    late = 'self.weights["late"] = float(epoch > 1)\n        super().start_epoch(epoch, generator)\n'
    both = [
        f"found = {{'ce': {CE}}}",
        "if self.weights['late']:",
        "    found['late'] = 2 * found['ce']",
        "return found",
    ]
    Path("my_kd.py").write_text(
        method(f"def start_epoch(self, epoch, generator):\n        {late}", terms(*both), reads="title = 'Mine'")
    )
    assert cli.main(["check-method", "my_kd.py"]) == 0, capsys.readouterr()


def test_a_tensor_of_one_step_is_nothing_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """As in a penalty on a gradient: the point where it is taken needs one, and is made anew in every step."""
    monkeypatch.chdir(tmp_path)
    lines = ["point = student.logits_BC.detach().clone().requires_grad_()",
             "size = (student.logits_BC * point).square()",
             "slope = torch.autograd.grad(size.mean(), point, create_graph=True)[0].square().sum(-1).mean()",
             f'return {{"ce": {CE} + 0 * slope}}']  # fmt: skip
    Path("my_kd.py").write_text(method(terms(*lines)))
    assert cli.main(["check-method", "my_kd.py"]) == 0, capsys.readouterr()


OLD = {
    "attention": "@property\n    def attention(self):\n        return [], []\n",
    "live": "live = True",
    "mixes": "mixes = True",
    "ready": "@property\n    def ready(self):\n        return True\n",
}


@pytest.mark.parametrize("old", OLD)
def test_the_earlier_name_of_a_declaration(old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of the class that declares it, also where another inherits it; a function of that name is no declaration."""
    monkeypatch.chdir(tmp_path)
    body = terms(f'return {{"ce": {CE}}}')
    Path("my_kd.py").write_text(method(OLD[old], body) + "\n\nclass Mine(MyKD):\n    pass\n")
    said = rf"^my_kd\.py:5: MyKD declares '{old}', which is called '{RENAMED[old]}' now; rename it$"
    with pytest.raises(MethodError, match=said):
        find("my_kd.py:Mine")
    Path("my_kd.py").write_text(method(f"def {old}(self, x):\n        return x\n", body))
    assert find("my_kd.py").__name__ == "MyKD"
    assert set(OLD) == set(RENAMED) and all(
        hasattr(Method, new) and not hasattr(Method, old) for old, new in RENAMED.items()
    )


def test_a_stage_without_its_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("staged.py").write_text(
        "from railkd.methods.parts.stages import TwoStage\n\n\nclass Staged(TwoStage):\n    needs_logits = True\n\n"
        '    def __init__(self, setting):\n        super().__init__(setting, {"a": 1.0}, 1.0, 0.0, 1.0, 0.5)\n'
    )
    assert cli.main(["check-method", "staged.py"]) == 1
    assert capsys.readouterr().err == "railkd: error: staged.py:4: Staged has no first_terms(); define it\n"


def test_a_file_without_a_class_named(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``good.py`` is its only Method class, on the command line and in a benchmark file."""
    monkeypatch.chdir(tmp_path)
    good = method(terms(f'return {{"ce": {CE}}}'), reads="title = 'Good'")
    Path("good.py").write_text(good.replace("MyKD", "Good"))
    assert cli.main(["check-method", "good.py"]) == 0 and "FAIL" not in capsys.readouterr().out
    made, layout = benchmark_of(small, tmp_path, "good.py"), Layout(small[1])
    distillation.distil(made, layout, Cell("bert2", "my_kd", "mrpc"), [3], CPU, lambda line: None)
    record = run_record.read(layout.run(Cell("bert2", "my_kd", "mrpc"), 3))
    assert record["config"]["method"] == {"method": "good.py"} and record["method_class"]["title"] == "Good"
    Path("two.py").write_text(good + good.replace("MyKD", "Other"))
    assert cli.main(["check-method", "two.py"]) == 1
    assert "expected exactly one Method class, found ['MyKD', 'Other']; name one, as in two.py:MyKD" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("content", ["import not_there_\n", "1 / 0\n", "import sys\nsys.exit(3)\n", "class (\n"])
def test_a_file_that_cannot_be_imported(
    content: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(content)
    assert cli.main(["check-method", "bad.py:Bad"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bad.py" in error
    assert cli.main(["check", str(benchmark_of(small, tmp_path, "bad.py:Bad").path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "methods.my_kd: " in error and "bad.py" in error


def test_a_failure_of_the_machine_is_not_the_methods(small: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_kd.py").write_text(method(terms("raise torch.OutOfMemoryError('CUDA out of memory')")))
    made = benchmark_of(small, tmp_path, "my_kd.py:MyKD")
    with pytest.raises(UserError, match="GPU memory ran out .* expected a smaller batch_size") as said:
        distillation.distil(made, Layout(small[1]), Cell("bert2", "my_kd", "mrpc"), [1], CPU, lambda line: None)
    assert "my_kd.py" not in str(said.value)


def test_a_helper_in_a_file_with_dataclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dataclasses with annotations as text look their module up by name."""
    monkeypatch.chdir(tmp_path)
    lines = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\n\n\n@dataclass\nclass Part:\n"
    )
    lines += "    kept: list[int] = field(default_factory=list)\n\n\n" + HEAD + "class MyKD(Method):\n"
    Path("my_kd.py").write_text(lines + "    " + terms(f'return {{"ce": {CE}}}'))
    assert find("my_kd.py").__name__ == "MyKD"
    Path("my_kd.py").write_text(lines.replace("class MyKD(Method):", "class Other:") + "    pass\n")
    with pytest.raises(MethodError, match=r"^my_kd.py:\d+: \w+ is no Method"):
        find("my_kd.py")


def test_a_layer_map_that_is_computed_with_tensors_is_built_by_every_command(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many write it; a method that is only looked at has no memory for numbers at first."""
    lines = "        self.layers = torch.linspace(1, 3, 2).round().int().tolist()\n        self.weights = {'ce': 1.0}\n"
    (tmp_path / "even.py").write_text(method(START + lines, terms(f'return {{"ce": {CE}}}')))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-method", "even.py"]) == 0
    check(benchmark_of(small, tmp_path, "even.py"), Layout(small[1]))


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, content, said in (
        ("raises", "raise RuntimeError('no licence')\n", "its package cannot be imported (RuntimeError: no licence)"),
        ("lacks", "import not_there_\n", "its package cannot be imported (ModuleNotFoundError: No module named 'not_"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(content)
        (tmp_path / name / "kd.py").write_text(method(terms(f'return {{"ce": {CE}}}')))
        with pytest.raises(UserError, match=re.escape(f"method '{name}.kd:MyKD': {said}")):
            find(f"{name}.kd:MyKD")
    with pytest.raises(UserError, match=r"no Python file absent\.kd, nor a module of this folder or an installed one"):
        find("absent.kd:MyKD")
