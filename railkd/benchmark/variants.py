"""Writes out method entries that stand for several: ``vary:`` and ``cross:`` of a benchmark file.

    rail_kd_l:
      mapping: random_sorted    # an option that is varied states its own value
      projection: learned
      vary: {mapping: [skip, last]}                                  # one option at a time
      cross: {mapping: [random_sorted, last], projection: [none]}    # every combination

gives the entry itself and ``rail_kd_l.skip``, ``rail_kd_l.last``, ``rail_kd_l.none`` and ``rail_kd_l.last.none``; a
number or a switch has its option's name in front (``pkd.beta-10``), a list of layers reads ``2-4-6-8-10``. A pair names
them all as ``rail_kd_l.*``, without the entry itself. Among the values, ``{choose: 5, of: 11}`` stands for every
sorted choice of 5 of the layers 1 to 11, and ``{choose: 5, of: 11, sample: 40}`` for 40 of them: the same ones every
time, and a larger sample holds a smaller one.
"""

import copy
import hashlib
import itertools
import math
import re
from typing import Any, NamedTuple

from railkd.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # as in schema.json


MOST = 20_000  # variants of one entry


class Variant(NamedTuple):
    """An entry that was written out: of which entry, and the options in which it differs."""

    entry: str
    changed: dict[str, Any]


def spell(key: str, value: Any) -> str:
    """An option's value as part of a name."""
    if isinstance(value, list):
        return "-".join(map(str, value))
    return value if isinstance(value, str) else f"{key}-{str(value).lower()}"


def expand(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Variant]]:
    """The benchmark file's content with every variant as an entry of its own, and what each is a variant of.

    Raises UserError naming the key.
    """
    spec = copy.deepcopy(spec)
    methods: dict[str, Any] = {}
    variants: dict[str, Variant] = {}
    for name, entry in spec["methods"].items():
        own = {key: value for key, value in entry.items() if key not in ("vary", "cross")}
        methods[name] = own
        for changed in _changes(name, entry, own):
            variant = ".".join([name, *(spell(key, value) for key, value in changed.items())])
            if not NAME.fullmatch(variant):
                raise UserError(f"methods.{name}: '{variant}' is no name, expected at most 64 of A-Z a-z 0-9 _ . -")
            clash = variant in spec["methods"] or variants.get(variant, Variant(name, changed)) != (name, changed)
            if clash:
                raise UserError(f"methods.{name}: two entries would be named '{variant}'; rename one")
            methods[variant] = {"method": name, **own, **changed}
            variants[variant] = Variant(name, changed)
    spec["methods"] = methods
    for pair_name, pair in spec["pairs"].items():
        pair["methods"] = list(dict.fromkeys(_named(pair_name, pair["methods"], variants)))
    return spec, variants


def _changes(name: str, entry: dict[str, Any], own: dict[str, Any]) -> list[dict[str, Any]]:
    """The options in which each variant differs from the entry; what is the entry itself is left out."""
    axes: dict[str, dict[str, list[Any]]] = {}
    for kind in ("vary", "cross"):
        for key, values in entry.get(kind, {}).items():
            where = f"methods.{name}.{kind}.{key}"
            if key not in own or key in ("method", "title", "external", "search"):
                raise UserError(f"{where}: the entry does not state its own {key}; expected methods.{name}.{key}")
            axes.setdefault(kind, {})[key] = [v for value in values for v in _listed(value, where)]
    combined = [{key: value} for key, values in axes.get("vary", {}).items() for value in values]
    crossed = axes.get("cross", {})
    if math.prod(map(len, crossed.values())) > MOST:
        raise UserError(f"methods.{name}.cross: more than {MOST:,} combinations")
    if crossed:
        combined += [dict(zip(crossed, values, strict=True)) for values in itertools.product(*crossed.values())]
    changes = ({key: value for key, value in one.items() if value != own[key]} for one in combined)
    return [changed for changed in changes if changed]


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    if not all(isinstance(v, int) and abs(v) <= 10_000 for v in value.values()):
        raise UserError(f"{where}: {value} is not valid, expected a value or {{choose: 5, of: 11, sample: 40}}")
    numbers = {k: v for k, v in value.items() if isinstance(v, int) and not isinstance(v, bool) and v >= 1}
    if numbers != value or not {"choose", "of"} <= value.keys() <= {"choose", "of", "sample"}:
        raise UserError(f"{where}: {value} is not valid, expected a value or {{choose: 5, of: 11, sample: 40}}")
    count = math.comb(value["of"], value["choose"])
    if not 1 <= value.get("sample", 1) <= count <= 10_000:
        raise UserError(f"{where}: {value}: there are {count:,} such maps, expected 1 to 10,000 and no larger sample")
    maps = [list(chosen) for chosen in itertools.combinations(range(1, value["of"] + 1), value["choose"])]
    taken = sorted(maps, key=lambda m: hashlib.sha256(repr(m).encode()).digest())[: value.get("sample")]
    return sorted(taken)


def _named(pair: str, methods: list[str], variants: dict[str, Variant]) -> list[str]:
    found: list[str] = []
    for method in methods:
        entry = method.removesuffix(".*")
        own = [variant for variant, of in variants.items() if of.entry == entry] if entry != method else [method]
        if not own:
            raise UserError(f"pairs.{pair}.methods: '{method}' names no variant; expected methods.{entry} to vary")
        found += own
    return found
