"""``railkd completion``: prints what makes a shell complete commands, options and file names."""

import argparse
from pathlib import Path

from railkd.commands.base import Command

FILES = {"benchmark", "files", "out", "data"}  # arguments that name a file; others of type Path name a folder


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell to write for")


def _complete(arguments: argparse.Namespace) -> None:
    """``arguments.parser`` is the parser of the whole command line."""
    import shtab

    arguments.parser.complete()
    commands = next(action for action in arguments.parser._actions if action.dest == "command").choices
    for action in (action for parser in commands.values() for action in parser._actions):
        if action.dest in FILES:
            action.complete = shtab.FILE
        elif action.type is Path:
            action.complete = shtab.DIRECTORY
    print(shtab.complete(arguments.parser, arguments.shell))


COMMANDS = [
    Command(
        "completion",
        "Print a completion script for a shell.",
        'eval "$(railkd completion bash)"',
        _declare,
        _complete,
    )
]
