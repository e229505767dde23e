"""Writes numbers as text: decimals, a sign, a unit. It imports nothing, so that a terminal has it at once."""

from typing import Any


def number(value: float, decimals: int) -> str:
    """A fixed number of decimals, never a negative zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign, a minus sign instead of a hyphen."""
    text = number(value, decimals).replace("-", "−")
    return text if text.startswith("−") else f"+{text}"


def quantity(value: float | None, unit: str, signed: bool = False) -> str:
    """A number in its unit; a dash for none."""
    if value is None:
        return "–"
    decimals, after = {"points": (2, " points"), "ratio": (2, "×")}.get(unit, (3, ""))
    text = number(value, decimals).replace("-", "−")
    return ("+" if signed and unit == "points" and value > 0 else "") + text + after


def interval(entry: dict[str, Any], unit: str) -> str:
    """The estimate of a claim or comparison with its interval; a dash for none."""
    text = quantity(entry["estimate"], unit, signed=True)
    if entry["low"] is None:
        return text
    limits = [quantity(entry[key], unit).removesuffix(" points") for key in ("low", "high")]
    return f"{text} [{', '.join(limits)}]"
