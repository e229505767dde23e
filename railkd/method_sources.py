"""Finds which methods there are and where their source lies. It imports nothing heavy: the workflow asks it."""

import ast
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from railkd.errors import UserError, unknown
from railkd.records import hashes

FOLDER = Path(__file__).parent / "methods"
NO_METHODS = {"__init__", "base", "mistakes"}  # the other files of this folder
NO_NUMBERS = {"railkd.errors", "railkd.methods.mistakes", "railkd.signals"}  # modules that compute nothing


@dataclass(frozen=True)
class Facts:
    """What the class of a method says of itself; a run record carries it under ``method_class``."""

    title: str
    summary: str  # the first line of its docstring
    source: str
    layer_mapping: str
    complexity: str
    limitation: str
    needs_logits: bool
    needs_live_teacher: bool
    whole_last_layer: bool
    mixes_examples: bool
    regression: bool
    defaults: dict[str, Any]  # option -> its value where the benchmark file gives none


def available() -> list[str]:
    """Names of the methods of the suite: a file ``methods/pkd.py`` is the method ``pkd``."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in NO_METHODS)


def source_file(name: str) -> Path:
    """The Python file of ``pkd``, ``package.module:Class``, ``folder/file.py:Class`` or ``folder/file.py``.

    Raises UserError for an unknown name or a missing file.
    """
    if ":" not in name and not name.endswith(".py"):
        path = FOLDER / f"{name}.py"
        if name in NO_METHODS or len(name) > 60 or not name.isidentifier() or not path.is_file():
            raise unknown("method", name, available())
        return path
    module = name.partition(":")[0]
    path = Path(module)
    if not module.endswith(".py"):
        try:
            spec = importlib.util.find_spec(module)
        except ValueError:
            spec = None
        except (Exception, SystemExit) as error:  # of the package's own __init__.py, which finding it imports
            if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{error.name}."):
                cause = f"{type(error).__name__}: {error}"
                raise UserError(f"method '{name}': its package cannot be imported ({cause})") from None
            spec = None
        path = Path(spec.origin) if spec and spec.origin else Path(module)
    if not path.is_file():
        expected = "" if module.endswith(".py") else ", nor a module of this folder or an installed one"
        raise UserError(f"method '{name}': no Python file {path}{expected}")
    return path


def without_folder(name: str) -> str:
    """A method's name as configurations have it: of a file without its folder, because its content is in a run's
    fingerprints, and how the way to it is typed changes nothing."""
    module, colon, of = name.partition(":")
    return f"{Path(module).name}{colon}{of}" if module.endswith(".py") else name


def source_files(name: str) -> list[Path]:
    """The method's file, and what it imports, directly or not: the suite's modules, and those and packages beside it.

    They are inputs of the method's workflow rule, and their hash is part of a run's fingerprints: an edit reruns that
    method's runs alone. What computes nothing is left out, as is what ``by_hand()`` imports, which no run calls.
    """
    found = [source_file(name)]
    for path in found:  # grows while it is read
        found += [place for place in _imported(*_parsed(name, path)) if place not in found]
    return found


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 of a method's source files, as run records have it."""
    return hashes.sha256_text("".join(map(hashes.sha256_once, files)))


@functools.cache
def _imported(path: Path, tree: ast.Module) -> list[Path]:
    """The suite's modules, and the ones in the file's own folder, that a file imports from."""
    found: list[Path] = []
    examples = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "by_hand"]
    skipped = {node for example in examples for node in ast.walk(example)}
    for node in ast.walk(tree):
        for place in _places(path, node) if node not in skipped else []:
            if place.is_file() and place not in found:
                found.append(place)
    return found


def _places(path: Path, node: ast.AST) -> list[Path]:
    """Where the modules of an import statement would lie: what follows ``import`` may be a module or a name in one."""
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        modules = [module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)]
    else:
        return []
    level = getattr(node, "level", 0)
    own = FOLDER.parent in path.parents
    found: list[Path] = []
    for module in modules:
        if own or module.partition(".")[0] == "railkd":
            found += _of_suite(module)
        else:
            found += _of_user(path, module, level)
    return found


def _of_suite(module: str) -> list[Path]:
    """Where a module of the suite would lie.

    Its packages' ``__init__.py`` are left out: they find and build methods, or are empty, and compute no number.
    """
    if not module.startswith("railkd.") or module in NO_NUMBERS:
        return []
    return [FOLDER.parent.parent / f"{module.replace('.', '/')}.py"]


def _of_user(path: Path, module: str, level: int) -> list[Path]:
    """Where a module that a user's file imports would lie, and the ``__init__.py`` of every package on the way to it.

    ``level``: the number of dots before it.
    """
    if level > len(path.parents):  # of a relative path: above the folder that one works in
        return []
    folder = root = path.parents[max(level, 1) - 1]
    while (root / "__init__.py").is_file() and root != root.parent:  # `import package.module` begins above the package
        root = root.parent
    parts = [part for part in module.split(".") if part]
    places = [place.joinpath(*parts).with_suffix(".py") for place in (folder, root) if parts]
    first = 0 if level else 1  # `from . import name` may name what the package's own __init__.py holds
    packages = [parts[:depth] for depth in range(first, len(parts) + 1)]
    return places + [place.joinpath(*inner, "__init__.py") for inner in packages for place in (folder, root)]


def _parsed(name: str, path: Path) -> tuple[Path, ast.Module]:
    try:
        return path, _tree(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError(f"method '{name}': {path} is no Python source ({error})") from None


@functools.cache  # a layer-map survey asks for one file some thousand times
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
