"""Reads what the analysis needs of a benchmark file: which pairs, methods, tasks and seeds fill which table.

Imports neither torch nor pandas, so that a Snakefile can ask ``outputs`` which files to expect.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from railkd.benchmark import config
from railkd.benchmark.variants import Variant, spell
from railkd.method_facts import facts
from railkd.method_sources import available
from railkd.tasks import OUT_OF_DOMAIN, TASKS, Task

ROOT = Path(__file__).parent.parent
TABLES = (1, 2, 3, 4, 5, 6)
FIGURES = ("figure2", "figure3", "ablation", "layer_maps", "budget")
TEACHER_SEED = 0  # of every score of a teacher: it has one run a task, whatever its own seed, and a table one row of it
WITHOUT_KD = "no_kd"  # the method file of a student that is trained without its teacher
PAPER_ORDER = ("no_kd", "vanilla_kd", "pkd", "alp_kd", "rail_kd_l", "rail_kd_c")
METRICS = {
    "matthews": "Matthews correlation",
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
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
    tasks: tuple[str, ...]  # the built-in ones in the paper's order, then the file's own
    draws: tuple[int | str, ...]
    initialisation: str = ""  # how the student's weights begin
    settings: str = ""  # the training settings that it has of its own, in words

    @property
    def title(self) -> str:
        """Teacher and student, as a caption names them, and what else tells the pair from another of the same two."""
        return f"{self.teacher} → {self.student}" + (f", {self.settings}" if self.settings else "")

    def rows(self, first: tuple[str, ...] = PAPER_ORDER) -> list[str]:
        """Its methods: those named first in that order, then the others of the paper, then the file's own."""
        order = [*first, *(m for m in PAPER_ORDER if m not in first)]
        return [m for m in order if m in self.methods] + [m for m in self.methods if m not in order]


