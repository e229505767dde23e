"""A teacher that was fine-tuned elsewhere: its head is used, and its outputs are put into the task's order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.jobs import fine_tuning, preparing
from railkd.jobs_to_run import JobsToRun
from railkd.models import checkpoints, classifier
from railkd.models.fine_tuned import begin_in_order, known_order, output_order, reorder_outputs
from railkd.records import run_record
from railkd.tasks import TASKS
from railkd.verification import Verifier

CPU = torch.device("cpu")


def configuration(names: Any = None, outputs: int = 2, **more: Any) -> Any:
    from transformers import BertConfig

    given = (
        {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    )
    return BertConfig(**({"num_labels": outputs} if names is None else given), **more)


@pytest.mark.parametrize(
    ("task", "names", "labels", "order"),
    [
        ("sst2", ["negative", "positive"], None, (0, 1)),
        ("sst2", ["POSITIVE", "NEGATIVE"], None, (1, 0)),
        ("mrpc", ["equivalent", "Not-Equivalent"], None, (1, 0)),
        ("mnli", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], None, (2, 1, 0)),
        ("mnli", ["contradiction", "entailment", "neutral"], None, (1, 2, 0)),
        ("mnli", None, ["neutral", "contradiction", "entailment"], (2, 0, 1)),
        ("rte", ["entailment", "not_entailment"], ["not_entailment", "entailment"], (1, 0)),  # the file's word holds
        ("stsb", ["LABEL_0"], None, (0,)),
    ],
)
def test_outputs_are_found_by_their_names(task: str, names: Any, labels: Any, order: tuple[int, ...]) -> None:
    outputs = TASKS[task].outputs
    assert output_order(configuration(names, outputs), labels, TASKS[task], "models.m") == order


@pytest.mark.parametrize(
    ("task", "config", "labels", "message"),
    [
        ("mrpc", configuration(["entailment", "neutral", "contradiction"]), None,
         r"^models.m: is fine-tuned for another task than mrpc: its head has 3 outputs .*expected 2$"),
        ("mrpc", configuration(["negative", "positive"]), None,
         r"^models.m: the labels .* are negative, positive, expected those of mrpc: not_equivalent, equivalent$"),
        ("sst2", configuration(), None, r"LABEL_0, LABEL_1, which says nothing.*expected models.m.labels: .*negative"),
        ("sst2", configuration(), ["good", "bad"], r"^models.m.labels: .*good, bad, expected those of sst2"),
        ("sst2", configuration(["negative", "NEGATIVE"]), None, "negative, NEGATIVE, expected those of sst2"),
        ("mnli", configuration(outputs=3), ["neutral", "entailment"], "^models.m.labels: .*neutral, entailment, exp"),
        ("stsb", configuration(["a"]), ["a"], "^models.m.labels: stsb is a regression"),
        ("stsb", configuration(["negative", "positive"]), None, "another task than stsb: its head has 2 outputs"),
        ("qnli", configuration(["entailment", "not_entailment"], finetuning_task="rte"), None,
         "finetuning_task 'rte', expected one for qnli; .*models.m.labels$"),
    ],
)  # fmt: skip
def test_a_head_of_another_task_is_refused(task: str, config: Any, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        output_order(config, labels, TASKS[task], "models.m")


def test_a_configuration_that_contradicts_itself_is_refused() -> None:
    config = configuration(["negative", "positive"])
    config.label2id = {"positive": 0, "negative": 1}
    with pytest.raises(UserError, match="contradicts itself: id2label calls output 0 'negative'"):
        output_order(config, None, TASKS["sst2"], "models.m")
    assert output_order(config, ["positive", "negative"], TASKS["sst2"], "models.m") == (1, 0)


@pytest.mark.parametrize("name", ["bert4", "distilbert2", "roberta3"])
def test_reordered_outputs_are_those_of_before(checkpoints: Path, name: str) -> None:
    model = classifier.load_classifier(classifier.Checkpoint(str(checkpoints / name)), 3, 1, "m").eval()
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        reorder_outputs(model, (2, 0, 1), "m")
        assert torch.allclose(model(input_ids=ids).logits, before[:, [2, 0, 1]], atol=1e-6)


def test_a_head_that_training_goes_on_from_is_put_into_the_tasks_order() -> None:
    """Published as positive, negative: its first steps would unlearn what it knows. Names that say nothing do not."""
    from transformers import BertForSequenceClassification

    for names, labels, turned in (
        (["positive", "negative"], None, True),
        (["NEGATIVE", "POSITIVE"], None, False),
        (None, ["positive", "negative"], True),
        (None, None, False),
        (["ham", "spam"], None, False),
    ):
        torch.manual_seed(0)
        model = BertForSequenceClassification(configuration(names, hidden_size=8, num_hidden_layers=1,
                                              num_attention_heads=1, intermediate_size=8, vocab_size=10))  # fmt: skip
        before = model.classifier.weight.clone()
        begin_in_order(model, labels, TASKS["sst2"], "m")
        assert torch.equal(model.classifier.weight, before.flip(0) if turned else before), names
    assert known_order(configuration(id2label={1: "negative", 0: "positive"}), None, TASKS["sst2"]) == (
        1,
        0,
    )  # any order


# --- through the jobs ----------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(pipeline: Any, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the pipeline's teacher of MRPC as somebody else may have published it: its outputs in this order."""

    def make(order: tuple[int, ...] = (1, 0), names: Any = ("EQUIVALENT", "NOT_EQUIVALENT")) -> Path:
        model = pipeline.teacher("mrpc")
        reorder_outputs(model, order, "m")
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: i for i, name in enumerate(names)}
        folder = tmp_path / "published"
        model.save_pretrained(folder)
        checkpoints.load_tokenizer(
            checkpoints.Checkpoint(str(pipeline.layout.teacher("bert4", "mrpc"))), "m"
        ).save_pretrained(folder)
        return folder

    return make


