"""``distil`` and ``evaluate`` on models in memory: the suite's numbers, any method, and mistakes in one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

import railkd
from railkd.api import distilling
from railkd.data.reading import read_task
from railkd.errors import UserError, warn
from railkd.jobs.fine_tuning import fine_tuned
from railkd.jobs.model_sizes import setting_for
from railkd.method_sources import available
from railkd.methods import build, find
from railkd.models import compiled
from railkd.models.shortcuts import UsedRows
from railkd.random_streams import seed_global
from railkd.tasks import TASKS
from railkd.training.loop import train
from railkd.training.settings import TrainingSettings

QUICK = {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "precision": "float32"}
TRAIN = [(f"{('bad', 'good')[i % 2]} film number {i}", i % 2) for i in range(48)]
DEV = [(f"{('bad', 'good')[i % 2]} plot number {i}", i % 2) for i in range(20)]
OPTIONS: dict[str, dict[str, Any]] = {"codir": {"negatives": 8, "projection_dim": 8}}


def model(folder: Path, outputs: int = 2, **settings: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=outputs, **settings)


@pytest.fixture
def tokenizer(checkpoints: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoints / "bert4")


@pytest.fixture
def call(checkpoints: Path, tokenizer: Any) -> Any:
    """``distil`` of tiny models, with changes to its arguments."""

    def distil(**changes: Any) -> Any:
        given = {
            "teacher": model(checkpoints / "bert4"), "student": model(checkpoints / "distilbert2"), "train": TRAIN,
            "dev": DEV, "tokenizer": tokenizer, "training": QUICK, "progress": False,
        }  # fmt: skip
        return railkd.distil(**{**given, **changes})

    return distil


def as_in_the_workflow(pipeline: Any, name: str) -> tuple[Any, Any]:
    """A student and its outcome, trained as a job of the workflow does it."""
    kind, data = find(name), pipeline.prepared("mrpc")
    student = pipeline.student("distilbert2", whole=kind.whole_last_layer)
    seed_global(1, "method")
    setting = setting_for((4, 32, 2), (2, 16, 2), data.task, data.splits["train"].labels)
    method = build(name, setting, pipeline.benchmark.options(name))
    settings = TrainingSettings.of(QUICK, 1, torch.device("cpu"))
    return student, train(student, method, pipeline.source(method, "mrpc"), data, settings)


def in_memory(pipeline: Any, mirror: Path, tokenizer: Any, method: str, **training: Any) -> tuple[Any, Any]:
    """The same student by ``distil``."""
    raw = read_task(pipeline.benchmark, TASKS["mrpc"], mirror)
    splits = {name: (list(zip(*texts, strict=True)), labels.tolist()) for name, (texts, labels, _) in raw.items()}
    teacher = fine_tuned(pipeline.layout, "bert4", "mrpc", 2, True)[0]
    student = pipeline.student("distilbert2", whole=True)
    for loaded in (teacher, student):  # as transformers loads a model, also on a CPU
        loaded.set_attn_implementation("sdpa")
    return railkd.distil(
        teacher, student, splits["train"], splits["dev"], method,
        tokenizer=tokenizer, max_length=32, metric="f1", training={**QUICK, **training}, progress=False,
        **pipeline.benchmark.options(method),
    )  # fmt: skip


@pytest.mark.parametrize("method", ["rail_kd_c", "codir", "minilm_v2"])
def test_a_seed_gives_the_run_of_the_workflow(pipeline: Any, mirror: Path, tokenizer: Any, method: str) -> None:
    """The same models, texts and seed give the same bits, whether the teacher's signals are on disk or in memory."""
    theirs, outcome = as_in_the_workflow(pipeline, method)
    ours, result = in_memory(pipeline, mirror, tokenizer, method)
    for key in ("loss", "halves", "learning_rate"):
        assert [epoch[key] for epoch in result.epochs] == [epoch[key] for epoch in outcome.epochs]
    assert [epoch["dev"]["f1"] for epoch in result.epochs] == [epoch["dev"]["f1"] for epoch in outcome.epochs]
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    assert ours.config._attn_implementation == "sdpa"
    assert result.record == outcome.method_record


def test_a_live_teacher_gives_nearly_the_same(pipeline: Any, mirror: Path, tokenizer: Any) -> None:
    """The cached vectors are rounded to float16."""
    cached, live = (
        in_memory(pipeline, mirror, tokenizer, "rail_kd_c", regime=regime)[1].epochs[-1]["loss"]
        for regime in ("cached", "live")
    )
    assert cached != live and live == pytest.approx(cached, rel=1e-2)


