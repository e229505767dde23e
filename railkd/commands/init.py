"""``railkd init``: writes a first benchmark file from the answers to a few questions, or from options."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from railkd.benchmark import config
from railkd.benchmark.own_tasks import TAKEN
from railkd.commands.starter_columns import row_count
from railkd.commands.starter_file import Starter, compose
from railkd.commands.starter_models import model_entries, number_in_config, plain_name
from railkd.commands.starter_questions import GENERATED, QUESTIONS, Answers, Question, own_file, score_range
from railkd.errors import UserError
from railkd.method_sources import available
from railkd.tasks import OUT_OF_DOMAIN, TASKS


def _method_entries(names: list[str]) -> dict[str, dict[str, Any]]:
    """Entries by name: a method of the suite has its own, another is called as its class or file."""
    suite, found = available(), {}
    for name in names:
        own = plain_name(name.rpartition(":")[2].removesuffix(".py"))
        found.update({name: {}} if name in suite else {own: {"method": name}})
    return found


def _ask(question: Question, answers: Answers) -> list[str]:
    """Asks until the answer is one; an empty line takes the default."""
    default = question.default(answers)
    shown = f" [{shlex.join(default)}]" if default else ""
    while True:
        try:
            words = shlex.split(input(f"{question.words}{shown}: ")) or default
            if not words:
                raise UserError("expected an answer; there is no default")
            question.check(words, answers)
            return words
        except (UserError, ValueError) as error:  # a quote left open
            print(f"  {error}")
        except EOFError:
            raise UserError(f"init: the answers ended before --{question.key}") from None


def _answers(arguments: argparse.Namespace) -> Answers:
    """Every answer: the option's, else that to the question on a terminal, else the default."""
    answers: Answers = {}
    asks = sys.stdin.isatty() and not arguments.defaults
    for question in QUESTIONS:
        given = getattr(arguments, question.key)
        if not question.asked(answers) and not (given and question.key == "labels" and own_file(answers)):
            if given:
                raise UserError(f"--{question.key}: does not go with --data {answers['data'][0]}")
            continue
        if given:
            question.check(given, answers)
        elif asks:
            given = _ask(question, answers)
        answers[question.key] = given or question.default(answers)
        if not answers[question.key]:
            raise UserError(f"--{question.key}: is needed and has no default after the other answers")
    return answers


def _tasks(answers: Answers, beside: Path) -> dict[str, dict[str, Any]]:
    """Tasks by name: the suite's without keys, that of a file with what the file holds."""
    path = own_file(answers)
    if path is None:
        return {task: {} for task in answers["tasks"]}
    name = plain_name(path.stem)
    taken = {other.lower() for other in (*TASKS, *OUT_OF_DOMAIN, *TAKEN)}
    text = answers["text"] if len(answers["text"]) > 1 else answers["text"][0]
    entry = {"files": os.path.relpath(path, beside), "heldout": 0.2, "text": text, "label": answers["label"][0]}
    if "labels" in answers:
        entry["labels"] = answers["labels"]
    else:
        entry["regression"] = [float(bound) for bound in score_range(answers)]
    return {f"my-{name}" if name.lower() in taken else name: entry}


def _check_place(path: Path) -> None:
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: expected a name that ends with .yaml")
    if path.exists() or path.is_symlink():
        raise UserError(f"{path}: exists already, and is never overwritten; expected the name of a new file")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder {path.parent}")


def _max_length(answers: Answers) -> int:
    """64 tokens of generated text, 128 of other text, fewer where a checkpoint's positions are fewer."""
    if answers["data"] == [GENERATED]:
        return 64
    words = (answers["teacher"][0], answers["student"][0])
    given = (number_in_config(word, "max_position_embeddings") for word in words)
    return min([128, *(positions - 2 for positions in given if positions)])  # RoBERTa keeps two positions


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and checks it; raises UserError, and leaves no file, for an answer that cannot be right."""
    path: Path = arguments.file
    _check_place(path)
    answers = _answers(arguments)
    teacher, student = model_entries(answers["teacher"][0], answers["student"][0], path.parent)
    starter = Starter(
        name=plain_name(path.stem),
        file=str(path),
        source="files" if own_file(answers) else answers["data"][0],
        tasks=_tasks(answers, path.parent),
        max_length=_max_length(answers),
        teacher=teacher,
        student=student,
        methods=_method_entries(answers["methods"]),
        seeds=[int(seed) for seed in answers["seeds"]],
        rows=row_count(own) if (own := own_file(answers)) else None,
    )
    with open(path, "x", encoding="utf-8") as file:
        file.write(compose(starter))
    try:
        config.load(path)
    except UserError:
        path.unlink()
        raise
    if own_file(answers) and "labels" not in answers:
        low, high = score_range(answers)
        print(
            f"{answers['data'][0]}: column '{answers['label'][0]}' is read as scores from {low} to {high}; if they are "
            "classes, delete the file and name them all: --labels 0 1 2 ..."
        )
    print(f"{path}: written; next: railkd check {shlex.quote(str(path))}")


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds the file, and an option for each question."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to write, such as my.yaml")
    for question in QUESTIONS:
        one = question.key in ("data", "label", "teacher", "student")
        metavar = question.key.upper() if one else question.key.upper().rstrip("S")
        parser.add_argument(f"--{question.key}", nargs=1 if one else "+", metavar=metavar, help=question.words)
    parser.add_argument("--defaults", action="store_true", help="ask nothing: what is not given has its default")
