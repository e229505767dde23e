"""A method's loss in one's own loop: the numbers of the suite's step, and mistakes in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch

import railkd
from railkd.errors import UserError
from railkd.method_sources import available
from railkd.methods import build
from railkd.models.forward import forward
from railkd.random_streams import seed_global, stream
from railkd.signals import Batch


@pytest.fixture
def parts(checkpoints: Path) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Teacher, student without type ids, and a batch of pairs."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    load = AutoModelForSequenceClassification.from_pretrained
    tokenizer = AutoTokenizer.from_pretrained(checkpoints / "bert4")
    pairs = [("good film", "plot"), ("bad plot", "film music"), ("good", "house"), ("bad city river", "film")]
    batch = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    labels = {"labels": torch.tensor([1, 0, 1, 0]), "row": torch.arange(4)}
    return load(checkpoints / "bert4"), load(checkpoints / "distilbert2"), {**batch, **labels}


def loss_of(parts: Any, method: str, **options: Any) -> Any:
    teacher, student, batch = parts
    if method == "codir":
        options |= {"negatives": 4, "projection_dim": 8, "train_labels": batch["labels"]}
    return railkd.DistillationLoss(teacher, student, method, epochs=4, **options)


@pytest.mark.parametrize("method", available())
def test_every_method_gives_a_loss_with_a_gradient(parts: Any, method: str) -> None:
    teacher, student, batch = parts
    loss = loss_of(parts, method)
    reached = False
    for epoch in range(4):
        loss.start_epoch(epoch)
        total, terms = loss(batch)
        total.backward()
        loss.end_epoch()
        reached |= any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in student.parameters())
        weighted = sum(loss.method.weights[name] * value for name, value in terms.items())
        assert total.item() == pytest.approx(float(weighted), rel=1e-5)
    assert reached and all(parameter.grad is None for parameter in teacher.parameters())
    assert not {id(p) for p in loss.parameters()} & {id(p) for p in (*student.parameters(), *teacher.parameters())}


def test_the_numbers_are_those_of_the_method(parts: Any) -> None:
    """As the suite's step computes them, with the same seed."""
    teacher, student, batch = parts
    student.eval()  # without dropout
    loss = loss_of(parts, "rail_kd_l", seed=3, projection_dim=8)
    loss.start_epoch(1)
    ours = loss(batch)
    seed_global(3, "method")
    method = build("rail_kd_l", loss.method.setting, {"projection_dim": 8})
    method.epochs = 4
    method.start_training(stream(3, "method"))
    method.start_epoch(1, stream(3, "method", 1))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        signals = forward(teacher.eval(), {**inputs, "token_type_ids": batch["token_type_ids"]})
    theirs = method.loss(Batch(batch["row"], batch["labels"], inputs), forward(student, inputs), signals)
    assert torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]
    assert loss.record() == method.record()


def test_a_teacher_of_nothing(parts: Any) -> None:
    _, student, batch = parts
    loss = railkd.DistillationLoss(None, student, "no_kd", epochs=1)
    loss.start_epoch(0)
    assert set(loss(batch)[1]) == {"ce"} and not list(loss.parameters())
    with pytest.raises(UserError, match="teacher: is None, and the method pkd reads it"):
        railkd.DistillationLoss(None, student, "pkd", epochs=1)


def test_a_mistake_is_one_line(parts: Any) -> None:
    teacher, student, batch = parts
    with pytest.raises(UserError, match=r"pkd: unknown option 'betta'; did you mean 'beta'\?"):
        loss_of(parts, "pkd", betta=1.0)
    with pytest.raises(UserError, match="need at least 2 epochs"):
        railkd.DistillationLoss(teacher, student, "cr_ild", epochs=1)
    loss = loss_of(parts, "vanilla_kd")
    loss.start_epoch(0)
    for missing, expected in (("labels", "batch: no labels"), ("token_type_ids", "batch: no token_type_ids, which a")):
        with pytest.raises(UserError, match=expected):
            loss({name: value for name, value in batch.items() if name != missing})
    loss = loss_of(parts, "codir")
    loss.start_epoch(0)
    with pytest.raises(UserError, match="expected train_labels, and 'row' in each batch"):
        loss({name: value for name, value in batch.items() if name != "row"})


