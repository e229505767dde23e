"""Runs every check on a method and gives an outcome for each: ``railkd check-method NAME``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from railkd.conformance import checks
from railkd.conformance.miniature import Failure, Miniatures
from railkd.conformance.trial import trial
from railkd.errors import Undeclared, UserError
from railkd.methods import facts_of, find
from railkd.methods.mistakes import explained


@dataclass(frozen=True)
class Result:
    """One check's outcome; ``-`` where the check does not apply, with the reason."""

    check: str
    status: Literal["ok", "FAIL", "-"]
    text: str

    def __str__(self) -> str:
        return f"{self.status:<5}{self.check}" + (f": {self.text}" if self.text else "")


CHECKS: dict[str, Callable[[Miniatures], None]] = {
    "padding invariance": checks.padding,
    "gradient targets": checks.gradients,
    "batch-split invariance": checks.batch_split,
    "cached = live": checks.cached_is_live,
    "determinism": checks.determinism,
    "resume": checks.resume,
    "regression": checks.regression,
    "mixed precision": checks.mixed_precision,
    "hand-computed value": checks.by_hand,
}


# each of these is run on scores too, where the class does not declare that it is undefined for them
ON_SCORES = (
    "padding invariance",
    "batch-split invariance",
    "cached = live",
    "determinism",
    "resume",
    "mixed precision",
)


def run_checks(name: str, options: dict[str, Any] | None = None) -> Iterator[Result]:
    """Every check's outcome, in order.

    Raises UserError when the method cannot be found or built with its options, or cannot do a step: what its own code
    raises is told once, with file, line and remedy, as it is in training.
    """
    miniatures = Miniatures(name, options or {})
    facts_of(find(name))
    trial(miniatures)
    scores = _on_scores(miniatures)
    told: dict[str, str] = {}  # what went wrong -> the check that said so first
    for title in CHECKS:
        result = _outcome(title, miniatures)
        if scores is not None and result.status == "ok" and title in ON_SCORES:
            other = _outcome(title, scores)
            result = replace(other, text=f"on scores, {other.text}") if other.status == "FAIL" else result
        if result.status == "FAIL":
            first = told.setdefault(result.text, title)
            result = result if first == title else replace(result, text=f"as in {first}")
        yield result


def _on_scores(miniatures: Miniatures) -> Miniatures | None:
    """The method on scores; None where it does no step on them, which the check "regression" tells."""
    if not find(miniatures.name).regression:
        return None
    try:
        trial(miniatures.on_scores)
    except Exception:  # a method's own code may raise anything
        return None
    return miniatures.on_scores


def _outcome(title: str, miniatures: Miniatures) -> Result:
    """What one check finds."""
    try:
        CHECKS[title](miniatures)
    except checks.NotApplicable as reason:
        return Result(title, "-", str(reason))
    except Exception as error:  # as above
        named = isinstance(error, Failure | UserError) and not isinstance(error, Undeclared)
        text = str(error) if named else explained(error, find(miniatures.name))
        text = text or f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Result(title, "FAIL", text)
    return Result(title, "ok", "")
