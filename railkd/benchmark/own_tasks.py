"""Declares the tasks and out-of-domain sets that a benchmark file brings along; the keys are in schema.json.

    data:
      tasks:
        reviews: {files: reviews.csv, text: review, label: stars, labels: [bad, good], metrics: [accuracy, macro_f1]}
      out_of_domain:
        hotels: {task: reviews, file: hotels.csv, labels: {"1": bad, "2": bad, "4": good, "5": good}}

A set takes text, label, labels and regression from its task unless it gives its own.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from railkd.errors import UserError, unknown
from railkd.tasks import (
    DIAGNOSTIC,
    OF_CLASSES,
    OF_SCORES,
    OF_TWO_CLASSES,
    OUT_OF_DOMAIN,
    TASKS,
    OutOfDomain,
    Task,
    label_text,
)

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
SHARED = {"train_examples"}  # keys that a built-in task has too
# Names of splits and of columns that tables have besides tasks.
TAKEN = {"train", "dev", "dev_mismatched", "test", "test_mismatched", "ood", "avg", DIAGNOSTIC}


def own_tasks(data: Mapping[str, Any]) -> dict[str, Task]:
    """The tasks of ``data.tasks`` that have files. Raises UserError that names the key."""
    entries = data["tasks"] if isinstance(data["tasks"], Mapping) else {}
    found: dict[str, Task] = {}
    for name, entry in entries.items():
        if set(entry or {}) <= SHARED:
            continue  # a built-in one, or unknown
        where = f"data.tasks.{name}"
        _check_name(name, where, [*TASKS, *OUT_OF_DOMAIN, *(other for other in entries if other != name)])
        found[name] = _task(name, entry, where, data)
    return found


def own_sets(data: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, OutOfDomain]:
    """The sets of ``data.out_of_domain`` that have a file; ``tasks``: the file's own. Raises UserError."""
    entries = data.get("out_of_domain", [])
    entries = entries if isinstance(entries, Mapping) else {}
    known = {**{task: TASKS[task] for task in data["tasks"] if task in TASKS}, **tasks}
    found: dict[str, OutOfDomain] = {}
    for name, entry in entries.items():
        if not entry:
            continue
        where = f"data.out_of_domain.{name}"
        others = (other for other in entries if other != name)
        _check_name(name, where, [*TASKS, *OUT_OF_DOMAIN, *data["tasks"], *others])
        for key in ("task", "file"):
            if key not in entry:
                raise UserError(f"{where}: '{key}' is missing, expected the task it tests and the file it is in")
        if entry["task"] not in known:
            raise unknown("task", entry["task"], known, f"{where}.task")
        found[name] = _set(name, entry, where, known[entry["task"]])
    return found


def _check_name(name: str, where: str, others: Iterable[str]) -> None:
    """A name is a folder and a table's column, on every file system."""
    for other in (*others, *TAKEN):
        if name.lower() == other.lower():
            raise UserError(f"{where}: the name '{other}' is taken, expected another one for files of your own")


def _task(name: str, entry: Mapping[str, Any], where: str, data: Mapping[str, Any]) -> Task:
    if "files" not in entry:
        raise UserError(f"{where}.files: is missing, expected a file, or a mapping such as {{train: FILE, dev: FILE}}")
    files = {"train": entry["files"]} if isinstance(entry["files"], str) else dict(entry["files"])
    for split, path in files.items():
        _check_suffix(path, f"{where}.files.{split}")
    if "heldout" in entry and "dev" in files:
        raise UserError(f"{where}.heldout: files.dev is given, so no dev set is held out; expected one of the two")
    test = data["test"]
    if "test" in files and test != "labels" and test != "heldout":
        raise UserError(f"{where}.files.test: is not read with data.test: {test}; expected data.test: labels")
    if "test" not in files and test == "labels":
        raise UserError(f"{where}.files.test: is missing, expected a file for data.test: labels")
    if "text" not in entry:
        raise UserError(f"{where}.text: is missing, expected the name of the text column, or a list of two")
    if ("labels" in entry) == ("regression" in entry):
        raise UserError(f"{where}: expected either labels, in their order, or regression: [LEAST, GREATEST]")
    names, stored = _labels(entry.get("labels", []), f"{where}.labels")
    return Task(
        name=name,
        title=name,
        columns=_columns(entry["text"]),
        labels=names,
        stored=stored,
        label_column=entry.get("label", "label"),
        score_range=_score_range(entry.get("regression", [0, 5]), f"{where}.regression"),
        files=tuple(sorted(files.items())),
        quoted=entry.get("quoted", True),
        heldout=float(entry.get("heldout", data["heldout"])),
        **_metrics(entry, where, len(names)),
    )


