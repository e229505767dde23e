"""Tells where every run came from: hardware, versions, commit, fingerprints and hyper-parameters, run by run."""

import json
import math
from dataclasses import replace
from typing import Any

from analysis.load import Runs
from analysis.reported_benchmark import ReportedBenchmark
from analysis.tables.costs import over_tasks
from analysis.tables.formats import csv_of, flat
from analysis.tables.html_tables import PageCell, PageTable, data_uri, gzip_uri, number_cell, text_cell
from analysis.tables.numbers import number
from railkd.records.hashes import sha256_text

LEFT_OUT = ("config.", "epochs", "similarity", "method_record", "shown", "schema", "diagnostics.cka")  # in the records
SHOWN = 12  # digits of a hash that the page shows; the files have all


Origins = list[tuple[str, dict[str, str]]]  # the letter under "Made on" and what it stands for


def run_table(benchmark: ReportedBenchmark, runs: Runs) -> tuple[PageTable, Origins]:
    """One row a run, teachers first; and what its letter under "Made on" stands for."""
    machines: dict[str, str] = {}
    described: Origins = []
    rows, exported = [], []
    for record in runs.everything:
        made = {k: v for k, v in origin(record).items() if k != "Teacher signals"}
        identity = sha256_text(json.dumps(made, sort_keys=True))
        if identity not in machines:
            machines[identity] = _letter(len(machines))
            described.append((machines[identity], made))
        shown, prints = record["shown"], record["fingerprints"]
        come, cost = record["provenance"], record["cost"]
        views = [
            text_cell(benchmark.title_of(record["method"])),
            text_cell(record["task"]),
            PageCell(str(record["seed"]), sort=str(record["seed"])),
            *(
                number_cell(100 * record["scores"][s][shown] if shown in record["scores"].get(s, {}) else None, 1)
                for s in ("dev", "test")
            ),
            PageCell(str(record["best_epoch"]), sort=str(record["best_epoch"])),
            number_cell(cost.get("train_seconds"), 1),
            number_cell(1000 * cost["step_seconds"] if cost.get("step_seconds") else None, 2),
            number_cell(cost["peak_memory_bytes"] / 1e6 if cost.get("peak_memory_bytes") else None, 0),
            text_cell(str(cost.get("regime", "–"))),
            text_cell(machines[identity]),
            *(_hash(prints.get(key)) for key in ("data", "teacher", "student")),
            _hash(record["config_hash"]),
            text_cell(str(come.get("started", "–"))),
        ]
        rows.append((record["pair"], views))
        kept = {key: value for key, value in flat(record).items() if not key.startswith(LEFT_OUT)}
        exported.append(kept)
    table = PageTable(
        "runs",
        "Every run",
        "Scores in percent in the metric of the task's table. Hashes are SHA-256, cut to 12 digits; the file has them "
        "whole, with every other score, cost and version.",
        ["Method", "Task", "Seed", "Dev", "Test", "Best epoch", "Training, s", "Step, ms", "Peak memory, MB"]
        + ["Teacher signals", "Made on", "Data", "Teacher", "Student", "Settings", "Started"],
        [("", rows)],
        "Pair",
        csv=gzip_uri(csv_of(exported)),
        file=f"{benchmark.name}-runs.csv.gz",
    )
    return table, described


def made_on(described: Origins) -> tuple[dict[str, str], PageTable | None]:
    """What all runs were made on and with, and a table of what differs; None where nothing does."""
    keys = list(dict.fromkeys(key for _, values in described for key in values))
    found = {key: {values.get(key, "–") for _, values in described} for key in keys}
    common = {key: next(iter(found[key])) for key in keys if len(found[key]) == 1}
    own = [key for key in keys if key not in common]
    if not own:
        return common, None
    rows = [(letter, [text_cell(values.get(key, "–")) for key in own]) for letter, values in described]
    caption = "The column Made on of the table of runs has these letters."
    return common, PageTable("made-on", "What differs", caption, own, [("", rows)], "Made on")


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"A{index}"


def _hash(value: Any) -> PageCell:
    return text_cell(str(value)[:SHOWN] if value else "–")


def settings_table(runs: Runs) -> tuple[dict[str, str], PageTable]:
    """Hyper-parameters: those that all student runs share, and a table of the others, one row a configuration."""
    configs: dict[str, dict[str, Any]] = {}
    used: dict[str, tuple[str, str, str]] = {}
    for (pair, method, task, _), record in runs.students.items():
        configs.setdefault(record["config_hash"], flat(record["config"]))
        used.setdefault(record["config_hash"], (pair, method, task))
    keys = list(dict.fromkeys(key for config in configs.values() for key in config))
    values = {key: {str(config.get(key, "–")) for config in configs.values()} for key in keys}
    common = {key: next(iter(values[key])) for key in keys if len(values[key]) == 1}
    own = [key for key in keys if key not in common]
    rows = [
        (pair, [text_cell(method), text_cell(task), _hash(digest), *(_setting(configs[digest].get(k)) for k in own)])
        for digest, (pair, method, task) in used.items()
    ]
    exported = [
        {"config_hash": digest, "pair": p, "method": m, "task": t, **configs[digest]}
        for digest, (p, m, t) in used.items()
    ]
    return common, PageTable(
        "settings",
        "What differs between runs",
        "One row a configuration; the column Settings of the table of runs names it. A dash: no such key here.",
        ["Method", "Task", "Settings", *own],
        [("", rows)],
        "Pair",
        csv=gzip_uri(csv_of(exported)),
        file="settings.csv.gz",
    )


