"""The benchmark file: read, checked, and resolved into what each step needs. Imports nothing heavy."""

import os
import re
from pathlib import Path

from railkd.benchmark.model_entries import check_models
from railkd.benchmark.paths import data_root
from railkd.benchmark.plain_yaml import parse
from railkd.benchmark.schema_errors import schema_error
from railkd.benchmark.specification import Benchmark
from railkd.benchmark.variants import NAME, expand
from railkd.errors import UserError, unknown
from railkd.method_sources import source_file
from railkd.tasks import OUT_OF_DOMAIN, TASKS

ROOT = Path(__file__).parent.parent.parent
SCHEMA = Path(__file__).with_name("schema.json")


def _check(benchmark: Benchmark) -> None:
    """What a schema cannot say: names that refer to each other."""
    path, spec = benchmark.path, benchmark.spec
    if not NAME.fullmatch(benchmark.name):
        raise UserError(f"{path}: name: {benchmark.name!r} is no name, expected at most 64 of A-Z a-z 0-9 _ . -")
    for task in benchmark.tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS, f"{path}: data.tasks")
    for name in benchmark.data.get("out_of_domain", []):
        if name not in OUT_OF_DOMAIN:
            raise unknown("out-of-domain set", name, OUT_OF_DOMAIN, f"{path}: data.out_of_domain")
    for rules in spec.get("rules", []):
        if not (path.parent / rules).is_file():
            raise UserError(f"{path}: rules: no such file {path.parent / rules}")
    for method in spec["methods"]:
        if not benchmark.external(method):
            try:
                source_file(benchmark.method_class(method))
            except UserError as error:
                raise UserError(f"{path}: methods.{method}: {error}") from None
    for section in ("models", "methods", "pairs"):
        known: dict[str, str] = {}
        for name in spec[section]:
            other = known.setdefault(name.lower(), name)
            if other != name:
                raise UserError(
                    f"{path}: {section}: '{other}' and '{name}' differ in case alone, expected names that are two "
                    "folders on every file system"
                )
    for name, pair in spec["pairs"].items():
        where = f"{path}: pairs.{name}"
        for role in ("teacher", "student"):
            if pair[role] not in spec["models"]:
                raise unknown("model", pair[role], spec["models"], f"{where}.{role}")
        for method in pair["methods"]:
            if method not in spec["methods"]:
                raise unknown("method", method, spec["methods"], f"{where}.methods")
        for task in pair.get("tasks") or []:
            if task not in benchmark.tasks:
                raise unknown("task", task, benchmark.tasks, f"{where}.tasks")
    check_models(benchmark)
    root = data_root(benchmark)
    for name in benchmark.data.get("out_of_domain", []):
        if benchmark.data["source"] == "glue" and root is None and OUT_OF_DOMAIN[name].hub is None:
            raise UserError(
                f"{path}: data.out_of_domain: {name} is on no hub; expected data.root or RAILKD_DATA to name a mirror "
                f"with {OUT_OF_DOMAIN[name].folder}/test.parquet"
            )
    if benchmark.data["source"] == "glue" and root is not None and not root.is_dir():
        key = "RAILKD_DATA" if os.environ.get("RAILKD_DATA") else f"{path}: data.root"
        raise UserError(f"{key}: no such folder {root}")


def check_device(name: str) -> None:
    """Raises UserError for a device that no machine has; whether this one has it, ``train.device_for`` knows."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"device {name!r}: expected auto, cpu, cuda, or one of several GPUs by number, such as cuda:1")


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch to ask."""
    return Path("/dev/nvidia0").exists()


def in_checkout() -> bool:
    """Whether this library runs from a checkout of the suite: an installation has neither benchmarks nor workflow."""
    return (ROOT / "Snakefile").is_file()


def _available() -> str:
    """The suite's benchmark files, for a message about one that does not exist."""
    if not in_checkout():
        return "the suite's own benchmark files are in a checkout of it and are not installed with the library"
    present = sorted(str(p) for p in (ROOT / "benchmarks").glob("*.yaml") if p.stem != "claims")
    return f"available: {', '.join(os.path.relpath(p) for p in present)}"


def load(path: str | Path) -> Benchmark:
    """Reads and checks a benchmark file; raises UserError, one line that names the key and what was expected."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such benchmark file; {_available()}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    spec = parse(text, str(path))
    if not isinstance(spec, dict):
        raise UserError(f"{path}: expected a mapping with the keys name, data, models, methods, pairs, seeds")
    wrong = schema_error(path, spec, SCHEMA)
    if wrong:
        raise wrong
    try:
        benchmark = Benchmark(path, *expand(spec))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        _check(benchmark)
    except (OSError, RuntimeError) as error:  # a name too long for a file, a home folder of nobody
        raise UserError(f"{path}: {error}") from None
    return benchmark
