"""Checks a method's options as they come from a call."""

from collections.abc import Iterable, Mapping
from typing import Any

from railkd.benchmark.defaults import LATER, TRAINING
from railkd.errors import UserError, unknown
from railkd.methods import find, options_of


def check_options(method: str, options: Mapping[str, Any], arguments: Iterable[str] = ()) -> None:
    """Raises UserError for an option that the method does not have; types are checked where the method is built.

    ``arguments``: those of the call, which a misspelt name may have meant too.
    """
    known = options_of(find(method))
    for key, value in options.items():
        if key not in known and key in TRAINING | LATER and arguments:
            raise UserError(f"{key}: is no option of {method} but a setting: write training={{'{key}': {value!r}}}")
        if key not in known:
            raise unknown("option", key, [*known, *arguments], method)
