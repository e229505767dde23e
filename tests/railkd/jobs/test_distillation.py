"""A student's jobs: records that can be trusted, seeds that are not trained twice, and what must be trained anew."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cell_jobs import CELL, distil
from safetensors.numpy import load_file

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.errors import Diverged, UserError
from railkd.evaluation.scoring import scores_of
from railkd.jobs import distillation, fine_tuning, run_spec, teacher_signals
from railkd.jobs.finished_runs import keep, renumber
from railkd.outdated import judged, misjudged
from railkd.records import hashes, run_record, sealed_files
from railkd.training.settings import TrainingSettings
from railkd.verification import Verifier


def test_records_are_valid_and_predictions_give_the_scores(bench: Any, pipeline: Any) -> None:
    benchmark, layout = bench()
    lines = distil((benchmark, layout), [1, 2])
    assert sum("epoch 2/2" in line for line in lines) == 2
    data = pipeline.prepared("mrpc")
    found = []
    for seed in (1, 2):
        path = layout.run(CELL, seed)
        record = run_record.read(path)
        found.append(record)
        assert run_record.problems(record) == [] and record["seed"] == seed and record["stage"] == "distil"
        predictions = path.with_name(record["predictions"]["file"])
        assert hashes.sha256_file(predictions) == record["predictions"]["sha256"]
        logits = load_file(predictions)
        assert set(logits) == set(record["scores"]) == set(record["baselines"]) == {"dev", "test"}
        for split, values in logits.items():
            assert scores_of(data, split, values) == record["scores"][split]
            assert len(values) == record["examples"][split]
        assert record["examples"]["train"] == len(data.splits["train"])
        best = record["epochs"][record["best_epoch"] - 1]
        assert best["dev"] == record["scores"]["dev"]
        assert record["config"] == benchmark.run_config(*CELL) and record["cost"]["regime"] == "cached"
        weights = layout.teacher("bert4", "mrpc") / "model.safetensors"
        assert record["fingerprints"]["teacher"] == hashes.sha256_file(weights)
        assert record["fingerprints"]["data"] == data.facts["sha256"]
        assert record["method_record"] and str(layout.root) not in path.read_text()
        assert record["provenance"]["initialisation"] == "checkpoint distilbert2"
    assert found[0]["config_hash"] == found[1]["config_hash"]
    assert found[0]["scores"] != found[1]["scores"] or found[0]["epochs"] != found[1]["epochs"]
    kept = {path.name for path in layout.kept(layout.run(CELL, 1)).parent.iterdir()}
    assert kept >= {f"seed-{seed}.{kind}" for seed in (1, 2) for kind in ("json", "safetensors")}
    assert not [name for name in kept if name.endswith(".state")]
    teacher = run_record.read(layout.teacher("bert4", "mrpc") / "record.json")
    assert teacher["stage"] == "teacher" and teacher["student"] == teacher["teacher"] == "bert4"


def test_a_seed_alone_gives_what_it_gives_in_a_group(bench: Any) -> None:
    made = bench()
    distil(made, [1, 2])
    layout = made[1]
    group = load_file(layout.run(CELL, 2).with_suffix(".safetensors"))
    layout.run(CELL, 2).unlink()
    distil(made, [2])
    alone = load_file(layout.run(CELL, 2).with_suffix(".safetensors"))
    assert all(np.array_equal(group[k], alone[k]) for k in group)


def seed_of(arguments: tuple[Any, ...]) -> int:
    """The seed among the arguments that ``train`` is called with."""
    (settings,) = (given for given in arguments if isinstance(given, TrainingSettings))
    return settings.seed


def killed(made: tuple[config.Benchmark, Layout], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trains seed 1, dies in seed 2; then the workflow deletes the job's outputs. Returns seed 1's record."""
    real, seen = distillation.train, []

    def train(*arguments: Any) -> Any:
        seen.append(seed_of(arguments))
        if seen[-1] == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "train", train)
        with pytest.raises(KeyboardInterrupt):
            distil(made, [1, 2])
    path = made[1].run(CELL, 1)
    assert seen == [1, 2] and run_record.read(path)["seed"] == 1 and not made[1].run(CELL, 2).exists()
    return path


def trained_seeds(made: tuple[config.Benchmark, Layout], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    real, seen = distillation.train, []

    def train(*arguments: Any) -> Any:
        seen.append(seed_of(arguments))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "train", train)
        distil(made, [1, 2])
    return seen


