"""``railkd export``: a folder that `transformers` alone turns into the recorded scores, and refusals of one line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from railkd import cli, export, model_card
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.jobs import distillation, students
from railkd.metrics import score
from railkd.records import hashes, run_record

CPU = torch.device("cpu")
CELL = Cell("distilbert2", "pkd", "mrpc")
NAMES = ["--pair", CELL.pair, "--method", CELL.method, "--task", CELL.task]
DOCS = (Path(__file__).parents[2] / "docs" / "trained-students.md").read_text()
# a process without a network and without the suite
ALONE = """
import json, socket, sys
def refuse(*_, **__):
    raise OSError("the network is off")
socket.socket.connect = socket.getaddrinfo = refuse
sys.modules["railkd"] = None
from transformers import pipeline
classify = pipeline("text-classification", sys.argv[1])
print("RESULT" + json.dumps(classify(json.load(sys.stdin), truncation=True)))
"""


@pytest.fixture(scope="module")
def trained(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """A results folder with one student of MRPC whose better seed was kept, and one of STS-B."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(pipeline.layout.root, folder / "results", ignore=shutil.ignore_patterns("runs", ".kept"))
    spec = yaml.safe_load(pipeline.benchmark.path.read_text())
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**spec, "save_students": "best"}))
    benchmark, layout = config.load(folder / "tiny.yaml"), Layout(folder / "results")
    distillation.distil(benchmark, layout, CELL, [1, 2], CPU, lambda line: None)
    distillation.distil(benchmark, layout, CELL._replace(task="stsb"), [1], CPU, lambda line: None)
    yield layout


@pytest.fixture
def results(trained: Layout, tmp_path: Path) -> Layout:
    """A copy that a test may change."""
    shutil.copytree(trained.root, tmp_path / "results")
    return Layout(tmp_path / "results")


