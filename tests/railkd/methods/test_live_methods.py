"""Methods that read more than a cache holds: token states, vectors of the attention, mixed inputs, two stages."""

from dataclasses import replace

import pytest
import torch
from cases import started

from railkd.errors import UserError
from railkd.method_facts import facts
from railkd.method_sources import available
from railkd.methods import build, find
from railkd.signals import Batch

LIVE = [name for name in available() if facts(name).needs_live_teacher]
STAGED = ["cr_ild", "tinybert"]
OWN = {  # the terms that are neither CE nor KD
    "cr_ild": ["ild", "mixed", "consistency"],
    "mixkd": ["ce_mixed", "kd_mixed"],
    "tinybert": ["hidden", "attention"],
    "minilm_v2": ["relation"],
    "distilbert_cos": ["cos"],
}
REACHED = {"cr_ild": {6}, "mixkd": set(), "tinybert": set(range(7)), "minilm_v2": {5}, "distilbert_cos": {6}}


# ---- identities ----


@pytest.mark.parametrize("name", LIVE)
def test_teacher_equal_to_student_leaves_nothing_to_learn(case, name):
    setting, batch, student, _ = case(teacher=6, d_T=8)
    terms = started(name, setting).terms(batch, student, student)
    for term in OWN[name]:
        if term not in ("ce_mixed", "consistency"):  # these compare with labels, and the student with itself
            assert terms[term].item() == pytest.approx(0, abs=1e-6), term


@pytest.mark.parametrize("outputs", [3, 1])
def test_a_share_of_one_is_the_plain_batch(case, mix, outputs):
    setting, batch, student, teacher = case(outputs=outputs)
    mix([5, 4, 3, 2, 1, 0], 1.0)
    terms = started("mixkd", setting).terms(batch, student, teacher)
    assert terms["ce_mixed"].item() == pytest.approx(terms["ce"].item(), rel=1e-6)
    plain = (student.logits_BC - teacher.logits_BC).square().mean()
    assert terms["kd_mixed"].item() == pytest.approx(plain.item(), rel=1e-6)
    terms = started("cr_ild", setting).terms(batch, student, teacher)
    assert terms["mixed"].item() == pytest.approx(terms["ild"].item(), rel=1e-6)
    assert terms["consistency"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["minilm_v2", "distilbert_cos"])