def _setting(value: Any) -> PageCell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return PageCell(f"{value:g}" if isinstance(value, float) else str(value), sort=repr(float(value)))
    return text_cell("–" if value is None else str(value))


def cost_table(benchmark: ReportedBenchmark, runs: Runs) -> PageTable:
    """What each method of each pair cost over its tasks, mean ± sd over seeds; the file has the variants too.

    Runs on different devices have a row for each device, because no mean over two of them is the cost of anything.
    """
    rows, exported, left_out = [], [], set()
    by_row: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}  # pair and method -> device -> its records
    for (of, method, _, _), record in runs.students.items():
        by_row.setdefault((of, method), {}).setdefault(str(record["cost"].get("device", "?")), []).append(record)
    for pair in benchmark.pairs:
        for method in pair.rows():
            for device, records in sorted(by_row.get((pair.name, method), {}).items()):
                tasks = {r["task"] for r in records}
                seconds = over_tasks(runs, pair.name, method, tasks, "train_seconds", device)
                step, step_sd = (
                    1000 * value / len(tasks)
                    for value in over_tasks(runs, pair.name, method, tasks, "step_seconds", device)
                )
                known = [r["cost"]["peak_memory_bytes"] / 1e6 for r in records if r["cost"].get("peak_memory_bytes")]
                peak = max(known, default=math.nan)
                counted = {"runs": len(records), "tasks": len(tasks)}
                measured: dict[str, Any] = {"train_seconds": seconds[0], "train_seconds_sd": seconds[1]}
                measured |= {"step_ms": step, "step_ms_sd": step_sd, "peak_mb": peak, "device": device}
                exported.append({"pair": pair.name, "method": method, **counted, **measured})
                if method in benchmark.variants:
                    left_out.add(method)
                    continue
                views = [PageCell(str(n), sort=str(n)) for n in counted.values()]
                views += [
                    _spread(*seconds, 1 if seconds[0] < 100 else 0),
                    _spread(step, step_sd, 1),
                    number_cell(peak, 0),
                    text_cell(device),
                ]
                rows.append((benchmark.title_of(method), [text_cell(pair.title), *views]))
    several = any(len(by_device) > 1 for by_device in by_row.values())
    return PageTable(
        "costs",
        "What training cost",
        "Training: seconds for one run on each of the tasks, summed over the tasks, mean ± standard deviation over "
        "seeds. Step: the same of a run's median step, mean over tasks. Both are longer where the machine did other "
        "work; docs/cost.md compares steps side by side. Peak memory: of the GPU, or of the whole process on a CPU, "
        "where it counts the libraries and every seed trained before in the same job. "
        + ("The runs of a method on different devices have a row for each device. " if several else "")
        + f"Compare rows with the same number of tasks{' on the same device' if several else ''} only."
        + (f" The CSV has {len(left_out)} variants too." if left_out else ""),
        ["Pair", "Runs", "Tasks", "Training, s", "Step, ms", "Peak memory, MB", "Device"],
        [("", rows)],
        "Method",
        csv=data_uri(csv_of(exported)),
        file="costs.csv",
        stacks=True,
    )


def _spread(mean: float, sd: float, decimals: int) -> PageCell:
    return replace(number_cell(mean, decimals), after="" if math.isnan(sd) else f"± {number(sd, decimals)}")


def origin(record: dict[str, Any]) -> dict[str, str]:
    """Where a run came from, as text: device, processor, platform, versions, suite and commit, teacher signals."""
    origin = record["provenance"]
    versions = origin.get("versions") or {}
    commit, dirty = origin.get("commit"), origin.get("dirty")
    cost = record["cost"]
    return {
        "Device": str(cost.get("device", "unknown")),
        "Processor": f"{origin.get('processor', 'unknown')}, {origin.get('cores', '?')} cores",
        "Platform": str(origin.get("platform", "unknown")),
        "Versions": ", ".join(
            [f"Python {origin.get('python', '?')}", *(f"{name} {versions[name]}" for name in sorted(versions))]
        ),
        "Suite": f"{origin.get('suite', '?')}, commit {str(commit)[:12] if commit else 'unknown'}"
        + (" with uncommitted changes" if dirty else ""),
        "Initialisation": f"{record['student']}: {origin.get('initialisation', 'unknown')}",
        **_general_distillation(origin.get("general_distillation")),
        "Teacher signals": str(cost.get("regime", "unknown")).replace("none", "none in the training loop"),
    }


def _general_distillation(facts: dict[str, Any] | None) -> dict[str, str]:
    """How the student was distilled on text before any task, and what that cost; nothing where it was not."""
    if not facts:
        return {}
    text = (
        "{model}: {objective} of {teacher} on {text}, {steps:,.0f} steps, {tokens:,.0f} tokens, loss {first_loss:.3g} "
        "→ {last_loss:.3g}, {seconds:,.0f} s on {device}"
    )
    return {"General distillation": text.format(**facts)}
