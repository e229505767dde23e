"""What the search chose: by how much, and at which end of the grid."""

import math
from statistics import variance
from typing import Any

import pytest
from made_records import BERT, Folder
from sound_runs import METHODS, TASKS, judged

from analysis import load
from analysis.reported_benchmark import read
from analysis.validity import choices
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.records import sealed_files

RATES = [1e-3, 2e-3, 4e-3]


def searched(folder: Folder, scores: dict[str, list[float | None]], tasks: list[str], **grid: list[Any]) -> None:
    """Gives the file a search on some tasks, and each method the choice by these scores of its points."""
    folder.spec["search"] = {"seed": 0, "tasks": tasks, "grid": {"learning_rate": RATES, **grid}}
    folder.save()
    file, layout = read(folder.file).file, Layout(folder.results)
    for method in METHODS:
        for task in TASKS:
            cell = Cell(BERT, method, task)
            points, decided_on = file.grid(method), [of.task for of in file.searched(cell)]
            known = scores.get(method, [0.5] * len(points))
            index = max(range(len(points)), key=lambda k: -1.0 if known[k] is None else known[k])  # type: ignore[return-value, arg-type]
            best = {"point": points[index], "index": index, "scores": known, "grid": points, "tasks": decided_on}
            sealed_files.write_json(layout.best(cell), sealed_files.sealed(best))


def of(folder: Folder, method: str) -> list[choices.Choice]:
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    (pair,) = (pair for pair in benchmark.pairs if pair.name == BERT)
    return choices.of_pair(benchmark, runs, folder.results, pair, [method], pair.tasks)


def noise(folder: Folder, task: str) -> float:
    """The standard error of a difference between two runs on a task, in percentage points."""
    shown = [
        [run["scores"]["dev"][run["shown"]] for run in (folder.read(BERT, m, task, seed) for seed in (1, 2, 3))]
        for m in METHODS
    ]
    return 100 * math.sqrt(2 * sum(map(variance, shown)) / len(shown))


def test_a_choice_is_told_from_noise_and_from_an_end(sound: Folder) -> None:
    se = noise(sound, "rte") / 100
    searched(
        sound,
        {
            "pkd": [0.5, 0.5 + 1.5 * se, 0.5 + 3 * se],  # the highest, clearly
            "no_kd": [0.5 + 1.5 * se, 0.5, None],  # the lowest; the third diverged
            "alp_kd": [0.5, 0.5 + 0.5 * se, 0.5],  # within noise
            "vanilla_kd": [0.5, 0.5, 0.5 + 0.5 * se],  # at an end, within noise
        },
        ["rte"],
    )
    found = {method: of(sound, method) for method in ("pkd", "no_kd", "alp_kd", "vanilla_kd")}
    assert [len(each) for each in found.values()] == [1, 1, 1, 1]
    (pkd,), (no_kd,), (alp_kd,), (vanilla_kd,) = found.values()
    assert pkd.decided_on == ("rte",) and pkd.taken_by == tuple(TASKS)
    assert pkd.se == pytest.approx(100 * se) and pkd.lead == pytest.approx(150 * se)
    assert [choice.is_noise for choice in (pkd, no_kd, alp_kd, vanilla_kd)] == [False, False, True, True]
    assert [choice.ends.get("learning_rate") for choice in (pkd, no_kd, alp_kd)] == ["highest", "lowest", None]
    assert vanilla_kd.ends and not vanilla_kd.beyond
    _, answers = judged(sound)
    reason, remedy = answers["tuning"]["reason"], answers["tuning"]["remedy"]
    assert f"{len(METHODS) - 2} of {len(METHODS)} choices lead the next best point by no more than" in reason
    assert "highest learning_rate, 0.004: PKD (RTE)" in reason and "lowest learning_rate, 0.001: w/o KD (RTE)" in reason
    assert answers["tuning"]["holds"] and remedy == "Widen search.grid.learning_rate below 0.001 and above 0.004."


def test_the_noise_of_a_mean_over_tasks_and_ends_of_other_axes(sound: Folder) -> None:
    searched(sound, {"pkd": [0.9, *[0.5] * 5]}, TASKS[:2], warmup=[0.0, 0.1])
    first, mean = sorted(of(sound, "pkd"), key=lambda choice: len(choice.decided_on))[::2]
    assert first.se == pytest.approx(noise(sound, first.decided_on[0]))
    assert mean.decided_on == tuple(TASKS[:2]) and mean.taken_by == tuple(TASKS[2:])
    assert mean.se == pytest.approx(math.hypot(*(noise(sound, task) for task in TASKS[:2])) / 2)
    assert dict(mean.ends) == {"learning_rate": "lowest"}  # below a warm-up of 0 there is nothing
    own = read(sound.file)
    sound.spec["methods"]["pkd"] = {"search": {"beta": [10, 100], "mapping": ["skip", "last"]}}
    sound.save()
    assert of(sound, "pkd") == [] and own.file.search  # a choice among other points
    searched(sound, {"pkd": [0.5] * 11 + [0.9]}, ["rte"])
    (choice,) = of(sound, "pkd")
    assert dict(choice.ends) == {"learning_rate": "highest", "beta": "highest"}
    wider = choices.wider(read(sound.file), [choice])
    assert wider == ["Widen search.grid.learning_rate above 0.004, methods.pkd.search.beta above 100."]
