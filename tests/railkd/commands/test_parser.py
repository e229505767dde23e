"""The command line as a whole: every command has help with an example that is right; a mistake is one line."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from railkd import cli
from railkd.commands.parser import make_parser

ROOT = Path(__file__).parents[3]
COMMANDS = make_parser().commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_can_be_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert stopped.value.code == 0 and last == f"Example: {COMMANDS[name].example}"
    words = shlex.split(last.removeprefix("Example: ").removeprefix('eval "$(').removesuffix(')"'))
    assert words[:2] == ["railkd", name]
    assert make_parser().parse_args(words[1:]).run is COMMANDS[name].run
    whole = make_parser()
    whole.complete()
    places = next(action for action in whole._actions if action.dest == "command").choices
    assert places and all(action.help for action in dict(places)[name]._actions)  # type: ignore[call-overload]


def test_a_sentence_says_what_each_command_does() -> None:
    for command in COMMANDS.values():
        assert command.help[0].isupper() and command.help.endswith("."), command.name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dsitil x", "unknown command 'dsitil'; did you mean 'distil'? available: check, "),
        (
            "distil x --sedes 1 --pair p",
            "distil: unknown option '--sedes'; did you mean '--seeds'? (see 'railkd distil",
        ),
        ("verify x --zzzz=3", "verify: unknown option '--zzzz'; available: -h, --help, --results (see"),
        ("--verison", "unknown option '--verison'; did you mean '--version'?"),
        ("", "the following arguments are required: COMMAND (see 'railkd --help')"),
        ("distil", "distil: the following arguments are required: benchmark, --pair, --method, --task, --seeds"),
        ("distil x --seeds one", "distil: argument --seeds: invalid int value: 'one'"),
        ("completion fish", "completion: argument shell: invalid choice: 'fish'"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_line_and_status_2(
    line: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    message = capsys.readouterr()
    assert stopped.value.code == 2 and message.out == "" and message.err.count("\n") == 1
    assert message.err.startswith(f"railkd: error: {expected}")


def test_an_option_may_be_shortened_and_a_value_may_follow_two_dashes() -> None:
    assert make_parser().parse_args(["verify", "x", "--res", "r"]).results == Path("r")
    assert make_parser().parse_args(["verify", "--", "--x.yaml"]).benchmark == "--x.yaml"


def test_reading_a_command_line_imports_nothing_heavy() -> None:
    code = "import sys; from railkd.commands.parser import make_parser; make_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    heavy = {
        "torch",
        "transformers",
        "datasets",
        "pandas",
        "numpy",
        "pyarrow",
        "scipy",
        "jsonschema",
        "shtab",
        "analysis",
    }
    assert not heavy & set(done.stdout.split())