@pytest.mark.parametrize("where", ["__init__", "start_epoch"])
def test_what_is_no_parameter_of_the_loss_is_refused_at_the_first_batch(parts: Any, tmp_path: Path, where: str) -> None:
    """No optimizer is given a map in a plain list, nor, being made before the first epoch, one that is made in it."""
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom railkd.methods.vanilla_kd import VanillaKD\n\n\nclass Mine(VanillaKD):\n"
        f"    def {where}(self, *given):\n        super().{where}(*given)\n"
        f"        self.map = {'[torch.nn.Linear(2, 5)]' if where == '__init__' else 'torch.nn.Linear(2, 5)'}\n"
        "    def terms(self, batch, student, teacher):\n        found = super().terms(batch, student, teacher)\n"
        "        first = self.map[0] if isinstance(self.map, list) else self.map\n"
        '        return {**found, "kd": found["kd"] + first(student.logits_BC).square().mean()}\n'
    )
    loss = loss_of(parts, f"{tmp_path / 'mine.py'}:Mine")
    loss.start_epoch(0)
    with torch.no_grad():
        loss(parts[2])
    with pytest.raises(UserError, match=r"mine.py:5: Mine: a tensor of the shape \(5.* is no registered parameter"):
        loss(parts[2])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            torch.tensor([[1], [0], [1], [0]]),
            r"batch: labels are of shape \(4, 1\), expected one class number for each",
        ),
        (torch.tensor([1, 0]), r"batch: labels are of shape \(2,\), expected one class number for each text, \(4,\)"),
        (torch.tensor(1), r"batch: labels are of shape \(\), expected one class"),
        (torch.tensor([[1.0, 0.0]] * 4), r"batch: labels are of shape \(4, 2\), expected one class number"),
        (torch.tensor([1.0, 0.0, 1.0, 0.0]), "batch: labels are of type float32, expected one class number"),
        (torch.tensor([True, False, True, False]), "batch: labels are of type bool, expected one class number"),
    ],
)
def test_labels_that_are_not_one_class_each_are_refused(parts: Any, labels: torch.Tensor, expected: str) -> None:
    loss = loss_of(parts, "vanilla_kd")
    loss.start_epoch(0)
    with pytest.raises(UserError, match=expected):
        loss({**parts[2], "labels": labels})


def test_class_numbers_of_another_width_are_the_same_classes(parts: Any) -> None:
    parts[1].eval()
    loss = loss_of(parts, "vanilla_kd")
    loss.start_epoch(0)
    one, other = (loss({**parts[2], "labels": parts[2]["labels"].to(kind)}) for kind in (torch.int64, torch.int32))
    assert torch.equal(one[0], other[0])


def test_scores_in_a_column_are_scores(checkpoints: Path, parts: Any) -> None:
    """(B, 1), as `transformers` takes them: broadcast against (B,), each score would be compared with all."""
    from transformers import AutoModelForSequenceClassification

    load = AutoModelForSequenceClassification.from_pretrained
    student = load(checkpoints / "distilbert2", num_labels=1).eval()
    loss = railkd.DistillationLoss(load(checkpoints / "bert4", num_labels=1), student, "vanilla_kd", epochs=1)
    loss.start_epoch(0)
    scores = torch.tensor([0.0, 1.0, 4.0, 5.0])
    flat, column = (loss({**parts[2], "labels": given}) for given in (scores, scores[:, None]))
    assert torch.equal(flat[0], column[0])
    inputs = {name: parts[2][name] for name in ("input_ids", "attention_mask")}
    assert float(column[1]["ce"]) == pytest.approx(float(student(**inputs, labels=scores[:, None]).loss.detach()))
    with pytest.raises(UserError, match=r"of shape \(4, 2\), expected one score for each text, \(4,\)"):
        loss({**parts[2], "labels": torch.zeros(4, 2)})


def test_training_labels_are_one_class_each(parts: Any) -> None:
    teacher, student, _ = parts
    with pytest.raises(UserError, match=r"train_labels: are of shape \(4, 2\), expected one class number"):
        railkd.DistillationLoss(teacher, student, "no_kd", epochs=1, train_labels=torch.zeros(4, 2))


def test_models_of_several_labels_a_text_are_refused(checkpoints: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    load = AutoModelForSequenceClassification.from_pretrained
    several = load(checkpoints / "distilbert2", num_labels=3, problem_type="multi_label_classification")
    with pytest.raises(UserError, match="student: its problem_type is multi_label_classification, expected a model"):
        railkd.DistillationLoss(load(checkpoints / "bert4", num_labels=3), several, "vanilla_kd", epochs=1)


def test_models_whose_outputs_differ_are_refused(checkpoints: Path) -> None:
    """As by ``distil``: their logits would be broadcast, or a class pulled to another."""
    from transformers import AutoModelForSequenceClassification

    load = AutoModelForSequenceClassification.from_pretrained
    teacher = load(checkpoints / "bert4", num_labels=1)
    with pytest.raises(UserError, match="the teacher 1, the student 2"):
        railkd.DistillationLoss(teacher, load(checkpoints / "bert2"), "vanilla_kd", epochs=1)
    one, other = ({0: "bad", 1: "good"}, {0: "good", 1: "bad"})
    models = load(checkpoints / "bert4", id2label=one), load(checkpoints / "bert2", id2label=other)
    with pytest.raises(UserError, match="id2label has the teacher's classes in another order"):
        railkd.DistillationLoss(*models, "vanilla_kd", epochs=1)


def test_the_teacher_moves_with_the_loss(parts: Any) -> None:
    teacher, _, _ = parts
    loss = loss_of(parts, "rail_kd_l", projection_dim=8)
    loss.to("meta")
    assert {p.device.type for p in (*teacher.parameters(), *loss.parameters())} == {"meta"}
    assert loss._teacher.device.type == "meta"
