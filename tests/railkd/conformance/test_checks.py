"""The conformance suite passes every method of the suite, and each check can fail: methods broken on purpose."""

import re
from pathlib import Path
from typing import Any

import pytest
from mutants import HEAD, MUTANTS

from railkd import cli
from railkd.conformance.run_checks import CHECKS, run_checks
from railkd.errors import UserError
from railkd.method_sources import available, source_files

ALSO = [
    ("rail_kd_l", {"mapping": "random_sorted_step", "pooling": "cls"}),
    ("rail_kd_l", {"mapping": "random_once", "projection": "frozen_random"}),
    ("rail_kd_c", {"pool_padding": True, "projection": "none"}),
    ("alp_kd", {"scale": "sqrt"}),
    ("pkd", {"mapping": [7, 8, 9, 10, 11], "reduction": "sum"}),
]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in available()), *ALSO])
def test_every_method_of_the_suite_conforms(name: str, options: dict[str, Any]) -> None:
    results = list(run_checks(name, options))
    assert [str(r) for r in results if r.status == "FAIL"] == []
    assert [r.check for r in results] == list(CHECKS)
    assert "-" not in {r.status for r in results if r.check in ("gradient targets", "determinism", "resume")}


@pytest.mark.parametrize(
    ("title", "body", "said"), [(title, *mutant) for title, mutants in MUTANTS.items() for mutant in mutants]
)
def test_only_the_check_of_a_broken_property_fails(title: str, body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mutant.py").write_text(HEAD + body)
    results = list(run_checks(f"{tmp_path / 'mutant.py'}:Mutant"))
    failed = {r.check: r.text for r in results if r.status == "FAIL"}
    assert list(failed) == [title], failed
    assert said in failed[title] and "\n" not in failed[title]


def test_every_check_has_a_mutant() -> None:
    assert set(MUTANTS) == set(CHECKS)


def test_declared_exceptions_are_said(tmp_path: Path) -> None:
    mixing = MUTANTS["batch-split invariance"][1][0].replace(
        "Mutant(VanillaKD):", "Mutant(VanillaKD):\n    mixes_examples = True"
    )
    (tmp_path / "mutant.py").write_text(HEAD + mixing)
    lines = [str(r) for r in run_checks(f"{tmp_path / 'mutant.py'}:Mutant")]
    assert "-    batch-split invariance: declared: mixes a batch's examples" in lines
    assert not [line for line in lines if line.startswith("FAIL")]
    (tmp_path / "none.py").write_text(HEAD + "class Mutant(VanillaKD):\n    regression = not True\n")
    assert "-    regression: declared: undefined for scores" in map(str, run_checks(f"{tmp_path / 'none.py'}:Mutant"))
    lines = [str(r) for r in run_checks("codir")]
    assert "-    regression: declared: undefined for scores" in lines
    lines = [str(r) for r in run_checks("rail_kd_l", {"pool_padding": True})]
    assert "-    padding invariance: declared: pooling is mean_padded" in lines


def test_a_correct_example_by_hand_passes(tmp_path: Path) -> None:
    body = MUTANTS["hand-computed value"][0][0].replace('"ce": 1.0', '"ce": 0.69314718')
    (tmp_path / "mine.py").write_text(HEAD + body)
    assert {r.check: r.status for r in run_checks(f"{tmp_path / 'mine.py'}:Mutant")}["hand-computed value"] == "ok"


def test_what_a_method_keeps_in_its_history_is_given_to_resume(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD
        + """
class Mine(VanillaKD):
    def end_epoch(self):
        self.temperature *= 1.5
        self.history.setdefault("temperature", []).append(self.temperature)
    def resume(self, history):
        super().resume(history)
        self.temperature = history["temperature"][-1]
"""
    )
    found = {r.check: str(r) for r in run_checks(f"{tmp_path / 'mine.py'}:Mine")}
    assert found["resume"] == "ok   resume"


@pytest.mark.parametrize(
    "body",
    [
        """
class Mine(VanillaKD):  # the logits' mean over the first epoch's examples is 0 in the epochs after it
    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("sum_C", torch.zeros(setting.outputs))
        self.register_buffer("examples", torch.zeros(()))
    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, generator)
        self.gathers = epoch == 0
    def terms(self, batch, student, teacher):
        if self.gathers and self.training:
            self.sum_C += teacher.logits_BC.detach().sum(0)
            self.examples += len(batch.labels_B)
        mean_C = 0 if self.gathers else self.sum_C / self.examples
        soft = kd(student.logits_BC, teacher.logits_BC - mean_C, 1.0, self.setting.regression)
        return {**super().terms(batch, student, teacher), "kd": soft}
""",
        """
class Mine(VanillaKD):  # what a term counts for is learned
    def __init__(self, setting):
        super().__init__(setting)
        self.share = torch.nn.Parameter(torch.ones(()))
        self.weights = {"ce": 1.0, "kd": self.share}
""",
    ],
    ids=["statistics of the first epoch", "a weight that is a parameter"],
)
def test_what_is_uncommon_and_right_passes(body: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "mine.py").write_text(HEAD + body)
    assert [str(r) for r in run_checks(f"{tmp_path / 'mine.py'}:Mine") if r.status == "FAIL"] == []
    assert not [str(w.message) for w in recwarn if "requires_grad" in str(w.message)]


def test_the_tutorials_method_conforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tutorial = (Path(__file__).parents[3] / "docs" / "add-a-method.md").read_text()
    code = re.search(r"```python\n(.*?)```", tutorial, re.DOTALL)
    command = re.search(r"^    railkd (check-method .*)$", tutorial, re.MULTILINE)
    assert code and command
    (tmp_path / "last_mix.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    assert cli.main(command[1].split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"ok   {title}" for title in CHECKS]  # by hand too, and nothing is left out
    assert [path.name for path in source_files("last_mix.py:LastMix")] == ["last_mix.py", "base.py"]


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken_kd.py").write_text(HEAD + MUTANTS["determinism"][0][0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert cli.main(["check-method", "vanilla_kd", "--options", "{alpha: 0.7}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) and lines[0] == "ok   padding invariance"
    assert cli.main(["check-method", "broken_kd:Mutant"]) == 1
    said = capsys.readouterr()
    assert "FAIL determinism: term 'kd' is " in said.out
    assert said.err == "railkd: error: broken_kd:Mutant: 1 of the checks failed\n"
    for arguments, expected in [
        (["vanilla_kd", "--options", "{alhpa: 1}"], "unknown option 'alhpa'; did you mean 'alpha'?"),
        (["vanilla_kd", "--options", "[1]"], "--options: '[1]' is not valid, expected a mapping such as"),
        (["vanilla_kd", "--options", "{a"], "--options: not valid YAML"),
        (["vanila_kd"], "unknown method 'vanila_kd'; did you mean 'vanilla_kd'?"),
        (["nowhere.py:Mutant"], "no Python file nowhere.py"),
    ]:
        assert cli.main(["check-method", *arguments]) == 1
        line = capsys.readouterr().err
        assert expected in line and line.count("\n") == 1


def test_a_method_that_cannot_be_built_is_no_failed_check() -> None:
    with pytest.raises(UserError, match="methods.pkd.mapping"):
        list(run_checks("pkd", {"mapping": [1, 2]}))
