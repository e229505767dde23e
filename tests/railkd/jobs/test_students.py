"""Which students keep their weights: the best of a cell, all or none; and never those of another run."""

import errno
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from railkd import model_card
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.jobs import distillation, students
from railkd.jobs.finished_runs import forget
from railkd.jobs_to_run import JobsToRun
from railkd.records import run_record, sealed_files

CPU = torch.device("cpu")
CELL = Cell("distilbert2", "no_kd", "mrpc")
Made = tuple[config.Benchmark, Layout]
Make = Callable[..., Made]


@pytest.fixture
def make(pipeline: Any, tmp_path: Path) -> Make:
    """The pipeline's benchmark for one cell of two seeds, and a copy of its results."""
    shutil.copytree(pipeline.layout.root, tmp_path / "results", ignore=shutil.ignore_patterns("runs", ".kept"))

    def made(save: str | None = None, **changes: Any) -> Made:
        spec = {**yaml.safe_load(pipeline.benchmark.path.read_text()), **changes}
        pair = spec["pairs"][CELL.pair]
        spec["pairs"] = {CELL.pair: {**pair, "methods": [CELL.method], "tasks": [CELL.task]}}
        spec["data"]["tasks"] = ["mrpc"]
        spec["training"]["student"] = {**spec["training"]["student"], "epochs": 1}
        spec |= {"save_students": save} if save else {}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return config.load(path), Layout(tmp_path / "results")

    return made


def distil(made: Made, *seeds: int) -> list[str]:
    lines: list[str] = []
    distillation.distil(*made, CELL, list(seeds), CPU, lines.append)
    return lines


def there(layout: Layout) -> list[int]:
    """Seeds whose folders lie there with the weights of their records."""
    records = students.finished(layout, CELL, range(1, 6))
    folders = {n for n in range(1, 6) if students.folder_of(layout.run(CELL, n)).exists()}
    kept = [n for n, record in records.items() if students.kept(layout.run(CELL, n), record)]
    assert set(kept) == folders
    return kept


def again(made: Made) -> list[Path]:
    """Records of the runs that the workflow would train again."""
    products = JobsToRun(*made).products
    return [p.outputs[0] for p in products if p.job.startswith("run of") and p.why is not None]


def rescored(layout: Layout, seed: int, score: float) -> None:
    """Gives a finished run another dev score, as if its training had gone so."""
    record = run_record.read(layout.run(CELL, seed))
    record["scores"]["dev"][record["shown"]] = score
    run_record.write(layout.run(CELL, seed), record)


@pytest.mark.parametrize(("save", "count"), [(None, 1), ("best", 1), ("all", 2), ("none", 0)])
def test_what_is_kept(make: Make, save: str | None, count: int) -> None:
    made = make(save)
    distil(made, 1, 2)
    records = students.finished(made[1], CELL, [1, 2])
    kept = there(made[1])
    assert len(kept) == count == students.count(made[0])
    if count == 1:
        assert kept == [students.best(records)]
    assert again(made) == []


def test_the_best_of_a_cell_is_kept_whatever_job_finishes_it(make: Make) -> None:
    """Three jobs of one seed each; the scores are such that the second is the best, and the third is not."""
    made = make(seeds=[1, 2, 3])
    distil(made, 1)
    assert there(made[1]) == [1]
    rescored(made[1], 1, -0.5)
    distil(made, 2)
    assert there(made[1]) == [2]
    rescored(made[1], 2, 1.0)
    distil(made, 3)
    assert there(made[1]) == [2]
    assert students.best({1: run_record.read(made[1].run(CELL, 1)), 2: run_record.read(made[1].run(CELL, 2))}) == 2


def test_equal_scores_keep_the_first_seed() -> None:
    run = {"shown": "f1", "scores": {"dev": {"f1": 0.5}}}
    assert students.best({3: run, 2: run, 4: run}) == 2


