"""Records that fail one question alone, and what the claims make of it; the published reference too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_records import BERT, Folder, write_speed
from published import BENCHMARK, REFERENCE, UNFINISHED, unfinished_benchmark
from sound_runs import METHODS, RISING, TASKS, change, course, failed, judged

from analysis import load
from analysis.__main__ import main
from analysis.claims import evaluation
from analysis.reported_benchmark import read
from analysis.validity import judgement
from analysis.validity.evidence import Evidence
from analysis.validity.questions import QUESTIONS, Compared


def test_sound_runs_decide(sound: Folder) -> None:
    claim, answers = judged(sound)
    assert claim["verdict"] == "reproduced" and failed(claim) == claim["noted"] == claim["not_counted"] == []
    assert claim["detectable"] > 0 and answers["headline"].startswith("Yes")
    assert {q: answers[q]["holds"] for q in QUESTIONS} == {q: None if q == "collapse" else True for q in QUESTIONS}
    assert "0 of 4 teachers and in 0 of 72 student runs" in answers["converged"]["reason"]
    assert "untuned" in answers["tuning"]["reason"]
    assert not any(answers[q]["remedy"] for q in QUESTIONS)


def lowered(run: dict[str, Any]) -> None:
    """A teacher as good as the student without KD."""
    run["scores"]["dev"] = {m: 0.8 for m in run["scores"]["dev"]}


def test_without_a_gap_there_is_nothing_to_gain(sound: Folder) -> None:
    change(sound, lowered, ["teacher"], TASKS[:2])
    claim, _ = judged(sound)
    assert failed(claim) == ["gain"] and "above by more than 2 standard errors on 2 of 4 tasks" in claim["why"]
    assert "SST-2" in claim["why"] and claim["not_counted"] == []  # its numbers are shown over all tasks


def test_a_task_without_a_gap_is_named_and_not_counted(sound: Folder) -> None:
    whole, _ = judged(sound)
    change(sound, lowered, ["teacher"], TASKS[:1])
    change(sound, course(RISING), METHODS, TASKS[:1])  # what does not count need not have converged
    claim, _ = judged(sound)
    assert failed(claim) == [] and claim["not_counted"] == ["sst2"] and "SST-2" in claim["why"]
    assert all(part["columns"] == ["qqp", "qnli", "rte"] for part in claim["parts"])
    assert claim["estimate"] != whole["estimate"] and claim["verdict"] == "reproduced"


def test_without_a_student_without_kd_nothing_shows_a_gap(sound: Folder) -> None:
    sound.spec["pairs"][BERT]["methods"] = METHODS[1:]
    sound.save()
    claim, answers = judged(sound)
    assert failed(claim) == ["gain"] and f"Add no_kd to pairs.{BERT}.methods" in claim["why"]
    assert answers["gain"]["holds"] is None


def test_of_missing_runs_nothing_is_said_to_hold(sound: Folder) -> None:
    for path in sound.results.glob("*/**/*.json"):
        path.unlink()
    claim, answers = judged(sound)
    assert claim["verdict"] == "not run" and claim["validity"] == []
    assert [answers[q]["holds"] for q in QUESTIONS][:4] == [None] * 4


def test_students_at_the_majority_class_baseline(sound: Folder) -> None:
    floor = {"sst2": 0.9, "qqp": 0.9, "qnli": 0.9, "rte": 0.5}

    def raised(run: dict[str, Any]) -> None:
        for split in ("dev", "test"):
            run["baselines"][split] = {m: floor[run["task"]] for m in run["baselines"][split]}

    change(sound, raised, ["teacher", *METHODS])
    claim, answers = judged(sound)
    assert failed(claim) == ["baseline"] and "PKD on SST-2, QQP, QNLI" in claim["why"]
    assert "training.student.learning_rate" in claim["why"] and answers["baseline"]["holds"] is False
    floor.update(sst2=0.5, qqp=0.5)  # one task of four
    change(sound, raised, ["teacher", *METHODS])
    claim, answers = judged(sound)
    assert failed(claim) == [] and "PKD on QNLI" in answers["baseline"]["reason"]


def test_what_would_help_where_students_stay_at_the_baseline(sound: Folder) -> None:
    """A wider search helps only where an end of the grid was chosen, and only a task that can be learned at all."""

    def raised(to: float) -> Callable[[dict[str, Any]], None]:
        def change_run(run: dict[str, Any]) -> None:
            run["baselines"] = {split: dict.fromkeys(names, to) for split, names in run["baselines"].items()}

        return change_run

    change(sound, raised(0.9), ["teacher", *METHODS])
    for rates, words in (
        ([1e-4, 5e-4, 1e-3], "at rates within search.grid.learning_rate: take more training examples or epochs."),
        ([5e-4, 1e-3], "widen search.grid.learning_rate below 0.0005, which was chosen there."),
        ([1e-4, 5e-4], "widen search.grid.learning_rate above 0.0005, which was chosen there."),
    ):
        sound.spec["search"] = {"seed": 0, "grid": {"learning_rate": rates}}
        sound.save()
        assert judged(sound)[1]["baseline"]["remedy"].endswith(words)
    change(sound, raised(0.999), ["teacher", *METHODS])
    assert judged(sound)[1]["baseline"]["remedy"].startswith("The teacher does not clear it there either")


def test_of_a_baseline_that_is_not_known_nothing_is_said_to_hold(sound: Folder) -> None:
    def hidden(run: dict[str, Any]) -> None:
        run["baselines"] = {}

    change(sound, hidden, ["teacher", *METHODS], TASKS[:1])
    assert judged(sound)[1]["baseline"]["reason"].endswith("Of 6 others no baseline is known.")
    change(sound, hidden, ["teacher", *METHODS])
    claim, answers = judged(sound)
    assert answers["baseline"]["holds"] is None and "is not known" in answers["baseline"]["reason"]
    assert failed(claim) == []


def test_a_collapsed_projection(sound: Folder) -> None:
    def ranked(*ranks: float) -> Callable[[dict[str, Any]], object]:
        return lambda run: run["method_record"].update(effective_rank=list(ranks))

    change(sound, ranked(3.0, 1.09, 1.0), ["rail_kd_l"])  # the best epoch is the second
    claim, answers = judged(sound)
    assert failed(claim) == [] and claim["verdict"] == "reproduced"  # what the method does is no fault of its runs
    assert [entry["question"] for entry in claim["noted"]] == ["collapse"] and answers["collapse"]["holds"] is False
    assert "effective rank" in claim["why"] and "1.09 to 1.09" in claim["why"] and "frozen_random" in claim["why"]
    change(sound, ranked(1.0, 1.11, 1.0), ["rail_kd_l"])
    assert failed(judged(sound)[0]) == []
    change(sound, ranked(3.0, 1.0, 1.0), ["rail_kd_l"], seeds=(1,))  # one seed of three
    assert failed(judged(sound)[0]) == []
    change(sound, ranked(3.0, 1.0, 1.0), ["rail_kd_l"], TASKS[:1])  # one task of four
    claim, answers = judged(sound)
    assert claim["noted"] == [] and answers["collapse"]["holds"] and "on SST-2" in answers["collapse"]["reason"]


def test_claims_about_cost_are_decided_whatever_was_learned(folder: Folder) -> None:
    for pair, options in folder.spec["pairs"].items():
        for method in options["methods"]:
            for task in options.get("tasks") or folder.spec["data"]["tasks"]:
                for seed in (1, 2, 3):
                    if folder.path(pair, method, task, seed).exists():
                        folder.edit(course(RISING), pair, method, task, seed)
    write_speed(folder, {})
    benchmark = read(folder.file)
    data = evaluation.evaluate(benchmark, load.read(benchmark, folder.results), folder.results)
    for claim in data["claims"]:
        if claim["verdict"] != "not run":
            about_cost = claim["measure"] in ("train_seconds", "step_seconds")
            assert (claim["verdict"] == "not decided") is not about_cost, claim["id"]
    assert {"no-added-cost", "alp-slower"} <= {c["id"] for c in data["claims"] if c["verdict"] != "not run"}


def test_the_section_stands_above_the_verdicts(sound: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    change(sound, course(RISING), ["pkd"])
    sound.spec["pairs"][BERT]["tables"] = [2]
    sound.save()
    assert main(["all", str(sound.file), "--results", str(sound.results)]) == 0
    screen = capsys.readouterr().out
    texts = {
        name: (sound.results / name).read_text(encoding="utf-8") for name in ("claims.md", "report.md", "report.html")
    }
    for text in (screen, *texts.values()):
        assert "Can these runs decide?" in text and "Did teacher and students converge?" in text
        assert "training.student.epochs" in text and "not decided" in text
    assert screen.index("Can these runs decide?") < screen.index("25 claims")
    assert texts["report.md"].index("Can these runs decide?") < texts["report.md"].index("## Verdicts")
    assert texts["claims.md"].index("Can these runs decide?") < texts["claims.md"].index("The verdicts")
    html = texts["report.html"]
    assert html.index('id="validity"') < html.index('id="verdicts"')


def test_published_runs_that_ended_too_early_decide_no_claim_about_gains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [json.loads(p.read_text(encoding="utf-8")) for p in UNFINISHED.root.glob("runs/*/*/*/*.json")]
    assert 2 * sum(r["best_epoch"] == len(r["epochs"]) for r in records) > len(records)
    benchmark = read(unfinished_benchmark(tmp_path, monkeypatch))
    data = evaluation.evaluate(benchmark, load.read(benchmark, UNFINISHED.root), UNFINISHED.root)
    scores = [c for c in data["claims"] if c["measure"] == "score" and c["verdict"] != "not run"]
    assert len(scores) > 5 and {c["verdict"] for c in scores} == {"not decided"}
    assert all("converged" in failed(c) for c in scores)


def test_the_published_miniature_was_trained_to_the_end_and_decides_something() -> None:
    benchmark = read(BENCHMARK)
    data = evaluation.evaluate(benchmark, load.read(benchmark, REFERENCE.root), REFERENCE.root)
    for pair in data["validity"]["pairs"]:
        holds = {answer["question"]: answer["holds"] for answer in pair["answers"]}
        assert holds["converged"] and holds["baseline"] and holds["tuning"] and holds["gain"] is not False
        (tuning,) = (answer["reason"] for answer in pair["answers"] if answer["question"] == "tuning")
        assert tuning.startswith("Equal: 3 points of the search for each method on CoLA, MNLI, RTE")  # from best.json
    scores = {c["verdict"] for c in data["claims"] if c["measure"] == "score"}
    assert "contradicted" in scores and "not decided" in scores
    assert data["budget"] and {len(entry["expected"]) for entry in data["budget"]} == {3}  # from best.json too


def test_two_pairs_that_gain_on_other_tasks_have_too_little_in_common() -> None:
    """Each published pair has a gap on five of the eight tasks, both together on three."""
    benchmark = read(BENCHMARK)
    evidence = Evidence(benchmark, load.read(benchmark, REFERENCE.root), REFERENCE.root)
    both = [
        Compared(pair, "test", ("vanilla_kd", "rail_kd_c"), pair.tasks, {task: task for task in pair.tasks})
        for pair in benchmark.pairs[:2]
    ]
    assert [judgement.failures(evidence, "score", [of]) for of in both] == [[], []]
    assert len(judgement.counted(evidence, "score", both)) == 8
    ((_, answer),) = judgement.failures(evidence, "score", both)
    assert answer.question == "gain" and "on 3 of 8 only" in answer.reason
