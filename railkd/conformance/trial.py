"""Does what every run of a method does, before the checks: what fails here would fail in each of them."""

from railkd.conformance.miniature import EPOCHS, Miniatures, numbers
from railkd.errors import MethodError
from railkd.methods.mistakes import blame, check_kept, located


def trial(miniatures: Miniatures) -> None:
    """A step in each stage and the end of its epoch; raises MethodError for what a run would raise it for."""
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