def test_own_weight_zero_is_vanilla_kd(case, name):
    setting, batch, student, teacher = case()
    own = OWN[name][0]
    options = {"ce_weight": 0.5, "kd_weight": 0.5, f"{own}_weight": 0}
    expected = started("vanilla_kd", setting).loss(batch, student, teacher)[0].item()
    assert started(name, setting, **options).loss(batch, student, teacher)[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("name", STAGED)
def test_the_second_stage_is_vanilla_kd(case, name):
    setting, batch, student, teacher = case()
    expected = started("vanilla_kd", setting).loss(batch, student, teacher)[0].item()
    method = started(name, setting, epoch=2, ce_weight=0.5, kd_weight=0.5)
    assert method.loss(batch, student, teacher)[0].item() == pytest.approx(expected)


def test_mixkd_without_mixed_terms_is_plain_fine_tuning(case):
    setting, batch, student, teacher = case()
    expected = started("no_kd", setting).loss(batch, student, None)[0].item()
    bare = started("mixkd", setting, mixed_weight=0, kd_weight=0)
    assert bare.loss(batch, student, teacher)[0].item() == pytest.approx(expected)


# ---- stages ----


@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize(
    ("epochs", "share", "first"), [(2, 0.5, 1), (4, 0.5, 2), (10, 0.8, 8), (3, 0.99, 2), (3, 0.01, 1)]
)
def test_stages_split_the_epochs(case, name, epochs, share, first):
    setting, batch, student, teacher = case()
    method = build(name, setting, {"first_stage": share})
    method.epochs = epochs
    method.start_training(torch.Generator())
    for epoch in range(epochs):
        method.start_epoch(epoch, torch.Generator().manual_seed(epoch))
        assert method.trains_classifier == (epoch >= first)
        expected = set(OWN[name]) if epoch < first else {"ce", "kd"}
        assert set(method.terms(batch, student, teacher)) == set(method.weights) == expected
    assert method.record()["stage"] == [1] * first + [2] * (epochs - first)


def test_consistency_is_ramped_up_in_the_first_stage(case):
    weights = [started("cr_ild", case()[0], epoch, epochs=8).weights.get("consistency") for epoch in range(8)]
    assert weights == [*(pytest.approx(0.1 * k / 4) for k in (1, 2, 3, 4)), None, None, None, None]


@pytest.mark.parametrize("name", STAGED)
def test_one_epoch_cannot_be_split(case, name):
    with pytest.raises(UserError, match=r"^first_stage: two stages need at least 2 epochs, this run has 1$"):
        started(name, case()[0], epochs=1)


# ---- batches, gradients, learning, precision ----


@pytest.mark.parametrize("name", LIVE)
def test_a_batch_is_the_mean_of_its_halves_unless_it_is_mixed(case, name):
    setting, batch, student, teacher = case()
    whole = started(name, setting).loss(batch, student, teacher)[0].item()
    halves = []
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
        part = Batch(batch.index_B[rows], batch.labels_B[rows], {})
        halves.append(started(name, setting).loss(part, student.rows(rows), teacher.rows(rows))[0].item())
    assert (sum(halves) / 3 == pytest.approx(whole, rel=1e-5)) != find(name).mixes_examples


@pytest.mark.parametrize("name", LIVE)
def test_gradient_reaches_the_student_and_the_projections_alone(case, name):
    setting, batch, student, teacher = case()
    for tensor in student.tensors():
        tensor.requires_grad_()
    copies = [t.clone() for t in teacher.tensors()]
    method = started(name, setting)
    method.loss(batch, student, teacher)[0].backward()
    reached = {i for i, h in enumerate(student.hidden) if h.grad is not None and bool(h.grad.abs().sum() > 0)}
    assert reached == REACHED[name]
    assert (student.logits_BC.grad is not None) == (name not in STAGED)  # a first stage trains no classifier
    for parameter_name, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
    for tensor, copy in zip(teacher.tensors(), copies, strict=True):
        assert tensor.grad is None and torch.equal(tensor, copy)
    for layer in reached:  # the student's states at padding have no part in any loss
        gradient = student.hidden[layer].grad
        assert gradient is not None and gradient[student.mask_BT == 0].abs().sum() == 0


def test_the_consistency_target_stays_where_it_is(case, mix):
    setting, batch, student, teacher = case()
    mix([1, 0, 3, 2, 5, 4], 0.75)
    leaf = student.hidden[6].requires_grad_()
    terms = started("cr_ild", setting).terms(batch, student, teacher)
    (slope,) = torch.autograd.grad(terms["consistency"], leaf)
    # the fake student is linear but for a constant: were the target pulled too, the two slopes would cancel
    assert slope.abs().max() > 1e-3


@pytest.mark.parametrize("name", LIVE)
def test_the_own_terms_alone_can_be_learned(case, name):
    setting, batch, student, teacher = case()
    method = started(name, setting)
    for tensor in student.tensors():
        tensor.requires_grad_()
    trained = [*student.tensors(), *method.parameters()]
    losses = []
    for _ in range(60):
        method.start_epoch(0, torch.Generator().manual_seed(0))  # the same mix in each step
        terms = method.terms(batch, student, teacher)
        loss = torch.stack([terms[term] for term in OWN[name] if term != "consistency"]).sum()
        with torch.no_grad():
            for p, slope in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
                if slope is not None:
                    p -= 0.03 * slope.sign()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("name", LIVE)
def test_a_seed_decides_every_bit(case, name):
    setting, batch, student, teacher = case()
    first, again, other = (started(name, setting, seed=s).loss(batch, student, teacher)[0].item() for s in (0, 0, 1))
    assert first == again
    drawn = find(name).mixes_examples or any(True for _ in build(name, setting, {}).parameters())
    assert (first != other) == drawn


@pytest.mark.parametrize("name", LIVE)
def test_half_precision_stays_finite(case, name):
    setting, batch, student, teacher = case(d_T=8)
    exact = started(name, setting).loss(batch, student, teacher)[0].item()
    for tensor in student.tensors():
        tensor.requires_grad_()
    method = started(name, setting)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = method.loss(batch, student.to(torch.bfloat16), teacher.to(torch.bfloat16))
    assert total.dtype == torch.float32 and total.item() == pytest.approx(exact, rel=0.1)
    total.backward()
    assert all(t.grad is None or t.grad.isfinite().all() for t in student.tensors())


@pytest.mark.parametrize("name", LIVE)
def test_zero_states_stay_finite(case, name):
    setting, batch, student, teacher = case()
    student.hidden = [torch.zeros_like(h, requires_grad=True) for h in student.hidden]
    student.logits_BC.requires_grad_()
    total = started(name, setting).loss(batch, student, teacher)[0]
    total.backward()
    assert total.isfinite()
    assert all(h.grad is None or h.grad.isfinite().all() for h in student.hidden)


@pytest.mark.parametrize("name", LIVE)
def test_regression_works(case, name):
    setting, batch, student, teacher = case(outputs=1)
    for epoch in (0, 2):
        total, terms = started(name, setting, epoch=epoch).loss(batch, student, teacher)
        assert total.isfinite()
    if "kd" in terms:
        gap = (student.logits_BC - teacher.logits_BC).square().mean().item()
        assert terms["kd"].item() == pytest.approx(gap, rel=1e-5)


@pytest.mark.parametrize("name", LIVE)
def test_what_a_method_says_of_itself(make_setting, name):
    cls = find(name)
    assert (
        cls.needs_live_teacher
        and cls.source
        and cls.layer_mapping
        and cls.complexity
        and cls.limitation
        and cls.needs_logits
    )
    assert build(name, make_setting(), {}).pooling is None
    assert cls.whole_last_layer == (name != "mixkd")


# ---- mistakes ----


MISTAKES = [
    ("tinybert", {"first_stage": 1.0}, "first_stage: 1.0 is out of range, expected a share above 0 and below 1"),
    ("cr_ild", {"first_stage": 0.0}, "first_stage: 0.0 is out of range, expected a share above 0 and below 1"),
    ("tinybert", {"hidden_weight": -1}, "hidden_weight: -1 is out of range"),
    ("tinybert", {"kd_weight": -1}, "kd_weight: -1 is out of range"),
    ("tinybert", {"temperature": 0}, "temperature: 0 is out of range"),
    ("cr_ild", {"mixed_weight": -1}, "mixed_weight: -1 is out of range"),
    ("cr_ild", {"consistency_weight": -0.1}, "consistency_weight: -0.1 is out of range"),
    ("cr_ild", {"concentration": 0}, "concentration: 0 is out of range, expected a number above 0"),
    ("mixkd", {"concentration": 0}, "concentration: 0 is out of range, expected a number above 0"),
    ("mixkd", {"kd_weight": -1}, "kd_weight: -1 is out of range"),
    ("mixkd", {"alpha": 1}, ": unknown option 'alpha'"),
    (
        "minilm_v2",
        {"relation_heads": 3},
        "relation_heads: 3 does not divide both widths, 10 of the teacher and 8 of the",
    ),
    ("minilm_v2", {"relation_heads": 0}, "relation_heads: 0 does not divide both widths"),
    (
        "minilm_v2",
        {"teacher_layer": 13},
        "teacher_layer: 13 is out of range, expected a number at least 1 and at most 12",
    ),
    ("minilm_v2", {"teacher_layer": 0}, "teacher_layer: 0 is out of range"),
    ("distilbert_cos", {"cos_weight": -1}, "cos_weight: -1 is out of range"),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_mistakes_are_named(make_setting, name, options, message):
    with pytest.raises(UserError) as caught:
        build(name, make_setting(), options)
    text = str(caught.value)
    assert text.startswith(f"methods.{name}{'' if message[0] == ':' else '.'}{message}") and "\n" not in text


def test_head_counts_that_differ_are_refused_where_scores_are_compared(make_setting):
    setting = replace(make_setting(), teacher_heads=12, student_heads=4)
    with pytest.raises(UserError) as caught:
        build("tinybert", setting, {})
    assert str(caught.value).startswith(
        "methods.tinybert.attention_weight: the scores of 12 teacher heads and 4 student heads cannot be compared"
    )
    build("tinybert", setting, {"attention_weight": 0.0})
    build("minilm_v2", setting, {})
