"""Which jobs have to run: those of each result that is not as asked, by what it holds, whatever its time."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.jobs import distillation, fine_tuning, finished_runs, preparing
from railkd.jobs_to_run import JobsToRun
from railkd.pretraining import masked_lm
from railkd.records import hashes, sealed_files

CPU = torch.device("cpu")
CELL = Cell("distilbert2", "rail_kd_l", "mrpc")


@pytest.fixture(scope="module")
def finished(pipeline: Any, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, checkpoints, a benchmark of one task and two methods, and its results."""
    folder = tmp_path_factory.mktemp("jobs_to_run")
    shutil.copytree(mirror, folder / "data")
    shutil.copytree(pipeline.checkpoints, folder / "checkpoints")
    spec = yaml.safe_load(pipeline.benchmark.path.read_text())
    spec["seeds"], spec["data"]["root"], spec["data"]["tasks"] = [1], "data", ["mrpc"]
    spec["models"] = {name: {"path": f"checkpoints/{name}"} for name in spec["models"]}
    spec["pairs"] = {"distilbert2": {**spec["pairs"]["distilbert2"], "methods": ["no_kd", "rail_kd_l"]}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    benchmark, layout = _load(folder)
    preparing.prepare(benchmark, layout, "bert4", "mrpc")
    fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lambda line: None)
    fine_tuning.signals(benchmark, layout, "bert4", "mrpc", CPU)
    for method in ("no_kd", "rail_kd_l"):
        distillation.distil(benchmark, layout, CELL._replace(method=method), [1], CPU, lambda line: None)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def _load(folder: Path) -> tuple[Benchmark, Layout]:
    return config.load(folder / "mine.yaml"), Layout(folder / "results")


def jobs_to_run(folder: Path) -> JobsToRun:
    return JobsToRun(*_load(folder))


def whys(folder: Path) -> dict[str, str]:
    """Job -> why it has to run again, of results that are there."""
    found = jobs_to_run(folder)
    return {
        p.job: p.why for p in found.products if p.why and p.job != "release" and any(map(os.path.exists, p.outputs))
    }


def test_what_was_made_is_as_asked(folder: Path) -> None:
    assert whys(folder) == {} and jobs_to_run(folder).strays() == []


def edit_data(folder: Path) -> None:
    import pandas as pd

    path = folder / "data" / "mrpc" / "train.parquet"
    frame = pd.read_parquet(path)
    frame.loc[0, "sentence1"] = "another sentence"
    frame.to_parquet(path)


def edit_weights(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "checkpoints" / name / "model.safetensors"
        tensors = load_file(path)
        save_file({key: value + 0.01 for key, value in tensors.items()}, path, metadata={"format": "pt"})

    return edit


def edit_config(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "checkpoints" / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "relu", "activation": "relu"}))

    return edit


def edit_tokenizer(folder: Path) -> None:
    path = folder / "checkpoints" / "bert4" / "tokenizer_config.json"
    path.write_text(path.read_text().replace("{", '{"note": 1,', 1))


def other_prepared(folder: Path) -> None:
    path = folder / "results" / "prepared" / "bert4" / "mrpc.json"
    sealed_files.write_json(path, sealed_files.sealed({**sealed_files.read_sealed(path), "sha256": "0" * 64}))


def rename(folder: Path) -> None:
    """As where a results folder is another benchmark's: what was trained as asked is taken, whoever asked first."""
    path = folder / "mine.yaml"
    spec = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**spec, "name": "another"}, sort_keys=False))


OTHER_DATA = "the prepared data are others"
EDITS: dict[str, tuple[Callable[[Path], Any], dict[str, str]]] = {
    "a data file": (edit_data, {"prepare": "files.mrpc/train.parquet"}),
    "the teacher's checkpoint": (edit_weights("bert4"), {"teacher": "the teacher's checkpoint is another one"}),
    "the student's checkpoint": (
        edit_weights("distilbert2"),
        {f"run of {m}": "the student's checkpoint is another one" for m in ("no_kd", "rail_kd_l")},
    ),
    "the configuration of the student's checkpoint": (
        edit_config("distilbert2"),
        {f"run of {m}": "the student's checkpoint is another one" for m in ("no_kd", "rail_kd_l")},
    ),
    "the tokenizer": (edit_tokenizer, {"prepare": "tokenizer"}),
    "another benchmark's results": (rename, {}),
    "prepared data": (
        other_prepared,
        {**dict.fromkeys(("teacher", "run of no_kd", "run of rail_kd_l"), OTHER_DATA), "signals": "other data"},
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_in_place_is_seen(folder: Path, name: str) -> None:
    edit, expected = EDITS[name]
    edit(folder)
    found = whys(folder)
    assert found.keys() == expected.keys() and all(found[job].startswith(why) for job, why in expected.items()), found


def test_a_moved_mirror_and_other_times_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(folder / "data", folder / "elsewhere")
    monkeypatch.setenv("RAILKD_DATA", str(folder / "elsewhere"))
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert whys(folder) == {}


def test_a_file_is_hashed_once_for_each_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whys(folder)  # writes down the digests
    read: list[str] = []
    digest = hashes.sha256_file
    monkeypatch.setattr(hashes, "sha256_file", lambda path: read.append(Path(path).name) or digest(path))
    whys(folder)
    assert not {"train.parquet", "model.safetensors"} & set(read)
    edit_data(folder)
    whys(folder)
    assert read.count("train.parquet") == 1


def test_results_are_made_no_older_than_what_they_are_made_of(folder: Path) -> None:
    layout = _load(folder)[1]
    run, teacher = layout.run(CELL, 1), layout.teacher("bert4", "mrpc") / "record.json"
    os.utime(run, (1e9, 1e9))
    content = run.read_bytes()
    jobs_to_run(folder).align_times()
    assert run.stat().st_mtime_ns >= teacher.stat().st_mtime_ns and run.read_bytes() == content
    edit_weights("distilbert2")(folder)
    os.utime(run, (1e9, 1e9))
    jobs_to_run(folder).align_times()  # not of a result that is not as asked
    assert run.stat().st_mtime == 1e9


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"files": 3}', '{"fingerprints": 1, "config": 2}', "\xff{"]
)
def test_whatever_stands_in_a_file_is_a_reason_and_no_traceback(folder: Path, content: str) -> None:
    for path in (folder / "results").rglob("*.json"):
        kept = path.read_bytes()
        path.write_text(content, encoding="latin-1")
        jobs_to_run(folder)
        path.write_bytes(kept)


