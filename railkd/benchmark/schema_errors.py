"""Checks a benchmark file against its JSON schema, and puts each mistake in words."""

import json
import math
from pathlib import Path
from typing import Any

from railkd.benchmark.plain_yaml import LONGEST
from railkd.errors import UserError, unknown

KINDS = {  # the types of JSON Schema
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def schema_error(path: Path, spec: Any, schema: Path) -> UserError | None:
    """The most telling mistake of a file's content, in one line that names file and key; None: there is none."""
    return _error(str(path), spec, json.loads(schema.read_text(encoding="utf-8")))


def settings_error(where: str, settings: Any, schema: Path) -> UserError | None:
    """The same for settings of training that are given by themselves; ``schema``: the one of benchmark files."""
    definitions = json.loads(schema.read_text(encoding="utf-8"))["$defs"]
    return _error(where, settings, {**definitions["settings"], "$defs": definitions})


def _error(where: str, spec: Any, schema: dict[str, Any]) -> UserError | None:
    import jsonschema

    # JSON Schema counts 32.0 as an integer, and says nothing of YAML's .nan and .inf: neither is meant here.
    base = jsonschema.Draft202012Validator
    numbers = {
        "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
        "number": lambda _, v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v),
    }
    strict = jsonschema.validators.extend(base, type_checker=base.TYPE_CHECKER.redefine_many(numbers))
    validator = strict(schema)
    errors = sorted(validator.iter_errors(spec), key=lambda e: (len(e.absolute_path), str(list(e.absolute_path))))
    if not errors:
        return None
    # what lacks beside a key tells less than that the key is one too many
    weak = frozenset({"anyOf", "oneOf", "dependentRequired"})
    error = jsonschema.exceptions.best_match(errors, key=jsonschema.exceptions.by_relevance(weak=weak))
    place = _location(error)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        extra = next(k for k in error.instance if k not in known)
        return unknown("key", extra, known, f"{where}: {place}")
    return UserError(f"{where}: {place}: {_key_error(error) or _type_error(error) or _cut(error.message)}")


def _location(error: Any) -> str:
    place = ""
    for part in error.absolute_path:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.lstrip(".") or "top level"


def _key_error(error: Any) -> str | None:
    """Which keys a mapping has too many or too few of, where it has to have one of several; None: another mistake."""
    if error.validator == "dependentRequired":
        lacking = ((key, other) for key, others in error.validator_value.items() for other in others)
        key, other = next((k, o) for k, o in lacking if k in error.instance and o not in error.instance)
        return f"{key} is given without {other}, expected both"
    if error.validator != "oneOf" or not all("required" in branch for branch in error.validator_value):
        return None
    keys = [key for branch in error.validator_value for key in branch["required"]]
    given = [key for key in keys if key in error.instance]
    if not given:
        return f"has none of {', '.join(keys)}, expected one of them"
    both = "both " if len(given) == 2 else ""
    return f"has {both}{', '.join(given[:-1])} and {given[-1]}, expected one of {', '.join(keys)}"


def _type_error(error: Any) -> str | None:
    """What was found and what was expected, with the schema's example where it has one; None: another mistake."""
    branches = [error]
    if error.validator in ("oneOf", "anyOf"):  # each would have done
        branches = [e for e in error.context if not e.relative_path]
    if any(e.validator != "type" for e in branches):
        return None
    named = [[e.validator_value] if isinstance(e.validator_value, str) else e.validator_value for e in branches]
    expected = " or ".join(dict.fromkeys(KINDS[name] for names in named for name in names))
    examples = [f", like {example}" for e in branches for example in e.schema.get("examples", [])]
    return f"found {_in_words(error.instance)}, expected {expected}{examples[0] if examples else ''}"


def _in_words(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    kinds = ((dict, "the mapping"), (list, "the list"), (str, "the text"))
    kind = next((words for of, words in kinds if isinstance(value, of)), "the number")
    shown = repr(value)
    return f"{kind} {shown if len(shown) < 80 else shown[:60] + ' ...'}"


def _cut(message: str) -> str:
    """A long value in a message, without its middle: what was expected stands at the end."""
    return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
