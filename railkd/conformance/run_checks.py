"""Runs every check on a method and gives an outcome for each: ``railkd check-method NAME``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from railkd.conformance import checks
from railkd.conformance.miniature import EPOCHS, Failure, Miniatures, numbers
from railkd.errors import MethodError, Undeclared, UserError
from railkd.methods import facts_of, find
from railkd.methods.mistakes import blame, check_kept, explained, located


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


def _trial(miniatures: Miniatures) -> None:
    """A step in each stage and the end of its epoch: what fails here would fail in every check."""
    for epoch in (0, EPOCHS - 1):
        run = miniatures.start_run(epoch)
        method = run.method
        with blame(method), miniatures.student_kept():
            _, terms = miniatures.step(run, miniatures.rows)
            for name, value in numbers(terms).items():
                if value - value != 0:
                    raise MethodError(
                        f"{located(type(method).terms)} returned a term {name!r} that is {value} in the first step, in "
                        "float32; is there a division by 0, or a logarithm or root of what may be 0 or less?"
                    )
            method.end_epoch()
            check_kept(method, method.history, "history")
            check_kept(method, method.record(), "record()")


def run_checks(name: str, options: dict[str, Any] | None = None) -> Iterator[Result]:
    """Every check's outcome, in order.

    Raises UserError when the method cannot be found or built with its options, or cannot do a step: what its own code
    raises is told once, with file, line and remedy, as it is in training.
    """
    miniatures = Miniatures(name, options or {})
    facts_of(find(name))
    _trial(miniatures)
    told: dict[str, str] = {}  # what went wrong -> the check that said so first
    for title, run in CHECKS.items():
        try:
            run(miniatures)
        except checks.NotApplicable as reason:
            yield Result(title, "-", str(reason))
        except Exception as error:  # a method's own code may raise anything
            named = isinstance(error, Failure | UserError) and not isinstance(error, Undeclared)
            text = str(error) if named else explained(error, find(name))
            text = text or f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            first = told.setdefault(text, title)
            yield Result(title, "FAIL", text if first == title else f"as in {first}")
        else:
            yield Result(title, "ok", "")
