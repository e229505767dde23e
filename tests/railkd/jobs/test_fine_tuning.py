"""A teacher's jobs: what it scores, and its signals, which are computed anew where they do not fit."""

import shutil
from typing import Any

import pytest
import torch
from cell_jobs import CPU, distil

from railkd import cli
from railkd.errors import UserError
from railkd.evaluation.scoring import scores_of
from railkd.jobs import fine_tuning
from railkd.records import run_record, sealed_files
from railkd.tasks import TASKS
from railkd.training import loop


@pytest.mark.parametrize("key", ["data", "tokenizer", "teacher"])
def test_signals_of_other_inputs_are_computed_anew(bench: Any, key: str) -> None:
    made = bench()
    folder = made[1].signals("bert4", "mrpc")
    facts = sealed_files.read_json(folder / "signals.json")
    assert set(facts["fingerprints"]) == {"data", "tokenizer", "teacher"} and all(facts["fingerprints"].values())
    changed = {**facts, "fingerprints": {**facts["fingerprints"], key: "0" * 64}}
    sealed_files.write_json(folder / "signals.json", sealed_files.sealed(changed))
    assert f"{folder}: other {key}; computed now" in distil(made, [1])
    assert sealed_files.read_json(folder / "signals.json") == facts  # and the same bytes again
    assert not any("computed now" in line for line in distil(made, [2]))


def test_signals_that_are_gone_or_too_few_are_computed_anew(bench: Any) -> None:
    made = bench()
    folder = made[1].signals("bert4", "mrpc")
    shutil.rmtree(folder)
    assert f"{folder}: missing; computed now" in distil(made, [1])
    base = [str(made[0].path), "--results", str(made[1].root), "--teacher", "bert4", "--task", "mrpc"]
    assert cli.main(["release", *base]) == 0 and folder.is_dir() and not list(folder.glob("*.npy"))
    assert f"{folder}: missing; computed now" in distil(made, [2])
    only_mean = bench(
        lambda spec: spec["pairs"]["distilbert2"].update(methods=["rail_kd_l"]) or spec["pairs"].pop("bert2")
    )
    fine_tuning.signals(*only_mean, "bert4", "mrpc", CPU)
    made = bench()
    assert f"{folder}: without cls; computed now" in distil(made, [2])


def test_a_damaged_teacher_is_noticed(bench: Any) -> None:
    benchmark, layout = bench()
    weights = layout.teacher("bert4", "mrpc") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"model.safetensors: missing or not what was written \(checksum\)"):
        fine_tuning.signals(benchmark, layout, "bert4", "mrpc", CPU)


def test_fine_tuned_teacher_keeps_its_score(bench: Any, pipeline: Any) -> None:
    from railkd.evaluation.scoring import logits_of

    for task, outputs in (("mrpc", 2), ("stsb", 1)):
        data = pipeline.prepared(task)
        record = run_record.read(pipeline.layout.teacher("bert4", task) / "record.json")
        model = pipeline.teacher(task, outputs)
        scores = scores_of(data, "dev", logits_of(model, data.splits["dev"], data.facts["pad_id"], CPU, torch.float32))
        assert scores == record["scores"]["dev"] and set(scores) >= set(TASKS[task].metrics)


def test_a_teacher_begins_anew_with_less_data_where_a_gpus_memory_runs_out(bench: Any, monkeypatch: Any) -> None:
    """What the failed try has trained is no part of the next one."""
    benchmark, layout = bench()
    folder = layout.teacher("bert4", "mrpc")
    expected = run_record.read(folder / "record.json")
    shutil.rmtree(folder)
    shares, lines = [], []

    def until(fits: float) -> Any:
        def train(*arguments: Any) -> Any:
            shares.append(arguments[4].device_memory)
            outcome = loop.train(*arguments)
            if shares[-1] > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return outcome

        return train

    monkeypatch.setattr(fine_tuning, "train", until(0.25))
    record = fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lines.append)
    assert shares == [0.5, 0.125] and record["predictions"]["sha256"] == expected["predictions"]["sha256"]
    assert [line for line in lines if "memory" in line] == [
        "teacher bert4 mrpc seed 1: GPU memory ran out with 50% of what was free for data; trying again with 12%"
    ]
    shutil.rmtree(folder)
    monkeypatch.setattr(fine_tuning, "train", until(-1.0))
    with pytest.raises(UserError, match="^teacher bert4 mrpc seed 1: GPU memory ran out with no data kept there"):
        fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lines.append)
    assert shares[2:] == [0.5, 0.125, 0.0] and not folder.is_dir()