def _set(name: str, entry: Mapping[str, Any], where: str, task: Task) -> OutOfDomain:
    _check_suffix(entry["file"], f"{where}.file")
    for key, wrong in (("labels", task.regression), ("collapse", task.regression), ("regression", not task.regression)):
        if key in entry and wrong:
            kind = "a regression task" if task.regression else "a task with classes"
            raise UserError(f"{where}.{key}: {task.name} is {kind}, which has no {key}")
    names, stored = _labels(entry["labels"], f"{where}.labels") if "labels" in entry else (task.labels, task.stored)
    return OutOfDomain(
        name=name,
        title=name,
        columns=_columns(entry["text"]) if "text" in entry else task.columns,
        labels=names,
        stored=stored or tuple((label, number) for number, label in enumerate(names)),
        label_column=entry.get("label", task.label_column),
        score_range=_score_range(entry.get("regression", task.score_range), f"{where}.regression"),
        files=(("test", entry["file"]),),
        quoted=entry.get("quoted", True),
        source=task.name,
        collapse=_collapse(entry.get("collapse"), f"{where}.collapse", task, names),
        **_metrics(entry, where, len(names)),
    )


def _check_suffix(path: str, where: str) -> None:
    if PurePath(path).suffix.lower() not in SUFFIXES:
        raise UserError(f"{where}: '{path}' has no known ending, expected {', '.join(SUFFIXES)}")


def _columns(text: str | list[str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _labels(given: Any, where: str) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Class names in their order, and the class of every label that a file may hold."""
    named = given.items() if isinstance(given, Mapping) else [(label, label) for label in given]
    pairs = [(label_text(label), label_text(name)) for label, name in named]
    names = tuple(dict.fromkeys(name for _, name in pairs))
    texts = [text for text, _ in pairs]
    for text in texts:
        if not text or texts.count(text) > 1:
            raise UserError(f"{where}: {text!r} is {'given twice' if text else 'empty'}, expected labels that differ")
    if pairs and len(names) < 2:
        raise UserError(f"{where}: there is one class, expected at least two")
    return names, tuple((text, names.index(name)) for text, name in pairs)


def _score_range(given: Any, where: str) -> tuple[float, float]:
    low, high = (float(bound) for bound in given)
    if not low < high:
        raise UserError(f"{where}: [{low:g}, {high:g}] is no range, expected the least score and a greater one")
    return low, high


def _metrics(entry: Mapping[str, Any], where: str, classes: int) -> dict[str, Any]:
    """The keys ``metrics`` and ``shown`` of a declaration, which must fit the number of classes (0: scores)."""
    fitting = (OF_CLASSES + OF_TWO_CLASSES * (classes == 2)) if classes else OF_SCORES
    metrics = entry.get("metrics") or ([entry["shown"]] if "shown" in entry else None)
    metrics = metrics or (["accuracy"] if classes else ["pearson", "spearman"])
    shown = entry.get("shown") or (metrics[0] if "metrics" in entry or classes else "pearson_spearman")
    for key, value in (*(("metrics", metric) for metric in metrics), ("shown", shown)):
        if value not in OF_CLASSES + OF_TWO_CLASSES + OF_SCORES:
            raise unknown("metric", value, fitting, f"{where}.{key}")
        if value not in fitting:
            kind = f"{classes} classes" if classes else "scores"
            raise UserError(f"{where}.{key}: '{value}' is not for {kind}, expected {', '.join(fitting)}")
    return {"metrics": tuple(metrics), "shown": shown}


def _collapse(given: Mapping[str, Any] | None, where: str, task: Task, names: tuple[str, ...]) -> tuple[int, ...]:
    """For each class of the task the class of the set; by name unless it is given."""
    if given is None:
        if set(task.labels) != set(names):
            raise UserError(
                f"{where}: is missing; the labels {', '.join(names)} are not those of {task.name}, expected a mapping "
                f"from each of {', '.join(task.labels)} to one of them"
            )
        return tuple(names.index(label) for label in task.labels)
    for label in given:
        if label not in task.labels:
            raise unknown("label", label, task.labels, where)
    found = []
    for label in task.labels:
        target = label_text(given.get(label, ""))
        if target not in names:
            given_target = f"'{target}'" if target else "is missing"
            raise UserError(f"{where}.{label}: {given_target}, expected one of {', '.join(names)}")
        found.append(names.index(target))
    return tuple(found)
