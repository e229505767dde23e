"""The eight GLUE tasks and the out-of-domain sets: columns, labels, metrics, and who is scored where.

A task is data, not code. Column names, label encodings and label order are those of the hub datasets
``nyu-mll/glue``, ``allenai/scitail`` (tsv_format), ``google-research-datasets/paws`` (labeled_final) and
``stanfordnlp/imdb``; a local mirror holds them as ``<root>/<folder>/<split>.parquet``.
"""

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Task:
    """A GLUE task: what it is trained and scored on."""

    name: str
    title: str  # as printed in the paper's tables
    columns: tuple[str, ...]  # text columns, one or two
    labels: tuple[str, ...]  # class names in label order; empty for regression
    metrics: tuple[str, ...]  # all of GLUE's metrics for the task, see metrics.py
    shown: str  # the one number a table cell shows
    dev: tuple[str, ...] = ("validation",)  # first is the one that selects epochs and fills the DEV block
    test: tuple[str, ...] = ("test",)

    @property
    def regression(self) -> bool:
        """Whether the label is a score (STS-B) rather than a class."""
        return not self.labels

    @property
    def outputs(self) -> int:
        """Width of the logits."""
        return len(self.labels) or 1

    @property
    def hub(self) -> Hub:
        """The task's pinned dataset on the hub."""
        return Hub(GLUE, self.name, GLUE_REVISION)


@dataclass(frozen=True)
class OutOfDomain:
    """A test set scored with the model trained on ``source``; always accuracy, as in the paper's Table 6."""

    name: str
    title: str
    source: str  # the GLUE task whose model is scored here
    folder: str  # in a local mirror: <root>/<folder>/test.parquet
    columns: tuple[str, ...]
    labels: tuple[str | int, ...]  # label values as stored, in the order of this set's classes
    hub: Hub | None
    # column of the source task's logits -> class of this set (SciTail: MNLI's neutral and contradiction are one class)
    collapse: tuple[int, ...]
    metrics: tuple[str, ...] = ("accuracy", "f1")
    shown: str = "accuracy"


def _tasks(*tasks: Task) -> dict[str, Task]:
    return {task.name: task for task in tasks}


TASKS: dict[str, Task] = _tasks(
    Task("cola", "CoLA", ("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy"), "matthews"),
    Task("sst2", "SST-2", ("sentence",), ("negative", "positive"), ("accuracy",), "accuracy"),
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
        ("validation_matched", "validation_mismatched"),
        ("test_matched", "test_mismatched"),
    ),
    Task("qnli", "QNLI", ("question", "sentence"), ("entailment", "not_entailment"), ("accuracy",), "accuracy"),
    Task("rte", "RTE", ("sentence1", "sentence2"), ("entailment", "not_entailment"), ("accuracy",), "accuracy"),
)

OUT_OF_DOMAIN: dict[str, OutOfDomain] = {
    o.name: o
    for o in (
        OutOfDomain(
            "scitail",
            "SciTail",
            "mnli",
            "scitail",
            ("premise", "hypothesis"),
            ("entails", "neutral"),
            Hub("allenai/scitail", "tsv_format", "0cc4353235b289165dfde1c7c5d1be983f99ce44"),
            (0, 1, 1),
        ),
        OutOfDomain(
            "paws_wiki",
            "PAWS-Wiki",
            "qqp",
            "paws",
            ("sentence1", "sentence2"),
            (0, 1),
            Hub("google-research-datasets/paws", "labeled_final", "161ece9501cf0a11f3e48bd356eaa82de46d6a09"),
            (0, 1),
        ),
        # Cannot be redistributed: users generate it from Quora's data and put it into their mirror.
        OutOfDomain("paws_qqp", "PAWS-QQP", "qqp", "paws_qqp", ("sentence1", "sentence2"), (0, 1), None, (0, 1)),
        OutOfDomain(
            "imdb",
            "IMDb",
            "sst2",
            "imdb",
            ("text",),
            (0, 1),
            Hub("stanfordnlp/imdb", None, "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"),
            (0, 1),
        ),
    )
}
