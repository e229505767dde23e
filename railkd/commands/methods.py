"""Defines the commands about methods: one lists them, one checks that a method does what all must do."""

import argparse
import inspect
import json
from typing import Any

from railkd.commands.base import Command
from railkd.errors import UserError

OPTIONS = "\nOptions\n"  # the heading of the list of options in a method's text


def _declare_methods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="METHOD", help="only these, with formula and the options' meaning")
    parser.add_argument("--json", action="store_true", help="print the facts of each method as JSON")


def _methods(arguments: argparse.Namespace) -> None:
    from railkd.method_facts import as_json
    from railkd.method_sources import available

    found = {name: as_json(name) for name in arguments.names or available()}
    if arguments.json:
        print(json.dumps([{"name": name, **facts} for name, facts in found.items()], indent=2, ensure_ascii=False))
        return
    for name, facts in found.items():
        print(_described(name, facts))
        if arguments.names:
            from railkd.methods import find

            print(f"\n{_documented(find(name))}\n")


def _described(name: str, facts: dict[str, Any]) -> str:
    """A method in a few lines: its title, its sentence, its options with their defaults, and its source."""
    options = ", ".join(f"{key}: {_short(value)}" for key, value in facts["defaults"].items())
    lines = [
        f"{name} ({facts['title'] or name}): {facts['summary']}",
        f"    options and defaults: {options or 'none'}",
        *([f"    source: {facts['source']}"] if facts["source"] else []),
    ]
    return "\n".join(lines)


def _documented(cls: type) -> str:
    """The text of a class; where it has no list of options, with that of the nearest class above which has one."""
    text = inspect.getdoc(cls) or ""
    if OPTIONS in text:
        return text
    above = (inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__[1:])
    listed = next((words for words in above if OPTIONS in words), "")
    return f"{text}\n\n{listed[listed.index(OPTIONS) :].strip()}" if listed else text


def _short(value: Any) -> str:
    """A default as a benchmark file would have it; four digits of a fraction such as 1/3."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _declare_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", help="name, module:Class or file.py:Class")
    parser.add_argument("--options", default="{}", help="its options as in a benchmark file: '{alpha: 0.7}'")


def _check(arguments: argparse.Namespace) -> None:
    """Prints one line a check; raises UserError when one fails, or when the method cannot be built."""
    from railkd.benchmark.plain_yaml import parse

    given = parse(arguments.options, "--options")
    if not isinstance(given, dict):
        raise UserError(f"--options: {arguments.options!r} is not valid, expected a mapping such as '{{alpha: 0.7}}'")
    from railkd.conformance.run_checks import run_checks

    failed = 0
    for result in run_checks(arguments.method, given):
        print(result, flush=True)
        failed += result.status == "FAIL"
    if failed:
        raise UserError(f"{arguments.method}: {failed} of the checks failed")


COMMANDS = [
    Command(
        "methods",
        "List the distillation methods, each with a sentence, its options and its source.",
        "railkd methods pkd rail_kd_c",
        _declare_methods,
        _methods,
    ),
    Command(
        "check-method",
        "Check a method, the suite's or your own, against what every method must do.",
        "railkd check-method my_kd.py:MyKD --options '{alpha: 0.7}'",
        _declare_check,
        _check,
    ),
]
