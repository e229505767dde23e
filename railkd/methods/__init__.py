"""Distillation methods, one file each. Dropping a file here, or naming ``package.module:Class``, is all it takes."""

import importlib
import importlib.util
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any

from railkd.errors import UserError, unknown
from railkd.methods.base import Method, Setting
from railkd.registry import source_file


def _module(name: str, module_name: str, class_name: str, path: Path) -> types.ModuleType:
    if not class_name:
        return importlib.import_module(f"railkd.methods.{name}")
    if not module_name.endswith(".py"):
        return importlib.import_module(module_name)
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", str(path.with_suffix(""))), path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find(name: str) -> type[Method]:
    """The class of a method: ``pkd`` (the only Method class in ``pkd.py``), ``module:Class`` or ``file.py:Class``.

    Raises UserError for an unknown name.
    """
    path = source_file(name)
    module_name, _, class_name = name.partition(":")
    try:
        module = _module(name, module_name, class_name, path)
    except Exception as error:  # whatever a file of the user's may raise
        raise UserError(f"method '{name}': {path} cannot be imported ({type(error).__name__}: {error})") from error
    classes = {
        n: c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, Method) and c is not Method and c.__module__ == module.__name__
    }
    if class_name:
        if class_name not in classes:
            raise unknown("method class", class_name, classes, f"method '{name}'")
        return classes[class_name]
    if len(classes) != 1:
        raise UserError(f"{path}: expected exactly one Method class, found {sorted(classes) or 'none'}")
    return next(iter(classes.values()))


def _matches(value: Any, annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, a) for a in arguments)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in arguments)
    if origin is list:
        return isinstance(value, list) and all(_matches(v, arguments[0]) for v in value)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is type(None):
        return value is None
    return isinstance(value, annotation)


def _spell(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(a) for a in arguments)
    if origin is typing.Literal:
        return " | ".join(str(a) for a in arguments)
    if origin is list:
        return f"list of {_spell(arguments[0])}"
    return {float: "number", int: "integer", bool: "true or false", str: "text", type(None): "null"}.get(
        annotation, str(annotation)
    )


def build(name: str, setting: Setting, options: dict[str, Any], where: str = "methods") -> Method:
    """A method with the options of the benchmark file; raises UserError for an unknown, ill-typed or senseless one."""
    cls = find(name)
    hints = typing.get_type_hints(cls.__init__)
    keys = [p for p in inspect.signature(cls.__init__).parameters if p not in {"self", "setting"}]
    for key, value in options.items():
        if key not in keys:
            raise unknown("option", key, keys, f"{where}.{name}")
        if not _matches(value, hints[key]):
            raise UserError(f"{where}.{name}.{key}: {value!r} is not valid, expected {_spell(hints[key])}")
    try:
        return cls(setting, **options)
    except UserError as error:
        raise UserError(f"{where}.{name}.{error}") from None
    except (RuntimeError, ArithmeticError, MemoryError) as error:  # a size that no machine has
        raise UserError(f"{where}.{name}: cannot be built with {options} ({str(error)[:200]})") from None
