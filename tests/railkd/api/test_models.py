"""What `railkd check` refuses of a benchmark's models, ``distil``, ``DistillationLoss`` and the Trainer refuse too."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tokenizers import WORDS, bert_tokenizer, roberta_tokenizer

import railkd
from railkd.api.examples import Reading, prepared
from railkd.api.models import require_readable
from railkd.errors import UserError
from railkd.signals import Batch
from railkd.teacher.live import LiveTeacher

ROWS = [(f"{WORDS[i % 12]} {WORDS[(i * 5) % 12]} {'film ' * (i % 4)}", i % 2) for i in range(40)]


def make(kind: str, seed: int, outputs: int = 2, **options: Any) -> Any:
    """A tiny classifier of a family, with the special tokens of its tokenizer."""
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tokenizer = tokenizer_of(kind)
    sizes = {
        "num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 80, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2, "num_labels": outputs,
    }  # fmt: skip
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(CONFIG_MAPPING[kind](**{**sizes, **options}))


def tokenizer_of(kind: str) -> Any:
    return roberta_tokenizer() if kind in ("esm", "roberta") else bert_tokenizer()


REFUSED = [
    ("gpt2", "pkd", {}, "the first position of a GPT2ForSequenceClassification does not read what follows it"),
    ("roformer", "minilm_v2", {}, "method: reads queries, keys and values, which the student does not show"),
    ("esm", "mixkd", {"mask_token_id": 4}, "method: mixes word embeddings, which the student does not take"),
    ("fnet", "vanilla_kd", {}, "the outputs of a FNetForSequenceClassification depend on the padding"),
]


@pytest.mark.parametrize(("kind", "method", "options", "expected"), REFUSED, ids=[row[0] for row in REFUSED])
def test_models_that_a_method_cannot_read_are_refused(
    kind: str, method: str, options: dict[str, Any], expected: str
) -> None:
    student = make(kind, 1, **options)
    teacher = make("roberta" if kind == "esm" else "bert", 2, type_vocab_size=1)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with pytest.raises(UserError) as caught:
        railkd.DistillationLoss(teacher, student, method, epochs=2)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        railkd.distil(
            teacher, student, ROWS[:32], ROWS[32:], method, tokenizer=tokenizer_of(kind), progress=False,
            training={"epochs": 2, "batch_size": 8},
        )  # fmt: skip
    assert expected in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_is_tried_as_the_student_is() -> None:
    with pytest.raises(UserError, match="teacher: the outputs of a FNetForSequenceClassification depend on"):
        railkd.DistillationLoss(make("fnet", 1), make("bert", 2), "vanilla_kd", epochs=1)
    loss = railkd.DistillationLoss(make("roformer", 1), make("bert", 2), "pkd", epochs=1)
    assert loss.name == "pkd", "what the method does not read may be missing"
    with pytest.raises(UserError, match="queries, keys and values, which the teacher does not show"):
        railkd.DistillationLoss(make("roformer", 1), make("bert", 2), "minilm_v2", epochs=1)


def test_a_method_for_classes_is_refused_for_scores() -> None:
    with pytest.raises(UserError, match="method: codir is undefined for scores; the student has one output"):
        railkd.DistillationLoss(make("bert", 1, 1), make("bert", 2, 1), "codir", epochs=1, train_labels=[0.5, 1.0])


@pytest.mark.parametrize("kind", ["bert", "roformer", "roberta"])
def test_trying_a_model_leaves_it_and_the_random_numbers_as_they_were(kind: str) -> None:
    """Also what it keeps between two calls, such as tables of positions."""
    teacher, student = make(kind, 1, type_vocab_size=1), make(kind, 2, type_vocab_size=1).train()
    student.set_attn_implementation("eager" if kind == "roformer" else "sdpa")
    attention = student.config._attn_implementation
    first, second = (railkd.DistillationLoss(teacher, student, "no_kd", epochs=1) for _ in range(2))
    assert first.method.setting == second.method.setting
    before = {name: value.clone() for name, value in student.state_dict().items()}
    kept = {name: id(value) for name, value in student.named_buffers()}
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    require_readable({"student": student}, first.method)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert all(module.training for module in student.modules())
    assert student.config._attn_implementation == attention
    assert {name: id(value) for name, value in student.named_buffers()} == kept
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_model_is_trained_on_the_token_types_that_its_tokenizer_gives() -> None:
    """RobertaConfig has two token types by default, its tokenizer gives the first alone; a live teacher too."""
    tokenizer, pairs = tokenizer_of("roberta"), [(first, "the plot", label) for first, label in ROWS]
    teacher, student = make("roberta", 1, type_vocab_size=2), make("roberta", 2, type_vocab_size=1)
    data = prepared({"train": pairs, "dev": pairs}, {"teacher": teacher, "student": student}, Reading(tokenizer))
    split, rows = data.splits["train"], torch.arange(40)
    texts = [[row[i] for row in pairs] for i in (0, 1)]
    own = tokenizer(*texts, padding=True, return_token_type_ids=True, return_tensors="pt")
    made = split.collate(rows, tokenizer.pad_token_id, True)
    assert all(torch.equal(made[name], own[name]) for name in own)
    batch = Batch(rows, split.labels, split.collate(rows, tokenizer.pad_token_id, False))
    live = LiveTeacher(teacher, data, torch.device("cpu"), "float32").signals(batch)
    with torch.no_grad():
        torch.testing.assert_close(live.logits_BC, teacher(**own).logits)


def trained_on(student: Any, teacher: Any, **options: Any) -> Any:
    return railkd.distil(
        teacher, student, ROWS[:32], ROWS[32:], "vanilla_kd", tokenizer=bert_tokenizer(), progress=False,
        training={"epochs": 1, "batch_size": 8}, **options,
    )  # fmt: skip


@pytest.mark.parametrize("tied", [False, True], ids=["the same layers", "the same numbers"])
def test_a_student_with_layers_of_its_teacher_has_copies_of_them(tied: bool) -> None:
    """Else one that is trained changes its teacher, and what a frozen teacher owns is not trained: without a word."""
    teacher, student = make("bert", 1), make("bert", 2)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    if tied:
        student.bert.embeddings.word_embeddings.weight.data = teacher.bert.embeddings.word_embeddings.weight.data
    else:
        student.bert.encoder.layer[0] = teacher.bert.encoder.layer[1]
    line = r"student: its weight '.*' is the teacher's own, expected a copy, as of copy\.deepcopy\(layers\)"
    with pytest.raises(UserError, match=line):
        trained_on(student, teacher)
    with pytest.raises(UserError, match=line):
        railkd.DistillationLoss(teacher, student, "vanilla_kd", epochs=1)
    student = make("bert", 2)
    student.bert.encoder.layer[0] = copy.deepcopy(teacher.bert.encoder.layer[1])
    trained_on(student, teacher)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_tokenizer_whose_padding_a_model_takes_for_a_word_is_refused() -> None:
    with pytest.raises(UserError, match="tokenizer: pads with id 0, but the teacher's positions take id 1 for padding"):
        trained_on(make("bert", 1), make("roberta", 2, vocab_size=len(bert_tokenizer()), type_vocab_size=1))
    with pytest.raises(UserError, match="tokenizer: pads with id 0, but the model's positions take id 1 for padding"):
        railkd.evaluate(make("roberta", 2, vocab_size=len(bert_tokenizer())), ROWS, tokenizer=bert_tokenizer())


def test_scores_that_depend_on_padding_are_refused() -> None:
    with pytest.raises(UserError, match="model: the outputs of a FNetForSequenceClassification depend on the padding"):
        railkd.evaluate(make("fnet", 1), ROWS, tokenizer=bert_tokenizer())


def test_a_model_of_one_layer_is_scored_and_trained_by_what_needs_no_layer_between() -> None:
    student = make("bert", 1, num_hidden_layers=1)
    assert set(railkd.evaluate(student, ROWS, tokenizer=bert_tokenizer())) >= {"accuracy"}
    trained_on(student, make("bert", 2))
    with pytest.raises(UserError, match="student"):
        railkd.DistillationLoss(make("bert", 2), student, "pkd", epochs=1)
