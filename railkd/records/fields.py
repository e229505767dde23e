"""Defines what a run record holds: its keys, what they mean, and the shape of what tables and figures read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

SCHEMA_VERSION = 2
READABLE = (1, 2)  # version 1: config holds the options of the method that the benchmark file gave, and no others

# key -> (type, meaning). Scores are in the metric's own unit, fractions in [-1, 1], not percent.
FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "schema": (int, "version of this schema"),
    "benchmark": (str, "name of the benchmark that trained it"),
    "synthetic": (bool, "trained on generated text: the numbers say nothing about a natural language"),
    "stage": (str, "teacher | search | distil"),
    "pair": (str, "teacher-student pair; the teacher's name for a teacher"),
    "teacher": (str, "name of the teacher model in the benchmark file"),
    "student": (str, "name of the student model; equals teacher for a teacher"),
    "method": (str, "name of the method; 'teacher' for a teacher"),
    "task": (str, "GLUE task trained on"),
    "seed": (int, "random seed of the run"),
    "config": (
        dict,
        "resolved configuration: data settings, every key of training and every option of the method, given or by "
        "default, and the models",
    ),
    "config_hash": (str, "SHA-256 of config as canonical JSON"),
    "shown": (str, "name of the metric a table cell shows"),
    "scores": (dict, "split or out-of-domain set -> metric -> score, at the best epoch"),
    "sampling_errors": (
        dict,
        "split or set -> metric -> standard error of the score that comes from having drawn these examples, for the "
        "metrics whose score alone does not tell it (metrics.ERRORS); left out where there is none",
    ),
    "baselines": (dict, "split or set -> metric -> best score of a constant prediction, from the labels"),
    "examples": (dict, "split or set -> number of examples scored; 'train' -> number trained on"),
    "best_epoch": (int, "1-based epoch whose weights were scored; 0 for a teacher that was fine-tuned elsewhere"),
    "epochs": (
        list,
        "per epoch: epoch (1-based), dev (metric -> score), halves (optional: the shown metric on every other dev "
        "example, from the first and from the second), loss (term -> mean), learning_rate, seconds",
    ),
    "method_class": (
        dict,
        "what the class of the method says of itself (method_sources.Facts): title, summary, complexity, ..., and "
        "defaults, option -> value; left out for a teacher and a method of another repository",
    ),
    "method_record": (dict, "what the method reports: drawn layers, attention weights, effective rank, ..."),
    "similarity": (dict, "pooling -> cosine similarity [student layer][teacher layer] on probe examples; may be empty"),
    "diagnostics": (
        dict,
        "agreement with the teacher by split, cka by pooling: see evaluation/diagnostics.py; may be left out",
    ),
    "cost": (
        dict,
        "train_seconds, step_seconds (median), steps, eval_seconds, peak_memory_bytes, regime, device, data (optional: "
        "host | device | streamed, where the training set and the cached signals lay)",
    ),
    "fingerprints": (
        dict,
        "data, teacher, student, method, a teacher's backbone: SHA-256 of what was read, or hub id and commit",
    ),
    "predictions": (dict, "file (relative to the record) and sha256 of the logits"),
    "provenance": (
        dict,
        "suite version, commit, dirty, versions of libraries, host hardware, started, finished (UTC); initialisation: "
        "how the student's weights began, in words; general_distillation (left out where there was none): "
        "DISTILLED_TEXTS and DISTILLED_NUMBERS of the general distillation that they come from",
    ),
    "checksum": (str, "SHA-256 of the rest of the record as canonical JSON; may be left out"),
}
OPTIONAL = {"sampling_errors", "diagnostics", "method_class", "checksum"}
COSTS = ("train_seconds", "step_seconds", "steps", "resumed", "eval_seconds", "peak_memory_bytes", "threads")

# of a general distillation, in provenance
DISTILLED_TEXTS = ("model", "teacher", "text", "text_sha256", "objective", "device", "precision")
DISTILLED_NUMBERS = ("steps", "tokens", "first_loss", "last_loss", "seconds", "threads")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_number, value.values()))


def _matrix(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == len(value[0]) and all(map(_number, row)) for row in value
    )


def _layers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(type(layer) is int and 1 <= layer <= 1000 for layer in row) for row in value
    )


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


# a part of a record, or each of its values (/*) -> what it must be, where it is present
SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "scores/*": (_numbers, "metric -> score"),
    "sampling_errors/*": (_numbers, "metric -> standard error"),
    "baselines/*": (_numbers, "metric -> score"),
    "examples/*": (lambda v: _number(v) and v >= 0, "a number of examples"),
    "similarity/*": (_matrix, "rows of numbers, of one length"),
    "method_record/attention": (_matrix, "rows of numbers, of one length"),
    "method_record/layers": (_layers, "lists of layers, 1-based"),
    "method_record/layer_counts": (_matrix, "rows of numbers, of one length"),
    "method_record/effective_rank": (lambda v: isinstance(v, list) and all(map(_number, v)), "a number for each epoch"),
    "fingerprints/*": (_text, "a text"),
    "predictions/*": (_text, "a text"),
    "provenance/general_distillation": (
        lambda v: (
            isinstance(v, Mapping)
            and all(isinstance(v.get(key), str) for key in DISTILLED_TEXTS)
            and all(_number(v.get(key)) for key in DISTILLED_NUMBERS)
        ),
        f"the texts {', '.join(DISTILLED_TEXTS)} and the numbers {', '.join(DISTILLED_NUMBERS)}",
    ),
    "provenance/versions": (lambda v: v is None or isinstance(v, Mapping), "library -> version"),
    **{f"cost/{key}": (lambda v: v is None or (_number(v) and v >= 0), "a number") for key in COSTS},
    **{f"cost/{key}": (_text, "a text") for key in ("regime", "device", "precision", "data")},
    "epochs/*": (
        lambda v: (
            isinstance(v, Mapping)
            and _numbers(v.get("dev"))
            and _numbers(v.get("loss", {}))
            and isinstance(v.get("halves", []), list)
            and all(map(_number, [v.get("epoch"), v.get("seconds", 0), *v.get("halves", [])]))
        ),
        "epoch, dev (metric -> score), and numbers",
    ),
}


def misshapen_part(key: str, name: Any, value: Any) -> str | None:
    """What a part of a record was expected to be where it is not; None where it fits or nothing is expected."""
    fits, expected = SHAPES.get(f"{key}/{name}", (None, ""))
    return None if fits is None or fits(value) else expected


def misshapen(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each part that is present and not what the suite or a table expects."""
    for place, (fits, expected) in SHAPES.items():
        key, _, name = place.partition("/")
        value = record.get(key, {})
        parts = dict(enumerate(value)) if isinstance(value, list) else value
        for part in parts if name == "*" else [name] if name in parts else []:
            if not fits(parts[part]):
                yield f"{key}.{part}"[:80] + f" is {repr(parts[part])[:80]}, expected {expected}"
    for epoch in record["epochs"]:
        if isinstance(epoch, Mapping) and isinstance(epoch.get("dev"), Mapping) and record["shown"] not in epoch["dev"]:
            yield f"epochs: dev has no '{record['shown'][:80]}', the metric that a table shows"
            return


def run_label(record: Mapping[str, Any]) -> str:
    """A run in words, from the keys by which its record says which run it is of."""
    keys = ("stage", "teacher", "task") if record["stage"] == "teacher" else ("pair", "method", "task")
    return " ".join([*(str(record[key]) for key in keys), f"seed {record['seed']}"])


def epoch_metrics(entry: Mapping[str, Any]) -> dict[str, float]:
    """An entry of ``epochs`` as logs and trackers take it: numbers by name, without nesting."""
    return {
        "epoch": entry["epoch"],
        **{f"train/{name}": value for name, value in entry["loss"].items()},
        **{f"dev/{name}": value for name, value in entry["dev"].items()},
        "learning_rate": entry["learning_rate"],
        "seconds": entry["seconds"],
    }
