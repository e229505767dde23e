"""Lists the keys of a benchmark file with type, default and meaning: ``railkd keys`` and docs/benchmark-file.md.

What a key is for and what it may hold stands in schema.json, what it is when it is left out in defaults.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from railkd.benchmark.config import SCHEMA
from railkd.benchmark.defaults import DATA, GENERAL_DISTILLATION, PRETRAINING, SIZES, TRAINING
from railkd.benchmark.schema_errors import KINDS
from railkd.errors import unknown

DEFAULTS: dict[str, Mapping[str, Any]] = {  # section -> key -> default
    "data": DATA,
    "data.sizes": SIZES,
    "training.teacher": TRAINING,
    "training.student": TRAINING,
    "models.<name>.general_distillation": GENERAL_DISTILLATION,
    "models.<name>.pretrain": PRETRAINING,
}
SAME = "#/$defs/settings"  # keys that the section of a role has listed
TOP = "top level"
HEAD = """# Keys of a benchmark file

**Contents:** {contents}

`railkd keys` prints this list, and `railkd keys SECTION` a part of it. `railkd init my.yaml` writes a first file, and
`railkd check my.yaml` says what is wrong with one. `<name>` stands for a name of your own; "required" for a key that
its section must have. A path is relative to the benchmark file, but for that of a method.
"""


def markdown(section: str = "") -> str:
    """All sections, each a heading, a sentence and a table of its keys; with ``section`` those alone that begin so.

    Raises UserError for a section that there is not.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    sections = dict(_sections("", schema, schema))
    if section:
        chosen = [name for name in sections if f"{name}.".startswith(f"{section}.")]
        if not chosen:
            raise unknown("section", section, filter(None, sections))
        return "\n".join(_section(name, sections[name], schema) for name in chosen)
    contents = " · ".join(f"[{name or TOP}](#{_anchor(name or TOP)})" for name in sections)
    head = HEAD.format(contents=contents.replace("<", "&lt;"))
    return "\n".join([head, *(_section(name, node, schema) for name, node in sections.items())])


def _anchor(name: str) -> str:
    """The anchor that a Markdown page gives the heading of a section."""
    return re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A node of the schema with what its reference says; what stands beside the reference counts more."""
    if "$ref" not in node:
        return dict(node)
    target: Any = schema
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _sections(name: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with keys of its own: its place, such as models.<name>.pretrain, and its node."""
    if node.get("$ref") == SAME:
        return
    whole = _resolved(node, schema)
    if whole.get("properties"):
        yield name, whole
    for key, child in whole.get("properties", {}).items():
        yield from _sections(f"{name}.{key}".lstrip("."), child, schema)
    for branch in (*whole.get("oneOf", ()), *whole.get("anyOf", ())):
        if "type" in branch or "$ref" in branch:
            yield from _sections(name, branch, schema)
    entry = whole.get("additionalProperties")
    if isinstance(entry, dict):
        yield from _sections(f"{name}.<name>", entry, schema)
    if isinstance(whole.get("items"), dict):
        yield from _sections(f"{name}[]", whole["items"], schema)


def _section(name: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A section's heading, what it is for, and its table."""
    lines = [f"## `{name}`" if name else f"## {TOP}", ""]
    if name and node.get("description"):
        lines += [node["description"], ""]
    if node.get("examples"):
        lines += [f"Example: `{node['examples'][0]}`", ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, child in node["properties"].items():
        whole = _resolved(child, schema)
        default = _default(name, key, node, whole)
        cells = (f"`{key}`", _type(child, schema), default, whole.get("description", ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(section: str, key: str, node: Mapping[str, Any], child: Mapping[str, Any]) -> str:
    if key in node.get("required", ()):
        return "required"
    defaults = DEFAULTS.get(section, {})
    if key not in defaults and "default" not in child:
        return ""
    return f"`{json.dumps(defaults.get(key, child.get('default')))}`"


def _type(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a key may hold, in words: ``a whole number, at least 1``."""
    whole = _resolved(node, schema)
    if "enum" in whole:
        return " or ".join(f"`{value}`" for value in whole["enum"])
    for several in ("oneOf", "anyOf"):
        if several in whole and not whole.get("properties"):
            return " or ".join(dict.fromkeys(_type(branch, schema) for branch in whole[several]))
    kinds = whole.get("type", [])
    words = [KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if "a list" in words and isinstance(whole.get("items"), dict):
        words[words.index("a list")] = f"a list ({_type(whole['items'], schema)})"
    if "a mapping" in words and isinstance(whole.get("additionalProperties"), dict):
        words[words.index("a mapping")] = "a mapping of names"
    return ", ".join([" or ".join(words), *_bounds(whole)])


def _bounds(node: Mapping[str, Any]) -> list[str]:
    names = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return [f"{word} {node[key]:g}" for key, word in names.items() if key in node]
