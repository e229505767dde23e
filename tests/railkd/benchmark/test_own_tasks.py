"""What a benchmark file may declare of tasks and sets of its own, and every mistake in it by its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from railkd.benchmark import config
from railkd.errors import UserError
from railkd.metrics import METRICS
from railkd.tasks import OF_CLASSES, OF_SCORES, OF_TWO_CLASSES, label_text

REVIEWS = {"files": "reviews.csv", "text": "review", "labels": ["bad", "good"]}
MINIATURE = {"pretrain": {
    "family": "bert", "layers": 4, "width": 8, "heads": 2, "vocabulary": 60, "max_length": 64, "steps": 2,
    "batch_size": 2, "learning_rate": 0.1,
}}  # fmt: skip
PAIRS = {"files": {"train": "a.csv", "dev": "b.jsonl"}, "text": ["one", "two"], "regression": [0, 1]}


def test_defaults_and_what_a_set_takes_from_its_task(make_benchmark: Any) -> None:
    tasks = {"reviews": {**REVIEWS, "label": "stars"}, "likeness": PAIRS, "mrpc": None}
    sets = {"hotels": {"task": "reviews", "file": "h.tsv"}, "others": {"task": "likeness", "file": "o.csv"}}
    benchmark = make_benchmark({"data.tasks": tasks, "data.out_of_domain": sets})
    reviews, likeness = benchmark.task("reviews"), benchmark.task("likeness")
    assert (reviews.columns, reviews.labels, reviews.label_column) == (("review",), ("bad", "good"), "stars")
    assert (reviews.metrics, reviews.shown, reviews.heldout, reviews.files) == (
        ("accuracy",), "accuracy", 0.1, (("train", "reviews.csv"),)
    )  # fmt: skip
    assert (likeness.columns, likeness.regression, likeness.score_range) == (("one", "two"), True, (0, 1))
    hotels, others = benchmark.out_of_domain_set("hotels"), benchmark.out_of_domain_set("others")
    assert (hotels.columns, hotels.labels, hotels.label_column, hotels.collapse) == (
        ("review",), ("bad", "good"), "stars", (0, 1)
    )  # fmt: skip
    assert (others.columns, others.regression, others.shown) == (("one", "two"), True, "pearson_spearman")
    assert [benchmark.out_of_domain(task) for task in tasks] == [["hotels"], ["others"], []]
    assert benchmark.tasks == ["reviews", "likeness", "mrpc"]
    assert "declared" not in benchmark.data_config("mrpc")


def test_a_sets_labels_collapse_by_name_and_by_value(make_benchmark: Any) -> None:
    three = {**REVIEWS, "labels": ["no", "maybe", "yes"]}
    stars = {"task": "reviews", "file": "h.csv", "labels": {"1": "low", "2": "low", "5": "high"},
             "collapse": {"no": "low", "maybe": "low", "yes": "high"}}  # fmt: skip
    turned = {"task": "reviews", "file": "t.csv", "labels": ["yes", "no", "maybe"]}
    sets = {"stars": stars, "turned": turned}
    benchmark = make_benchmark({"data.tasks": {"reviews": three}, "data.out_of_domain": sets, "data.source": "files"})
    assert benchmark.out_of_domain_set("stars").classes == {"1": 0, "2": 0, "5": 1}
    assert benchmark.out_of_domain_set("stars").collapse == (0, 0, 1)
    assert benchmark.out_of_domain_set("turned").collapse == (1, 2, 0)


def test_one_label_has_one_text() -> None:
    assert {label_text(v) for v in (0, 0.0, "0", " 0 ", "0.0")} == {"0"} and label_text(True) == label_text(
        "true"
    ) == "true"
    assert label_text(0.5) == "0.5" and label_text("Good") == "Good"


def test_every_metric_is_of_one_kind() -> None:
    assert sorted(METRICS) == sorted(OF_CLASSES + OF_TWO_CLASSES + OF_SCORES)


def entry(**changes: Any) -> dict[str, Any]:
    return {"data.tasks.reviews": {k: v for k, v in {**REVIEWS, **changes}.items() if v is not None}}


def foreign(**changes: Any) -> dict[str, Any]:
    given = {"task": "reviews", "file": "h.csv", **changes}
    return {**entry(), "data.out_of_domain": {"hotels": {k: v for k, v in given.items() if v is not None}}}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no files": (entry(files=None), "data.tasks.reviews.files: is missing, expected a file, or a mapping"),
    "no train": (entry(files={"dev": "a.csv"}), "data.tasks.reviews.files"),
    "a workbook": (entry(files="a.xlsx"), "data.tasks.reviews.files.train: 'a.xlsx' has no known ending, expected"),
    "no text": (entry(text=None), "data.tasks.reviews.text: is missing, expected the name of the text column"),
    "three texts": (entry(text=["a", "b", "c"]), "data.tasks.reviews.text"),
    "neither": (entry(labels=None), "data.tasks.reviews: expected either labels, in their order, or regression"),
    "both": (entry(regression=[0, 1]), "data.tasks.reviews: expected either labels, in their order, or regression"),
    "one label": (entry(labels=["good"]), "data.tasks.reviews.labels"),
    "one class": (entry(labels={"1": "a", "2": "a"}), "data.tasks.reviews.labels: there is one class, expected"),
    "a label twice": (entry(labels=[0, "0"]), "data.tasks.reviews.labels: '0' is given twice, expected labels that"),
    "yes and no": (entry(labels=[False, True]), "data.tasks.reviews.labels"),
    "no range": (entry(labels=None, regression=[1, 1]), "data.tasks.reviews.regression: [1, 1] is no range"),
    "half a range": (entry(labels=None, regression=[1]), "data.tasks.reviews.regression"),
    "unknown metric": (entry(metrics=["f2"]), "data.tasks.reviews.metrics[0]: 'f2' is not one of"),
    "metric of scores": (
        entry(metrics=["pearson"]),
        "data.tasks.reviews.metrics: 'pearson' is not for 2 classes, expected accuracy, macro_f1, f1, matthews",
    ),
    "f1 of three": (
        entry(labels=["a", "b", "c"], metrics=["accuracy"], shown="f1"),
        "data.tasks.reviews.shown: 'f1' is not for 3 classes, expected accuracy, macro_f1",
    ),
    "accuracy of scores": (
        entry(labels=None, regression=[0, 1], shown="accuracy"),
        "data.tasks.reviews.metrics: 'accuracy' is not for scores, expected pearson",
    ),
    "heldout and dev": (
        entry(files={"train": "a.csv", "dev": "b.csv"}, heldout=0.2),
        "data.tasks.reviews.heldout: files.dev is given, so no dev set is held out",
    ),
    "an unread test": (
        entry(files={"train": "a.csv", "test": "b.csv"}),
        "data.tasks.reviews.files.test: is not read with data.test: none; expected data.test: labels",
    ),
    "no test": ({**entry(), "data.test": "labels"}, "data.tasks.reviews.files.test: is missing, expected a file for"),
    "unknown key": (entry(lable="x"), "data.tasks.reviews: unknown key 'lable'; did you mean 'label'"),
    "a taken name": ({"data.tasks": {"sst2": REVIEWS}}, "data.tasks.sst2: the name 'sst2' is taken"),
    "a set's name": ({"data.tasks": {"IMDb": REVIEWS}}, "data.tasks.IMDb: the name 'imdb' is taken"),
    "a split's name": ({"data.tasks": {"dev": REVIEWS}}, "data.tasks.dev: the name 'dev' is taken"),
    "names in case alone": ({"data.tasks": {"a": REVIEWS, "A": REVIEWS}}, "data.tasks.A: the name 'a' is taken"),
    "no file name": ({"data.tasks": {"my task": REVIEWS}}, "data.tasks: 'my task' does not match"),
    "a path": ({"data.tasks": {"../up": REVIEWS}}, "data.tasks: '../up' does not match"),
    "a dot": ({"data.tasks": {"a.b": REVIEWS}}, "data.tasks: 'a.b' does not match"),
    "a built-in task": (
        {"data.tasks": {"reviews": REVIEWS, "sst2": None}, "data.source": "files"},
        "data.tasks: sst2 is a built-in task, but data.source: files has those of your own alone",
    ),
    "a built-in set": (
        {"data.tasks": {"reviews": REVIEWS}, "data.source": "files", "data.out_of_domain": ["imdb"]},
        "data.out_of_domain: imdb is a built-in out-of-domain set, but data.source: files",
    ),
    "set without a task": (foreign(task=None), "data.out_of_domain.hotels: 'task' is missing"),
    "set without a file": (foreign(file=None), "data.out_of_domain.hotels: 'file' is missing"),
    "set of no task": (foreign(task="revews"), "data.out_of_domain.hotels.task: unknown task 'revews'; did you mean"),
    "set with a task's name": (
        {**entry(), "data.out_of_domain": {"Reviews": {"task": "reviews", "file": "h.csv"}}},
        "data.out_of_domain.Reviews: the name 'reviews' is taken",
    ),
    "no collapse": (
        foreign(labels=["no", "yes"]),
        "data.out_of_domain.hotels.collapse: is missing; the labels no, yes are not those of reviews, expected a",
    ),
    "half a collapse": (
        foreign(labels=["no", "yes"], collapse={"bad": "no"}),
        "data.out_of_domain.hotels.collapse.good: is missing, expected one of no, yes",
    ),
    "collapse to nothing": (
        foreign(labels=["no", "yes"], collapse={"bad": "no", "good": "si"}),
        "data.out_of_domain.hotels.collapse.good: 'si', expected one of no, yes",
    ),
    "collapse of nothing": (
        foreign(collapse={"bad": "bad", "goood": "good"}),
        "data.out_of_domain.hotels.collapse: unknown label 'goood'; did you mean 'good'?",
    ),
    "a range of classes": (
        foreign(regression=[0, 1]),
        "data.out_of_domain.hotels.regression: reviews is a task with classes, which has no regression",
    ),
    "a pre-trained model": (
        {**entry(), "data.source": "files", "data.tasks": {"reviews": REVIEWS}, "models.bert4": MINIATURE},
        "pairs.p.teacher: bert4 is pre-trained here, on MiniGLUE's text alone; expected data.source: miniglue",
    ),
    "a pre-trained model and real GLUE": (
        {"data.source": "glue", "models.bert4": MINIATURE},
        "pairs.p.teacher: bert4 is pre-trained here, on MiniGLUE's text alone; expected data.source: miniglue",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key(make_spec: Any, tmp_path: Path, name: str) -> None:
    changes, expected = MISTAKES[name]
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(make_spec({"data.tasks": {"mrpc": None}, **changes})))
    with pytest.raises(UserError) as caught:
        config.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {expected}") and "\n" not in text, text
