"""``benchmarks/claims.yaml``: the paper's claims as data, read and checked.

``claims`` are decided by run records. Keys: id, words, section, table or figure, reading (what ``claims.json`` says of
them); ``measure`` and ``relation``; ``setting``, the table or figure whose pair is meant; ``block`` (dev, test, ood);
``methods`` and ``over``, every one of the former against every one of the latter; or ``variants``, each entry of the
benchmark that differs from a method in these options alone, against that method. ``columns`` narrows the tasks.
``minus_setting`` asks for one difference of differences: mean of ``methods`` less mean of ``over`` at ``setting``, less
the same there. ``target`` (0; 1 for a ratio) and ``margin`` (a factor for a ratio) are the bounds of ``relation``:
above the target; same: within the margin of it; at_most: below it or above by no more than the margin.

``printed`` are decided by the paper's own tables; their ``check`` names a function of ``analysis/claims/audit.py``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from analysis.benchmark import FIGURES, ROOT, TABLES, Benchmark, Pair
from analysis.tables.measures import MEASURES
from railkd.benchmark import plain_yaml
from railkd.errors import UserError, unknown

LEDGER = ROOT / "benchmarks" / "claims.yaml"
RELATIONS = ("above", "same", "at_most")
STATEMENTS = {  # check -> keys it needs, keys it may have
    "gap": ({"table", "best_of", "over_best_of", "stated"}, {"split", "teacher_model"}),
    "best": ({"table", "methods", "over"}, {"split", "teacher_model", "except"}),
    "above": ({"table", "methods", "over"}, {"split", "teacher_model", "columns"}),
    "wins": ({"table", "method", "over", "stated", "of"}, {"split", "teacher_model"}),
    "timing": ({"measure", "teacher_layers", "methods"}, {"stated"}),
}


@dataclass(frozen=True)
class Claim:
    """One claim that run records decide."""

    id: str
    words: str
    section: str
    reading: str
    measure: str
    relation: str
    setting: int | str
    methods: tuple[str, ...]
    table: int | None = None
    figure: int | None = None
    block: str = "dev"
    over: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: float | None = None
    margin: float | None = None
    minus_setting: int | str | None = None

    @property
    def source(self) -> str:
        """Table or figure of the paper: the family of Holm's correction."""
        return f"Table {self.table}" if self.table else f"Figure {self.figure}"

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which values the claim holds; logarithms for a ratio."""
        ratio = MEASURES[self.measure].ratio
        target = (math.log(self.target) if self.target else 0.0) if ratio else self.target or 0.0
        margin = 0.0 if self.margin is None else math.log(self.margin) if ratio else self.margin
        if self.relation == "above":
            return target, math.inf
        return (target - margin if self.relation == "same" else -math.inf), target + margin


@dataclass(frozen=True)
class Ledger:
    """Both halves of the file."""

    claims: tuple[Claim, ...]
    printed: tuple[dict[str, Any], ...]
    teacher_layers: dict[int, dict[str, int]]  # printed table -> its column teacher_model ("": none) -> teacher's depth
    dev_examples: dict[str, int]  # GLUE task -> size of its dev set, where scores are accuracies


def read(path: Path = LEDGER) -> Ledger:
    """Reads and checks the ledger. Raises UserError naming the claim and the key."""
    try:
        content = plain_yaml.parse(path.read_text(encoding="utf-8"), str(path), (str, int))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("claims", "printed")):
        raise UserError(f"{path}: expected two lists, 'claims' and 'printed'")
    claims = tuple(_claim(entry, f"{path}: claims[{i}]") for i, entry in enumerate(content["claims"]))
    printed = tuple(_printed(entry, f"{path}: printed[{i}]") for i, entry in enumerate(content["printed"]))
    ids = [claim.id for claim in claims] + [entry["id"] for entry in printed]
    for name in ids:
        if ids.count(name) > 1:
            raise UserError(f"{path}: id '{name}' is given twice")
    return Ledger(claims, printed, content.get("teacher_layers", {}), content.get("dev_examples", {}))


def _claim(entry: Any, where: str) -> Claim:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected a mapping with the keys of a claim")
    where = f"{where} ({str(entry.get('id', 'no id'))[:80]})"
    known = {f.name: f for f in fields(Claim)}
    for key in entry:
        if key not in known:
            raise unknown("key", key, known, where)
    _need(entry, {"id", "words", "section", "reading", "measure", "relation", "setting", "methods"}, where)
    _one_of(entry, "measure", MEASURES, where)
    _one_of(entry, "relation", RELATIONS, where)
    _one_of(entry, "block", ("dev", "test", "ood"), where, "dev")
    settings = [str(s) for s in (*TABLES, *FIGURES)]
    for key in ("setting", "minus_setting"):
        if key in entry and str(entry[key]) not in settings:
            raise unknown(key, str(entry[key])[:80], settings, where)
    for key in ("methods", "over", "variants", "columns"):
        if not isinstance(entry.get(key, []), list) or not all(isinstance(v, str) for v in entry.get(key, [])):
            raise UserError(f"{where}: '{key}' is a list of names, got {repr(entry[key])[:80]}")
    for key in ("id", "words", "section", "reading"):
        if not isinstance(entry[key], str):
            raise UserError(f"{where}: '{key}' is a text, got {repr(entry[key])[:80]}")
    for key in ("target", "margin", "table", "figure"):
        if not isinstance(entry.get(key, 0), int | float):
            raise UserError(f"{where}: '{key}' is a number, got {repr(entry[key])[:80]}")
    margin, ratio = entry.get("margin"), MEASURES[entry["measure"]].ratio
    if (entry["relation"] != "above") != (margin is not None):
        raise UserError(f"{where}: 'margin' belongs to the relations same and at_most, which need one")
    if margin is not None and not (isinstance(margin, int | float) and margin > (1 if ratio else 0)):
        raise UserError(f"{where}: 'margin' is {margin!r}, expected {'a factor above 1' if ratio else 'more than 0'}")
    if ("table" in entry) == ("figure" in entry):
        raise UserError(f"{where}: expected either 'table' or 'figure'")
    if entry.get("variants") and entry.get("over"):
        raise UserError(f"{where}: expected either 'over' or 'variants'")
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    return Claim(**given)


def _printed(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected a mapping with the keys of a statement")
    where = f"{where} ({str(entry.get('id', 'no id'))[:80]})"
    _need(entry, {"id", "words", "section", "check"}, where)
    _one_of(entry, "check", STATEMENTS, where)
    needs, may = STATEMENTS[entry["check"]]
    _need(entry, needs, where)
    for key in entry:
        if key not in needs | may | {"id", "words", "section", "check"}:
            raise unknown("key", key, needs | may, where)
    return dict(entry)


def _need(entry: Mapping[str, Any], keys: set[str], where: str) -> None:
    for key in sorted(keys):
        if entry.get(key) is None:
            raise UserError(f"{where}: missing key '{key}'")


def _one_of(entry: Mapping[str, Any], key: str, allowed: Iterable[str], where: str, default: str = "") -> None:
    value = entry.get(key, default)
    if not isinstance(value, str) or value not in allowed:
        raise unknown(key, str(value)[:80], allowed, where)


def pair_of(benchmark: Benchmark, setting: int | str) -> Pair | None:
    """The pair that a table or figure is drawn from; the first of several."""
    pairs = benchmark.drawn_from(setting)
    return pairs[0] if pairs else None


def variants_of(benchmark: Benchmark, pair: Pair, method: str, options: Iterable[str]) -> list[str]:
    """The pair's entries that differ from a method in some of these options and in nothing else."""
    ignored = {"method", "title", "vary", "cross"}

    def settings(name: str) -> dict[str, Any]:
        return {k: v for k, v in benchmark.methods[name].items() if k not in ignored}

    found = []
    for name in pair.methods:
        if name != method and benchmark.base(name) == benchmark.base(method):
            own, other = settings(method), settings(name)
            changed = {k for k in own.keys() | other.keys() if own.get(k) != other.get(k)}
            if changed and changed <= set(options):
                found.append(name)
    return found
