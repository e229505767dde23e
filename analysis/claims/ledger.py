"""Reads the paper's claims from ``benchmarks/claims.yaml`` and checks them against ``claims.schema.json``.

``claims`` are decided by run records. Keys: id, words, section, table or figure, reading (what ``claims.json`` says of
them); ``measure`` and ``relation``; ``setting``, the table or figure whose pair is meant; ``block`` (dev, test, ood);
``methods`` and ``over``, every one of the former against every one of the latter; or ``variants``, each entry of the
benchmark that differs from a method in these options alone, against that method. ``columns`` narrows the tasks.
``minus_setting`` asks for one difference of differences: mean of ``methods`` less mean of ``over`` at ``setting``, less
the same there. ``target`` (0; 1 for a ratio) and ``margin`` (a factor for a ratio) are the bounds of ``relation``:
above the target; same: within the margin of it; at_most: below it or above by no more than the margin.

``printed`` are decided by the paper's own tables; their ``check`` names a function of ``analysis/claims/audit.py``.
"""

import functools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reported_benchmark import ROOT, Pair, ReportedBenchmark
from analysis.tables.measures import MEASURES
from railkd.benchmark import plain_yaml
from railkd.errors import UserError, unknown

LEDGER = ROOT / "benchmarks" / "claims.yaml"
SCHEMA = Path(__file__).with_name("claims.schema.json")


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
    """Reads the ledger and checks it against claims.schema.json. Raises UserError naming the claim and the key."""
    try:
        content = plain_yaml.parse(path.read_text(encoding="utf-8"), str(path), (str, int))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("claims", "printed")):
        raise UserError(f"{path}: expected two lists, 'claims' and 'printed'")
    _check({k: v for k, v in content.items() if k not in ("claims", "printed")}, "rest", str(path))
    claims = tuple(_claim(entry, f"{path}: claims[{i}]") for i, entry in enumerate(content["claims"]))
    printed = tuple(_printed(entry, f"{path}: printed[{i}]") for i, entry in enumerate(content["printed"]))
    ids = [claim.id for claim in claims] + [entry["id"] for entry in printed]
    for name in ids:
        if ids.count(name) > 1:
            raise UserError(f"{path}: id '{name}' is given twice")
    return Ledger(claims, printed, content.get("teacher_layers", {}), content.get("dev_examples", {}))


def _claim(entry: Any, where: str) -> Claim:
    """One claim, checked: by the schema, and for what no schema says in one line."""
    entry, where = _entry(entry, where)
    _check(entry, "claim", where)
    margin, ratio = entry.get("margin"), MEASURES[entry["measure"]].ratio
    if (entry["relation"] != "above") != (margin is not None):
        raise UserError(f"{where}: 'margin' belongs to the relations same and at_most, which need one")
    if margin is not None and not margin > (1 if ratio else 0):  # nor NaN
        raise UserError(f"{where}: 'margin' is {margin!r}, expected {'a factor above 1' if ratio else 'more than 0'}")
    if ("table" in entry) == ("figure" in entry):
        raise UserError(f"{where}: expected either 'table' or 'figure'")
    if entry.get("variants") and entry.get("over"):
        raise UserError(f"{where}: expected either 'over' or 'variants'")
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    return Claim(**given)


def _printed(entry: Any, where: str) -> dict[str, Any]:
    """One statement on the paper's printed tables, checked by the schema of its check."""
    entry, where = _entry(entry, where)
    checks = _schema()["$defs"]["statements"]
    if "check" not in entry:
        raise UserError(f"{where}: missing key 'check'")
    if str(entry["check"]) not in checks:
        raise unknown("check", str(entry["check"])[:80], checks, where)
    _check(entry, f"statements/{entry['check']}", where)
    return entry


def _entry(entry: Any, where: str) -> tuple[dict[str, Any], str]:
    """An entry without its empty keys, and where it stands with its id."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected a mapping, got {repr(entry)[:80]}")
    return {k: v for k, v in entry.items() if v is not None}, f"{where} ({str(entry.get('id', 'no id'))[:80]})"


@functools.cache
def _schema() -> dict[str, Any]:
    return dict(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _check(value: Any, definition: str, where: str) -> None:
    """Raises UserError, one line, for a value that is not as a definition of the schema says."""
    import jsonschema

    schema = {"$defs": _schema()["$defs"], "$ref": f"#/$defs/{definition}"}
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path)
    found, expected = repr(error.instance)[:80], error.validator_value
    if error.validator == "required":
        raise UserError(f"{where}: missing key '{next(k for k in expected if k not in error.instance)}'")
    if error.validator == "additionalProperties" and error.schema.get("properties"):
        extra = next(k for k in error.instance if k not in error.schema["properties"])
        raise unknown("key", extra, error.schema["properties"], where)
    if error.validator == "enum":
        raise unknown(key, str(error.instance)[:80], map(str, expected), where)
    if error.validator == "exclusiveMinimum":
        raise UserError(f"{where}: '{key}' is {found}, expected more than {expected}")
    kinds = {"array": "a list of names", "string": "a text", "number": "a number", "integer": "a whole number"}
    if error.validator == "type" and expected in kinds:
        raise UserError(f"{where}: '{key}' is {kinds[expected]}, got {found}")
    raise UserError(f"{where}: '{key}' is {found}, {error.message[:200]}")


def pair_of(benchmark: ReportedBenchmark, setting: int | str) -> Pair | None:
    """The pair that a table or figure is drawn from; the first of several."""
    pairs = benchmark.drawn_from(setting)
    return pairs[0] if pairs else None


def variants_of(benchmark: ReportedBenchmark, pair: Pair, method: str, options: Iterable[str]) -> list[str]:
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
