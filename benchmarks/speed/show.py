"""Shows what was timed as ratios to ``no_kd``: a table for each group, a CSV of every job, and cost against n and K."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import draw, style
from analysis.tables.formats import md, md_table
from railkd.errors import UserError
from railkd.records.files import write_bytes

GIB = 2**30


def job_of(group: dict[str, Any], method: str, regime: str, negatives: int | None = None) -> dict[str, Any]:
    """A job of a group: with K given, that K's; without, the benchmark file's own."""
    for job in group["jobs"]:
        chosen = job["own"] if negatives is None else job["negatives"] == negatives
        if (job["method"], job["regime"]) == (method, regime) and chosen:
            return dict(job)
    raise KeyError((method, regime, negatives))


def quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    middle, low, high = np.quantile(values, [0.5, 0.25, 0.75])
    return float(middle), float(low), float(high)


def ratio(job: dict[str, Any], unit: dict[str, Any]) -> tuple[float, float, float]:
    """Quartiles over the rounds of the ratio of two jobs' steps, each ratio taken within one round."""
    return quartiles(np.array(job["seconds"]) / np.array(unit["seconds"]))


def frame(result: dict[str, Any]) -> pd.DataFrame:
    """One row a job."""
    rows = []
    for group in result["groups"]:
        unit = job_of(group, "no_kd", "none")
        for job in group["jobs"]:
            seconds, relative = quartiles(np.array(job["seconds"])), ratio(job, unit)
            rows.append(
                {
                    "group": group["group"], "kind": group["kind"], "teacher_layers": group["teacher_layers"],
                    "student_layers": group["student_layers"], "method": job["method"], "negatives": job["negatives"],
                    "own": job["own"], "regime": job["regime"], "rounds": len(job["seconds"]),
                    "step_seconds": seconds[0], "step_seconds_low": seconds[1], "step_seconds_high": seconds[2],
                    "ratio": relative[0], "ratio_low": relative[1], "ratio_high": relative[2],
                    "peak_memory_bytes": job["peak_memory_bytes"],
                }
            )  # fmt: skip
    return pd.DataFrame(rows).astype({"negatives": "Int64", "peak_memory_bytes": "Int64"})


def check_alike(now: dict[str, Any], before: dict[str, Any]) -> None:
    """Raises UserError when two results were not measured alike; what they found is not looked at."""
    for key in ("benchmark", "shapes"):
        if now[key] != before.get(key):
            raise UserError(f"--against: its {key} is {before.get(key)}, this one's {now[key]}")
    earlier = before.get("settings", {})
    for key in ("batch_size", "mean_length", "max_length"):
        if now["settings"][key] != earlier.get(key):
            option = f"--{key.replace('_', '-')}"
            raise UserError(f"--against: its {option} is {earlier.get(key)}, this one's {now['settings'][key]}")


def dearer(now: dict[str, Any], before: dict[str, Any], tolerance: float) -> list[str]:
    """A line for each job whose ratio to ``no_kd`` has grown: lower quartile now above (1 + tolerance) × upper before.

    Ratios carry over from one machine to another, seconds do not. Raises UserError when the two were not measured alike
    or share no job.
    """
    check_alike(now, before)
    job = ["group", "teacher_layers", "student_layers", "method", "regime", "negatives"]
    both = frame(now).merge(frame(before), on=job, suffixes=("", "_before"))
    both = both[both["method"] != "no_kd"]  # the unit
    if both.empty:
        raise UserError("--against: it shares no job with this measurement")
    grown = both[both["ratio_low"] > (1 + tolerance) * both["ratio_high_before"]]
    return [
        f"{row.group}, {row.method} {row.regime}: {_number((row.ratio, row.ratio_low, row.ratio_high))} times no_kd's "
        f"step, before {_number((row.ratio_before, row.ratio_low_before, row.ratio_high_before))}"
        for row in grown.itertuples()
    ]


