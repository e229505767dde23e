"""Tells what the class of a method says of itself.

A class is imported, and torch with it, when a fact of it is asked for, unless a run record with the same source has
brought the facts along.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from railkd.method_sources import Facts, fingerprint, source_files

_known: dict[tuple[str, str], Facts] = {}  # (name, fingerprint of its source) -> facts


def facts(name: str) -> Facts:
    """What the class of a method says of itself, inherited or not.

    Imports the class, and torch with it, unless ``remember`` knows it. Raises UserError in one line when there is no
    such class, or when its file cannot be imported.
    """
    key = (name, fingerprint(source_files(name)))
    if key not in _known:
        from railkd.methods import facts_of, find

        _known[key] = facts_of(find(name))
    return _known[key]


def remember(name: str, record: Mapping[str, Any]) -> None:
    """Takes the facts of a method from a run record where the record's source is the present one."""
    stated = record.get("method_class", {})
    kinds = {f.name: dict if f.name == "defaults" else f.type for f in fields(Facts)}
    if {key: type(value) for key, value in stated.items()} == kinds:
        _known.setdefault((name, str(record["fingerprints"].get("method"))), Facts(**stated))


def as_json(name: str) -> dict[str, Any]:
    """The facts as a run record carries them."""
    return asdict(facts(name))
