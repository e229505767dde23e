"""Turns a word on the command line into an entry of ``models:``, for the teacher and student of a first file."""

import contextlib
import difflib
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from railkd.commands.starter_file import STUDENT, TEACHER
from railkd.errors import UserError

MINIATURE = "miniature"  # a model that the workflow pre-trains
HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")

Model = tuple[str, dict[str, Any]]  # name and entry


def checkpoint_folder(word: str) -> Path | None:
    """The folder of a local checkpoint that a word names: a folder, or an installed package with a config.json."""
    if Path(word).is_dir():
        return Path(word)
    if not word.isidentifier():
        return None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(word)
        for place in (spec.submodule_search_locations or []) if spec else []:
            return min((path.parent for path in Path(place).rglob("config.json")), default=Path(place))
    return None


def model_entry(word: str, beside: Path, option: str) -> dict[str, Any]:
    """The entry of ``models:`` for a checkpoint; a folder is named relative to ``beside``. Raises UserError."""
    folder = checkpoint_folder(word)
    if word == MINIATURE:
        return {"pretrain": TEACHER}
    if folder is None:
        if word.startswith((".", "/", "~")) or not HUB.fullmatch(word):
            raise UserError(f"{option} {word}: no such folder; expected a folder, an installed package or a hub id")
        _refuse_misspelt(word, option)
        return {"hub": word}
    if not (folder / "config.json").is_file():
        raise UserError(f"{option} {word}: no checkpoint in {folder} (config.json is missing)")
    if Path(word).is_dir():
        return {"path": os.path.relpath(word, beside)}
    root = Path(str(importlib.util.find_spec(word).submodule_search_locations[0]))  # type: ignore[union-attr,index]
    inside = folder.relative_to(root).as_posix()
    return {"package": word, **({} if inside == "." else {"folder": inside})}


def _refuse_misspelt(word: str, option: str) -> None:
    """Raises UserError for what could be a hub id, but is nearly the name of a checkpoint's folder beside it."""
    here = {path.name: path for path in Path(word).parent.glob("*") if (path / "config.json").is_file()}
    close = difflib.get_close_matches(Path(word).name, here, n=1, cutoff=0.8)
    if close:
        raise UserError(f"{option} {word}: no such folder; did you mean {here[close[0]]}?")


def number_in_config(word: str, *keys: str) -> int | None:
    """A number in a local checkpoint's config.json; None for a hub id, whose files are not asked for here."""
    folder = checkpoint_folder(word)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
        return next((int(config[key]) for key in keys if key in config), None)
    except (OSError, ValueError, TypeError):
        return None


def plain_name(text: str) -> str:
    """A name for a benchmark file, of what a path or a hub id ends with."""
    last = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(text).name).strip("-_")
    return last[:40] or "mine"


def model_entries(teacher: str, student: str, beside: Path) -> tuple[Model, Model]:
    """Teacher and student by name; a folder is named relative to ``beside``."""
    name = f"bert{TEACHER['layers']}" if teacher == MINIATURE else plain_name(teacher)
    first = (name, model_entry(teacher, beside, "--teacher"))
    if student == MINIATURE:
        return first, (f"distilbert{STUDENT['layers']}", {"from": name, "pretrain": STUDENT})
    if student.isdigit():
        return first, (f"{name}-{student}", {"layers_of": name, "layers": int(student), "keep": "every_other"})
    other = plain_name(student)
    other = other if other.lower() != name.lower() else f"{other}-student"
    return first, (other, model_entry(student, beside, "--student"))
