"""Strange input for the fuzz tests: a tree with parts taken out, renamed or replaced, and what may come of it."""

import copy
import datetime
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from railkd.errors import UserError

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "a\nb", "\0", "..", "../..", "/", "/dev/null", "~nobody/x", "x" * 5000, "ünï", "1", "nan"]
    ),
    st.sampled_from(
        ["railkd.methods:X", ".x:Y", "x.py:", ":", "json:X", "tests/strange.py:X", "{choose: 5}", "*", "a.*"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
YAML = st.one_of(
    JSON,
    st.sampled_from([b"\xff", datetime.date(2022, 7, 10), datetime.datetime(2022, 7, 10), {1, 2}]),
    st.dictionaries(st.one_of(SCALARS, st.just((1, 2))), SCALARS, max_size=3),
    st.sampled_from([{"choose": 10**6, "of": 10**7}, {"choose": 5, "of": 11, "sample": 3}, {"choose": 2, "of": 500}]),
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of nested mappings and lists."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


@st.composite
def mutated(draw: Callable[..., Any], tree: Any, values: Any = JSON) -> Any:
    """The tree after one to three changes."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(tree))
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        change = draw(st.sampled_from(["replace", "replace", "delete", "rename", "wrap", "take"]))
        if change == "replace":
            container[key] = copy.deepcopy(draw(values))  # one that is drawn again must not have been changed
        elif change == "delete":
            del container[key]
        elif change == "rename" and isinstance(container, dict):
            container[draw(st.one_of(TEXTS, st.just(f"{key}s")))] = container.pop(key)
        elif change == "wrap":
            container[key] = [container[key]] * draw(st.integers(1, 3))
        else:
            other, name = found[draw(st.integers(0, len(found) - 1))]
            container[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
    return tree


def fuzz(examples: int) -> settings:
    """The same inputs every time, so that a failure in CI is one at home."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


class Hangs(Exception):
    """More than ten seconds of this process's own time."""


def answered(call: Callable[[], Any], place: str) -> bool:
    """Whether a call succeeds; else it must raise a UserError of one line that names the place, and soon."""

    def hangs(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, 10)
    try:
        call()
    except UserError as error:
        said = str(error)
        assert place in said and len(said.splitlines()) == 1 and len(said) < 1500, said[:3000]
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return True
