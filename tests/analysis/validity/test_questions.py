"""Records that fail one question alone, and what the claims make of it; the published reference too."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_records import BERT, PAPER_METHODS, Folder, spec, write_speed
from published import BENCHMARK, REFERENCE, UNFINISHED, unfinished_benchmark

from analysis import load
from analysis.__main__ import main
from analysis.claims import evaluation, ledger
from analysis.reported_benchmark import read
from analysis.validity import judgement
from analysis.validity.evidence import Evidence
from analysis.validity.questions import QUESTIONS, Compared, is_tuned_alike

ROOT = Path(__file__).parents[3]
TASKS = ["sst2", "qqp", "qnli", "rte"]
METHODS = PAPER_METHODS[:6]
CLAIM = "above-ild-12-dev"  # RAIL-KD l and c above PKD and ALP-KD
Records = Iterator[tuple[Path, dict[str, Any]]]


def skill(method: str, split: str) -> float:
    """RAIL-KD is really better than the others."""
    return 0.85 if method.startswith("rail") else 0.6


@pytest.fixture()
def sound(tmp_path: Path) -> Folder:
    """One pair, four tasks, three seeds: runs that pass every question."""
    content = spec()
    content["data"] |= {"tasks": TASKS, "out_of_domain": []}
    drawn = [table for table in content["pairs"][BERT]["tables"] if table != 6]
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": METHODS, "tables": drawn}}
    return Folder(tmp_path, content).fill().predict(skill)


def judged(folder: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The claim and the section of the only pair."""
    benchmark, book = read(folder.file), folder.root / "claims.yaml"
    entries = yaml.safe_load(ledger.LEDGER.read_text(encoding="utf-8"))["claims"]
    book.write_text(yaml.safe_dump({"claims": [c for c in entries if c["id"] == CLAIM], "printed": []}))
    data = evaluation.evaluate(benchmark, load.read(benchmark, folder.results), folder.results, book)
    (claim,) = data["claims"]
    (pair,) = data["validity"]["pairs"]
    return claim, {a["question"]: a for a in pair["answers"]} | {"headline": data["validity"]["headline"]}


def change(
    folder: Folder, of: Callable[[dict[str, Any]], object], methods: list[str], tasks: list[str] = TASKS,
    seeds: tuple[int, ...] = (1, 2, 3),
) -> None:  # fmt: skip
    for method in methods:
        for task in tasks:
            for seed in (1,) if method == "teacher" else seeds:
                folder.edit(of, BERT, method, task, seed)


def course(shares: list[float], patience: int | None = None) -> Callable[[dict[str, Any]], None]:
    """Gives a record this course of dev, as shares of its score, and the best epoch that follows."""

    def apply(run: dict[str, Any]) -> None:
        shown = run["shown"]
        best = run["scores"]["dev"][shown]
        run["epochs"] = [{"epoch": i + 1, "dev": {shown: s * best}} for i, s in enumerate(shares)]
        run["best_epoch"] = int(np.argmax(shares)) + 1
        run["config"]["training"]["patience"] = patience
        run.update(config_hash=_hash(run["config"]))

    return apply


def _hash(config: dict[str, Any]) -> str:
    from railkd.records.hashes import canonical, sha256_text

    return sha256_text(canonical(config))


def failed(claim: dict[str, Any]) -> list[str]:
    """The questions that its runs fail; a claim is not decided if and only if there is one."""
    assert (claim["verdict"] == "not decided") == bool(claim["validity"])
    assert all(part["verdict"] == "not decided" for part in claim["parts"]) == bool(claim["validity"])
    return [entry["question"] for entry in claim["validity"]]


def test_sound_runs_decide(sound: Folder) -> None:
    claim, answers = judged(sound)
    assert claim["verdict"] == "reproduced" and failed(claim) == claim["noted"] == claim["not_counted"] == []
    assert claim["detectable"] > 0 and answers["headline"].startswith("Yes")
    assert {q: answers[q]["holds"] for q in QUESTIONS} == {q: None if q == "collapse" else True for q in QUESTIONS}
    assert "0 of 4 teachers and in 0 of 72 student runs" in answers["converged"]["reason"]
    assert "untuned" in answers["tuning"]["reason"]
    assert not any(answers[q]["remedy"] for q in QUESTIONS)


RISING = [0.8, 0.9, 0.95, 1.0]


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
            path.write_text(folder.path(BERT, method, task).read_text(encoding="utf-8"), encoding="utf-8")


def test_methods_that_were_tuned_unlike(sound: Folder) -> None:
    search_of(sound, 3)
    for method in METHODS:
        searched(sound, method, 2, TASKS)
    claim, answers = judged(sound)
    assert failed(claim) == [] and "2 points of the search" in answers["tuning"]["reason"]
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


def test_how_a_method_of_another_repository_was_tuned_is_not_known(sound: Folder) -> None:
    search_of(sound, 1)
    path = sound.results / "search" / BERT / "pkd" / TASKS[0] / "point-0.json"
    path.parent.mkdir(parents=True)
    path.write_text(sound.path(BERT, "pkd", TASKS[0]).read_text(encoding="utf-8"), encoding="utf-8")
    benchmark = read(sound.file)
    evidence = Evidence(benchmark, load.read(benchmark, sound.results), sound.results)
    (pair,) = (pair for pair in benchmark.pairs if pair.name == BERT)
    for methods, holds in ((("pkd",), True), (("pkd", "my_kd"), None)):
        answer = is_tuned_alike(evidence, Compared(pair, "dev", methods, (TASKS[0],), {TASKS[0]: TASKS[0]}))
        assert answer.holds is holds and ("My|KD_1" in answer.reason) == (holds is None)


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
    assert screen.index("Can these runs decide?") < screen.index("23 claims")
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
