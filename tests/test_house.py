"""What the linter cannot say of the code's shape: how long a function may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("railkd", "analysis", "workflow", "benchmarks")
LONGEST = 60  # lines, with signature, docstring and comments: what a reader has on one screen


def too_long(source: str) -> Iterator[tuple[str, int]]:
    """The functions and methods of a module, nested ones too, that have more lines than ``LONGEST``, and how many."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST:
                yield node.name, lines


def test_no_function_is_longer_than_a_screen() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines, expected at most {LONGEST}"
        for path in files
        for name, lines in too_long(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("lines", [LONGEST, LONGEST + 1])
@pytest.mark.parametrize("head", ["def f():", "async def f():", "class A:\n    def f(self):"])
def test_a_long_function_is_seen(head: str, lines: int) -> None:
    body = "\n".join(["        pass"] * (lines - 1))
    assert list(too_long(f"{head}\n{body}\n")) == ([("f", lines)] if lines > LONGEST else [])
