"""Tells what is wrong in a method's own code, as one sentence with file, line and remedy.

Training and ``railkd check-method`` both run a method's code under ``blame``, so that a mistake reads the same in both.
"""

import inspect
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from railkd.errors import MethodError, Undeclared, UserError
from railkd.records.fields import misshapen_part

if TYPE_CHECKING:
    from railkd.methods.base import Method

LOSS = "total"  # by which a record names the loss beside its terms
LONGEST = 300  # characters of an exception's own text
BACKWARD = {  # in an exception of the backward pass -> what the method did
    "modified by an inplace operation": "a tensor that the gradient needs was changed in place; change a copy",
    "second time": "a tensor kept from an earlier step still has its graph; keep its .detach()",
}
BROADCAST = "Using a target size"  # how torch's warning begins where a loss broadcasts one side
RENAMED = {  # what a method's class declared in earlier versions -> the name that it has now
    "attention": "attention_layers",
    "live": "needs_live_teacher",
    "mixes": "mixes_examples",
    "ready": "trains_classifier",
}
SHAPES = ("size", "shape", "dimension", "mat1 and mat2", "out of range", "out of bounds")  # in errors about tensors


def located(function: Callable[..., Any]) -> str:
    """``my_kd.py:31: MyKD.terms()``: where a function begins."""
    code = inspect.unwrap(function).__code__
    return f"{_shown(code.co_filename)}:{code.co_firstlineno}: {function.__qualname__}()"


def located_class(cls: type) -> str:
    """``my_kd.py:5: MyKD``: where a class begins; the name alone where its source cannot be read."""
    try:
        return f"{_shown(inspect.getfile(cls))}:{inspect.getsourcelines(cls)[1]}: {cls.__qualname__}"
    except (OSError, TypeError, SyntaxError):
        return cls.__qualname__


def _shown(path: str) -> str:
    near = os.path.relpath(path)
    return path if near.startswith(os.pardir) else near


def check_names(cls: "type[Method]") -> None:
    """Raises MethodError when a class, or one that it inherits from, declares something under its earlier name.

    A function of such a name is the class's own affair: what was renamed are constants and properties.
    """
    for base in cls.__mro__:
        if base.__module__ == "railkd.methods.base":
            return
        for old, new in RENAMED.items():
            if old in vars(base) and not inspect.isfunction(vars(base)[old]):
                raise MethodError(f"{located_class(base)} declares '{old}', which is called '{new}' now; rename it")


def check_terms(method: "Method", terms: Any) -> None:
    """Raises MethodError unless ``terms()`` returned named scalars, each with a weight, and all that have one."""
    wrong = _wrong(terms, method.weights)
    if wrong:
        raise MethodError(f"{located(type(method).terms)} {wrong}")


def _wrong(terms: Any, weights: Any) -> str | None:
    if not isinstance(terms, Mapping):
        return f"returned {_kind(terms)}, expected a dict from a term's name to a scalar tensor"
    if not terms:
        return "returned no term, expected at least one"
    if not isinstance(weights, Mapping):
        return f"needs self.weights as a dict from a term's name to a number, but it is {_kind(weights)}"
    for name, value in terms.items():
        wrong = _wrong_term(name, value) or _wrong_weight(name, weights)
        if wrong:
            return wrong
    for name, weight in weights.items():
        if name not in terms and weight != 0:
            return (
                f"returned no term {name!r}, for which self.weights has {weight}; return it, or let self.weights have "
                "it only where it is returned: an option that does nothing would be in the record"
            )
    return None


def _wrong_term(name: Any, value: Any) -> str | None:
    if not isinstance(name, str) or name == LOSS:
        return f"returned a term {name!r}; expected a text other than '{LOSS}', by which records name the loss"
    if not isinstance(value, Tensor):
        return f"returned {_kind(value)} as the term {name!r}, expected a scalar tensor"
    if value.ndim:
        return f"returned a term {name!r} of the shape {tuple(value.shape)}, expected a scalar; take its mean"
    return None


def _wrong_weight(name: str, weights: Mapping[str, Any]) -> str | None:
    if name not in weights:
        return f'returned a term {name!r} without a weight; add self.weights["{name}"] in __init__'
    weight = weights[name]
    if not isinstance(weight, int | float | Tensor):
        return f'needs a number as self.weights["{name}"], but it is {_kind(weight)}'
    if isinstance(weight, Tensor) and weight.ndim:
        shape = tuple(weight.shape)
        return f'needs a scalar as self.weights["{name}"], but its shape is {shape}; make it as torch.ones(())'
    return None


def check_trains(method: "Method", loss: Tensor) -> None:
    """Raises MethodError when no term depends on anything that is trained."""
    if not loss.requires_grad:
        raise MethodError(
            f"{located(type(method).terms)} returned no term that depends on the student; "
            "is it detached, or made of numbers alone?"
        )