def alone(folder: Path, texts: list[dict[str, str]]) -> Any:
    """What a fresh process, without railkd and without a network, says of these texts."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder)], input=json.dumps(texts), capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.partition("RESULT")[2])


def pairs_of(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [{"text": a, "text_pair": b} for a, b in zip(frame["sentence1"], frame["sentence2"], strict=True)]


def test_a_fresh_process_gets_the_recorded_dev_score_back(trained: Layout, mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    scores = export.export(trained.root, CELL, out)["scores"]["dev"]
    records = students.finished(trained, CELL, [1, 2])
    record = records[students.best(records)]
    assert scores == record["scores"]["dev"]
    dev = pd.read_parquet(mirror / "mrpc" / "validation.parquet")
    labels = ["not_equivalent", "equivalent"]
    said = [labels.index(answer["label"]) for answer in alone(out, pairs_of(dev))]
    assert score(("f1", "accuracy"), pd.Series(said).to_numpy(), dev["label"].to_numpy()) == pytest.approx(scores)
    assert not [file for file in out.iterdir() if file.suffix in {".py", ".bin"}]


def test_a_regression_gives_the_score_itself(trained: Layout, mirror: Path, tmp_path: Path) -> None:
    cell = CELL._replace(task="stsb")
    export.export(trained.root, cell, tmp_path / "out")
    path = trained.run(cell, 1)
    dev = pd.read_parquet(mirror / "stsb" / "validation.parquet")
    answers = alone(tmp_path / "out", pairs_of(dev))
    assert {answer["label"] for answer in answers} == {"score"}
    logits = run_record.predictions(path, run_record.read(path))["dev"][:, 0]
    assert [answer["score"] for answer in answers] == pytest.approx(logits.tolist(), abs=1e-4)


def test_the_command_writes_the_card_anew_and_says_the_score(trained: Layout, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "new" / "folder"
    assert cli.main(["export", str(trained.root), *NAMES, str(out)]) == 0
    records = students.finished(trained, CELL, [1, 2])
    best = records[students.best(records)]
    assert f"{out}: seed {best['seed']}" in capsys.readouterr().out
    card = (out / model_card.FILE).read_text()
    for record in records.values():
        assert f"{100 * record['scores']['dev']['f1']:.2f}" in card


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ("", {"results": "nowhere"}, r"nowhere: has no folder 'runs'; expected a results folder"),
        ("", {"pair": "distilbert"}, "--pair: unknown pair 'distilbert'; did you mean 'distilbert2'"),
        ("", {"method": "pdk"}, "--method: unknown method 'pdk'; did you mean 'pkd'"),
        ("", {"task": "sst2"}, "--task: unknown task 'sst2'; available: mrpc"),
        ("", {"seed": 7}, "--seed: unknown seed '7'; available: 1, 2"),
        ("no weights", {}, r"pkd/mrpc/seed-1.json: the weights of this run were not kept; set save_students: best in "),
        ("", {"seed": "other"}, r"were not kept; kept: seed \d; set save_students: all in the benchmark file of 't"),
        ("folder", {}, r"out: exists already; expected a new or an empty folder"),
        ("damage", {}, r"seed-\d/config.json: missing or not what was written \(checksum\)"),
        ("no records", {}, r"mrpc: has no run record; run the benchmark first"),
        ("", {"onnx": True}, r"--onnx: the package onnxscript is not installed; pip install onnxscript, or leave"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_line(
    results: Layout, tmp_path: Path, capsys: Any, change: str, arguments: dict[str, Any], message: str
) -> None:
    records = students.finished(results, CELL, [1, 2])
    best = students.best(records)
    folder, out = students.folder_of(results.run(CELL, best)), tmp_path / "out"
    if change == "no weights":
        shutil.rmtree(folder)
    elif change == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    elif change == "damage":
        (folder / "config.json").write_text("{}")
    elif change == "no records":
        for seed in (1, 2):
            results.run(CELL, seed).unlink()
    given = {**CELL._asdict(), **arguments}
    place = given.pop("results", str(results.root))
    seed = {"other": 3 - best}.get(given.get("seed"), given.get("seed"))
    command = ["export", str(place), str(out)]
    for kind in Cell._fields:
        command += [f"--{kind}", given[kind]]
    command += ["--seed", str(seed)] if seed is not None else []
    command += ["--onnx"] if given.get("onnx") else []
    before = sorted(out.rglob("*"))
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1, said
    assert sorted(out.rglob("*")) == before


def test_a_name_may_be_left_out_where_the_results_have_one(trained: Layout, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert cli.main(["export", str(trained.root), str(out)]) == 1
    assert "--task: the results have several, expected one of mrpc, stsb" in capsys.readouterr().err
    assert cli.main(["export", str(trained.root), "--task", CELL.task, str(out)]) == 0
    assert CELL.method in (out / model_card.FILE).read_text()


def test_weights_of_another_run_are_not_exported(results: Layout, tmp_path: Path, capsys: Any) -> None:
    """Such as those of a folder that was copied here beside a record of another run."""
    best = students.best(students.finished(results, CELL, [1, 2]))
    source, other = (students.folder_of(results.run(CELL, n)) for n in (best, 3 - best))
    source.rename(other)
    assert cli.main(["export", str(results.root), *NAMES, str(tmp_path / "out")]) == 1
    assert "were not kept" in capsys.readouterr().err


def test_runs_of_two_configurations_are_not_compared(results: Layout, tmp_path: Path, capsys: Any) -> None:
    """After an edit of the file and before the other seed is trained again: the best on dev may be an outdated one."""
    records = students.finished(results, CELL, [1, 2])
    best = students.best(records)
    other = records[3 - best]
    other["config"]["training"]["epochs"] += 1
    other["config_hash"] = hashes.sha256_text(hashes.canonical(other["config"]))
    run_record.write(results.run(CELL, 3 - best), other)
    assert cli.main(["export", str(results.root), *NAMES, str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "pkd/mrpc: its runs differ in configuration or inputs (seed 1; seed 2)" in said and said.count("\n") == 1
    assert cli.main(["export", str(results.root), *NAMES, "--seed", str(best), str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / model_card.FILE).read_text()
    assert f"seed {best}, in this folder" in card and f"| seed {3 - best} |" not in card


@pytest.fixture
def exporter(monkeypatch: Any) -> list[dict[str, Any]]:
    """What stands for the package onnxscript, and for torch's exporter, which needs it: the calls of the exporter."""
    calls: list[dict[str, Any]] = []

    def write(model: torch.nn.Module, **arguments: Any) -> None:
        logits = model(**arguments["kwargs"]).logits
        calls.append({**arguments, "logits": logits, "training": model.training})
        if len(calls) > 1:
            raise RuntimeError("no operator\nof this name")
        arguments["f"].write_bytes(b"onnx")

    package = ModuleType(export.ONNX)
    package.__spec__ = ModuleSpec(export.ONNX, None)
    monkeypatch.setitem(sys.modules, export.ONNX, package)
    monkeypatch.setattr(torch.onnx, "export", write)
    return calls


