"""Which methods there are and where their source lies. Imports nothing heavy: the workflow asks it while it is read."""

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from railkd.errors import UserError, unknown

FOLDER = Path(__file__).parent / "methods"


def available() -> list[str]:
    """Names of the methods of the suite: a file ``methods/pkd.py`` is the method ``pkd``."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in {"__init__", "base"})


def source_file(name: str) -> Path:
    """The Python file of ``pkd``, ``package.module:Class`` or ``folder/file.py:Class``.

    Raises UserError for an unknown name or a missing file.
    """
    if ":" not in name:
        if name not in available():
            raise unknown("method", name, available())
        return FOLDER / f"{name}.py"
    module = name.partition(":")[0]
    path = Path(module)
    if not module.endswith(".py"):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        path = Path(spec.origin) if spec and spec.origin else Path(module)
    if not path.is_file():
        raise UserError(f"method '{name}': no Python file {path}")
    return path


def source_files(name: str) -> list[Path]:
    """The method's file, and the suite's own modules that it imports, directly or not.

    They are inputs of the method's workflow rule, and their hash is part of a run's fingerprints: an edit reruns that
    method's runs alone. ``errors.py`` computes nothing and is left out, as is what ``by_hand()`` imports, which no run
    calls.
    """
    found = [source_file(name)]
    for path in found:  # grows while it is read
        found += [place for place in _imported(*_parsed(name, path)) if place not in found]
    return found


def source_fingerprint(name: str) -> str:
    """SHA-256 over ``source_files``, as a run's record has it."""
    digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in source_files(name))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@functools.cache
def _imported(path: Path, tree: ast.Module) -> list[Path]:
    """The suite's modules that a file imports from."""
    found: list[Path] = []
    examples = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "by_hand"]
    skipped = {node for example in examples for node in ast.walk(example)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if module and module.startswith("railkd.") and module != "railkd.errors":
            place = FOLDER.parent.parent / f"{module.replace('.', '/')}.py"
            if place.is_file() and place not in found:
                found.append(place)
    return found


def _parsed(name: str, path: Path) -> tuple[Path, ast.Module]:
    try:
        return path, _tree(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError(f"method '{name}': {path} is no Python source ({error})") from None


@functools.cache  # a census asks for one file some thousand times
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def class_facts(name: str) -> dict[str, Any]:
    """Class attributes of a method that are plain constants (``regression``, ``complexity``, ...), and as ``summary``
    the first line of its docstring.

    Read from its source, without importing it. Empty when the source is elsewhere; raises UserError when it is no
    Python.
    """
    wanted = name.partition(":")[2]
    try:
        path = source_file(name)
    except UserError:
        return {}
    _, tree = _parsed(name, path)
    facts: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or (wanted and node.name != wanted):
            continue
        if said := ast.get_docstring(node):
            facts["summary"] = said.partition("\n")[0]
        for line in node.body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            value = getattr(line, "value", None)
            for target in targets:
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                    facts[target.id] = value.value
    return facts