def test_what_the_file_no_longer_names_is_set_aside_and_put_back(folder: Path) -> None:
    benchmark, layout = _load(folder)
    spec = yaml.safe_load(benchmark.path.read_text())
    text = benchmark.path.read_text()
    spec["pairs"]["distilbert2"]["methods"] = ["no_kd"]
    benchmark.path.write_text(yaml.safe_dump(spec))
    (stray,) = jobs_to_run(folder).strays()
    assert stray == layout.run(CELL, 1)
    before = stray.read_bytes()
    finished_runs.set_aside(layout, stray)
    assert not stray.exists() and jobs_to_run(folder).strays() == []
    benchmark.path.write_text(text)
    said: list[str] = []
    distillation.distil(*_load(folder), CELL, [1], CPU, said.append)
    assert stray.read_bytes() == before and "seed 1: kept from before" in said
    teacher = layout.teacher("bert4", "mrpc")
    weights = (teacher / "model.safetensors").read_bytes()
    finished_runs.set_aside(layout, teacher / "record.json")
    assert not teacher.exists()
    said.clear()
    fine_tuning.fine_tune(*_load(folder), "bert4", "mrpc", CPU, said.append)
    assert (teacher / "model.safetensors").read_bytes() == weights and said == ["bert4 mrpc: kept from before"]


def test_an_external_methods_records_are_set_aside_and_come_back(folder: Path) -> None:
    """Its rule writes a record alone, without a file of predictions, and knows nothing of set-aside runs."""
    benchmark, layout = _load(folder)
    text = benchmark.path.read_text()
    spec = yaml.safe_load(text)
    spec["methods"]["theirs"] = {"external": True}
    spec["pairs"]["distilbert2"]["methods"].append("theirs")
    named = yaml.safe_dump(spec)
    theirs = layout.run(CELL._replace(method="theirs"), 1)
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    assert jobs_to_run(folder).strays() == [theirs]
    finished_runs.set_aside(layout, theirs)
    finished_runs.put_external_back(benchmark, layout)
    assert not theirs.exists()  # not while the file does not name it
    benchmark.path.write_text(named)
    finished_runs.put_external_back(*_load(folder))
    assert theirs.read_text() == "theirs" and not layout.kept(theirs).exists() and jobs_to_run(folder).strays() == []


def test_a_miniature_is_made_of_its_text_and_of_its_parent(tmp_path: Path) -> None:
    """Times do not tell: they are set so that nothing is older than what it was made of."""
    benchmark, layout = config.load(config.ROOT / "tests" / "micro.yaml"), Layout(tmp_path)
    (text,) = layout.generated(benchmark)
    text.parent.mkdir(parents=True)
    text.write_text("one text")
    sealed_files.seal(layout.data(), [], made_of={"seed": benchmark.data["seed"], "sizes": benchmark.sizes})
    for name in ("bert4", "distilbert2"):
        layout.model(name).mkdir(parents=True)
        (layout.model(name) / "model.safetensors").write_text(name)
        sealed_files.seal(layout.model(name), ["model.safetensors"], made_of=masked_lm.made_of(benchmark, layout, name))

    def whys() -> list[str | None]:
        return [p.why for p in JobsToRun(benchmark, layout).products if p.job == "pre-training"]

    assert whys() == [None, None]
    (layout.model("bert4") / "model.safetensors").write_text("other weights")
    parent, child = whys()
    assert parent is None and str(child).startswith("teacher")
    text.write_text("another text")
    assert [str(why).split()[0] for why in whys()] == ["text", "teacher"]  # the first difference


def test_the_hub_is_not_asked(make_benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor would a dry run wait for it: whoever judges a benchmark with local checkpoints opens no connection."""
    import socket

    def connect(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    benchmark = make_benchmark(
        {
            "models.far": {"hub": "somebody/far", "revision": "a" * 40},
            "models.near": {"layers_of": "far", "layers": 2, "keep": "first"},
            "pairs.p.teacher": "far",
            "pairs.p.student": "near",
            "methods.rail_kd_l": {},
            "pairs.p.methods": ["no_kd", "rail_kd_l"],
        }
    )
    layout = Layout(tmp_path / "results")
    for task in benchmark.tasks:
        sealed_files.write_json(layout.signals("far", task) / "signals.json", {})
    assert {product.why for product in JobsToRun(benchmark, layout).products} == {
        "missing",
        "it is no store of signals",
    }
