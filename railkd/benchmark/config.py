"""Reads the benchmark file, checks it, and resolves it into what each job needs. It imports nothing heavy."""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from railkd.benchmark.model_entries import check_models
from railkd.benchmark.paths import data_root
from railkd.benchmark.plain_yaml import parse
from railkd.benchmark.schema_errors import schema_error
from railkd.benchmark.specification import Benchmark
from railkd.benchmark.variants import NAME, expand
from railkd.errors import UserError, unknown
from railkd.method_sources import available, source_file
from railkd.tasks import OUT_OF_DOMAIN, TASKS

ROOT = Path(__file__).parent.parent.parent
SCHEMA = Path(__file__).with_name("schema.json")
MOST_POINTS = 10_000  # of a method's search; each is a training
ROWS = ("teacher", "constant")  # of tables, that are no method's: the teacher's scores, and a constant prediction's
NVIDIA = Path("/dev/nvidia0")  # is there where the driver has found a GPU


def _check(benchmark: Benchmark) -> None:
    """What a schema cannot say: names that refer to each other."""
    if not NAME.fullmatch(benchmark.name):
        raise UserError(f"name: {benchmark.name!r} is no name, expected at most 64 of A-Z a-z 0-9 _ . -")
    _check_tasks(benchmark)
    for rules in benchmark.spec.get("rules", []):
        if not (benchmark.path.parent / rules).is_file():
            raise UserError(f"rules: no such file {benchmark.path.parent / rules}")
    for method in benchmark.spec["methods"]:
        if method in ROWS:
            raise UserError(
                f"methods.{method}: tables have a row '{method}' of their own; expected another name for the entry"
            )
        if benchmark.external(method):
            _check_external(benchmark, method)
        else:
            try:
                _check_place(benchmark, source_file(benchmark.method_class(method)))
            except UserError as error:
                raise UserError(f"methods.{method}: {error}") from None
            _check_true_name(method, benchmark.method_class(method))
    for section in ("models", "methods", "pairs"):
        _check_spelling(section, benchmark.spec[section])
    check_models(benchmark)
    for name in benchmark.pairs:
        _check_pair(benchmark, name)
    _check_search(benchmark)
    _check_teacher_settings(benchmark)
    _check_mirror(benchmark)


def _check_place(benchmark: Benchmark, read: Path) -> None:
    """A relative path of a method is read in the folder that one works in, every other one beside the file."""
    beside = benchmark.path.parent / read
    if beside.is_file() and not beside.samefile(read):
        raise UserError(
            f"{read} is read in the folder that you work in, and {beside} is another file; expected that path, or the "
            "command in the folder of the benchmark file"
        )


def _check_external(benchmark: Benchmark, method: str) -> None:
    """Options of a method that is not trained here would change nothing."""
    for option in (*benchmark.options(method), *(["search"] if benchmark.searched_options(method) else [])):
        raise UserError(
            f"methods.{method}.{option}: the method is external, so nothing here reads its options; expected no key "
            "but external and title"
        )


def _check_true_name(entry: str, method: str) -> None:
    """The paper's claims and printed numbers are looked up by the names of its methods."""
    if entry in available() and not source_file(method).samefile(source_file(entry)):
        raise UserError(
            f"methods.{entry}.method: {method!r} runs under the name of another method of this suite, beside the "
            "paper's numbers for that one; expected another name for the entry"
        )


def _check_tasks(benchmark: Benchmark) -> None:
    """Tasks and out-of-domain sets: the built-in ones, and those with files of one's own."""
    own: dict[str, Any] = {"task": benchmark.own_tasks, "out-of-domain set": benchmark.own_sets}
    given = {"task": benchmark.tasks, "out-of-domain set": benchmark.data.get("out_of_domain", [])}
    for kind, built_in in (("task", TASKS), ("out-of-domain set", OUT_OF_DOMAIN)):
        key = "data.tasks" if kind == "task" else "data.out_of_domain"
        for name in given[kind]:
            if name in own[kind]:
                continue
            if name not in built_in:
                raise unknown(kind, name, built_in, key)
            if benchmark.data["source"] == "files":
                raise UserError(
                    f"{key}: {name} is a built-in {kind}, but data.source: files has those of your own alone; expected "
                    f"data.source: glue, or files for {key}.{name} under another name"
                )
    for name in given["out-of-domain set"]:
        source = benchmark.out_of_domain_set(name).source
        if source not in benchmark.tasks:
            raise UserError(
                f"data.out_of_domain: {name} is scored with the students of {source}; expected {source} in data.tasks, "
                f"or no {name}"
            )
    every = [*TASKS, *benchmark.own_tasks]
    named = {
        f"training.{role}.tasks": (settings.get("tasks"), every)
        for role, settings in benchmark.spec.get("training", {}).items()
    }
    named["data.sizes.train_sizes"] = ((benchmark.data.get("sizes") or {}).get("train_sizes"), list(TASKS))
    for key, (tasks, known) in named.items():
        for name in tasks or ():
            if name not in known:
                raise unknown("task", name, known, key)
    _check_spelling("data.tasks", [*benchmark.tasks, *benchmark.own_sets])


