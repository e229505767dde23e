"""Holds the paper's claims against run records: a ledger, comparisons, verdicts, and an audit of printed numbers."""

from typing import Any

OPPOSITE = {"higher": "lower", "lower": "higher"}  # a verdict on first − second -> that on second − first
WITHOUT_EXAMPLES = (
    "of seeds alone, because the predictions, or the prepared data whose labels they were scored by, are not in the "
    "results folder; the error of having these examples would widen them"
)


def counted(data: dict[str, Any], zeros: bool = True) -> str:
    """How many of the claims in ``claims.json`` have which verdict, in a sentence; ``zeros``: also those of none."""
    claims = len(data["claims"])
    if not claims:
        return "The paper claims nothing about these tasks, so no claim is evaluated."
    if data["counts"].get("not run") == claims:
        why = "what they need is not run by this benchmark, or not yet"
        return f"None of the paper's {claims} claims is evaluated: {why}."
    counts = ", ".join(f"{n} {verdict}" for verdict, n in data["counts"].items() if n or zeros)
    return f"The paper's {claims} claims: {counts}."


def errors_of_intervals(data: dict[str, Any]) -> str:
    """Which errors the intervals of scores in ``claims.json`` hold, in a sentence; empty where there is none."""
    compared = [part for claim in data["claims"] if claim["measure"] == "score" for part in claim["parts"]]
    compared += [difference for panel in data.get("differences") or [] for difference in panel["differences"]]
    held = [part["se_examples"] is not None for part in compared if part["low"] is not None]
    if not held:
        return ""
    if all(held):
        return "Intervals of scores are of seeds and examples together."
    if not any(held):
        return f"Intervals of scores are {WITHOUT_EXAMPLES}."
    return f"{sum(held)} of {len(held)} intervals of scores are of seeds and examples, the others {WITHOUT_EXAMPLES}."


def oriented(panel: dict[str, Any], first: str, second: str) -> dict[str, Any] | None:
    """The difference first − second, turned round where the panel has the other; None where it has neither."""
    for found in panel["differences"]:
        if found["methods"] == [first, second]:
            return dict(found)
        if found["methods"] == [second, first]:
            low, high = found["low"], found["high"]
            turned = {} if low is None else {"low": -high, "high": -low}
            verdict = OPPOSITE.get(found["verdict"], found["verdict"])
            return {**found, **turned, "methods": [first, second], "estimate": -found["estimate"], "verdict": verdict}
    return None


def decided(panel: dict[str, Any]) -> str:
    """How many differences of a panel of ``differences`` are decided, and who is above and below its reference."""
    verdicts = [d["verdict"] for d in panel["differences"]]
    count, titles = sum(verdict in OPPOSITE for verdict in verdicts), panel["methods"]
    block = {"ood": "out of domain"}.get(panel["block"], panel["block"])
    parts = [f"{panel['title']}, {block}: {count} of {len(verdicts)} differences between methods are decided"]
    against = {m: oriented(panel, m, panel["reference"]) for m in titles if m != panel["reference"]}
    for side, word in (("higher", "above"), ("lower", "below")):
        found = [titles[m] for m, d in against.items() if d and d["verdict"] == side]
        if found:
            parts.append(f"{word} {titles[panel['reference']]}: {', '.join(found)}")
    return "; ".join(parts) + "."
