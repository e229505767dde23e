"""Builds the parser of the command line: every command has help, and a mistake is one line with a suggestion."""

import argparse
import difflib
import itertools
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from railkd import __version__
from railkd.commands import benchmark_files, completion, jobs, methods, results
from railkd.commands.base import Command
from railkd.errors import unknown

GROUPS = [benchmark_files, methods, results, jobs, completion]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest option that exists."""

    commands: Mapping[str, Command] = MappingProxyType({})  # of the whole command line's parser; none of a command's
    pending: Command | None = None  # whose arguments are still to be added: a command line needs those of one command

    def complete(self) -> None:
        """Adds the arguments of the parser's command, or of every command."""
        if self.pending is not None:
            command, self.pending = self.pending, None
            command.declare(self)
        for action in self._actions if self.commands else []:
            for parser in action.choices.values() if isinstance(action.choices, dict) else []:
                parser.complete()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse, but an unknown command or option is named, with the nearest one, before others are missed."""
        given = list(sys.argv[1:] if args is None else args)
        if not self.commands:
            self.complete()
        options = [option for action in self._actions for option in action.option_strings]
        for text in itertools.takewhile(lambda text: text != "--", given):
            if self.commands and not text.startswith("-"):
                if text not in self.commands:
                    self.error(str(unknown("command", text, self.commands)))
                break  # what follows is the command's
            name = text.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in options):
                close = difflib.get_close_matches(name, options, n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"available: {', '.join(options)}"
                self.error(f"unknown option '{name[:80]}'; {hint}")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints one line and ends with exit status 2."""
        _, _, command = self.prog.partition(" ")
        text = " ".join(f"{command}: {message}".removeprefix(": ").split())
        self.exit(2, f"railkd: error: {text} (see '{self.prog} --help')\n")


def make_parser() -> Parser:
    """The parser of the whole command line; its result carries the command's ``run``, and the ``parser`` itself."""
    parser = Parser(
        prog="railkd",
        description="Knowledge distillation of Transformer encoders: benchmarks, their jobs and their results.",
        epilog="'railkd COMMAND --help' shows a command's options and an example.",
    )
    parser.add_argument("--version", action="version", version=f"railkd {__version__}")
    parser.commands = {command.name: command for group in GROUPS for command in group.COMMANDS}
    places = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in parser.commands.values():
        place = places.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            epilog=f"Example: {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        place.pending = command
        place.set_defaults(run=command.run, parser=parser)
    return parser