def of_mrpc(make_benchmark: Any, folder: Path, **more: Any) -> Any:
    return make_benchmark(
        {
            "data.test": "heldout",
            "data.tasks": ["mrpc"],
            "models.bert4": {"path": str(folder), "fine_tuned": True, **more},
        }
    )


def test_its_head_gives_the_scores_and_nothing_is_trained(
    pipeline: Any, elsewhere: Any, make_benchmark: Any, tmp_path: Path
) -> None:
    benchmark, layout = of_mrpc(make_benchmark, elsewhere()), Layout(tmp_path / "results")
    check(benchmark, layout)
    preparing.prepare(benchmark, layout, "bert4", "mrpc")
    record = fine_tuning.fine_tune(benchmark, layout, "bert4", "mrpc", CPU, lambda line: None)
    place = layout.teacher("bert4", "mrpc") / "record.json"
    own = pipeline.layout.teacher("bert4", "mrpc") / "record.json"
    trained = run_record.read(own)
    assert record["scores"] == trained["scores"] and (record["epochs"], record["best_epoch"]) == ([], 0)
    assert record["cost"]["steps"] == 0 and record["config"]["training"] == {"precision": "float32"}
    for split, logits in run_record.predictions(own, trained).items():
        assert np.allclose(run_record.predictions(place, record)[split], logits, atol=1e-5)
    config = json.loads((place.parent / "config.json").read_text())
    assert config["id2label"] == {"0": "not_equivalent", "1": "equivalent"}
    fine_tuning.signals(benchmark, layout, "bert4", "mrpc", CPU)
    teachers = [p for p in JobsToRun(benchmark, layout).products if p.job in ("teacher", "signals")]
    assert [p.why for p in teachers] == [None, None]
    problems = list(Verifier(benchmark, layout).problems())
    assert problems and all("missing" in line and "seed-" in line for line in problems)  # of the students alone
    renamed = json.loads((tmp_path / "published" / "config.json").read_text())
    (tmp_path / "published" / "config.json").write_text(json.dumps({**renamed, "id2label": {"0": "a", "1": "b"}}))
    assert [p.why for p in JobsToRun(benchmark, layout).products if p.job == "teacher"] == [
        "the teacher's checkpoint is another one"
    ]


def test_settings_of_training_make_it_no_other_teacher(elsewhere: Any, make_benchmark: Any) -> None:
    folder = elsewhere()
    first = run_record.expected_teacher_config(of_mrpc(make_benchmark, folder), "bert4", "mrpc")
    changes = {
        "data.test": "heldout",
        "data.tasks": ["mrpc"],
        "models.bert4": {"path": str(folder), "fine_tuned": True},
    }
    other = make_benchmark({**changes, "training.teacher.epochs": 9, "teacher_seed": 5})
    assert run_record.expected_teacher_config(other, "bert4", "mrpc") == first


def test_labels_of_the_benchmark_file_name_nameless_outputs(
    elsewhere: Any, make_benchmark: Any, tmp_path: Path
) -> None:
    folder, layout = elsewhere(names=("LABEL_0", "LABEL_1")), Layout(tmp_path / "results")
    with pytest.raises(UserError, match=r"tiny.yaml: models.bert4: .*expected models.bert4.labels: .* not_equivalent"):
        check(of_mrpc(make_benchmark, folder), layout)
    check(of_mrpc(make_benchmark, folder, labels=["equivalent", "not_equivalent"]), layout)


def test_what_is_not_fine_tuned_or_of_another_task_is_refused_before_compute(
    checkpoints: Path, elsewhere: Any, make_benchmark: Any, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "results")
    bare = of_mrpc(make_benchmark, checkpoints / "bert4", labels=["equivalent", "not_equivalent"])
    with pytest.raises(
        UserError, match="classifier.bias' of its classification head is missing, so it is not fine-tuned"
    ):
        check(bare, layout)
    both = make_benchmark({"models.bert4": {"path": str(elsewhere()), "fine_tuned": True}})  # sst2 and mrpc
    with pytest.raises(UserError, match="are EQUIVALENT, NOT_EQUIVALENT, expected those of sst2: negative, positive"):
        check(both, layout)
    assert not layout.root.exists()
