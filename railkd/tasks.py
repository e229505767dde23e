"""Declares tasks and out-of-domain sets: columns, labels, metrics. Holds GLUE's eight tasks and their sets.

A task is data, not code. A benchmark file declares tasks and sets of its own in the same two classes
(``railkd/benchmark/own_tasks.py``). The built-in ones have the column names, label encodings and label order of the hub
datasets ``nyu-mll/glue``, ``allenai/scitail`` (tsv_format), ``google-research-datasets/paws`` (labeled_final) and
``stanfordnlp/imdb``; a local mirror holds them as ``<root>/<folder>/<split>.parquet``.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Hub:
    """Where a dataset lives on the Hugging Face hub, pinned to a commit."""

    repo: str
    config: str | None
    revision: str


GLUE = "nyu-mll/glue"
GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
# GLUE's diagnostic set: unlabelled, in MNLI's form and predicted by MNLI's models, for the leaderboard alone.
DIAGNOSTIC = "ax"
# Rows of GLUE's hidden test files; mnli's is the matched one.
GLUE_TEST_ROWS = {
    "cola": 1_063,
    "sst2": 1_821,
    "mrpc": 1_725,
    "stsb": 1_379,
    "qqp": 390_965,
    "mnli": 9_796,
    "mnli_mismatched": 9_847,
    "qnli": 5_463,
    "rte": 3_000,
    "wnli": 146,
    DIAGNOSTIC: 1_104,
}

# The metrics of metrics.py, by what they score.
OF_CLASSES = ("accuracy", "macro_f1")
OF_TWO_CLASSES = ("f1", "matthews")
OF_SCORES = ("pearson", "spearman", "pearson_spearman")


def label_text(value: object) -> str:
    """A label as text: 0, 0.0, "0", "0.0" and " 0" are the same label, and so are true, "true" and "True"."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    if text in ("True", "False"):  # as Python writes them
        return text.lower()
    whole = re.fullmatch(r"(-?\d+)\.0+", text)  # as a table writes whole numbers beside missing ones
    return whole[1] if whole else text


# where the numbers of a task of one's own do not depend on it
_UNSEEN = {"name", "title", "hub", "folder", "files", "dev", "test", "held_out_by"}


@dataclass(frozen=True)
class Source:
    """What files of examples hold. A file of one's own is ``files[split]``; without any, the mirror or hub is read."""

    name: str
    title: str  # as printed in tables; the built-in ones as in the paper's, one's own by name
    columns: tuple[str, ...]  # text columns, one or two
    labels: tuple[str, ...]  # class names in label order; empty for regression
    metrics: tuple[str, ...]  # see metrics.py
    shown: str  # the one number a table cell shows
    label_column: str = "label"
    stored: tuple[tuple[str, int], ...] = ()  # label as the files hold it (label_text) -> class; empty: ``labels``
    score_range: tuple[float, float] = (0.0, 5.0)  # of a regression task's scores
    files: tuple[tuple[str, str], ...] = ()  # split -> path, relative to the benchmark file
    quoted: bool = True  # whether a CSV or TSV file encloses texts in double quotes

    @property
    def own(self) -> bool:
        """Whether a benchmark file declares it, with files."""
        return bool(self.files)

    @property
    def regression(self) -> bool:
        """Whether the label is a score (STS-B) rather than a class."""
        return not self.labels

    @property
    def classes(self) -> dict[str, int]:
        """Label as the files hold it (see ``label_text``) -> class."""
        return dict(self.stored) or {label: number for number, label in enumerate(self.labels)}

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Every metric that a split is scored by, the one shown among them."""
        return tuple(dict.fromkeys((*self.metrics, self.shown)))

    def content(self) -> dict[str, Any]:
        """What the numbers of runs depend on, as JSON has it: neither the title nor where the files lie."""
        kept = {key: _listed(value) for key, value in asdict(self).items() if key not in _UNSEEN}
        return {**kept, "splits": [split for split, _ in self.files]}


def _listed(value: Any) -> Any:
    return [_listed(part) for part in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(part) for part in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Task(Source):
    """A task: what teachers and students are trained and scored on."""

    dev: tuple[str, ...] = ("validation",)  # first is the one that selects epochs and fills the DEV block
    test: tuple[str, ...] = ("test",)
    heldout: float = 0.1  # share of the training file that is dev, where a task of one's own has no file for dev
    held_out_by: Literal["row", "text", "sentence"] = "row"  # what is held out whole: see railkd.data.held_out

    @property
    def outputs(self) -> int:
        """Width of the logits."""
        return len(self.labels) or 1

    @property
    def classes(self) -> dict[str, int]:
        """Label as the files hold it -> class; GLUE's files hold the class's number."""
        return dict(self.stored) or {str(number): number for number in range(len(self.labels))}

    @property
    def hub(self) -> Hub | None:
        """The task's pinned dataset on the hub; None for one's own."""
        return None if self.own else Hub(GLUE, self.name, GLUE_REVISION)


@dataclass(frozen=True)
class OutOfDomain(Source):
    """A test set scored with the model trained on the task ``source``."""

    source: str = ""  # the task whose model is scored here
    folder: str = ""  # in a local mirror: <root>/<folder>/test.parquet
    hub: Hub | None = None
    # column of the source task's logits -> class of this set (SciTail: MNLI's neutral and contradiction are one class)
    collapse: tuple[int, ...] = ()


def to_json(source: Source) -> dict[str, Any]:
    """A declaration of one's own as JSON has it."""
    return {key: _listed(value) for key, value in asdict(source).items()}