def test_runs_of_another_configuration_are_no_rivals(make: Make) -> None:
    """A record that is still there from before an edit says nothing of which student is the best now."""
    made = make()
    distil(made, 1, 2)
    for seed in (1, 2):
        rescored(made[1], seed, 1.0)
    other = make(training={"teacher": made[0].spec["training"]["teacher"], "student": {
        **made[0].spec["training"]["student"], "learning_rate": 1e-3}})  # fmt: skip
    assert len(again(other)) == 2
    distil(other, 1)
    assert there(other[1])[0] == 1


def test_a_retrained_run_leaves_no_weights_of_before(make: Make) -> None:
    distil(make("all"), 1, 2)
    made = make("none")
    for seed in (1, 2):
        made[1].run(CELL, seed).unlink()
        forget(made[1], made[1].run(CELL, seed))  # as the workflow does after its last job
    distil(made, 1, 2)
    assert there(made[1]) == []


def test_the_key_alone_trains_nothing_again_unless_its_weights_are_missing(make: Make) -> None:
    made = make()
    distil(made, 1, 2)
    best, other = (made[1].run(CELL, n) for n in (there(made[1])[0], 3 - there(made[1])[0]))
    assert again(make("none")) == again(make("best")) == again(make()) == []
    assert again(make("all")) == [other]
    lines = list(JobsToRun(*make("all")).lines())
    assert lines == ["1 × run of no_kd, made again: its weights were not kept, save_students: all asks for them (1)"]
    shutil.rmtree(students.folder_of(best))  # by hand, to have room
    assert again(make()) == [] and again(make("best")) == [best]
    (students.folder_of(best)).mkdir()  # a folder alone is no student
    assert again(make("best")) == [best]


def test_fewer_students_to_keep_delete_none_until_their_cell_trains_again(make: Make) -> None:
    distil(make("all"), 1, 2)
    made = make("best")
    assert again(made) == [] and there(made[1]) == [1, 2]
    distil(made, 1, 2)  # anew
    assert there(made[1]) == [students.best(students.finished(made[1], CELL, [1, 2]))]


def test_weights_that_are_asked_for_later_are_those_of_the_record(make: Make) -> None:
    """As the workflow does it: the finished records are kept, the job's outputs deleted, and the job puts them back."""
    from railkd.jobs import finished_runs

    made = make("none")
    distil(made, 1, 2)
    before = {seed: run_record.read(made[1].run(CELL, seed)) for seed in (1, 2)}
    made = make("best")
    for seed in (1, 2):
        path = made[1].run(CELL, seed)
        finished_runs.keep(made[1], path)
        path.unlink()
        path.with_suffix(".safetensors").unlink()
    lines = distil(made, 1, 2)
    best = students.best(before)
    assert there(made[1]) == [best] and again(made) == []
    assert sum("kept from before" in line for line in lines) == 2
    assert [line for line in lines if "trained again" in line] == [
        f"seed {best}: trained again: its weights were not kept, save_students: best asks for them"
    ]
    after = {seed: run_record.read(made[1].run(CELL, seed)) for seed in (1, 2)}
    assert after[3 - best] == before[3 - best]
    assert after[best]["predictions"] == before[best]["predictions"]  # the same weights come out