def _check_spelling(section: str, names: Iterable[str]) -> None:
    """Raises UserError for two names that are one folder on some file systems."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            raise UserError(
                f"{section}: '{other}' and '{name}' differ in case alone, expected names that are two folders on every "
                "file system"
            )


def _check_pair(benchmark: Benchmark, name: str) -> None:
    pair, where = benchmark.pairs[name], f"pairs.{name}"
    for role in ("teacher", "student"):
        if pair[role] not in benchmark.models:
            raise unknown("model", pair[role], benchmark.models, f"{where}.{role}")
        if benchmark.data["source"] != "miniglue" and benchmark.miniature(pair[role]) is not None:
            raise UserError(
                f"{where}.{role}: {pair[role]} is pre-trained here, on MiniGLUE's text alone; expected data.source: "
                "miniglue, or a model from a checkpoint (hub, path or package)"
            )
    for method in pair["methods"]:
        if method not in benchmark.spec["methods"]:
            raise unknown("method", method, benchmark.spec["methods"], f"{where}.methods")
    tasks = pair.get("tasks") or benchmark.tasks
    for task in tasks:
        if task not in benchmark.tasks:
            raise unknown("task", task, benchmark.tasks, f"{where}.tasks")
    _check_tables(benchmark, name, tasks)


def _check_tables(benchmark: Benchmark, name: str, tasks: Iterable[str]) -> None:
    """Whether the pair has what each table and figure that it names is made of."""
    pair, where = benchmark.pairs[name], f"pairs.{name}.tables"
    named = pair.get("tables", [])
    if 4 in named and set(tasks) == {"stsb"}:
        raise UserError(
            f"{where} names 4, but Table 4 leaves out STS-B, its only task; expected another task beside it, or "
            "tables without 4"
        )
    if 6 in named and not any(map(benchmark.out_of_domain, tasks)):
        raise UserError(
            f"{where} names 6, but data.out_of_domain has no set for its tasks; expected MNLI with scitail, QQP "
            "with a PAWS, SST-2 with imdb or a set of your own"
        )
    variants = [benchmark.variants[method] for method in pair["methods"] if method in benchmark.variants]
    if "ablation" in named and not any(variant.entry in pair["methods"] for variant in variants):
        raise UserError(
            f"{where} names ablation, but methods of the pair has no entry beside a variant of it; expected both, such "
            "as rail_kd_l and rail_kd_l.* of an entry with vary or cross, or tables without ablation"
        )
    fixed = [v for v in variants if v.entry in pair["methods"] and isinstance(v.changed.get("mapping"), list)]
    if "layer_maps" in named and not any(list(variant.changed) == ["mapping"] for variant in fixed):
        raise UserError(
            f"{where} names layer_maps, but methods of the pair has no entry beside variants of it with fixed layer "
            "maps; expected vary: {mapping: [{choose: M, of: N}]} in an entry, it and its variants in the pair, or "
            "tables without layer_maps"
        )
    models = pair["teacher"], pair["student"]
    same = [p for p in benchmark.pairs.values() if (p["teacher"], p["student"]) == models]
    if "budget" in named and sum("budget" in p.get("tables", []) for p in same) < 2:
        raise UserError(
            f"{where} names budget, which compares pairs of the same two models at several training budgets, and it is "
            "the only such pair; expected another with training of its own that names budget, or tables without budget"
        )


def _check_search(benchmark: Benchmark) -> None:
    """Whether the search is decided on runs that are not reported, and for every row that the workflow trains."""
    if benchmark.search and benchmark.search["seed"] in benchmark.seeds:
        raise UserError(
            f"search.seed: {benchmark.search['seed']} is one of seeds, so a point would be chosen on a run that is "
            "reported; expected another number"
        )
    for method in benchmark.spec["methods"]:
        _check_searched_options(benchmark, method)
    tasks = (benchmark.search or {}).get("tasks", [])
    for task in tasks:
        if task not in benchmark.tasks:
            raise unknown("task", task, benchmark.tasks, "search.tasks")
    for cell in benchmark.cells() if tasks else []:
        if not benchmark.external(cell.method) and not benchmark.searched(cell):
            raise UserError(
                f"search.tasks: {cell.method} trains on none of {', '.join(tasks)} in pairs.{cell.pair}; expected at "
                "least one task of each pair that every method of it can be trained on"
            )


def _check_searched_options(benchmark: Benchmark, method: str) -> None:
    """Whether the options that an entry searches have one source for their value, and points that can be trained."""
    searched, entry = benchmark.searched_options(method), benchmark.spec["methods"][method]
    place = f"methods.{method}.search"
    if searched and not benchmark.search:
        raise UserError(f"{place}: the file has no search; expected search.grid and search.seed beside it")
    for option in searched:
        if option in entry:
            raise UserError(f"{place}.{option}: the entry gives {option} a value too; expected one of the two")
        if option in (benchmark.search or {})["grid"]:
            raise UserError(f"{place}.{option}: search.grid has that name for a setting of training")
    axes = {**(benchmark.search or {}).get("grid", {}), **searched}
    if (count := math.prod(map(len, axes.values()))) > MOST_POINTS:
        raise UserError(f"{place if searched else 'search.grid'}: {count:,} points, expected at most {MOST_POINTS:,}")


def _check_teacher_settings(benchmark: Benchmark) -> None:
    """Whether ``regime`` is meant for the students: a teacher reads no signals. Both may share their settings."""
    given, students = (benchmark.spec.get("training", {}).get(role, {}) for role in ("teacher", "student"))
    places = {"": (given, students)}
    for task, settings in given.get("tasks", {}).items():
        places[f".tasks.{task}"] = settings, students.get("tasks", {}).get(task, {})
    for place, (settings, theirs) in places.items():
        if "regime" in settings and "regime" not in theirs:
            raise UserError(
                f"training.teacher{place}.regime: a teacher reads no teacher's signals; expected the key under "
                "training.student"
            )


def _check_mirror(benchmark: Benchmark) -> None:
    """Whether the real data of built-in tasks have a place that they can come from."""
    if benchmark.data["source"] != "glue":
        return
    root = data_root(benchmark)
    for name in benchmark.data.get("out_of_domain", []):
        foreign = benchmark.out_of_domain_set(name)
        if root is None and foreign.hub is None and not foreign.own:
            raise UserError(
                f"data.out_of_domain: {name} is on no hub; expected data.root or RAILKD_DATA to name a mirror "
                f"with {foreign.folder}/test.parquet"
            )
    if root is not None and not root.is_dir():
        key = "RAILKD_DATA" if os.environ.get("RAILKD_DATA") else "data.root"
        raise UserError(f"{key}: no such folder {root}")


def check_device(name: str) -> None:
    """Raises UserError for a device that no machine has; whether this one has it, ``train.device_for`` knows."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"device {name!r}: expected auto, cpu, cuda, or one of several GPUs by number, such as cuda:1")


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU that its jobs may see, without importing torch to ask."""
    return NVIDIA.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() not in ("", "-1")


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
    except IsADirectoryError:
        raise UserError(
            f"{path}: is a folder; expected a benchmark file, such as benchmarks/mini.yaml (its results folder, where "
            "it is another than results/NAME, is given as --results FOLDER)"
        ) from None
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
        _check(benchmark)
    except UserError as error:
        if str(error).startswith("RAILKD_DATA: "):  # no key of this file
            raise
        raise UserError(f"{path}: {error}") from None
    except (OSError, RuntimeError) as error:  # a name too long for a file, a home folder of nobody
        raise UserError(f"{path}: {error}") from None
    return benchmark