def _number(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"


def _gib(job: dict[str, Any]) -> str:
    return "–" if job["peak_memory_bytes"] is None else f"{job['peak_memory_bytes'] / GIB:.2f}"


def _group(group: dict[str, Any], title: Callable[[str], str], complexity: dict[str, str]) -> list[str]:
    unit, teacher = job_of(group, "no_kd", "none"), job_of(group, "teacher", "forward")
    step = quartiles(np.array(unit["seconds"]))
    student, counted = group["operations"]["student"], group["operations"]["teacher"]
    share = quartiles(student / np.array(unit["seconds"]) / np.array(group["matrix_rate"]))
    lines = [
        f"## {group['group']}: {group['teacher_layers']} → {group['student_layers']} layers, "
        f"{group['teacher_width']} → {group['student_width']} wide, {group['precision']}",
        "",
        f"{title('no_kd')}: {step[0]:.4f} s [{step[1]:.4f}, {step[2]:.4f}] a step of {np.mean(group['tokens']):.0f} "
        f"padded tokens, {_gib(unit)} GiB; its {student / 1e9:.1f} GFLOP of matrix products run at {share[0]:.0%} "
        f"[{share[1]:.0%}, {share[2]:.0%}] of the rate that its layers' products reach by themselves "
        f"({np.median(group['matrix_rate']) / 1e9:.0f} GFLOP/s). The teacher's forward pass: "
        f"{_number(ratio(teacher, unit))} steps; by operations live costs {1 + counted / student:.2f} × cached.",
        "",
    ]
    rows = []
    for job in group["jobs"]:
        if job["regime"] != "cached":
            continue
        live = job_of(group, job["method"], "live", job["negatives"])
        name = md(title(job["method"])) + (f", K = {job['negatives']:,}" if job["negatives"] else "")
        numbers = (_number(ratio(job, unit)), _number(ratio(live, unit)), _number(ratio(live, job)))
        rows.append((name, complexity.get(job["method"], ""), *numbers, _gib(job), _gib(live)))
    columns = ("method", "Table 1", "cached", "live", "live / cached", "GiB, cached", "GiB, live")
    return [*lines, md_table(columns, rows, "llrrrrr"), ""]


def markdown(result: dict[str, Any], title: Callable[[str], str]) -> str:
    """The tables, and how they were made."""
    machine, settings = result["environment"], result["settings"]
    where = f"{machine['device']}, {machine['threads']} threads, {machine['processor']}"
    state = " with changes" if machine["dirty"] else ""
    head = [
        f"# Cost of a training step: {result['title']}",
        "",
        f"Ratios to `no_kd`, each taken within a round; median [quartiles] over {settings['rounds']} rounds of "
        f"{settings['steps']} steps, methods in turn in one process, {settings['warmup']} steps before the clock "
        f"starts. Random weights and words; batches of {settings['batch_size']}, {settings['mean_length']:g} tokens an "
        "example on average, padded to the longest of a batch. Cached: the teacher's signals are read from disk; live: "
        "the teacher runs in each step. Memory: the most a job took, the weights of its models included."
        + (" The benchmark's depths at a width of 64: a check that it runs." if result["shapes"] == "mini" else ""),
        "",
        f"{where}; torch {machine['versions']['torch']}, commit {(machine['commit'] or '?')[:12]}{state}, "
        f"{machine['measured']}; `{result['command']}`.",
        "",
    ]
    return "\n".join(head + [line for g in result["groups"] for line in _group(g, title, result["complexity"])])


REGIMES = ("cached", "live")


def figure(result: dict[str, Any], title: Callable[[str], str]) -> style.Sheet:
    """Cost against the teacher's layers n, cached and live, and against CoDIR's K: medians and quartiles."""
    depths = [g for g in result["groups"] if g["pair"] == result["groups"][0]["pair"]]
    depths.sort(key=lambda g: g["teacher_layers"])
    methods = list(dict.fromkeys(j["method"] for j in depths[0]["jobs"] if j["regime"] == "cached"))
    drawing = [m for m in methods if any(j["method"] == m and j["negatives"] for j in depths[0]["jobs"])]
    marks = style.marks(methods)
    sheet = style.Sheet(style.COLUMN, 0.7 + 1.5 * (2 + bool(drawing)))
    axes = sheet.subplots(2 + bool(drawing), squeeze=False)[:, 0]
    for axis, regime in zip(axes, REGIMES, strict=False):
        jobs = [(g, g["teacher_layers"], job_of(g, m, regime)) for g in depths for m in methods]
        draw.dots(axis, _points(jobs), marks, draw.Dots("place", "method"))
        axis.set(title=f"signals {regime}", xlabel="teacher layers n")
    if drawing:
        group = result["groups"][0]
        for regime in REGIMES:
            ks = {m: sorted({j["negatives"] for j in depths[0]["jobs"] if j["method"] == m}) for m in drawing}
            data = _points([(group, k, job_of(group, m, regime, k)) for m in drawing for k in ks[m]])
            how = draw.Dots("place", "method", hollow=regime == "live")
            draw.dots(axes[2], data, {m: marks[m] for m in drawing}, how)
        names = ", ".join(style.plain(title(m)) for m in drawing)
        axes[2].set(title=f"{names} ({group['group']}): filled cached, open live", xlabel="negatives K")
    for axis in axes:
        axis.axhline(1, color=style.NEUTRAL, linewidth=0.8)
        axis.set_ylabel("step time over that\nwithout distillation")
        sheet.measures(axis)
    sheet.key({title(m): marks[m] for m in methods})
    sheet.foot()
    return sheet


def _points(jobs: list[tuple[dict[str, Any], int, dict[str, Any]]]) -> pd.DataFrame:
    """(group, place on the axis, job) -> a row for each with the ratio's quartiles."""
    rows = [(str(place), job["method"], *ratio(job, job_of(g, "no_kd", "none"))) for g, place, job in jobs]
    return pd.DataFrame(rows, columns=["place", "method", "mean", "low", "high"])


def write(result: dict[str, Any], folder: Path, title: Callable[[str], str]) -> None:
    """``speed.{csv,md,pdf,png}`` beside ``speed.json``."""
    write_bytes(folder / "speed.csv", frame(result).to_csv(index=False).encode())
    write_bytes(folder / "speed.md", markdown(result, title).encode())
    with style.themed():
        for kind, content in style.saved(figure(result, title)).items():
            write_bytes(folder / f"speed.{kind}", content)
