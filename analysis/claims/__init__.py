"""Holds the paper's claims against run records: a ledger, comparisons, verdicts, and an audit of printed numbers."""

from typing import Any


def counted(data: dict[str, Any], zeros: bool = True) -> str:
    """How many of the claims in ``claims.json`` have which verdict, in a sentence; ``zeros``: also those of none."""
    claims = len(data["claims"])
    if not claims:
        return "The paper claims nothing about these tasks, so no claim is evaluated."
    if data["counts"].get("not run") == claims:
        return f"None of the paper's {claims} claims is evaluated: this benchmark does not run what they need."
    counts = ", ".join(f"{n} {verdict}" for verdict, n in data["counts"].items() if n or zeros)
    return f"The paper's {claims} claims: {counts}."
