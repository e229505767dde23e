"""``railkd methods``: every method with its sentence, options and source; a method of one's own too."""

import json
import re
from pathlib import Path

import pytest

from railkd import cli
from railkd.method_facts import as_json
from railkd.method_sources import available


def test_every_method_is_listed_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [{"name": name, **as_json(name)} for name in available()]
    assert cli.main(["methods"]) == 0
    text = capsys.readouterr().out
    for facts in listed:
        assert f"{facts['name']} ({facts['title']}): {facts['summary']}\n" in text
        assert facts["source"] in text and all(f"{option}: " in text for option in facts["defaults"])
    assert '    options and defaults: alpha: 0.5, temperature: 1, beta: 100, mapping: "skip"' in text
    assert "    options and defaults: none\n" in text  # no_kd


def test_a_named_method_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "from railkd.methods.pkd import PKD\n\n\nclass Mine(PKD):\n    '''Does it my way.\n\n    Options: mine.'''\n"
        "    title = 'My KD'\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["methods", "mine.py:Mine"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine.py:Mine (My KD): Does it my way.\n    options and defaults: alpha: 0.5")
    assert "\nOptions: mine.\n\nOptions\n    alpha  " in text  # what it inherits
    assert cli.main(["methods", "pdk"]) == 1
    assert "unknown method 'pdk'; did you mean 'pkd'?" in capsys.readouterr().err


def test_the_options_of_every_method_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a class that refers to another's too."""
    for name in available():
        assert cli.main(["methods", name]) == 0
        said = capsys.readouterr().out
        for option in as_json(name)["defaults"]:
            assert re.search(rf"^ +(\w+, )*{option}\b", said, re.MULTILINE), (name, option)