def test_onnx_takes_what_the_tokenizer_gives(
    trained: Layout, tmp_path: Path, exporter: list[dict[str, Any]], capsys: Any
) -> None:
    export.export(trained.root, CELL, tmp_path / "out", onnx=True)
    (call,) = exporter
    assert (tmp_path / "out" / "onnx" / "model.onnx").read_bytes() == b"onnx"
    assert call["input_names"] == ["input_ids", "attention_mask"] == list(call["kwargs"])  # a DistilBERT
    assert call["dynamic_shapes"] == dict.fromkeys(call["input_names"], {0: "batch", 1: "length"})
    assert call["logits"].shape == (2, 2) and not call["training"] and call["output_names"] == ["logits"]
    assert len({ids.tolist().count(0) for ids in call["kwargs"]["attention_mask"]}) == 2, "both dimensions vary"
    capsys.readouterr()
    assert cli.main(["export", str(trained.root), *NAMES, str(tmp_path / "no"), "--onnx"]) == 1  # it raises now
    said = "--onnx: torch cannot export a DistilBertForSequenceClassification (no operator of this name); leave --onnx"
    assert said in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_onnx_gives_the_logits_of_the_student(trained: Layout, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript and onnxruntime: pip install onnxscript onnxruntime")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out = tmp_path / "out"
    export.export(trained.root, CELL, out, onnx=True)
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForSequenceClassification.from_pretrained(out)
    session = onnxruntime.InferenceSession(out / "onnx" / "model.onnx")
    for texts in (["good film", "a bad plot of a long film"], ["film music"], ["good"] * 5):  # of other shapes
        inputs = tokenizer(texts, padding=True, return_tensors="np")
        with torch.no_grad():
            expected = model.eval()(**{name: torch.from_numpy(ids) for name, ids in inputs.items()}).logits
        (logits,) = session.run(["logits"], dict(inputs))
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-5, rtol=1e-4)


# --- the page docs/trained-students.md ------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_pages_entries_are_valid(block: str, make_spec: Any, checkpoints: Path, tmp_path: Path) -> None:
    models = yaml.safe_load(block.replace("FOLDER", str(checkpoints / "bert4")))["models"]
    spec = make_spec({"data.tasks": ["mrpc"]})
    (name,) = models
    spec["models"] |= models
    spec["pairs"]["p"]["teacher"] = name
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(spec))
    assert config.load(tmp_path / "b.yaml").models[name] == models[name]


def test_the_pages_commands_do_what_the_page_says(trained: Layout, tmp_path: Path, monkeypatch: Any) -> None:
    (command,), (code,) = blocks("sh"), blocks("python")
    names = dict(re.findall(r"--(pair|method|task) (\S+)", command))
    assert config.load("benchmarks/mini.yaml").pairs[names["pair"]]["methods"].count(names["method"]) == 1
    words = command.replace("results/mini", str(trained.root)).split()
    for kind, name in names.items():
        words[words.index(f"--{kind}") + 1] = getattr(CELL, kind)
        assert name
    monkeypatch.chdir(tmp_path)
    assert words[0] == "railkd" and cli.main(words[1:]) == 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "'label': '" in done.stdout, done.stderr[-2000:]


def test_the_page_names_every_value_and_key() -> None:
    schema = json.loads((Path(config.SCHEMA)).read_text())
    for value in schema["properties"]["save_students"]["enum"]:
        assert f"| `{value}`" in DOCS
    assert f"`{students.DEFAULT}` (the default)" in DOCS
    for key in ("fine_tuned", "files", "version", "sha256", "folder"):
        assert key in schema["$defs"]["model"]["properties"] and f"`{key}" in DOCS