def test_a_live_teacher_in_bfloat16_is_float32_again_afterwards(checkpoints: Path, call: Any) -> None:
    teacher = model(checkpoints / "bert4")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    call(teacher=teacher, method="minilm_v2", training={**QUICK, "precision": "bfloat16"})
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert {value.dtype for value in teacher.state_dict().values()} == {value.dtype for value in before.values()}


def test_a_student_is_compiled_where_the_settings_say_so(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []
    torch.compiler.reset()
    monkeypatch.setattr(compiled, "how", lambda device: {"backend": lambda graph, _: (graphs.append(graph), graph)[1]})
    student, result = call(training={**QUICK, "compile": True})
    assert result.training["compile"] is True and len(graphs) >= 2  # one of them to see whether this machine compiles
    assert not isinstance(student.get_input_embeddings(), UsedRows)
    assert call(training=QUICK)[1].training["compile"] is False


@pytest.mark.parametrize("method", available())
def test_every_method_trains_and_leaves_the_models_as_they_were(checkpoints: Path, call: Any, method: str) -> None:
    teacher, student = model(checkpoints / "bert4"), model(checkpoints / "distilbert2")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    epochs = 4 if method == "tinybert" else 2  # some have stages
    trained, result = call(
        teacher=teacher, student=student, method=method, training={**QUICK, "epochs": epochs}, **OPTIONS.get(method, {})
    )
    assert trained is student and not student.training and len(result.epochs) == epochs
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.requires_grad for parameter in (*teacher.parameters(), *student.parameters()))
    fresh, inputs = model(checkpoints / "distilbert2"), {"input_ids": torch.arange(5, 15)[None]}
    fresh.load_state_dict(student.state_dict())
    said, again = (m.eval()(**inputs, output_hidden_states=True) for m in (student, fresh))
    torch.testing.assert_close(said.logits, again.logits)
    assert said.hidden_states[-1].shape == again.hidden_states[-1].shape == (1, 10, 16)


