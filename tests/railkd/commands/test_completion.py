"""The completion scripts: bash itself completes with one, and both name every command and option."""

import shutil
import subprocess
from pathlib import Path

import pytest

from railkd import cli
from railkd.commands.parser import make_parser


def completions(script: str, words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of the words."""
    line = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _shtab_railkd; "
    line += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "my results").mkdir()
    assert completions(script, ["railkd", "dis"], tmp_path) == ["distil"]
    assert completions(script, ["railkd", "distil", "--po"], tmp_path) == ["--point"]
    assert "mine.yaml" in completions(script, ["railkd", "check", "mi"], tmp_path)
    assert completions(script, ["railkd", "completion", "z"], tmp_path) == ["zsh"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_command_and_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    whole = make_parser()
    whole.complete()
    places = next(action for action in whole._actions if action.dest == "command").choices
    for name, parser in dict(places or {}).items():  # type: ignore[call-overload]
        assert name in script
        assert all(option in script for action in parser._actions for option in action.option_strings), name