def check_registered(method: "Method", loss: Tensor, trained: Iterable[Tensor]) -> None:
    """Raises MethodError when the loss depends on what the method would train and what is not among ``trained``.

    A tensor that is no parameter and that the method does not keep lives for one step: it is none to be trained.
    """
    known = {id(tensor) for tensor in trained}
    for leaf in _leaves(loss):
        if id(leaf) not in known and (isinstance(leaf, nn.Parameter) or _keeps(method, leaf)):
            raise MethodError(
                f"{located_class(type(method))}: a tensor of the shape {tuple(leaf.shape)} needs a gradient and is no "
                "registered parameter of the method, so no step would train it; make it in __init__, as an "
                "nn.Parameter or in a module, and keep several in an nn.ModuleList or nn.ParameterList"
            )


def _keeps(method: "Method", tensor: Tensor) -> bool:
    """Whether a tensor is an attribute of the method, or in a list or dict that is one."""
    kept = [value for module in method.modules() for value in vars(module).values()]
    kept += [part for value in kept if isinstance(value, list | tuple) for part in value]
    kept += [part for value in kept if isinstance(value, dict) for part in value.values()]
    return any(part is tensor for part in kept)


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """The tensors in which the gradient of a loss ends."""
    nodes: list[Any] = [loss.grad_fn]
    seen = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            yield node.variable
        nodes.extend(following for following, _ in node.next_functions)


def check_kept(method: "Method", kept: Any, what: str) -> Any:
    """What a method keeps for its run record, which is JSON; raises MethodError naming the key otherwise."""
    if not isinstance(kept, dict):
        raise MethodError(f"{located_class(type(method))}: {what} is {_kind(kept)}, expected a dict")
    for key, value in kept.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise MethodError(
                f"{located_class(type(method))}: {what}[{key!r}] cannot be written as JSON ({error}); expected finite "
                "numbers, texts, and lists or dicts of them"
            ) from None
        expected = misshapen_part("method_record", key, value)
        if expected:
            raise MethodError(
                f"{located_class(type(method))}: {what}[{key!r}] is {value!r:.80}, expected {expected}, which the "
                "report draws under this name; keep anything else under another"
            )
    return kept


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


@contextmanager
def blame(method: "Method") -> Iterator[None]:
    """Raises MethodError in place of any exception that passed through the method's own code; others go on."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, Undeclared):
            raise
        text = explained(error, type(method), method)
        if text is None:
            raise
        raise MethodError(text) from error


@contextmanager
def backward_of(method: "Method") -> Iterator[None]:
    """The same for the gradient of a loss, where the method's code is no more on the stack."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        why = next((remedy for sign, remedy in BACKWARD.items() if sign in text), None)
        if why is None:
            raise
        raise MethodError(f"{located(type(method).terms)} returned terms without a gradient: {why}") from error


def explained(error: Exception, cls: "type[Method]", method: "Method | None" = None) -> str | None:
    """An exception of a method's own code in one sentence; None when it is not that code's, or the machine's fault."""
    text = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, MemoryError | OSError) or "memory" in text.lower():
        return None
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, NotImplementedError) and frames and _inherited(cls, frames[-1].name):
        return f"{located_class(cls)} has no {frames[-1].name}(); define it"
    files = _files(cls)
    own = [frame for frame in frames if frame.filename in files]
    if not own:
        return None
    where = f"{_shown(own[-1].filename)}:{own[-1].lineno}: {cls.__qualname__}.{own[0].name}()"
    if isinstance(error, Undeclared):
        return f"{where}: {text}"
    raised = f"{where} raises {type(error).__name__}" + (f": {text}" if text else "")
    return raised + _remedy(error, text, method)


def _files(cls: type) -> set[str]:
    """The files of a method's class and of the classes that it inherits from, without the base class's own."""
    found = set()
    for base in cls.__mro__:
        if base.__module__ == "railkd.methods.base":
            break
        found |= {f.__code__.co_filename for f in vars(base).values() if inspect.isfunction(f)}
        found |= {f.fget.__code__.co_filename for f in vars(base).values() if isinstance(f, property) and f.fget}
    return found


def _inherited(cls: type, name: str) -> bool:
    return name not in vars(cls) and callable(getattr(cls, name, None))


def _remedy(error: Exception, text: str, method: "Method | None") -> str:
    if isinstance(error, UserWarning) and BROADCAST in text:
        return (
            "; logits are (B, C), of scores (B, 1), and labels (B,): give both one shape, as by logits_BC.squeeze(-1)"
        )
    setting = vars(method).get("setting") if method is not None else None
    if method is None or setting is None:
        return ""
    silent = not (method.needs_logits or method.needs_live_teacher or "pooling" in vars(type(method)))
    if silent and (isinstance(error, AssertionError) or "'NoneType'" in text):
        return "; the teacher is None where the class declares nothing that it reads of it, such as needs_logits = True"
    if any(sign in text.lower() for sign in SHAPES):
        return (
            f"; the student is {setting.student_width} wide and the teacher {setting.teacher_width}, with "
            f"{len(setting.student_intermediate)} and {len(setting.teacher_intermediate)} intermediate layers: "
            "project one side onto the other, and read as many layers of both"
        )
    return ""