def test_an_interrupted_training_leaves_models_that_can_be_used(checkpoints: Path, call: Any) -> None:
    student = model(checkpoints / "bert2", attn_implementation="eager")
    before = student.get_input_embeddings().weight.detach().clone()
    kinds = [type(module) for module in student.modules()]

    def interrupt(metrics: Any, step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(student=student, log=interrupt)
    assert [type(module) for module in student.modules()] == kinds
    assert student.config._attn_implementation == "eager"
    now = student.get_input_embeddings().weight
    assert now.shape == before.shape and not torch.equal(now, before)


@pytest.mark.parametrize("method", ["rail_kd_c", "minilm_v2"])  # cached, live
def test_less_data_is_kept_on_a_gpu_whose_memory_runs_out(
    checkpoints: Path, call: Any, method: str, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The student then begins anew, with the weights, the projections and the numbers of a first try."""
    expected, result = call(method=method)
    shares: list[float] = []

    def until(fits: float) -> Any:
        def out_of_memory(*arguments: Any, **others: Any) -> Any:
            shares.append(arguments[4].device_memory)
            outcome = train(*arguments, **others)
            if shares[-1] > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return outcome

        return out_of_memory

    warn.cache_clear()  # it says a thing once a process
    monkeypatch.setattr(distilling, "train", until(0.25))
    student, again = call(method=method)
    assert shares == [0.5, 0.125] and [e["loss"] for e in again.epochs] == [e["loss"] for e in result.epochs]
    assert all(map(torch.equal, student.state_dict().values(), expected.state_dict().values()))
    said = "railkd: warning: GPU memory ran out with 50% of what was free for data; trying again with 12%"
    assert said in capsys.readouterr().err.splitlines()
    monkeypatch.setattr(distilling, "train", until(-1.0))
    student, fresh = model(checkpoints / "distilbert2"), model(checkpoints / "distilbert2")
    with pytest.raises(UserError, match="^GPU memory ran out with no data kept there; expected a smaller batch_size"):
        call(student=student, method=method)
    assert shares[2:] == [0.5, 0.125, 0.0]
    assert all(map(torch.equal, student.state_dict().values(), fresh.state_dict().values()))
    assert all(parameter.grad is None for parameter in student.parameters())


def test_the_kinds_of_examples_say_the_same(call: Any) -> None:
    columns = {"text": [text for text, _ in TRAIN], "label": [label for _, label in TRAIN]}
    texts, labels = list(columns["text"]), list(columns["label"])
    named = datasets.Dataset.from_dict({"id": range(48), "review": texts, "stars": labels})
    losses = {
        str(call(train=train, method="no_kd", **others)[1].epochs[-1]["loss"])
        for train, others in (
            (TRAIN, {}),
            ((texts, labels), {}),
            ((texts, list(np.array(labels))), {}),
            (datasets.Dataset.from_dict(columns), {}),
        )
    }
    losses.add(str(call(train=named, dev=named, label="stars", method="no_kd")[1].epochs[-1]["loss"]))
    assert len(losses) == 1


def test_pairs_names_and_scores(checkpoints: Path, call: Any, tokenizer: Any) -> None:
    names = {0: "negative", 1: "positive"}
    pairs = [(text, "plot", names[label]) for text, label in TRAIN]
    load = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    models = {role: model(checkpoints / name, **load) for role, name in (("teacher", "bert4"), ("student", "bert2"))}
    student, result = call(train=pairs, dev=pairs[:20], **models)
    assert set(result.scores) == {"accuracy", "macro_f1", "f1", "matthews"}
    scores = railkd.evaluate(student, pairs[:20], tokenizer=tokenizer)
    assert scores == result.scores
    scored = [(text, float(label) * 2.5) for text, label in TRAIN]
    student, result = call(
        train=scored, dev=scored[:20], teacher=None, student=model(checkpoints / "bert2", 1), method="no_kd"
    )
    assert set(result.scores) == {"pearson", "spearman", "pearson_spearman"}


def test_what_may_be_a_mistake_is_a_warning(checkpoints: Path, call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    warn.cache_clear()
    models = {
        role: model(checkpoints / name, id2label=dict(enumerate(names)))
        for role, name, names in (("teacher", "bert4", ("no", "yes")), ("student", "bert2", ("bad", "good")))
    }
    call(**models)
    percent, others = ([(text, 100.0 * label) for text, label in rows] for rows in (TRAIN, DEV))
    call(train=percent, dev=others, teacher=None, student=model(checkpoints / "bert2", 1), method="no_kd")
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("railkd: warning")] == [
        "railkd: warning: student: id2label has other names than the teacher's, taken as the same classes in order "
        "(teacher no, yes; student bad, good)",
        "railkd: warning: train: scores from 0 to 100 are learnt as they stand, which takes many steps; divide them, "
        "so that none is beyond 10 (STS-B has 0 to 5)",
    ]


def test_a_progress_bar_and_a_log(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    _, result = call(progress=True, log=lambda metrics, step: seen.append((metrics, step)))
    assert [step for _, step in seen] == [3, 6] and seen[-1][0]["train/total"] == result.epochs[-1]["loss"]["total"]
    shown = capsys.readouterr().err
    assert "rail_kd_c" in shown and "6/6" in shown and "dev accuracy" in shown
    call()
    assert "6/6" not in capsys.readouterr().err


def test_nothing_is_written(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call()
    assert not list(tmp_path.iterdir())


def unnamed(rows: list[tuple[str, Any]]) -> Any:
    return datasets.Dataset.from_dict({"text": [text for text, _ in rows], "stars": [label for _, label in rows]})


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"lamda": 1.0}, "rail_kd_c: unknown option 'lamda'"),
    ({"temperatur": 1.0}, "did you mean 'temperature'?"),
    ({"sed": 1}, "did you mean 'seed'?"),
    ({"epochs": 3}, "epochs: is no option of rail_kd_c but a setting: write training={'epochs': 3}"),
    ({"temperature": "hot"}, "method.rail_kd_c.temperature: 'hot' is not valid, expected number"),
    ({"method": "pdk"}, "unknown method 'pdk'; did you mean 'pkd'?"),
    ({"training": {"epoch": 3}}, "unknown key 'epoch'; did you mean 'epochs'?"),
    ({"training": {"epochs": 0}}, "training: epochs: 0 is less than the minimum of 1"),
    ({"training": {"dropout": 0.1}}, "training.dropout: is set when the student is loaded"),
    ({"seed": -1}, "seed: -1, expected a whole number from 0"),
    ({"device": "gpu"}, "gpu"),
    ({"metric": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
    ({"metric": "pearson"}, "unknown metric of 2 classes 'pearson'"),
    ({"max_length": 5}, "max_length: 5, expected a whole number of tokens from 8"),
    ({"max_length": 200}, "max_length: 200 tokens, expected at most the 80 of the teacher"),
    ({"teacher": None}, "teacher: is None, and the method rail_kd_c reads it"),
    ({"teacher": "bert"}, "teacher: is a str, expected a model of transformers"),
    ({"tokenizer": None}, "tokenizer: is a NoneType, expected a fast one"),
    ({"train": "texts.csv"}, "train: is a str, expected a datasets.Dataset, a list of rows"),
    ({"train": []}, "train: has no row"),
    ({"train": [*TRAIN, ("good", 2)]}, "train: row 48: label 2, expected one of 0, 1"),
    ({"train": [*TRAIN, (None, 1)]}, "train: row 48: column 'text' is None, expected a non-empty text"),
    ({"train": [*TRAIN, ("good",)]}, "train: row 48: ('good',), expected 2 parts as row 0 has"),
    ({"train": (["good", "bad"], [1])}, "train: has 2 texts and 1 labels"),
    ({"train": [("good", 1)] * 4}, "none of the 4 training rows has label 0"),
    ({"dev": [("good", 1)] * 4}, "dev: every one of the 4 rows of dev has the label"),
    ({"train": unnamed(TRAIN)}, "train: no column 'label' (expected text, label; found text, stars)"),
    ({"train": datasets.DatasetDict({"train": unnamed(TRAIN)})}, "expected one of its splits, such as data['train']"),
    ({"columns": ["sentence"]}, "train: no column 'sentence'"),
    ({"columns": []}, "columns: names 0 columns, expected one or two"),
]


@pytest.mark.parametrize(("changes", "expected"), MISTAKES, ids=[text[:40] for _, text in MISTAKES])
def test_a_mistake_is_one_line(call: Any, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        call(**changes)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_models_that_do_not_fit(checkpoints: Path, call: Any) -> None:
    from transformers import AutoModel, AutoTokenizer

    for changes, expected in (
        ({"student": model(checkpoints / "bert2", 3)}, "the teacher 2, the student 3"),
        ({"student": AutoModel.from_pretrained(checkpoints / "bert2")}, "student: is a BertModel, expected a Bert"),
        ({"tokenizer": AutoTokenizer.from_pretrained(checkpoints / "roberta3")}, "tokens, and the teacher knows"),
    ):
        with pytest.raises(UserError, match=expected):
            call(**changes)
    for name, folder in (("teacher", "bert4"), ("student", "bert2")):
        with pytest.raises(UserError, match=f"{name}: has weights in bfloat16, expected float32, as from from_pre"):
            call(**{name: model(checkpoints / folder, dtype=torch.bfloat16)})
    grades = {0: "1", 1: "2"}
    with pytest.raises(UserError, match="train: a label 1 may be the class of that number or, by id2label, class 0"):
        call(teacher=model(checkpoints / "bert4", id2label=grades), student=model(checkpoints / "bert2"))
    one = model(checkpoints / "bert4")
    with pytest.raises(UserError, match="student: is the teacher itself"):
        call(teacher=one, student=one)
    turned = model(checkpoints / "bert4", id2label={0: "Good", 1: "Bad"}, label2id={"Good": 0, "Bad": 1})
    straight = model(checkpoints / "bert2", id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    with pytest.raises(UserError, match="id2label has the teacher's classes in another order"):
        call(teacher=turned, student=straight)
    texts, labels = [text for text, _ in TRAIN], [label for _, label in TRAIN]
    kinds = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    named = datasets.Dataset.from_dict({"text": texts, "label": labels}, features=datasets.Features(kinds))
    with pytest.raises(UserError, match="train: its classes are bad, good in this order"):
        call(train=named, teacher=turned, student=model(checkpoints / "bert2"))


def test_frozen_embeddings_stay_as_they_were(checkpoints: Path, call: Any) -> None:
    student = model(checkpoints / "distilbert2")
    student.distilbert.embeddings.requires_grad_(False)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    call(student=student)
    words = student.distilbert.embeddings.word_embeddings.weight
    changed = [name for name, value in student.state_dict().items() if not torch.equal(value, before[name])]
    assert changed and not any("embeddings" in name for name in changed) and not words.requires_grad


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import railkd, sys; print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)), dir(railkd))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ") and "'distil'" in done.stdout and "'DistillationTrainer'" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'destil'"):
        _ = railkd.destil