def test_a_killed_job_keeps_the_seeds_it_finished(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench()
    path = killed(made, monkeypatch)
    before = path.read_bytes(), path.with_suffix(".safetensors").read_bytes()
    path.unlink()
    path.with_suffix(".safetensors").unlink()
    assert trained_seeds(made, monkeypatch) == [2]
    assert (path.read_bytes(), path.with_suffix(".safetensors").read_bytes()) == before
    assert run_record.read(made[1].run(CELL, 2))["seed"] == 2
    assert trained_seeds(made, monkeypatch) == [1, 2]  # a finished job that is run again is meant to train


def test_a_job_that_fails_after_its_last_seed_finds_them_all(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster a time limit, or a node that is lost, may end it there; its outputs are deleted before the retry."""
    made = bench()
    assert trained_seeds(made, monkeypatch) == [1, 2]
    outputs = [made[1].run(CELL, seed).with_suffix(kind) for seed in (1, 2) for kind in (".json", ".safetensors")]
    before = [path.read_bytes() for path in outputs]
    for path in outputs:
        path.unlink()
    assert trained_seeds(made, monkeypatch) == []
    assert [path.read_bytes() for path in outputs] == before


def test_a_source_that_is_edited_while_a_job_runs_trains_no_further_seed(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each seed reads the method's file anew, and its record names the source as it was when the job started."""
    source = tmp_path / "mine.py"
    source.write_text("from railkd.methods.vanilla_kd import VanillaKD\n\n\nclass Mine(VanillaKD):\n    weight = 1\n")
    cell, real = CELL._replace(method="mine"), distillation.train

    def named(spec: dict[str, Any]) -> None:
        spec["methods"]["mine"] = {"method": str(source)}
        spec["pairs"][CELL.pair]["methods"] = ["mine"]

    made = bench(named)

    def train(*arguments: Any) -> Any:
        outcome = real(*arguments)
        source.write_text(source.read_text().replace("weight = 1", "weight = 2"))  # by the user, meanwhile
        return outcome

    monkeypatch.setattr(distillation, "train", train)
    with pytest.raises(UserError, match="^.* seed 2: methods.mine: its source was edited while the job ran; run"):
        distil(made, [1, 2], cell)
    assert [made[1].run(cell, seed).is_file() for seed in (1, 2)] == [True, False]


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "option": lambda spec: spec["methods"]["rail_kd_l"].update(rail_weight=0.5),
    "training": lambda spec: spec["training"]["student"].update(learning_rate=1e-3),
}


@pytest.mark.parametrize("change", ["option", "training", "source", "predictions", "half a record", "no sha"])
def test_what_changed_is_trained_anew(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str) -> None:
    made = bench()
    kept = made[1].kept(killed(made, monkeypatch))
    if change in CHANGES:
        made = bench(CHANGES[change])
    elif change == "source":
        other = tmp_path / "edited.py"
        first, *rest = run_spec.source_files("rail_kd_l")
        other.write_text(first.read_text() + "\n# edited\n")
        monkeypatch.setattr(run_spec, "source_files", lambda name: [other, *rest])
    elif change == "predictions":
        content = bytearray(kept.with_suffix(".safetensors").read_bytes())
        content[-1] ^= 1
        kept.with_suffix(".safetensors").unlink()
        kept.with_suffix(".safetensors").write_bytes(bytes(content))
    elif change == "half a record":
        text = kept.read_text()
        kept.unlink()
        kept.write_text(text[: len(text) // 2])
    else:
        record = sealed_files.read_json(kept)
        kept.unlink()
        sealed_files.write_json(kept, sealed_files.sealed({**record, "predictions": {}}))
    assert trained_seeds(made, monkeypatch) == [1, 2]


def test_a_loss_that_is_not_finite_names_the_run_and_stops_no_other(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, original = bench(), distillation.train

    def fail(*arguments: Any) -> Any:
        if seed_of(arguments) == 1:
            raise Diverged("loss is not finite at step 3")
        return original(*arguments)

    monkeypatch.setattr(distillation, "train", fail)
    with pytest.raises(UserError, match="^distilbert2 rail_kd_l mrpc seed 1: loss is not finite at step 3$"):
        distil(made, [1, 2])
    paths = [made[1].run(CELL, seed) for seed in (1, 2)]
    assert [path.is_file() for path in paths] == [False, True]
    paths[1].unlink()  # as the workflow does with the outputs of a job that failed
    monkeypatch.undo()
    assert trained_seeds(made, monkeypatch) == [1]


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_rail_kd_whose_loss_is_not_finite_costs_no_neighbour(
    bench: Any, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """What it accumulates for its record is not finite either, and has no eigenvalues: the loss is looked at first."""
    from railkd.methods.rail_kd_l import RailKDLayerwise

    made, original, cell = bench(), RailKDLayerwise.terms, CELL._replace(task=task)
    seeds: list[int] = []

    def spoiled(self: Any, batch: Any, student: Any, teacher: Any) -> Any:
        found = original(self, batch, student, teacher)
        if seeds[-1] == 1:
            assert self.spectrum is not None
            self.spectrum.moment_GUU.fill_(float("nan"))
            found["rail"] = found["rail"] * float("nan")
        return found

    real = distillation.train

    def train(*arguments: Any) -> Any:
        seeds.append(seed_of(arguments))
        return real(*arguments)

    monkeypatch.setattr(RailKDLayerwise, "terms", spoiled)
    monkeypatch.setattr(distillation, "train", train)
    said = f"^distilbert2 rail_kd_l {task} seed 1: loss is not finite at step 1: total nan, .*, rail nan; last"
    with pytest.raises(Diverged, match=said):
        distil(made, [1, 2], cell)
    assert seeds == [1, 2] and run_record.read(made[1].run(cell, 2))["method_record"]["effective_rank"]
    assert not made[1].run(cell, 1).exists()


def test_bookkeeping_that_fails_is_one_line_and_costs_no_neighbour(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from railkd.methods.parts.projection import Spectrum

    made, original, calls = bench(), Spectrum.summary, []

    def fail(self: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise torch.linalg.LinAlgError("linalg.eigh: the algorithm failed to converge")
        return original(self)

    monkeypatch.setattr(Spectrum, "summary", fail)
    said = r"rail\.py:\d+: RailKDLayerwise\.end_epoch\(\) raises _?LinAlgError: linalg"
    with pytest.raises(Diverged, match=r"^distilbert2 rail_kd_l mrpc seed 1: \S*" + said):
        distil(made, [1, 2])
    assert [made[1].run(CELL, seed).exists() for seed in (1, 2)] == [False, True]


def test_live_regime_and_saved_students(bench: Any) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["training"]["student"].update(regime="live", epochs=1)
        spec["save_students"] = "all"

    made = bench(edit)
    distil(made, [1])
    path = made[1].run(CELL, 1)
    assert run_record.read(path)["cost"]["regime"] == "live" and (path.with_suffix("") / "model.safetensors").is_file()
    distil(made, [1], CELL._replace(method="no_kd"))
    assert run_record.read(made[1].run(CELL._replace(method="no_kd"), 1))["cost"]["regime"] == "none"


def test_search_selects_the_best_point_on_dev(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["search"] = {"seed": 0, "grid": {"learning_rate": [1e-3, 2e-3], "epochs": [1, 2]}}

    benchmark, layout = bench(edit)
    for point in range(4):
        distil((benchmark, layout), [0], point=point)
        record = run_record.read(layout.point(CELL, point))
        assert record["stage"] == "search" and record["config"]["training"]["epochs"] == point % 2 + 1
    scores = [0.2, 0.7, 0.7, 0.4]
    for point, score in enumerate(scores):  # test scores the other way round: they must not matter
        record = run_record.read(layout.point(CELL, point))
        record["scores"] = {"dev": {**record["scores"]["dev"], "f1": score}, "test": {"f1": 1 - score}}
        run_record.write(layout.point(CELL, point), record)
    best = distillation.select(benchmark, layout, CELL)
    assert best["index"] == 1 and best["scores"] == scores and best["metric"] == "f1"
    assert best["point"] == benchmark.grid(CELL.method)[1] == {"learning_rate": 1e-3, "epochs": 2}
    assert sealed_files.read_sealed(layout.best(CELL)) == best
    distil((benchmark, layout), [1])
    training = run_record.read(layout.run(CELL, 1))["config"]["training"]
    assert (training["learning_rate"], training["epochs"]) == (1e-3, 2)
    layout.point(CELL, 2).unlink()
    with pytest.raises(UserError, match="point-2.json: no such file"):
        distillation.select(benchmark, layout, CELL)


def test_an_option_is_searched_for_its_method_alone(bench: Any) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["search"] = {"seed": 9, "grid": {"learning_rate": [1e-3]}}
        spec["methods"][CELL.method]["search"] = {"rail_weight": [0.0, 4.0]}

    made = bench(edit)
    benchmark, layout = made
    assert [len(benchmark.points(CELL._replace(method=m))) for m in ("no_kd", CELL.method)] == [1, 2]
    for point in (0, 1):
        distil(made, [9], point=point)
    records = [run_record.read(layout.point(CELL, point)) for point in (0, 1)]
    assert [r["config"]["method"]["rail_weight"] for r in records] == [0.0, 4.0]
    for epoch in range(2):  # the loss is made of the terms with these weights
        totals = [(r["epochs"][epoch]["loss"], weight) for r, weight in zip(records, (0.0, 4.0), strict=True)]
        for loss, weight in totals:
            assert loss["total"] == pytest.approx((loss["ce"] + loss["kd"]) / 3 + weight * loss["rail"], rel=1e-4)
    best = distillation.select(benchmark, layout, CELL)
    assert set(best["point"]) == {"learning_rate", "rail_weight"}
    distil(made, [1])
    assert run_record.read(layout.run(CELL, 1))["config"]["method"]["rail_weight"] == best["point"]["rail_weight"]
    assert misjudged(benchmark, layout, CELL) is None
    changed = bench(lambda spec: (edit(spec), spec["methods"][CELL.method]["search"].update(rail_weight=[0.0, 3.0])))
    assert misjudged(*changed, CELL) == "its points have changed"


def test_a_point_that_has_another_number_now_is_not_trained_again(bench: Any) -> None:
    """A value before the others, which moves all of them."""

    def search(rates: list[float]) -> Callable[[dict[str, Any]], None]:
        return lambda spec: spec.update(search={"seed": 9, "grid": {"learning_rate": rates}})

    made = bench(search([1e-3, 2e-3]))
    for point in (0, 1):
        distil(made, [9], point=point)
    benchmark, layout = bench(search([2e-3, 5e-4, 1e-3]))
    before = {number: run_record.read(layout.point(CELL, number)) for number in (0, 1)}
    renumber(benchmark, layout, CELL, [0, 1, 2])
    for number in (0, 1):  # as the workflow does before it runs the jobs
        layout.point(CELL, number).unlink()
    for number, old in ((0, 1), (2, 0)):
        assert any("kept from before" in line for line in distil((benchmark, layout), [9], point=number))
        record = run_record.read(layout.point(CELL, number))
        changed = {"predictions": {**before[old]["predictions"], "file": f"point-{number}.safetensors"}}
        assert record == {**before[old], **changed}
        run_record.predictions(layout.point(CELL, number), record)
    other = bench(lambda spec: spec.update(search={"seed": 8, "grid": {"learning_rate": [1e-3, 2e-3]}}))
    shutil.rmtree(layout.kept(layout.best(CELL).parent))
    renumber(*other, CELL, [0, 1])  # of another seed
    assert not layout.kept(layout.best(CELL).parent).exists()


def test_a_point_that_diverges_is_done_and_never_chosen(bench: Any) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["search"] = {"seed": 9, "grid": {"learning_rate": [1e-3]}}
        spec["methods"][CELL.method]["search"] = {"rail_weight": [1e30, 1.0]}

    made = bench(edit)
    benchmark, layout = made
    for point in (0, 1):
        distil(made, [9], point=point)
    place = layout.point(CELL, 0)
    with pytest.raises(UserError, match="not a valid run record"):
        run_record.read(place)  # it is no result of a table
    stated = run_record.read_point(place)
    assert (stated["stage"], stated["seed"]) == ("search", 9) and stated["diverged"].startswith("loss explodes")
    identity = {"stage": "search", **CELL._asdict(), "seed": 9}
    config = benchmark.run_config(*CELL, benchmark.grid(CELL.method)[0])
    assert judged(place, identity, config, stated["fingerprints"])[1] is None
    best = distillation.select(benchmark, layout, CELL)
    assert best["index"] == 1 and best["scores"][0] is None and misjudged(benchmark, layout, CELL) is None
    ours = str(place.parent)
    assert not [line for line in Verifier(benchmark, layout).problems() if line.startswith(ours)]
    before = place.read_bytes()
    keep(layout, place)  # as the workflow does, which then deletes a job's outputs
    place.unlink()
    distil(made, [9], point=0)
    assert place.read_bytes() == before
    place.write_bytes(before.replace(b"explodes", b"explode5"))
    assert any(line.endswith("delete it and run again") for line in Verifier(benchmark, layout).problems())
    place.write_bytes(before)
    layout.point(CELL, 1).write_bytes(before)
    with pytest.raises(UserError, match=r"distilbert2 rail_kd_l mrpc: each of the 2 points .* diverged.*loss explodes"):
        distillation.select(benchmark, layout, CELL)


def test_the_live_teacher_is_loaded_once_a_job(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench(lambda spec: spec["training"]["student"].update(regime="live"))
    real, loaded = fine_tuning.fine_tuned, []

    def fine_tuned(*arguments: Any) -> Any:
        loaded.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(teacher_signals, "fine_tuned", fine_tuned)
    distil(made, [1, 2])
    assert len(loaded) == 1
    assert all(run_record.read(made[1].run(CELL, s))["cost"]["regime"] == "live" for s in (1, 2))
