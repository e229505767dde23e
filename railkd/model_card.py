"""Writes the model card of a trained student: README.md with the front matter that the Hugging Face hub reads.

Everything on it comes from run records, so that a card can be written again at any time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from railkd.tasks import GLUE, OUT_OF_DOMAIN

FILE = "README.md"
UNKNOWN = "unknown"  # the hub's word for a licence that nobody has stated
OWN = "apache-2.0"  # of what the suite itself has pre-trained
METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}  # the hub's names
Record = Mapping[str, Any]


def licence_of(folder: Path) -> str:
    """The licence that the model card in a checkpoint's folder states; ``unknown`` where there is no such card."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        stated = (metadata_load(folder / FILE) or {}).get("license")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):  # no card, or somebody's that is none
        return UNKNOWN
    return stated if isinstance(stated, str) else UNKNOWN


def card(record: Record, runs: Mapping[int, Record], licence: str, teacher: Record | None = None) -> str:
    """The text of README.md for the student of ``record``.

    ``runs``: seed -> record of every run of the same cell, that of ``record`` among them. ``licence``: that of the
    checkpoint with which the student began. ``teacher``: the teacher's record, for its scores.
    """
    parts = (
        ["---", _front_matter(record, licence), "---", "", f"# {_title(record)}", ""],
        _introduction(record, teacher),
        _use(),
        _training(record),
        _scores(record, runs, teacher),
        _origin(record, licence),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _method(record: Record) -> str:
    stated = record.get("method_class", {})
    return str(stated.get("title") or record["method"])


def _title(record: Record) -> str:
    return f"{record['student']} for {record['task']}, trained with {_method(record)}"


def _front_matter(record: Record, licence: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    provenance = record["provenance"]
    real = _is_glue(record)
    task = "text-classification"
    results = [
        EvalResult(
            task_type=task,
            **_examples_of(record, split),
            metric_type=METRICS.get(metric, metric),
            metric_value=value,
        )
        for split, scores in record["scores"].items()
        for metric, value in scores.items()
    ]
    front = ModelCardData(
        license=licence,
        language="en" if real else None,
        library_name="transformers",
        pipeline_tag=task,
        tags=["knowledge-distillation", f"method:{record['method']}", f"task:{record['task']}"],
        base_model=record["config"]["student"].get("hub"),
        datasets=[GLUE] if real else None,
        model_name=f"{record['student']}-{record['task']}-{record['method']}",
        eval_results=results,
        suite_version=provenance.get("suite"),
        suite_commit=provenance.get("commit"),
    )
    return str(front.to_yaml())


def _declared(record: Record) -> Mapping[str, Any]:
    """What the benchmark file declared of tasks and sets of its own, by name."""
    return dict(record["config"]["data"].get("declared", {}))


def _is_glue(record: Record) -> bool:
    """Whether the task is GLUE's, and not generated, nor one of the benchmark file's own beside GLUE's."""
    return record["config"]["data"]["source"] == "glue" and record["task"] not in _declared(record)


def _held_out(record: Record) -> bool:
    """Whether the test set is a part of the training set: GLUE's own test labels are hidden."""
    own = _declared(record).get(record["task"], {})
    return record["config"]["data"].get("test") == "heldout" and "test" not in own.get("splits", ())


def _examples_of(record: Record, split: str) -> dict[str, Any]:
    """Which examples a split's scores are of, as the keys of the hub's results.

    They name a dataset on the hub only where it is that dataset's split: a held-out part of GLUE's training set is no
    test set of GLUE's, and an out-of-domain set is another dataset than the task's.
    """
    source, task = str(record["config"]["data"]["source"]), str(record["task"])
    foreign = split in record["config"]["data"].get("out_of_domain", ())
    name, part = (split, "test") if foreign else (task, split)
    if split == "test" and _held_out(record):
        part = "train, held out"
    if name in _declared(record):
        return {"dataset_type": name, "dataset_name": f"{name} (own files)", "dataset_split": part}
    kind, config = (GLUE, task) if source == "glue" else (source, name)
    if source != "miniglue" and foreign:
        hub = OUT_OF_DOMAIN[name].hub
        kind, config = (hub.repo, hub.config or "") if hub else (name, "")
    title = f"{source} {name}" if kind in (GLUE, source) else OUT_OF_DOMAIN[name].title
    stated = {"dataset_type": kind, "dataset_name": title, "dataset_split": part}
    return stated | ({"dataset_config": config} if config else {})


def _introduction(record: Record, teacher: Record | None) -> list[str]:
    summary = record.get("method_class", {}).get("summary", "")
    lines = [
        f"This text classifier is the student `{record['student']}`. The benchmark suite railkd trained it on the task "
        f"`{record['task']}` with the method {_method(record)} and the teacher `{record['teacher']}`.",
        *([summary] if summary else []),
        "",
    ]
    if record["synthetic"] and record["task"] not in _declared(record):
        lines += [
            "**It was trained on generated text: its answers and scores say nothing about a natural language.**",
            "",
        ]
    return lines


def _use() -> list[str]:
    return [
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'classify = pipeline("text-classification", "PATH OF THIS FOLDER")',
        'classify("one text", truncation=True)',
        'classify({"text": "the first text", "text_pair": "the second text"}, truncation=True)  # a task of two texts',
        "```",
        "",
    ]


def _training(record: Record) -> list[str]:
    config = record["config"]
    options = {key: value for key, value in config["method"].items() if key != "method"}
    data = config["data"]
    rows = {
        "method": config["method"]["method"],
        "options of the method": _pairs(options) or "none",
        "settings of training": _pairs(config["training"]),
        "teacher": f"{record['teacher']} ({_pairs(_flat(config['teacher']['model']))})",
        "student began as": record["provenance"].get("initialisation", UNKNOWN),
        "data": f"{'own files' if record['task'] in _declared(record) else data['source']}, {record['task']}, "
        f"{record['examples'].get('train', 0):,} training examples",
        "longest input": f"{data['max_length']} tokens",
        "seed of this student": record["seed"],
        "epoch of its weights": f"{record['best_epoch']} of {len(record['epochs'])}, the best on dev",
    }
    return ["## Training", "", *_table(["", ""], [[key, str(value)] for key, value in rows.items()]), ""]


def _scores(record: Record, runs: Mapping[int, Record], teacher: Record | None) -> list[str]:
    columns = [(split, metric) for split, scores in record["scores"].items() for metric in scores]

    def row(name: str, scores: Mapping[str, Mapping[str, float]]) -> list[str]:
        values = (scores.get(split, {}).get(metric) for split, metric in columns)
        return [name, *("–" if value is None else f"{100 * value:.2f}" for value in values)]

    rows = [
        row(f"**seed {seed}, in this folder**" if seed == record["seed"] else f"seed {seed}", run["scores"])
        for seed, run in sorted(runs.items())
    ]
    if teacher is not None:
        rows.append(row(f"teacher {record['teacher']}", teacher["scores"]))
    rows.append(row("best constant prediction", record["baselines"]))
    header = ["run", *(f"{split} {metric}" for split, metric in columns)]
    lines = ["## Scores", "", "Scores are in percent. Every seed of this method, pair and task that has finished:", ""]
    if _held_out(record) and "test" in record["scores"]:
        lines[2] = f"The test set is a part of the training set that was held out. {lines[2]}"
    return [*lines, *_table(header, rows), ""]


def _origin(record: Record, licence: str) -> list[str]:
    provenance = record["provenance"]
    commit = f"{provenance.get('commit') or UNKNOWN}{' with local changes' if provenance.get('dirty') else ''}"
    versions = _pairs(provenance.get("versions") or {})
    stated = (
        f"The checkpoint with which this student began is under the licence `{licence}`."
        if licence != UNKNOWN
        else "No licence of the checkpoint with which this student began was stated: look at that checkpoint's origin."
    )
    return [
        "## Origin and licence",
        "",
        f"- Benchmark `{record['benchmark']}`, pair `{record['pair']}`, {provenance.get('finished', UNKNOWN)}.",
        f"- Suite railkd {provenance.get('suite', UNKNOWN)}, commit {commit}; {versions}.",
        f"- Configuration (SHA-256): `{record['config_hash']}`.",
        *(f"- Fingerprint of {name}: `{digest}`." for name, digest in sorted(record["fingerprints"].items())),
        f"- {stated} The licence of the data holds besides.",
    ]


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if not isinstance(value, Mapping)} or {"pre-trained": "here"}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *map(line, rows)]
