"""Methods that were tuned alike or unlike, and tasks of the search that say nothing."""

import json
import shutil
from typing import Any

from made_records import BERT, Folder
from sound_runs import METHODS, TASKS, change, failed, judged

from analysis import load
from analysis.claims import claim_tables
from analysis.reported_benchmark import read
from analysis.statistics import uncertainty
from analysis.validity.evidence import Evidence
from analysis.validity.questions import Compared, is_tuned_alike
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.records.hashes import canonical, sha256_text


def search_of(folder: Folder, points: int) -> None:
    """Gives the benchmark file a search of so many points."""
    folder.spec["search"] = {"seed": 0, "grid": {"learning_rate": [1e-3 * (n + 1) for n in range(points)]}}
    folder.save()


def searched(folder: Folder, method: str, points: int, tasks: list[str]) -> None:
    """The records of a method's points of the search."""
    for task in tasks:
        for point in range(points):
            path = folder.results / "search" / BERT / method / task / f"point-{point}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            run = folder.read(BERT, method, task)
            at = read(folder.file).file.grid(method)[point]
            run["config"]["training"]["learning_rate"] = at["learning_rate"]
            run["config"]["method"] = {key: value for key, value in at.items() if key != "learning_rate"}
            run |= {"seed": 0, "stage": "search", "config_hash": sha256_text(canonical(run["config"]))}
            path.write_text(json.dumps(run), encoding="utf-8")


def test_methods_that_were_tuned_unlike(sound: Folder) -> None:
    search_of(sound, 3)
    for method in METHODS:
        searched(sound, method, 2, TASKS)
    claim, answers = judged(sound)
    assert failed(claim) == [] and "2 points of the search" in answers["tuning"]["reason"]
    assert "The file now asks for 3," in answers["tuning"]["reason"]
    assert answers["tuning"]["remedy"] == "Train the missing points of the search."
    for method in METHODS:  # as with search.tasks: the others take the choice of these
        shutil.rmtree(sound.results / "search" / BERT / method / TASKS[0])
    claim, answers = judged(sound)
    assert failed(claim) == [] and "(the other tasks take the best of these)" in answers["tuning"]["reason"]
    for method in METHODS:
        searched(sound, method, 2, TASKS)
    searched(sound, "rail_kd_c", 3, TASKS)
    claim, answers = judged(sound)
    assert failed(claim) == ["tuning"] and "RAIL-KD^c 3" in claim["why"] and "PKD 2" in claim["why"]
    search_of(sound, 2)  # what an earlier, longer search has left is none of this one's points
    assert "2 points of the search" in judged(sound)[1]["tuning"]["reason"]
    del sound.spec["search"]
    sound.save()
    assert "Equal but untuned" in judged(sound)[1]["tuning"]["reason"]


def test_points_of_an_earlier_search_are_none_of_this_ones(sound: Folder) -> None:
    search_of(sound, 2)
    for method in METHODS:
        searched(sound, method, 2, TASKS)
    for edit in ({"grid": {"learning_rate": [5e-4, 1e-3]}}, {"seed": 4}):
        benchmark = read(sound.file)
        cell = Cell(BERT, "pkd", TASKS[0])
        assert len(uncertainty.points(benchmark, Layout(sound.results), cell)) == 2
        sound.spec["search"] |= edit
        sound.save()
        assert uncertainty.points(read(sound.file), Layout(sound.results), cell) == []
        assert uncertainty.budget(read(sound.file), sound.results) == []
        search_of(sound, 2)


def test_a_method_with_options_of_its_own_in_the_search_has_more_points(sound: Folder) -> None:
    search_of(sound, 2)
    sound.spec["methods"]["pkd"] = {"search": {"beta": [10, 100]}}
    sound.save()
    claim, answers = judged(sound)  # no points are kept: what the file asks for
    assert failed(claim) == ["tuning"] and "PKD 4" in answers["tuning"]["reason"]
    for method in METHODS:
        searched(sound, method, 4 if method == "pkd" else 2, TASKS)
    claim, answers = judged(sound)
    assert failed(claim) == ["tuning"] and answers["tuning"]["remedy"].startswith("Set search.points to the least")
    sound.spec["search"]["points"] = 2
    sound.save()
    searched(sound, "pkd", 2, TASKS)  # the points that are drawn have the numbers 0 and 1
    claim, answers = judged(sound)
    assert failed(claim) == [] and "2 points of the search for each method" in answers["tuning"]["reason"]


def test_a_task_of_the_search_on_which_nobody_learns_is_named(sound: Folder) -> None:
    search_of(sound, 2)
    for method in METHODS:
        searched(sound, method, 2, TASKS[:3])
    _, answers = judged(sound)
    assert "noise" not in answers["tuning"]["reason"]

    floor = {"qqp": 0.99, "qnli": 0.8}  # on QNLI some of RAIL-KD are above it

    def raised(run: dict[str, Any]) -> None:
        run["baselines"]["dev"] = {m: floor[run["task"]] for m in run["baselines"]["dev"]}

    change(sound, raised, ["teacher", *METHODS], TASKS[1:3])
    _, answers = judged(sound)
    reason = answers["tuning"]["reason"]
    assert "chosen on dev. On QQP none of these students clears the majority-class baseline" in reason
    assert answers["tuning"]["holds"] is True


def test_a_method_that_a_task_of_the_search_is_not_defined_for(folder: Folder) -> None:
    """CoDIR has no STS-B, so CoLA alone chooses for it: its mean over tasks is no other method's."""
    search_of(folder, 2)
    folder.spec["search"]["tasks"] = ["cola", "stsb"]
    folder.save()
    for method, tasks in (("pkd", ["cola", "stsb"]), ("codir", ["cola"])):
        searched(folder, method, 2, tasks)
    benchmark = read(folder.file)
    evidence = Evidence(benchmark, load.read(benchmark, folder.results), folder.results)
    (pair,) = (pair for pair in benchmark.pairs if pair.name == BERT)
    columns = ("cola", "stsb", "mrpc")
    for methods, told in ((("pkd", "codir"), True), (("pkd",), False)):
        answer = is_tuned_alike(evidence, Compared(pair, "dev", methods, columns, {c: c for c in columns}))
        sentence = "CoDIR is not defined on STS-B: for it CoLA alone decides for the other tasks."
        assert answer.holds is True and (sentence in answer.reason) == told
    table = claim_tables.budget({"budget": uncertainty.budget(benchmark, folder.results)})
    assert table is not None
    ((_, rows),) = table.sections
    shown = {cells[0].text: cells[1].text for _, cells in rows}
    assert shown == {"pkd": "CoLA, STS-B", "codir": "CoLA"}


def test_how_a_method_of_another_repository_was_tuned_is_not_known(sound: Folder) -> None:
    search_of(sound, 1)
    searched(sound, "pkd", 1, TASKS[:1])
    benchmark = read(sound.file)
    evidence = Evidence(benchmark, load.read(benchmark, sound.results), sound.results)
    (pair,) = (pair for pair in benchmark.pairs if pair.name == BERT)
    for methods, holds in ((("pkd",), True), (("pkd", "my_kd"), None)):
        answer = is_tuned_alike(evidence, Compared(pair, "dev", methods, (TASKS[0],), {TASKS[0]: TASKS[0]}))
        assert answer.holds is holds and ("My|KD_1" in answer.reason) == (holds is None)
