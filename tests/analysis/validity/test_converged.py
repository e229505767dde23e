"""Runs whose training ended too early, or of which nothing tells whether it did."""

from typing import Any

import pytest
from made_records import BERT, Folder
from sound_runs import CLAIM, METHODS, RISING, TASKS, change, course, failed, judged, skill

from analysis import load
from analysis.claims import evaluation
from analysis.reported_benchmark import read


@pytest.mark.parametrize(
    ("methods", "key"),
    [(["pkd"], "training.student.epochs: 3 -> 6"), (["no_kd"], "training.student.epochs: 3 -> 6"),
     (["teacher"], "training.teacher.epochs: 3 -> 6")],
)  # fmt: skip
def test_runs_that_still_rise_decide_nothing(sound: Folder, methods: list[str], key: str) -> None:
    sound.spec["training"] = {"student": {"epochs": 3}, "teacher": {"epochs": 3}}
    sound.save()
    change(sound, course(RISING), methods)
    claim, answers = judged(sound)
    assert failed(claim) == ["converged"] and claim["why"].startswith("Not decided: training ended too early. ")
    assert key in claim["why"] and "dev still rose by" in claim["why"] and claim["estimate"] > 5
    assert answers["converged"]["holds"] is False and answers["headline"].startswith("No")
    assert claim["seeds_needed"] is None


def test_the_key_that_decides_is_named(sound: Folder) -> None:
    sound.spec["training"] = {"student": {"epochs": 2, "tasks": {"rte": {"epochs": 5}}}}
    sound.spec["models"]["bert12"]["training"] = {"epochs": 7}
    sound.save()
    change(sound, course(RISING), ["teacher", "pkd"])
    (entry,) = judged(sound)[0]["validity"]
    assert entry["remedy"] == (
        "Raise models.bert12.training.epochs: 7 -> 14, training.student.epochs: 2 -> 4, "
        "training.student.tasks.rte.epochs: 5 -> 10."
    )


def test_students_that_are_stopped_early_on_purpose_are_not_asked_whether_they_converged(sound: Folder) -> None:
    """The shorter of two budgets of one figure; a claim that rested on it would be judged all the same."""
    own = {**sound.spec["pairs"][BERT], "tables": [2, "budget"], "training": {"epochs": 3}}
    sound.spec["pairs"] = {BERT: own, "longer": {**own, "tables": ["budget"], "training": {"epochs": 12}}}
    sound.save()
    sound.fill().predict(skill)
    for pair in (BERT, "longer"):
        for method in METHODS:
            for task in TASKS:
                for seed in (1, 2, 3):
                    sound.edit(course(RISING), pair, method, task, seed)
    benchmark = read(sound.file)
    data = evaluation.evaluate(benchmark, load.read(benchmark, sound.results), sound.results)
    short, longer = ({a["question"]: a for a in pair["answers"]} for pair in data["validity"]["pairs"])
    titles = [pair["title"] for pair in data["validity"]["pairs"]]
    assert titles == ["bert12 → distilbert6, epochs 3", "bert12 → distilbert6, epochs 12"]
    for question in ("converged", "gain", "baseline"):
        assert short[question]["holds"] is None and not short[question]["remedy"]
        assert short[question]["reason"].startswith("Not asked of this pair: its students are stopped early on purpose")
    assert "72 of 72 student runs" in short["converged"]["reason"]  # the numbers are shown
    assert short["tuning"]["holds"] is True and longer["gain"]["holds"] is True
    assert longer["converged"]["holds"] is False
    assert longer["converged"]["remedy"] == "Raise pairs.longer.training.epochs: 12 -> 24."
    (claim,) = (claim for claim in data["claims"] if claim["id"] == CLAIM)
    assert failed(claim) == ["converged"] and f"pairs.{BERT}.training.epochs: 3 -> 6" in claim["why"]
    for task in TASKS:
        sound.edit(course(RISING), BERT, "teacher", task)
    data = evaluation.evaluate(benchmark, load.read(benchmark, sound.results), sound.results)
    assert data["validity"]["pairs"][0]["answers"][0]["holds"] is False  # the teacher of both


def test_one_unlucky_seed_and_runs_that_patience_ended_condemn_nothing(sound: Folder) -> None:
    change(sound, course(RISING), ["pkd"], seeds=(2,))
    change(sound, course([0.98, 1.0, 0.999]), ["pkd"], seeds=(1, 3))
    assert failed(judged(sound)[0]) == []
    change(sound, course([*RISING, 0.99], patience=1), METHODS)
    claim, answers = judged(sound)
    assert failed(claim) == [] and "patience ended 72 others" in answers["converged"]["reason"]


def test_one_task_alone_that_still_rises_far_beyond_noise(sound: Folder) -> None:
    change(sound, course(RISING), METHODS, ["rte"])
    claim, _ = judged(sound)
    assert failed(claim) == ["converged"] and "points on RTE" in claim["why"]


def test_a_single_epoch_tells_nothing(sound: Folder) -> None:
    change(sound, course([1.0]), ["pkd"], ["rte"])
    claim, _ = judged(sound)
    assert (
        failed(claim) == ["converged"]
        and "fewer than two epochs are recorded, which show no course, on RTE" in claim["why"]
    )


def test_a_teacher_that_came_fine_tuned_is_not_asked_whether_it_converged(sound: Folder) -> None:
    def came(run: dict[str, Any]) -> None:
        run["epochs"], run["best_epoch"] = [], 0

    change(sound, came, ["teacher"])
    claim, answers = judged(sound)
    assert failed(claim) == [] and claim["verdict"] == "reproduced"
    assert "teachers" not in answers["converged"]["reason"] and "0 of 72 student runs" in answers["converged"]["reason"]


def test_what_another_repository_trained_is_raised_by_no_key_here(sound: Folder) -> None:
    sound.spec["methods"]["pkd"] = {"external": True}
    sound.save()
    change(sound, course(RISING), ["pkd"])
    claim, _ = judged(sound)
    assert failed(claim) == ["converged"] and "Train PKD for longer where its rule does" in claim["why"]
    assert "Raise" not in claim["why"]