def task_from_json(content: Mapping[str, Any]) -> Task:
    """What ``to_json`` made of a task."""
    return Task(**{key: _tupled(value) for key, value in content.items()})


def set_from_json(content: Mapping[str, Any]) -> OutOfDomain:
    """What ``to_json`` made of an out-of-domain set of one's own."""
    return OutOfDomain(**{key: _tupled(value) for key, value in content.items()})


def _tasks(*tasks: Task) -> dict[str, Task]:
    return {task.name: task for task in tasks}


TASKS: dict[str, Task] = _tasks(
    Task("cola", "CoLA", ("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy"), "matthews"),
    Task(
        "sst2",
        "SST-2",
        ("sentence",),
        ("negative", "positive"),
        ("accuracy",),
        "accuracy",
        held_out_by="sentence",
    ),
    Task("mrpc", "MRPC", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("f1", "accuracy"), "f1"),
    Task("stsb", "STS-B", ("sentence1", "sentence2"), (), ("pearson", "spearman"), "pearson_spearman"),
    Task("qqp", "QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1"), "accuracy"),
    Task(
        "mnli",
        "MNLI",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        "accuracy",
        dev=("validation_matched", "validation_mismatched"),
        test=("test_matched", "test_mismatched"),
        held_out_by="text",
    ),
    Task(
        "qnli",
        "QNLI",
        ("question", "sentence"),
        ("entailment", "not_entailment"),
        ("accuracy",),
        "accuracy",
        held_out_by="text",
    ),
    Task("rte", "RTE", ("sentence1", "sentence2"), ("entailment", "not_entailment"), ("accuracy",), "accuracy"),
)


def _set(
    name: str,
    title: str,
    source: str,
    columns: tuple[str, ...],
    labels: tuple[str, ...],
    hub: Hub | None,
    collapse: tuple[int, ...] = (0, 1),
) -> OutOfDomain:
    """A built-in set: scored by accuracy, as in the paper's Table 6."""
    folder = name.removesuffix("_wiki")
    metrics = ("accuracy", "f1")
    return OutOfDomain(
        name, title, columns, labels, metrics, "accuracy", source=source, folder=folder, hub=hub, collapse=collapse
    )


_PAWS = Hub("google-research-datasets/paws", "labeled_final", "161ece9501cf0a11f3e48bd356eaa82de46d6a09")
_SCITAIL = Hub("allenai/scitail", "tsv_format", "0cc4353235b289165dfde1c7c5d1be983f99ce44")
_IMDB = Hub("stanfordnlp/imdb", None, "e6281661ce1c48d982bc483cf8a173c1bbeb5d31")

OUT_OF_DOMAIN: dict[str, OutOfDomain] = {
    foreign.name: foreign
    for foreign in (
        _set("scitail", "SciTail", "mnli", ("premise", "hypothesis"), ("entails", "neutral"), _SCITAIL, (0, 1, 1)),
        _set("paws_wiki", "PAWS-Wiki", "qqp", ("sentence1", "sentence2"), ("0", "1"), _PAWS),
        # Cannot be redistributed: users generate it from Quora's data and put it into their mirror.
        _set("paws_qqp", "PAWS-QQP", "qqp", ("sentence1", "sentence2"), ("0", "1"), None),
        _set("imdb", "IMDb", "sst2", ("text",), ("0", "1"), _IMDB),
    )
}