def test_a_full_disk_costs_the_weights_and_not_the_run(make: Make, monkeypatch: Any) -> None:
    made = make()

    def full(self: Any, folder: Any, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    from transformers import PreTrainedModel

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", full)
        lines = distil(made, 1)
    said = [line for line in lines if "weights are not kept" in line]
    assert len(said) == 1 and "No space left on device)); its record is" in said[0]
    assert run_record.read(made[1].run(CELL, 1))["seed"] == 1 and there(made[1]) == []
    distil(made, 2)
    assert set(there(made[1])) <= {2}


def test_a_job_killed_between_weights_and_record_trains_the_run_again(make: Make, monkeypatch: Any) -> None:
    made = make()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(students.run_record, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            distil(made, 1)
    assert students.folder_of(made[1].run(CELL, 1)).is_dir() and not made[1].run(CELL, 1).exists()
    distil(made, 1)
    assert there(made[1]) == [1]


# --- what a folder holds -------------------------------------------------------------------------------------------


def test_a_folder_is_sealed_and_its_group_may_read_it(make: Make) -> None:
    made = make("all")
    distil(made, 1, 2)
    record = run_record.read(made[1].run(CELL, 1))
    folder = students.folder_of(made[1].run(CELL, 1))
    for file in (folder, *folder.iterdir()):
        assert file.stat().st_mode & stat.S_IRGRP, file
    assert folder.stat().st_mode & stat.S_IXGRP
    seal = sealed_files.read_sealed(folder / sealed_files.SEAL)
    assert seal["made_of"] == {"predictions": record["predictions"]["sha256"]}
    assert list(sealed_files.broken(folder)) == [] and model_card.FILE not in seal["files"]
    settings = json.loads((folder / "config.json").read_text())
    assert settings["id2label"] == {"0": "not_equivalent", "1": "equivalent"}
    assert settings["problem_type"] == "single_label_classification"
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == 32 and "token_type_ids" not in tokenizer["model_input_names"]  # DistilBERT


def test_the_card_says_what_the_student_is(make: Make, pipeline: Any) -> None:
    from huggingface_hub import ModelCard

    (pipeline.checkpoints / "distilbert2" / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    try:
        made = make("all")
        distil(made, 1)
        alone = students.folder_of(made[1].run(CELL, 1)) / model_card.FILE
        assert "| seed 2 |" not in alone.read_text()
        distil(made, 2)
    finally:
        (pipeline.checkpoints / "distilbert2" / "README.md").unlink()
    records = students.finished(made[1], CELL, [1, 2])
    teacher = run_record.read(made[1].teacher("bert4", "mrpc") / "record.json")
    for seed, record in records.items():
        card = ModelCard.load(students.folder_of(made[1].run(CELL, seed)) / model_card.FILE)
        assert card.data.license == "mit" and card.data.library_name == "transformers"
        assert card.data.pipeline_tag == "text-classification"
        results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
        assert results["dev", "f1"] == record["scores"]["dev"]["f1"]
        for value in (
            *(f"{100 * run['scores']['dev']['f1']:.2f}" for run in (*records.values(), teacher)),
            record["method_class"]["title"],
            "learning_rate 0.003",
            "bert4",
            "checkpoint distilbert2",
            record["config_hash"],
            f"**seed {seed}, in this folder**",
            f"| seed {3 - seed} |",
            "the licence `mit`",
            str(record["provenance"]["commit"]),
        ):
            assert value in card.text, value
    assert "generated text" not in card.text
    text = model_card.card({**records[1], "synthetic": True}, records, model_card.UNKNOWN)
    assert "say nothing about a natural language" in text and "No licence" in text and "license: unknown" in text


def test_no_card_or_a_strange_one_states_no_licence(tmp_path: Path) -> None:
    assert model_card.licence_of(tmp_path) == "unknown"
    for text in ("no front matter", "---\nlicense: [a, b]\n---\n", "---\n: : :\n---\n", "\x00"):
        (tmp_path / "README.md").write_text(text)
        assert model_card.licence_of(tmp_path) == "unknown", text


def test_another_place_than_a_folder_is_named(make: Make) -> None:
    made = make()
    folder = students.folder_of(made[1].run(CELL, 1))
    folder.parent.mkdir(parents=True)
    (made[1].root / "elsewhere").mkdir()
    folder.symlink_to(made[1].root / "elsewhere")
    lines = distil(made, 1)
    assert any("weights are not kept" in line and "symbolic link" in line for line in lines)
    with pytest.raises(UserError):
        run_record.read(made[1].run(CELL, 2))
