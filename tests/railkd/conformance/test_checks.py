"""The conformance suite passes every method of the suite, and each check can fail: methods broken on purpose."""

import re
from pathlib import Path
from typing import Any

import pytest

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

HEAD = """
import torch
from torch.nn import functional as F

from railkd.conformance.checks import Example
from railkd.methods.base import Batch, Method, Setting, cross_entropy, kd
from railkd.methods.rail_kd_l import RailKDLayerwise
from railkd.methods.vanilla_kd import VanillaKD
from railkd.models.forward import Forward
"""

# check -> class bodies that break what it checks, and what the check says of them
MUTANTS: dict[str, list[tuple[str, str]]] = {
    "padding invariance": [
        (
            """
class Mutant(VanillaKD):  # divides by the positions of the batch, padding included
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] / batch.inputs["input_ids"].shape[1]}
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(RailKDLayerwise):  # pools over padding and does not say so
    def terms(self, batch, student, teacher):
        class Padded:
            logits_BC = student.logits_BC
            def pooled(self, kind, layers):
                return student.pooled("mean_padded", layers)
        return super().terms(batch, Padded(), teacher)
""",
            "padded to 16",
        ),
    ],
    "gradient targets": [
        (
            """
class Mutant(VanillaKD):  # the student's side of the soft loss is detached: it trains nothing
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"].detach()}
""",
            "term 'kd' gives the student no gradient",
        ),
        (
            """
class Mutant(VanillaKD):  # writes into the signals that others read too
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        teacher.logits_BC.data.zero_()
        return found
""",
            "changes a teacher tensor in place",
        ),
        (
            """
class Mutant(VanillaKD):
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        teacher.logits_BC.requires_grad_()
        return found
""",
            "a teacher tensor gets a gradient",
        ),
        (
            """
class Mutant(VanillaKD):
    def __init__(self, setting):
        super().__init__(setting)
        self.forgotten = torch.nn.Linear(3, 3)
""",
            "parameter 'forgotten.bias' gets no gradient",
        ),
    ],
    "batch-split invariance": [
        (
            """
class Mutant(VanillaKD):  # a sum over the batch
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * len(batch.labels_B)}
""",
            "as the mean of its parts of 3 and 5",
        ),
        (
            """
class Mutant(VanillaKD):  # compares with the batch's mean, and declares no such thing
    def terms(self, batch, student, teacher):
        centred_BC = student.logits_BC - student.logits_BC.mean(0)
        own = F.mse_loss(centred_BC, teacher.logits_BC - teacher.logits_BC.mean(0))
        return {**super().terms(batch, student, teacher), "kd": own}
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(VanillaKD):  # every score against every label: (B, 1) and (B,) are broadcast
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            found["ce"] = (student.logits_BC - batch.labels_B).square().mean()
        return found
""",
            "on scores, term 'ce' is ",
        ),
    ],
    "cached = live": [
        (
            """
class Mutant(RailKDLayerwise):  # reads another pooling of the teacher than it declares
    def terms(self, batch, student, teacher):
        class Other:
            logits_BC = teacher.logits_BC
            def pooled(self, kind, layers):
                return teacher.pooled("cls", layers)
        return super().terms(batch, student, Other())
""",
            "cls.npy: these signals were not asked for",
        ),
        (
            """
class Mutant(VanillaKD):  # knows the two regimes apart
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1.01 if hasattr(teacher, "hidden") else 1)}
""",
            "with cached signals",
        ),
    ],
    "determinism": [
        (
            """
class Mutant(VanillaKD):  # draws from the global generator
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1 + torch.rand(()))}
""",
            "global generator?",
        ),
        (
            """
class Mutant(VanillaKD):  # a draw of each epoch from there
    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, generator)
        self.temperature = 1 + 4 * torch.rand(()).item()
""",
            "step 1 (global generator?)",
        ),
        (
            """
class Mutant(VanillaKD):  # a draw of the whole training from there
    def start_training(self, generator):
        self.temperature = 1 + 4 * torch.rand(()).item()
""",
            "step 1 (global generator?)",
        ),
    ],
    "resume": [
        (
            """
class Mutant(RailKDLayerwise):  # goes on drawing from the run's first stream: epoch k depends on the epochs before
    def start_training(self, generator):
        super().start_training(generator)
        self.kept = generator
    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, self.kept)
""",
            "in a run resumed there",
        ),
        (
            """
class Mutant(VanillaKD):  # a moving average that is no part of the state
    def __init__(self, setting):
        super().__init__(setting)
        self.seen = 0
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1 + self.seen)}
    def end_epoch(self):
        self.seen += 1
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(VanillaKD):  # halves a weight after each epoch, and does not halve it again when it resumes
    def end_epoch(self):
        self.weights["kd"] /= 2
""",
            "weight 'kd' is 0.25 in epoch 2 and 0.5 in a run resumed there",
        ),
        (
            """
class Mutant(VanillaKD):  # reads what it has not kept
    def resume(self, history):
        super().resume(history)
        self.temperature = history["temperature"]
""",
            "Mutant.resume() raises KeyError: 'temperature'",
        ),
        (
            """
class Mutant(VanillaKD):  # a moving parameter that no checkpoint has
    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("scale", torch.ones(()), persistent=False)
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        self.scale += 1
        return {**found, "kd": found["kd"] * self.scale}
""",
            "term 'kd' is ",
        ),
    ],
    "regression": [
        (
            """
class Mutant(VanillaKD):  # softmax over the one score: always 0
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": kd(student.logits_BC, teacher.logits_BC, 1.0, False)}
""",
            "term 'kd' trains the student on classes but not on scores",
        ),
        (
            """
class Mutant(VanillaKD):  # cross entropy of scores
    def terms(self, batch, student, teacher):
        return {**super().terms(batch, student, teacher), "ce": F.cross_entropy(student.logits_BC, batch.labels_B)}
""",
            "raises ",
        ),
        (
            """
class Mutant(VanillaKD):  # every score against every label, of which torch warns
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            found["ce"] = F.mse_loss(student.logits_BC.float(), batch.labels_B.float())
        return found
""",
            "(B, 1), and labels (B,): give both one shape",
        ),
    ],
    "mixed precision": [
        (
            """
class Mutant(VanillaKD):  # log(1 - p) in the precision of the logits: p rounds to 1
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            return found
        p_BC = student.logits_BC.softmax(-1, dtype=student.logits_BC.dtype)
        return {**found, "kd": found["kd"] - (1 - p_BC).log().mean()}
""",
            "term 'kd' is inf in bfloat16",
        )
    ],
    "hand-computed value": [
        (
            """
class Mutant(VanillaKD):  # log 2 by hand, from the bits: the class says 1
    @classmethod
    def by_hand(cls):
        setting, mask = Setting(2, 2, 2, 2, 2, False), torch.ones(1, 1)
        batch = Batch(torch.tensor([0]), torch.tensor([0]), {})
        even = Forward(torch.zeros(1, 2), [], mask)
        return Example(setting, {}, batch, even, even, {"ce": 1.0, "kd": 0.0})
""",
            "term 'ce' is 0.6931472 here and 1 by hand",
        )
    ],
}


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
