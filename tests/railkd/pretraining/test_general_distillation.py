"""General distillation: the student comes nearer to its teacher on text that it has not seen; what decides on it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from reruns import jobs
from safetensors.torch import load_file
from tiny_tokenizers import sentence

from analysis.report.provenance import origin
from railkd import cli
from railkd.benchmark import config
from railkd.benchmark.config import ROOT
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.commands.checking import check
from railkd.data import plain_text
from railkd.errors import Diverged, UserError
from railkd.jobs import distillation, fine_tuning, preparing
from railkd.jobs_to_run import JobsToRun
from railkd.models import checkpoints as places
from railkd.models.classifier import load_classifier
from railkd.models.forward import forward
from railkd.planning import plan
from railkd.pretraining import general_distillation
from railkd.pretraining.general_distillation import REPORT, distil
from railkd.records import hashes, run_record, sealed_files
from railkd.training.run_state import State

CPU = torch.device("cpu")
KEYS = {"text": "text.txt", "steps": 60, "batch_size": 8, "max_length": 16, "learning_rate": 3e-3}
HALF = {"layers_of": "bert4", "layers": 2, "keep": "every_other"}
Make = Callable[..., Benchmark]


def quiet(_: str) -> None: ...


def write_text(path: Path, seed: int = 1, count: int = 120) -> Path:
    rng = Random(seed)
    path.write_text("\n".join(sentence(rng) for _ in range(count)))
    return path


@pytest.fixture
def make(make_benchmark: Any, tmp_path: Path) -> Make:
    """A benchmark whose student is distilled on text.txt; changes to its keys, and to the benchmark."""
    write_text(tmp_path / "text.txt")

    def made(keys: dict[str, Any] | None = None, changes: dict[str, Any] | None = None) -> Benchmark:
        entry = {**HALF, "general_distillation": {**KEYS, **(keys or {})}}
        settings = {
            "data.tasks": ["mrpc"],
            "seeds": [1],
            "models.plain": HALF,
            "models.student": entry,
            "pairs.p": {"teacher": "bert4", "student": "student", "methods": ["no_kd"], "tables": [2]},
        }
        benchmark: Benchmark = make_benchmark({**settings, **(changes or {})})
        return benchmark

    return made


def distance(benchmark: Benchmark, layout: Layout, model: str, text: Path) -> float:
    """Mean of 1 - cos between the last hidden states of a model and of bert4 on the real tokens of a text."""
    states = []
    for name in (model, "bert4"):
        checkpoint = places.locate(benchmark, layout, name)
        encoder = load_classifier(checkpoint, 2, 1, name, whole_last_layer=True).eval()
        tokenizer = places.load_tokenizer(checkpoint, name)
        split, _ = plain_text.token_rows(plain_text.paragraphs(text, "text"), tokenizer, 16, 100)
        inputs = split.collate(torch.arange(len(split)), tokenizer.pad_token_id, True)
        with torch.inference_mode():
            states.append(forward(encoder, inputs).hidden[-1][inputs["attention_mask"].bool()])
    return float((1 - torch.cosine_similarity(*states, dim=-1)).mean())


@pytest.mark.parametrize("objective", ["minilm_v2", "distilbert_cos"])
def test_the_loss_falls_and_unseen_text_is_read_more_as_the_teacher_reads_it(
    make: Make, tmp_path: Path, objective: str
) -> None:
    benchmark, layout, lines = make({"objective": objective}), Layout(tmp_path / "results"), []
    check(benchmark, layout)
    report = distil(benchmark, layout, "student", CPU, lines.append)
    folder, curve = layout.model("student"), report["loss"]
    assert [point["step"] for point in curve] == list(range(1, 61)) and report["resumed"] == 0
    assert sum(p["loss"] for p in curve[-10:]) < 0.8 * sum(p["loss"] for p in curve[:10])
    assert lines[-1].startswith("step 60/60: loss 0.") and "tokens" in lines[0]
    assert 60 * 8 * 4 < report["tokens"] < 60 * 8 * 16 and report["seconds"] > 0
    assert report["machine"]["device"] == "cpu" and report["provenance"]["cores"] >= 1
    assert json.loads((folder / REPORT).read_text())["loss"] == curve
    unseen = write_text(tmp_path / "unseen.txt", seed=2, count=40)
    if objective == "distilbert_cos":  # relations may be the same in other directions
        assert distance(benchmark, layout, "student", unseen) < 0.8 * distance(benchmark, layout, "plain", unseen)
    layers = load_file(folder / "model.safetensors")
    assert not any("classifier" in name for name in layers) and sum("layer.1." in name for name in layers)


def test_relations_on_unseen_text_come_nearer(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_loss(benchmark: Benchmark) -> float:  # of the first step, so before anything was learnt
        report = distil(benchmark, Layout(tmp_path / "once"), "student", CPU, quiet)
        return float(report["loss"][0]["loss"])

    layout = Layout(tmp_path / "results")
    distil(make(), layout, "student", CPU, quiet)
    write_text(tmp_path / "text.txt", seed=2)
    unseen = make({"steps": 1})
    plain = first_loss(unseen)
    monkeypatch.setattr(places, "layers_taken", lambda *_: places.Checkpoint(str(layout.model("student"))))
    assert first_loss(unseen) < 0.8 * plain


def test_the_seed_decides_and_nothing_else(make: Make, tmp_path: Path) -> None:
    def weights(name: str, **changes: Any) -> bytes:
        layout = Layout(tmp_path / name)
        distil(make({"steps": 4, "dropout": 0.1}, changes), layout, "student", CPU, quiet)
        return (layout.model("student") / "model.safetensors").read_bytes()

    first = weights("one")
    assert weights("two") == first != weights("three", **{"data.seed": 8})


def test_a_stopped_run_goes_on_with_the_same_bytes(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, whole, stopped = make({"steps": 20, "dropout": 0.1}), Layout(tmp_path / "a"), Layout(tmp_path / "b")
    expected = distil(benchmark, whole, "student", CPU, quiet)
    monkeypatch.setattr(State, "due", property(lambda self: True))

    def stop(line: str) -> None:
        if line.startswith("step 12/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(benchmark, stopped, "student", CPU, stop)
    assert not stopped.model("student").exists()
    lines: list[str] = []
    report = distil(benchmark, stopped, "student", CPU, lines.append)
    assert "resumed after step 11" in lines and report["resumed"] == 1
    assert report["loss"] == expected["loss"] and report["tokens"] == expected["tokens"]
    weights = [at.model("student") / "model.safetensors" for at in (whole, stopped)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not list(stopped.root.rglob("*.state*"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
def test_a_gpu_computes_the_same_losses(make: Make, tmp_path: Path) -> None:
    benchmark = make({"steps": 5, "precision": "float32", "learning_rate": 1e-4, "dropout": 0.0})
    curves = [
        [point["loss"] for point in distil(benchmark, Layout(tmp_path / name), "student", device, quiet)["loss"]]
        for name, device in (("cpu", CPU), ("gpu", torch.device("cuda:0")))
    ]
    assert curves[1] == pytest.approx(curves[0], rel=0.01)


def whys(benchmark: Benchmark, layout: Layout) -> dict[str, str]:
    return {p.job: p.why for p in JobsToRun(benchmark, layout).products if p.why and p.outputs[0].exists()}


def test_a_changed_text_or_key_makes_it_again_and_nothing_else_does(make: Make, tmp_path: Path) -> None:
    keys = {"steps": 2}
    benchmark, layout = make(keys), Layout(tmp_path / "results")
    distil(benchmark, layout, "student", CPU, quiet)
    preparing.prepare(benchmark, layout, "bert4", "mrpc")
    fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, quiet)
    cell = Cell("p", "no_kd", "mrpc")
    distillation.distil(benchmark, layout, cell, [1], CPU, quiet)
    record = run_record.read(layout.run(cell, 1))
    assert record["fingerprints"]["student"] == hashes.sha256_file(layout.model("student") / "model.safetensors")
    assert whys(benchmark, layout) == {}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "text.txt").rename(tmp_path / "elsewhere" / "renamed.txt")
    assert whys(make({**keys, "text": "elsewhere/renamed.txt"}), layout) == {}
    jobs = JobsToRun(make({**keys, "text": "elsewhere/renamed.txt"}), layout)
    assert jobs.complete(cell, None, ["1"])

    write_text(tmp_path / "text.txt", seed=9)
    again = make(keys)
    assert whys(again, layout).keys() == {"pre-training"} and whys(again, layout)["pre-training"].startswith("text ")
    assert not JobsToRun(again, layout).complete(cell, None, ["1"])  # the run that began with it
    write_text(tmp_path / "text.txt")
    assert whys(make(keys), layout) == {}
    assert whys(make({"steps": 3}), layout)["pre-training"] == "model.general_distillation.steps 2 → 3"
    assert whys(make({**keys, "batch_size": 9}), layout)["pre-training"].endswith("batch_size 8 → 9")
    assert "run of no_kd" in whys(make({"steps": 3}), layout)


def test_a_teacher_with_other_weights_makes_it_again(make: Make, checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "bert4", tmp_path / "own4")
    benchmark = make({"steps": 1}, {"models.bert4": {"path": str(tmp_path / "own4")}})
    layout = Layout(tmp_path / "results")
    distil(benchmark, layout, "student", CPU, quiet)
    assert whys(benchmark, layout) == {}
    shutil.copy(checkpoints / "bert2" / "model.safetensors", tmp_path / "own4")
    assert whys(benchmark, layout)["pre-training"].startswith("teacher ")


def test_a_benchmark_without_the_key_has_the_configuration_that_it_had(make: Make) -> None:
    benchmark = make()
    assert benchmark.model_config("plain") == {**HALF, "layers_of": {"path": "bert4"}}
    given = benchmark.model_config("student")["general_distillation"]
    assert "text" not in given and given["steps"] == 60 and given["objective"] == "minilm_v2"


def test_records_plans_and_reports_name_it(make: Make, tmp_path: Path) -> None:
    benchmark, layout = make({"steps": 2}), Layout(tmp_path / "results")
    words = "every other layer, 2 in all, of bert4, distilled on the text text.txt (minilm_v2, 2 steps)"
    assert benchmark.initialisation("student") == words
    distil(benchmark, layout, "student", CPU, quiet)
    facts = general_distillation.summary(benchmark, layout, "student")
    assert facts is not None and general_distillation.summary(benchmark, layout, "plain") is None
    assert facts["text"] == "text.txt" and facts["text_sha256"] == hashes.sha256_file(tmp_path / "text.txt")
    record = {"student": "student", "provenance": {"general_distillation": facts}, "cost": {}}
    shown = origin(record)["General distillation"]
    assert shown.startswith("student: minilm_v2 of bert4 on text.txt, 2 steps, ") and shown.endswith(" s on cpu")
    assert f"loss {facts['first_loss']:.3g} → {facts['last_loss']:.3g}, " in shown
    assert "General distillation" not in origin({**record, "provenance": {}})
    cost = {"student": {"step": 1.0}, "bert4": {"step": 2.0, "forward": 0.5}}
    assert plan._pretraining(benchmark, "student", cost) == 2 * 8 * 1.5
    longer = make({"steps": 2, "max_length": 80})
    assert plan._pretraining(longer, "student", cost) == 2 * 8 * 1.5 * 2
    (layout.model("student") / REPORT).write_text("{}")
    with pytest.raises(UserError, match="not what was written"):
        general_distillation.summary(benchmark, layout, "student")
    assert "general_distillation" not in sealed_files.read_json(layout.model("student") / "config.json")


@pytest.mark.parametrize(
    ("keys", "changes", "message"),
    [
        ({"text": "none.txt"}, {}, "general_distillation.text: no such file .*none.txt, nor in the local mirror"),
        ({"text": "empty.txt"}, {}, "general_distillation.text: .*empty.txt has no text that is more than white space"),
        ({"text": "words.csv"}, {}, "general_distillation.text: .*words.csv: no column 'text' .*found words"),
        ({"text": "words.csv", "column": "words"}, {}, "text: gives 1 rows of at most 16 tokens, .*batch_size: 8"),
        ({}, {"models.student.layers": 5}, ".layers: 5 layers cannot be taken of 4"),
        ({"relation_heads": 5}, {}, "general_distillation.relation_heads: 5 does not divide both widths"),
        ({"teacher_layer": 5}, {}, "general_distillation.teacher_layer: 5 is out of range"),
        ({"max_length": 81}, {}, "general_distillation.max_length: 81 tokens, but models.student has positions for 80"),
    ],
)
def test_bad_input_is_named_before_any_compute(
    make: Make, tmp_path: Path, keys: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n \n")
    (tmp_path / "words.csv").write_text("words\nfilm plot scene\n")
    with pytest.raises(UserError, match=f"models.student.*{message}") as error:
        check(make(keys, changes), Layout(tmp_path / "results"))
    assert "\n" not in str(error.value) and not (tmp_path / "results").exists()


def test_an_encoder_whose_queries_cannot_be_read_is_refused_for_relations(
    make: Make, checkpoints: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel

    tokenizer = AutoTokenizer.from_pretrained(checkpoints / "roberta3")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 4}
    MPNetModel(MPNetConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "mpnet")
    tokenizer.save_pretrained(tmp_path / "mpnet")
    changes = {"models.bert4": {"path": str(tmp_path / "mpnet")}}
    with pytest.raises(UserError, match="objective: minilm_v2 reads queries, .* expected distilbert_cos$"):
        check(make(changes=changes), Layout(tmp_path / "results"))
    benchmark, layout = make({"objective": "distilbert_cos", "steps": 2}, changes), Layout(tmp_path / "results")
    check(benchmark, layout)
    assert len(distil(benchmark, layout, "student", CPU, quiet)["loss"]) == 2
    load_classifier(places.locate(benchmark, layout, "student"), 2, 1, "student")


def test_a_run_that_diverges_names_its_key(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("railkd.training.divergence.EXPLODED", 1e-9)
    layout = Layout(tmp_path / "results")
    with pytest.raises(
        Diverged, match="^models.student.general_distillation.learning_rate: loss explodes.*step 1: rel"
    ):
        distil(make(), layout, "student", CPU, quiet)
    assert not layout.model("student").exists()


def test_the_text_is_found_in_the_mirror_first(make: Make, mirror: Path, tmp_path: Path) -> None:
    own = tmp_path / "mirror"
    shutil.copytree(mirror, own)
    benchmark = make(changes={"data.root": str(own)})
    assert general_distillation.text_path(benchmark, "student") == tmp_path / "text.txt"
    write_text(own / "text.txt")
    assert general_distillation.text_path(benchmark, "student") == own / "text.txt"


def test_a_student_of_a_distilled_student_begins_with_its_layers(make: Make, tmp_path: Path) -> None:
    further = {"layers_of": "student", "layers": 1, "keep": "first", "general_distillation": {**KEYS, "steps": 1}}
    benchmark, layout = make({"steps": 2}, {"models.further": further}), Layout(tmp_path / "results")
    check(benchmark, layout)
    distil(benchmark, layout, "student", CPU, quiet)
    assert places.layers_taken(benchmark, layout, "further") == places.Checkpoint(
        str(layout.model("student")), None, (1,)
    )
    distil(benchmark, layout, "further", CPU, quiet)
    assert config.load(benchmark.path).pretrained("further") == "further"


def test_the_command_says_what_is_not_pretrained(make: Make, tmp_path: Path, capsys: Any) -> None:
    benchmark = make({"steps": 1})
    given = ["pretrain", str(benchmark.path), "--results", str(tmp_path / "results"), "--device", "cpu", "--model"]
    assert cli.main([*given, "plain"]) == 1
    assert "has no key 'pretrain' or 'general_distillation'" in capsys.readouterr().err
    assert cli.main([*given, "student"]) == 0
    assert (tmp_path / "results" / "models" / "student" / REPORT).is_file()
    assert "step 1/1" in capsys.readouterr().out


def test_the_workflow_distils_after_the_teacher_and_before_the_runs(tmp_path: Path) -> None:
    spec = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
    spec["models"]["student"] = {**HALF, "general_distillation": {**KEYS, "steps": 1}}
    del spec["models"]["distilbert2"]
    spec["pairs"] = {"p": {"teacher": "bert4", "student": "student", "methods": ["no_kd"], "tables": [2]}}
    write_text(tmp_path / "text.txt")
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    results = tmp_path / "results"
    needed = jobs(tmp_path / "micro.yaml", results, tmp_path)
    assert needed["pretrain"] == 2 and needed["distil_no_kd"] == 2

    folder, model = str(results), ["--model", "student", "--device", "cpu"]
    assert cli.main(["data", str(tmp_path / "micro.yaml"), "--results", folder]) == 0
    for name in ("bert4", "student"):
        model[1] = name
        assert cli.main(["pretrain", str(tmp_path / "micro.yaml"), "--results", folder, *model]) == 0
    needed = jobs(tmp_path / "micro.yaml", results, tmp_path)
    assert "pretrain" not in needed and needed["distil_no_kd"] == 2
    write_text(tmp_path / "text.txt", seed=9)
    assert jobs(tmp_path / "micro.yaml", results, tmp_path)["pretrain"] == 1
    spec["models"]["bert4"]["pretrain"]["steps"] = 21
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    assert jobs(tmp_path / "micro.yaml", results, tmp_path)["pretrain"] == 2
