"""Draws the estimates of all claims of one kind on a common axis, so that their sizes compare."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

WIDTH = 320.0  # of a drawing, in its own units
MARGIN = 10.0  # left and right of what lies farthest out
SPACE = 40.0  # between two ticks at least
RATIOS = (1, 2, 0.5, 1.5, 4, 0.25, 1.25, 0.8, 3, 0.1, 8, 20, 50)  # ticks of a logarithmic axis, in order of preference
KINDS = {  # of an axis -> the heading over its claims
    "points": "Scores, difference in points",
    "spread": "Spread over seeds, ratio",
    "ratio": "Cost of training, ratio",
    "cosine": "Layer similarity, difference in cosine",
    "share": "Attention on the top layers, share",
}
PLACES = ("estimate", "low", "high", "paper")


def kind_of(claim: dict[str, Any]) -> str:
    """The axis of a claim: a key of ``KINDS``."""
    return "spread" if claim["measure"] == "sd" else str(claim["unit"])


@dataclass(frozen=True)
class CommonAxis:
    """Places from ``low`` to ``high``, logarithms where ``log``; 0, or the ratio 1, is always among them."""

    low: float
    high: float
    log: bool

    def x(self, value: float | None) -> float | None:
        """Where a value lies, in units of ``WIDTH``; None for none."""
        place = _place(value, self.log)
        if place is None:
            return None
        return round(MARGIN + (place - self.low) / (self.high - self.low) * (WIDTH - 2 * MARGIN), 1)

    @property
    def zero(self) -> float:
        """Where no difference lies."""
        return self.x(1.0 if self.log else 0.0) or 0.0

    def ticks(self) -> list[tuple[float, str]]:
        """(where, text) of the values marked on the axis, from left to right."""
        if not self.log:
            values = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
            inside = [float(v) for v in values if self.low <= v <= self.high]
            return [(self.x(v) or 0.0, f"{v:g}".replace("-", "−")) for v in inside]
        kept: list[tuple[float, str]] = []
        for ratio in RATIOS:
            at = self.x(ratio) or 0.0
            if 0 < at < WIDTH and all(abs(at - other) >= SPACE for other, _ in kept):
                kept.append((at, f"{ratio:g}×"))
        return sorted(kept)

    def drawing(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        """Where estimate, low, high, paper (None: missing) and the bounds (list) lie; None without an estimate."""
        if self.x(claim["estimate"]) is None:
            return None
        bounds = [x for x in map(self.x, (claim["lower"], claim["upper"])) if x is not None and x != self.zero]
        return {**{key: self.x(claim[key]) for key in PLACES}, "bounds": bounds}


def of(claims: Sequence[dict[str, Any]]) -> CommonAxis:
    """The axis on which claims of one kind have room."""
    log = any(claim["unit"] == "ratio" for claim in claims)
    values = [claim[key] for claim in claims for key in PLACES]
    values += [claim[key] for claim in claims for key in ("lower", "upper") if claim["estimate"] is not None]
    places = [0.0, *(place for value in values if (place := _place(value, log)) is not None)]
    low, high = min(places), max(places)
    return CommonAxis(low, high, log) if low < high else CommonAxis(low - 1, high + 1, log)


def _place(value: float | None, log: bool) -> float | None:
    if value is None or (log and value <= 0):
        return None
    return math.log(value) if log else float(value)
