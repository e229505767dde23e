"""The benchmark file as the analysis sees it: which pairs, methods, tasks and seeds fill which table.

Imports neither torch nor pandas, so that a Snakefile can ask ``outputs`` which files to expect.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from railkd.errors import UserError, unknown
from railkd.registry import source_file
from railkd.tasks import OUT_OF_DOMAIN, TASKS

ROOT = Path(__file__).parent.parent
TABLES = (1, 2, 3, 4, 5, 6)
FIGURES = ("figure2", "figure3")
PAPER_ORDER = ("no_kd", "vanilla_kd", "pkd", "alp_kd", "rail_kd_l", "rail_kd_c")
TITLES = {
    "teacher": "Teacher",
    "no_kd": "w/o KD",
    "vanilla_kd": "Vanilla KD",
    "pkd": "PKD",
    "ckd": "CKD",
    "alp_kd": "ALP-KD",
    "codir": "CoDIR",
    "rail_kd_l": "RAIL-KD^l",
    "rail_kd_c": "RAIL-KD^c",
}
METRICS = {
    "matthews": "Matthews correlation",
    "accuracy": "accuracy",
    "f1": "F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "pearson_spearman": "mean of Pearson and Spearman correlation",
}


@dataclass(frozen=True)
class Pair:
    """A teacher-student pair and the tables and figures drawn from it."""

    name: str
    teacher: str
    student: str
    methods: tuple[str, ...]  # in the order of the benchmark file
    tasks: tuple[str, ...]  # in the paper's order
    draws: tuple[int | str, ...]

    @property
    def title(self) -> str:
        """Teacher and student, as a caption names them."""
        return f"{self.teacher} → {self.student}"

    def rows(self, first: tuple[str, ...] = PAPER_ORDER) -> list[str]:
        """Its methods: those named first in that order, then the others of the paper, then the file's own."""
        order = [*first, *(m for m in PAPER_ORDER if m not in first)]
        return [m for m in order if m in self.methods] + [m for m in self.methods if m not in order]


@dataclass(frozen=True)
class Benchmark:
    """The keys of a benchmark file that the analysis reads."""

    name: str
    title: str
    seeds: tuple[int, ...]
    source: str  # miniglue | glue
    test: str  # labels | heldout | none
    tasks: tuple[str, ...]
    train_examples: dict[str, int]  # tasks trained on a subset -> its size
    out_of_domain: tuple[str, ...]
    ood_max_length: int | None  # tokens kept of an out-of-domain text
    methods: dict[str, dict[str, Any]]
    pairs: tuple[Pair, ...]

    def drawn_from(self, what: int | str) -> list[Pair]:
        """The pairs that name a table or a figure."""
        return [pair for pair in self.pairs if what in pair.draws]

    def base(self, method: str) -> str:
        """The method file behind a name of the benchmark file: ``pkd_last: {method: pkd}`` -> ``pkd``."""
        return str(self.methods.get(method, {}).get("method", method))

    def title_of(self, method: str) -> str:
        """The row title of a method."""
        return str(self.methods.get(method, {}).get("title") or TITLES.get(method, method))

    def undefined(self, method: str, task: str) -> bool:
        """Whether a method has no meaning for a task: contrastive negatives on STS-B, whose labels are scores."""
        base = self.base(method)
        if not TASKS[task].regression or self.methods.get(method, {}).get("external"):
            return False
        return base == "codir" or class_facts(base).get("regression") is False


def outputs(benchmark: Benchmark) -> list[str]:
    """Every file that ``python -m analysis all`` writes, relative to the benchmark's results folder."""
    tables = [f"tables/table{n}.{e}" for n in TABLES if benchmark.drawn_from(n) for e in ("csv", "md", "tex")]
    figures = [f"figures/{f}.{e}" for f in FIGURES if benchmark.drawn_from(f) for e in ("pdf", "png")]
    return [*tables, *figures, "report.md"]


def class_facts(method: str) -> dict[str, Any]:
    """Class attributes of a method that Table 1 shows, read from its source without importing it (and torch)."""
    wanted = method.partition(":")[2]
    try:
        tree = ast.parse(source_file(method).read_text(encoding="utf-8"))
    except (UserError, OSError, SyntaxError, ValueError):
        return {}  # an external method: its source is elsewhere
    keys = {"regression", "layer_mapping", "complexity", "limitation"}
    facts: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or (wanted and node.name != wanted):
            continue
        for item in node.body:
            targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
            value = getattr(item, "value", None)
            for target in targets:
                if isinstance(target, ast.Name) and target.id in keys and isinstance(value, ast.Constant):
                    facts[target.id] = value.value
    return facts


def read(path: Path) -> Benchmark:
    """Reads a benchmark file. Its full validation is the workflow's; here only what a wrong table would come from."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: expected a mapping with name, seeds, data, methods and pairs")
    for key, kind in (("name", str), ("seeds", list), ("data", dict), ("methods", dict), ("pairs", dict)):
        if not isinstance(raw.get(key), kind) or not raw[key]:
            raise UserError(f"{path}: key '{key}' is missing, empty or no {kind.__name__}")
    data, methods = raw["data"], {str(m): dict(o or {}) for m, o in raw["methods"].items()}
    listed = data.get("tasks") or list(TASKS)
    for task in listed:
        if task not in TASKS:
            raise unknown("task", task, TASKS, f"{path}: data.tasks")
    for name in data.get("out_of_domain") or ():
        if name not in OUT_OF_DOMAIN:
            raise unknown("set", name, OUT_OF_DOMAIN, f"{path}: data.out_of_domain")
    sizes = {
        str(task): int(options["train_examples"])
        for task, options in (listed.items() if isinstance(listed, Mapping) else ())
        if isinstance(options, Mapping) and options.get("train_examples")
    }
    tasks = tuple(task for task in TASKS if task in listed)
    return Benchmark(
        name=raw["name"],
        title=str(raw.get("title") or raw["name"]),
        seeds=tuple(raw["seeds"]),
        source=str(data.get("source", "glue")),
        test=str(data.get("test", "none")),
        tasks=tasks,
        train_examples=sizes,
        out_of_domain=tuple(o for o in OUT_OF_DOMAIN if o in (data.get("out_of_domain") or ())),
        ood_max_length=data.get("ood_max_length") or data.get("max_length"),
        methods=methods,
        pairs=tuple(_pair(path, str(name), pair, methods, tasks) for name, pair in raw["pairs"].items()),
    )


def _pair(path: Path, name: str, raw: Any, methods: Mapping[str, Any], tasks: tuple[str, ...]) -> Pair:
    where = f"{path}: pairs.{name}"
    if not isinstance(raw, Mapping) or not {"teacher", "student", "methods"} <= raw.keys():
        raise UserError(f"{where}: expected keys teacher, student and methods")
    for method in raw["methods"]:
        if method not in methods:
            raise unknown("method", method, methods, f"{where}.methods")
    for task in raw.get("tasks") or ():
        if task not in tasks:
            raise unknown("task", task, tasks, f"{where}.tasks")
    for what in raw.get("tables") or ():
        if what not in (*TABLES, *FIGURES):
            raise unknown("table or figure", what, map(str, (*TABLES, *FIGURES)), f"{where}.tables")
    own = tuple(task for task in tasks if task in (raw.get("tasks") or tasks))
    draws = tuple(raw.get("tables") or ())
    return Pair(name, str(raw["teacher"]), str(raw["student"]), tuple(raw["methods"]), own, draws)