@dataclass(frozen=True)
class ReportedBenchmark:
    """The keys of a benchmark file that the analysis reads."""

    file: config.Benchmark  # all of it, resolved
    name: str
    title: str
    seeds: tuple[int, ...]
    source: str  # miniglue | glue | files
    test: str  # labels | heldout | hidden | none
    tasks: tuple[str, ...]
    train_examples: dict[str, int]  # tasks trained on a subset -> its size
    out_of_domain: tuple[str, ...]
    ood_max_length: int | None  # tokens kept of an out-of-domain text
    methods: dict[str, dict[str, Any]]
    pairs: tuple[Pair, ...]
    variants: dict[str, Variant] = field(default_factory=dict)  # entries written out of another's vary or cross

    def task(self, name: str) -> Task:
        """What a task declares, a built-in one or the file's own."""
        return self.file.task(name)

    @property
    def of_paper(self) -> bool:
        """Whether any of its tasks is one that the paper has numbers of and claims something about."""
        return any(task in TASKS for task in self.tasks)

    def source_task(self, block: str, column: str) -> str:
        """The task whose models fill a column: of dev and test its own, out of domain the one that the set tests."""
        return self.file.out_of_domain_set(column).source if block == "ood" else column

    def drawn_from(self, what: int | str) -> list[Pair]:
        """The pairs that name a table or a figure."""
        return [pair for pair in self.pairs if what in pair.draws]

    def budgets(self) -> list[tuple[Pair, ...]]:
        """The pairs of the training-budget figure, those of one teacher and student together, the shortest first."""
        models: dict[tuple[str, str], list[Pair]] = {}
        for pair in self.drawn_from("budget"):
            models.setdefault((pair.teacher, pair.student), []).append(pair)
        return [tuple(sorted(pairs, key=self._steps)) for pairs in models.values()]

    def _steps(self, pair: Pair) -> float:
        """Planned steps of the pair's students for each training example, mean over tasks."""
        settings = [self.file.student_training(pair.name, task) for task in pair.tasks]
        return sum(s["epochs"] / s["batch_size"] for s in settings) / len(settings)

    def stopped_early(self, pair: Pair) -> bool:
        """Whether the pair's students are trained for less than others of the same figure, on purpose."""
        return any(pair in pairs[:-1] for pairs in self.budgets())

    def families(self, pair: Pair) -> dict[str, list[str]]:
        """The entries of a pair that vary -> their variants in the pair, both in the file's order."""
        varied = {
            m: [v for v in pair.methods if v in self.variants and self.variants[v].entry == m] for m in pair.methods
        }
        return {entry: variants for entry, variants in varied.items() if variants}

    def entries(self, pair: Pair) -> list[str]:
        """A pair's methods in the order of rows, without variants: as many as a plot can name."""
        return [method for method in pair.rows() if method not in self.variants]

    def base(self, method: str) -> str:
        """The method file behind a name of the benchmark file: ``pkd_last: {method: pkd}`` -> ``pkd``."""
        return str(self.methods.get(method, {}).get("method", method))

    def without_kd(self, pair: Pair) -> str | None:
        """The pair's method that trains the student without its teacher, the first of several; None for no such one."""
        return next((method for method in pair.methods if self.base(method) == WITHOUT_KD), None)

    def title_of(self, method: str) -> str:
        """The row title of a method; a variant's is its entry's with what differs."""
        if method in self.variants:
            entry, changed = self.variants[method]
            return ", ".join([self.title_of(entry), *(spell(key, value) for key, value in changed.items())])
        return str(self.methods.get(method, {}).get("title") or self._class_title(method) or method)

    def _class_title(self, method: str) -> str:
        """What the class of a method calls itself, unless that is another's title too: one class may have many rows."""
        name = self.base(method)
        if name == method:
            return title_of_class(method) if method == "teacher" or method in available() else ""
        if name in available():
            return ""
        own = [
            m for m, e in self.methods.items() if m not in self.variants and (not e.get("external") or m in available())
        ]
        claimed = [title_of_class(self.base(m)) for m in own]
        return title_of_class(name) if claimed.count(title_of_class(name)) == 1 else ""

    def undefined(self, method: str, task: str) -> bool:
        """Whether a method has no meaning for a task: contrastive negatives on STS-B, whose labels are scores."""
        if not self.task(task).regression or self.methods.get(method, {"external": True}).get("external"):
            return False  # the teacher among them
        return not facts(self.base(method)).regression

    def summary_of(self, method: str) -> str:
        """What a method does in a sentence, as its class says; empty for another repository's."""
        return "" if self.methods[method].get("external") else facts(self.base(method)).summary


def title_of_class(method: str) -> str:
    """The title that the class of a method has, and the teacher's, who has none."""
    return "Teacher" if method == "teacher" else facts(method).title


def read(path: Path) -> ReportedBenchmark:
    """Reads and checks a benchmark file (see ``railkd.benchmark.config.load``) and keeps what the analysis needs."""
    checked = config.load(path)
    tasks = tuple(task for task in (*TASKS, *checked.own_tasks) if task in checked.tasks)
    sizes = {task: checked.task_settings(task).get("train_examples") for task in tasks}
    return ReportedBenchmark(
        file=checked,
        name=checked.name,
        title=str(checked.spec["title"]),
        seeds=tuple(checked.seeds),
        source=str(checked.data["source"]),
        test=str(checked.data["test"]),
        tasks=tasks,
        train_examples={task: int(size) for task, size in sizes.items() if size},
        out_of_domain=tuple(
            o for o in (*OUT_OF_DOMAIN, *checked.own_sets) if o in checked.data.get("out_of_domain", ())
        ),
        ood_max_length=checked.data["ood_max_length"] or checked.data["max_length"],
        methods={name: dict(entry) for name, entry in checked.spec["methods"].items()},
        pairs=tuple(
            Pair(
                name,
                spec["teacher"],
                spec["student"],
                tuple(spec["methods"]),
                tuple(task for task in tasks if task in checked.pair_tasks(name)),
                tuple(spec.get("tables", ())),
                checked.initialisation(spec["student"]),
                ", ".join(f"{key} {value}" for key, value in spec.get("training", {}).items()),
            )
            for name, spec in checked.pairs.items()
        ),
        variants=checked.variants,
    )
