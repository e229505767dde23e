"""Reads YAML as benchmark files are written: plain data, which JSON has too. It tells a mistake in one line."""

import math
import re
from typing import Any

import yaml

from railkd.errors import UserError

LARGEST = 100_000  # values in a file, with every alias written out
LONGEST = 400  # characters of somebody else's message


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 5e-4 as a number (YAML 1.1 wants 5.0e-4) and refuses a key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise UserError(f"line {node.value[i][0].start_mark.line + 1}: key '{key}' is given twice")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str, where: str, keys: tuple[type, ...] = (str,)) -> Any:
    """YAML as benchmark files are written; raises UserError, one line that begins with ``where``."""
    try:
        value = yaml.load(text, Loader=_Loader)
        _plain(value, {}, keys)
        return value
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"{where}: not valid YAML: {_told(error, text)[:LONGEST]}") from None


def _told(error: Exception, text: str) -> str:
    """What is wrong and in which line, in one line."""
    if isinstance(error, yaml.reader.ReaderError):
        number = text.count("\n", 0, error.position) + 1
        return f"line {number}: the character U+{int(error.character):04X} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return " ".join(f"{error.context or ''} {error.problem or ''}".split())
    line = text.split("\n")[mark.line] if mark.line < text.count("\n") + 1 else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        return f"line {mark.line + 1}: a tab; indent with spaces"
    begun = f", begun in line {error.context_mark.line + 1}" if error.context_mark else ""
    where = f" ({error.context}{begun})" if error.context else ""
    return " ".join(f"line {mark.line + 1}: {error.problem}{where}".split())


def _plain(value: Any, known: dict[int, int], keys: tuple[type, ...], place: str = "top level", depth: int = 0) -> int:
    """How many values there are; raises UserError for what JSON does not have, and for an alias inside itself."""
    if isinstance(value, dict | list):
        if depth > 40:
            raise UserError(f"{place[:LONGEST]}: nested too deeply, or an alias of itself")
        if id(value) not in known:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            prefix = "" if place == "top level" else place
            count = 1
            for key, part in items:
                if isinstance(value, list):
                    count += _plain(part, known, keys, f"{prefix}[{key}]", depth + 1)
                    continue
                if not isinstance(key, keys) or not str(key).isprintable():
                    raise UserError(f"{place}: the key {key!r:.60} must be a string; quote it")
                count += _plain(part, known, keys, f"{prefix}.{key}".lstrip("."), depth + 1)
            known[id(value)] = count
        if known[id(value)] > LARGEST:
            raise UserError(f"{place}: more than {LARGEST:,} values, aliases written out")
        return known[id(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}: {value!r} is not a finite number")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise UserError(f"{place}: {str(value)[:20]}... is too large a number")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is refused
    elif value is not None and not isinstance(value, bool | int | float):
        raise UserError(f"{place}: {value!r:.60} must be a string or a number; quote it")
    return 1
