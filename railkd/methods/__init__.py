"""Distillation methods, one file each. Dropping a file here, or naming ``package.module:Class``, is all it takes."""

import importlib
import importlib.util
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from railkd.errors import MethodError, UserError, unknown
from railkd.method_sources import Facts, source_file
from railkd.methods.base import Method, Setting
from railkd.methods.mistakes import blame, check_names, explained, located, located_class
from railkd.signals import Pooling

POOLINGS = (None, *typing.get_args(Pooling))
KEYS_OF_AN_ENTRY = {"method", "title", "external", "vary", "cross", "search"}  # beside its options (schema.json)
CALLED = ("start_training", "start_epoch", "end_epoch", "resume", "terms", "check_run", "record")  # by training


def _module(name: str, module_name: str, path: Path) -> types.ModuleType:
    if module_name.endswith(".py"):
        own_name = "railkd_method_" + re.sub(r"\W", "_", str(path))
        spec = importlib.util.spec_from_file_location(own_name, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # where dataclasses and error messages look for it
        spec.loader.exec_module(module)
        return module
    return importlib.import_module(module_name if ":" in name else f"railkd.methods.{name}")


def find(name: str) -> type[Method]:
    """The class of a method: ``pkd``, ``file.py`` (its only Method class), ``file.py:Class`` or ``module:Class``.

    Raises UserError for an unknown name, a file that cannot be imported, and a class that is no Method, declares
    something under the name that it had in an earlier version or has a function that cannot be called as it is.
    """
    cls = _class(name)
    check_names(cls)
    _require_arguments(cls)
    for key in KEYS_OF_AN_ENTRY & options_of(cls).keys():
        raise MethodError(
            f"{located_class(cls)} has an option '{key}', which in a benchmark file is a key of every entry under "
            "methods; rename the option"
        )
    return cls


def _require_arguments(cls: type[Method]) -> None:
    """Raises MethodError for a function that training could not call: its arguments are not the base class's."""
    for name in CALLED:
        own, expected = getattr(cls, name), list(inspect.signature(getattr(Method, name)).parameters)
        try:
            inspect.signature(own).bind(*expected)
        except TypeError as error:
            where = located(own) if inspect.isfunction(own) else f"{located_class(cls)}.{name}"
            raise MethodError(
                f"{where} cannot be called ({error}); expected def {name}({', '.join(expected)})"
            ) from None


def _class(name: str) -> type[Method]:
    path = source_file(name)
    module_name, _, class_name = name.partition(":")
    try:
        module = _module(name, module_name, path)
    except (Exception, SystemExit) as error:  # whatever a file of the user's may raise
        raise UserError(f"method '{name}': {path} cannot be imported ({type(error).__name__}: {error})") from error
    own = {n: c for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__}
    classes = {n: c for n, c in own.items() if issubclass(c, Method)}
    others = [c for n, c in own.items() if n not in classes and class_name in ("", n)]
    if not classes and others or class_name in own and class_name not in classes:
        raise MethodError(
            f"{located_class(others[0])} is no Method; derive it from the Method of railkd.methods.base, as in "
            f"class {others[0].__name__}(Method)"
        )
    if class_name:
        if class_name not in classes:
            raise unknown("method class", class_name, classes, f"method '{name}'")
        return classes[class_name]
    if len(classes) != 1:
        hint = f"; name one, as in {name}:{min(classes)}" if classes and name.endswith(".py") else ""
        raise UserError(f"{path}: expected exactly one Method class, found {sorted(classes) or 'none'}{hint}")
    return next(iter(classes.values()))


def options_of(cls: type[Method]) -> dict[str, inspect.Parameter]:
    """The options of a class: the arguments of its ``__init__``, and of the one that it hands ``**options`` on to."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        try:
            parameters = list(inspect.signature(vars(base)["__init__"], eval_str=True).parameters.values())
        except Exception:  # an annotation that names what is imported for type checkers alone
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())
        for parameter in parameters[2:]:  # without self and the setting
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters) or base is Method:
            break
    return found


def facts_of(cls: type[Method]) -> Facts:
    """What a class says of itself, inherited or not; raises MethodError for a fact of another kind than is expected."""
    stated: dict[str, Any] = {}
    for key in ("title", "source", "layer_mapping", "complexity", "limitation", "needs_logits", "needs_live_teacher",
                "whole_last_layer", "mixes_examples", "regression"):  # fmt: skip
        stated[key] = getattr(cls, key)
        kind = type(getattr(Method, key))
        if not isinstance(stated[key], kind):
            wanted = "a text" if kind is str else "true or false"
            raise MethodError(f"{located_class(cls)}.{key} is {stated[key]!r:.80}, expected {wanted}")
    stated["title"] = stated["title"] if "title" in vars(cls) else ""  # a name: an heir of RAIL-KD is not RAIL-KD
    documented = (base.__doc__ for base in cls.__mro__[: cls.__mro__.index(Method)])
    summary = next((inspect.cleandoc(text) for text in documented if text), "").partition("\n")[0]
    defaults: dict[str, Any] = {}
    for key, option in options_of(cls).items():
        if option.default is not option.empty:
            try:
                defaults[key] = json.loads(json.dumps(option.default, allow_nan=False))
            except (TypeError, ValueError):
                raise MethodError(
                    f"{located_class(cls)}: the default of the option '{key}', {option.default!r:.80}, cannot be "
                    "written as JSON; expected a finite number, a text, true, false, None, or a list of them"
                ) from None
    return Facts(**stated, summary=summary, defaults=defaults)


def _matches(value: Any, annotation: Any) -> bool:
    if annotation in (inspect.Parameter.empty, Any) or isinstance(annotation, str):
        return True  # nothing that can be checked
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, a) for a in arguments)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in arguments)
    if origin is list:
        return isinstance(value, list) and all(_matches(v, arguments[0]) for v in value)
    if tuple in (annotation, origin):  # a benchmark file has lists alone
        if not isinstance(value, list | tuple):
            return False
        each = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return origin is None or len(value) == len(each) and all(map(_matches, value, each))
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is type(None):
        return value is None
    return isinstance(value, origin or annotation)


def _as_declared(cls: type[Method], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a benchmark file, a list as a tuple where the class takes that and no list."""
    known = options_of(cls)
    found = dict(options)
    for key, value in options.items():
        if isinstance(value, list) and key in known:
            annotation = known[key].annotation
            union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
            kinds = [typing.get_origin(a) or a for a in (typing.get_args(annotation) if union else (annotation,))]
            if tuple in kinds and list not in kinds:
                found[key] = tuple(value)
    return found


def _spell(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(a) for a in arguments)
    if origin is typing.Literal:
        return " | ".join(str(a) for a in arguments)
    if origin is list or arguments[1:] == (...,):
        return f"list of {_spell(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)} values ({', '.join(map(_spell, arguments))})"
    return {tuple: "list", float: "number", int: "integer", bool: "true or false", str: "text", type(None): "null"}.get(
        annotation, str(annotation)
    )


def build(name: str, setting: Setting, options: dict[str, Any], where: str = "methods") -> Method:
    """A method with the options of the benchmark file.

    Raises UserError for an unknown, ill-typed or senseless option, and for a class that cannot be used: what a method's
    own code raises is told in one line.
    """
    cls, place = find(name), f"{where}.{name}"
    _check_options(cls, options, place)
    options = _as_declared(cls, options)
    if cls.terms is Method.terms:
        raise MethodError(
            f"{located_class(cls)} has no terms(); define terms(self, batch, student, teacher), which returns the "
            "loss terms by name"
        )
    method = _initialised(cls, setting, options, place)
    _check_base(method)
    with blame(method):
        if method.pooling not in POOLINGS:
            kinds = ", ".join(map(str, POOLINGS[1:]))
            raise MethodError(f"{located_class(cls)}.pooling is {method.pooling!r}, expected one of {kinds}, or None")
        if method.pooling is not None and not method.needs_live_teacher and not setting.teacher_intermediate:
            raise UserError(f"{place}: a teacher of 1 layer has no intermediate layer, whose vectors the method reads")
        _ = method.needs_hidden, method.trains_classifier
        if not _is_layers_of_both(method.attention_layers):
            raise MethodError(
                f"{located_class(cls)}.attention_layers is {method.attention_layers!r}, expected layers of the student "
                "and of the teacher, such as ([2], [4])"
            )
    return method


def build_unused(name: str, setting: Setting, options: dict[str, Any]) -> Method:
    """A method that is only looked at: without memory, where its ``__init__`` reads no tensor's numbers, else as ever.

    Raises what ``build`` raises.
    """
    try:
        with torch.device("meta"):
            return build(name, setting, options)
    except UserError:
        return build(name, setting, options)


def _is_layers_of_both(found: Any) -> bool:
    """Whether it is two lists of whole numbers."""
    pair = isinstance(found, tuple | list) and len(found) == 2
    return pair and all(isinstance(side, Sequence) and all(isinstance(n, int) for n in side) for side in found)


def _check_options(cls: type[Method], options: dict[str, Any], place: str) -> None:
    """Raises UserError for an option that the class has not, or of another type, and for one that is not given."""
    known = options_of(cls)
    for key, value in options.items():
        if key not in known:
            raise unknown("option", key, known, place)
        annotation = known[key].annotation
        if not _matches(value, annotation):
            raise UserError(f"{place}.{key}: {value!r} is not valid, expected {_spell(annotation)}")
    for key, option in known.items():
        if option.default is option.empty and key not in options:
            raise UserError(f"{place}.{key}: is not given and has no default")


def _initialised(cls: type[Method], setting: Setting, options: dict[str, Any], place: str) -> Method:
    """A method whose ``__init__`` has run; what goes wrong in it is a UserError of one line."""
    method = cls.__new__(cls)
    try:
        inspect.signature(cls.__init__).bind(method, setting, **options)
    except TypeError as error:
        raise MethodError(f"{located(cls.__init__)} cannot be called with a setting and options ({error})") from None
    try:
        cls.__init__(method, setting, **options)
    except UserError as error:
        raise UserError(f"{place}.{error}") from None
    except Exception as error:
        _check_base(method)
        if isinstance(error, RuntimeError | ArithmeticError | MemoryError):  # a size that no machine has
            raise UserError(f"{place}: cannot be built with {options} ({str(error)[:200]})") from None
        text = explained(error, cls)
        if text is None:
            raise
        if setting.train_labels is None and "NoneType" in text:
            text += "; setting.train_labels is None while only options are checked: read it in start_training"
        raise MethodError(text) from error
    return method


def _check_base(method: Method) -> None:
    """Raises MethodError when ``__init__`` has not called the base class's, or calls it too late."""
    if not {"_parameters", "setting", "weights"} <= vars(method).keys():
        raise MethodError(
            f"{located_class(type(method))}.__init__() does not call super().__init__(setting) first; add it as its "
            "first line"
        )
