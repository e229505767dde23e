"""Turns a claim into what it compares: the pairs, the two sides of methods with their weights, the tasks."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.claims.ledger import Claim, pair_of, variants_of
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.tables.measures import COST_REGIMES, columns_of
from analysis.validity.questions import Compared


@dataclass(frozen=True)
class Term:
    """A cell's part in a contrast."""

    weight: float
    pair: Pair
    method: str
    setting: int | str


@dataclass(frozen=True)
class Contrast:
    """Two sides of methods, and the weighted cells whose sum is compared."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    terms: tuple[Term, ...]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of its cells."""
        return list(dict.fromkeys(term.pair for term in self.terms))


def compared_by(benchmark: ReportedBenchmark, claim: Claim) -> list[Compared]:
    """The runs that a claim rests on, for each of its pairs; empty where the benchmark does not run them, and for a
    claim about costs."""
    if claim.measure in COST_REGIMES:
        return []  # how long a step takes does not depend on what was learned
    pairs, missing = pairs_of(benchmark, claim)
    if missing:
        return []
    contrasts = contrasts_of(benchmark, claim, pairs)
    methods = tuple(dict.fromkeys(term.method for contrast in contrasts for term in contrast.terms))
    columns = shared_columns(benchmark, claim, pairs, methods)
    if not methods or not columns:
        return []
    trained_on = {column: benchmark.source_task(claim.block, column) for column in columns}
    return [Compared(pair, claim.block, methods, columns, trained_on) for pair in pairs]


def pairs_of(benchmark: ReportedBenchmark, claim: Claim) -> tuple[list[Pair], list[str]]:
    """The pairs that a claim compares, and what the benchmark does not run of them, in words."""
    found, missing = [], []
    for setting in (claim.setting, claim.minus_setting):
        if setting is None:
            continue
        pair = pair_of(benchmark, setting)
        if pair is None:
            name = f"Table {setting}" if isinstance(setting, int) else f"Figure {setting[-1]}"
            missing.append(f"a pair that draws {name}")
        else:
            found.append(pair)
    if not missing:
        missing = [
            f"{benchmark.title_of(m)} with {pair.title}"
            for pair in found
            for m in (*claim.methods, *claim.over)
            if m not in pair.methods
        ]
    return found, missing


def contrasts_of(benchmark: ReportedBenchmark, claim: Claim, pairs: list[Pair]) -> list[Contrast]:
    """The comparisons of a claim whose pairs run all that it needs."""
    pair, setting, minus = pairs[0], claim.setting, claim.minus_setting
    if minus is not None:
        terms = []
        for sign, p, s in ((1, pair, setting), (-1, pairs[1], minus)):
            terms += [Term(sign / len(claim.methods), p, m, s) for m in claim.methods]
            terms += [Term(-sign / len(claim.over), p, m, s) for m in claim.over]
        return [Contrast(claim.methods, claim.over, tuple(terms))]
    if claim.variants:
        sides = [(v, m) for m in claim.methods for v in variants_of(benchmark, pair, m, claim.variants)]
    elif not claim.over:
        return [Contrast((m,), (), (Term(1, pair, m, setting),)) for m in claim.methods]
    else:
        sides = [(m, o) for m in claim.methods for o in claim.over]
    return [Contrast((a,), (b,), (Term(1, pair, a, setting), Term(-1, pair, b, setting))) for a, b in sides]


def shared_columns(
    benchmark: ReportedBenchmark, claim: Claim, pairs: list[Pair], methods: Iterable[str]
) -> tuple[str, ...]:
    """The tasks or sets that all pairs have and for which every method is defined; of a cost its only column."""
    own = [columns_of(benchmark, pair, claim.measure, claim.block, claim.columns) for pair in pairs]
    if claim.measure in COST_REGIMES:
        return own[0]
    tasks = {c: benchmark.source_task(claim.block, c) for c in own[0] if all(c in o for o in own)}
    methods = list(methods)
    return tuple(c for c, task in tasks.items() if not any(benchmark.undefined(m, task) for m in methods))
