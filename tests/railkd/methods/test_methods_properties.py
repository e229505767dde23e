"""What must hold for any numbers: identities, padding, gradients, learning, batches, draws, precision."""

import pytest
import torch
from cases import LABELS, started
from torch import nn
from torch.nn import functional as F

from railkd.method_sources import available
from railkd.methods import build, find
from railkd.methods.parts.projection import Spectrum
from railkd.signals import Batch

INTERMEDIATE = {"pkd": "pt", "ckd": "ckd", "alp_kd": "alp", "codir": "nce", "rail_kd_l": "rail", "rail_kd_c": "rail"}
ALL = ["no_kd", "vanilla_kd", *INTERMEDIATE]


# ---- identities ----


def test_rail_forms_agree_on_one_layer(case):
    setting, batch, student, teacher = case(student=2)
    layerwise = started("rail_kd_l", setting)
    concatenated = started("rail_kd_c", setting)
    concatenated.load_state_dict(layerwise.state_dict())
    a, b = (m.loss(batch, student, teacher)[0] for m in (layerwise, concatenated))
    assert a.item() == pytest.approx(b.item(), abs=0)


def test_alp_with_one_hot_weights_is_a_squared_error_on_that_cls(case):
    # Student layer i is 100 times the direction of teacher layer j: its score beats all others by far.
    directions = torch.linalg.qr(torch.randn(11, 11, generator=torch.Generator().manual_seed(0)))[0]
    setting, batch, student, teacher = case(d_T=11, d_S=11)
    chosen = [3, 5, 7, 9, 11]
    for j in range(1, 12):
        teacher.hidden[j][:, 0] = directions[j - 1]
    for i, j in enumerate(chosen, 1):
        student.hidden[i][:, 0] = 100 * directions[j - 1]
    method = started("alp_kd", setting)
    expected = sum(F.mse_loss(student.hidden[i][:, 0], teacher.hidden[j][:, 0]).item() for i, j in enumerate(chosen, 1))
    assert method.terms(batch, student, teacher)["alp"].item() == pytest.approx(expected, rel=1e-5)
    method.end_epoch()
    one_hot = torch.tensor(method.record()["attention"])
    assert one_hot.argmax(1).add(1).tolist() == chosen
    assert one_hot.max(1).values.tolist() == pytest.approx([1.0] * 5)


def test_alp_attention_is_saturated_unscaled_and_softer_scaled(case):
    setting, batch, student, teacher = case(d_T=768, d_S=768)
    entropies = []
    for scale in ("none", "sqrt"):
        method = started("alp_kd", setting, scale=scale)
        method.terms(batch, student, teacher)
        method.end_epoch()
        entropies.append(torch.special.entr(torch.tensor(method.record()["attention"])).sum(1).mean().item())
    assert entropies[1] > entropies[0]


@pytest.mark.parametrize("name", ["pkd", "rail_kd_l", "rail_kd_c"])
def test_teacher_equal_to_student_has_no_intermediate_loss(case, name):
    setting, batch, student, teacher = case(teacher=6, d_T=8)
    teacher.hidden = student.hidden
    options = {"projection": "none"} if name != "pkd" else {}
    method = started(name, setting, mapping=[1, 2, 3, 4, 5], **options)
    assert method.terms(batch, student, teacher)[INTERMEDIATE[name]].item() == pytest.approx(0, abs=1e-6)


def test_intermediate_weight_zero_is_vanilla_kd(case):
    setting, batch, student, teacher = case()
    expected = started("vanilla_kd", setting, alpha=0.5).loss(batch, student, teacher)[0].item()
    halves = {"ce_weight": 0.5, "kd_weight": 0.5}
    for name, options in {
        "pkd": {"beta": 0},
        "ckd": {**halves, "ckd_weight": 0},
        "alp_kd": {**halves, "alp_weight": 0},
        "codir": {"beta": 0},
        "rail_kd_l": {**halves, "rail_weight": 0},
        "rail_kd_c": {**halves, "rail_weight": 0},
    }.items():
        assert started(name, setting, **options).loss(batch, student, teacher)[0].item() == pytest.approx(expected)


def test_alpha_zero_is_plain_fine_tuning(case):
    setting, batch, student, teacher = case()
    expected = started("no_kd", setting).loss(batch, student, None)[0].item()
    assert started("vanilla_kd", setting, alpha=0).loss(batch, student, teacher)[0].item() == pytest.approx(expected)


def test_rail_c_and_l_are_blind_to_a_common_scale(case):
    setting, batch, student, teacher = case()
    for name in ("rail_kd_l", "rail_kd_c"):
        method = started(name, setting)
        before = method.terms(batch, student, teacher)["rail"].item()
        assert 0 < before <= 4 * (5 if name == "rail_kd_l" else 1)
        louder = type(student)(student.logits_BC, [7 * h for h in student.hidden], student.mask_BT)
        assert method.terms(batch, louder, teacher)["rail"].item() == pytest.approx(before, rel=1e-5)


# ---- padding ----


@pytest.mark.parametrize("name", available())
def test_padding_does_not_matter(case, name):
    setting, batch, student, teacher = case()
    losses = []
    for extra in (0, 4):
        method = started(name, setting)
        losses.append(method.loss(batch, student.padded(extra), teacher.padded(extra))[0].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("name", ["rail_kd_l", "rail_kd_c"])
def test_mean_padded_is_the_declared_exception(case, name):
    setting, batch, student, teacher = case()
    losses = []
    for extra in (0, 4):
        method = started(name, setting, pool_padding=True)
        assert method.pooling == "mean_padded"
        losses.append(method.loss(batch, student.padded(extra), teacher.padded(extra))[0].item())
    assert losses[1] != pytest.approx(losses[0], rel=1e-3)


# ---- gradients ----


@pytest.mark.parametrize("name", ALL)
def test_gradient_reaches_the_student_and_the_projections_alone(case, name):
    setting, batch, student, teacher = case()
    for tensor in student.tensors():
        tensor.requires_grad_()
    copies = [t.clone() for t in teacher.tensors()]
    method = started(name, setting)
    method.loss(batch, student, teacher if name != "no_kd" else None)[0].backward()
    assert student.logits_BC.grad is not None and student.logits_BC.grad.abs().sum() > 0
    for layer, states in enumerate(student.hidden):
        reached = states.grad is not None and bool(states.grad.abs().sum() > 0)
        assert reached == (name in INTERMEDIATE and 1 <= layer <= 5), layer  # not the embedding, not the last layer
    for parameter_name, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
    for tensor, copy in zip(teacher.tensors(), copies, strict=True):
        assert not tensor.requires_grad and tensor.grad is None
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("name", ["rail_kd_l", "rail_kd_c"])
@pytest.mark.parametrize(
    ("projection", "trained"),
    [
        ("learned", {"student_map.weight", "teacher_map.weight"}),
        ("learned_student", {"student_map.weight"}),
        ("frozen_random", set()),
        ("none", set()),
    ],
)
def test_rail_trains_the_projections_it_says(case, name, projection, trained):
    setting, batch, student, teacher = case(d_T=8)
    for tensor in student.tensors():
        tensor.requires_grad_()
    method = started(name, setting, projection=projection)
    method.loss(batch, student, teacher)[0].backward()
    assert {n for n, p in method.named_parameters() if p.grad is not None} == trained
    assert {n for n, p in method.named_parameters() if p.requires_grad} == trained
    assert student.hidden[1].grad is not None


# ---- learning ----


class TinyStudent(nn.Module):
    """A table of inputs and a stack of tanh layers, one token per example."""

    def __init__(self, examples, layers, width, outputs):
        super().__init__()
        self.embed = nn.Embedding(examples, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, outputs)

    def forward(self, index_B, signals):
        hidden = [self.embed(index_B)]
        for layer in self.layers:
            hidden.append(torch.tanh(layer(hidden[-1])))
        return signals(self.head(hidden[-1]), [h[:, None] for h in hidden], torch.ones(len(index_B), 1))


# Frozen random maps: into fewer dimensions than the student has, so that it can reach any target there.
FROZEN = {"projection": "frozen_random", "projection_dim": 4}


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in INTERMEDIATE), ("rail_kd_l", FROZEN), ("rail_kd_c", FROZEN)]
)
def test_the_intermediate_term_alone_can_be_learned(make_setting, make_batch, name, options):
    setting = make_setting(labels=LABELS)
    batch, fake, teacher = make_batch(setting, examples=len(LABELS), tokens=1)
    method = started(name, setting, **options)
    student = TinyStudent(len(LABELS), 6, 8, 3)
    trained = [p for p in (*student.parameters(), *method.parameters()) if p.requires_grad]
    losses = []
    for _ in range(60):
        loss = method.terms(batch, student(batch.index_B, type(fake)), teacher)[INTERMEDIATE[name]]
        with torch.no_grad():
            for p, slope in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
                if slope is not None:  # the head and the last layer have no part in it
                    p -= 0.01 * slope.sign()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


# ---- batches ----


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_the_mean_of_its_halves(case, name):
    setting, batch, student, teacher = case()
    whole = started(name, setting).eval()
    expected = whole.loss(batch, student, teacher)[0].item()
    halves = started(name, setting).eval()  # eval: CoDIR's bank stays as it is between the halves
    losses = []
    for rows in (slice(0, 3), slice(3, 6)):
        part = Batch(batch.index_B[rows], batch.labels_B[rows], {})
        losses.append(halves.loss(part, student.rows(rows), teacher.rows(rows))[0].item())
    assert sum(losses) / 2 == pytest.approx(expected, rel=1e-5)


def test_alp_attention_is_a_mean_over_examples_whatever_the_batches(case):
    setting, batch, student, teacher = case()
    records = []
    for cuts in ((0, 6), (0, 1, 6)):
        method = started("alp_kd", setting)
        for low, high in zip(cuts, cuts[1:], strict=False):
            rows = slice(low, high)
            part = Batch(batch.index_B[rows], batch.labels_B[rows], {})
            method.terms(part, student.rows(rows), teacher.rows(rows))
        method.end_epoch()
        records.append(torch.tensor(method.record()["attention"]))
    assert torch.allclose(records[0], records[1], atol=1e-5)
    assert records[0].shape == (5, 11) and torch.allclose(records[0].sum(1), torch.ones(5), atol=1e-4)


def test_alp_forgets_the_epoch_before(case):
    setting, batch, student, teacher = case()
    method = started("alp_kd", setting)
    for epoch in range(2):
        method.start_epoch(epoch, torch.Generator())
        method.terms(batch, student, teacher)
        other = type(student)(student.logits_BC, [-h for h in student.hidden], student.mask_BT)
        method.eval().terms(batch, other, teacher)  # not a training step: leaves no trace
        method.train()
        method.end_epoch()
    record = method.record()
    assert len(record["attention_per_epoch"]) == 2
    assert record["attention_per_epoch"][0] == record["attention_per_epoch"][1] == record["attention"]


# ---- precision, devices, contract ----


@pytest.mark.parametrize("name", ALL)
def test_half_precision_stays_finite(case, name):
    setting, batch, student, teacher = case(d_T=8)
    exact = started(name, setting).loss(batch, student, teacher)[0].item()
    for tensor in student.tensors():
        tensor.requires_grad_()
    for dtype in (torch.bfloat16, torch.float16):  # the teacher's cached vectors in half, the student under autocast
        method = started(name, setting)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total, _ = method.loss(batch, student.to(torch.bfloat16), teacher.to(dtype))
        assert total.dtype == torch.float32 and total.item() == pytest.approx(exact, rel=0.1)
        total.backward()
        assert all(p.grad.isfinite().all() for p in method.parameters())
    assert student.logits_BC.grad.isfinite().all()


@pytest.mark.parametrize("name", list(INTERMEDIATE))
def test_all_but_the_linear_maps_is_computed_in_float32(case, name):
    setting, batch, student, teacher = case(d_T=8)
    options = {"projection": "none"} if name.startswith("rail") else {}
    if name == "codir":
        options = {"projection_dim": 40}  # as wide as five concatenated layers: the maps can be left out
    values = []
    for autocast in (False, True):
        method = started(name, setting, **options)
        if name == "codir":
            method.student_map = method.teacher_map = nn.Identity()
        if name == "ckd":
            method.combine = nn.ModuleList(KeepFirst() for _ in method.combine)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            values.append(method.terms(batch, student, teacher)[INTERMEDIATE[name]].item())
    assert values[0] == values[1]


class KeepFirst(nn.Module):
    """In place of CKD's linear map: the bucket's first layer."""

    def forward(self, joined_BX):
        return joined_BX[:, :8]


def test_spectrum_is_accumulated_in_float32():
    vectors = F.normalize(torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    exact, mixed = Spectrum(2, 4), Spectrum(2, 4)
    exact.add(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed.add(vectors)
    assert torch.equal(exact.moment_GUU, mixed.moment_GUU)


@pytest.mark.parametrize("name", list(INTERMEDIATE))
def test_zero_vectors_stay_finite(case, name):
    setting, batch, student, teacher = case()
    student.hidden = [torch.zeros_like(h, requires_grad=True) for h in student.hidden]
    method = started(name, setting)
    total = method.loss(batch, student, teacher)[0]
    total.backward()
    assert total.isfinite() and student.hidden[1].grad.isfinite().all()


@pytest.mark.parametrize("name", available())
def test_options_can_be_checked_on_the_meta_device(make_setting, name):
    with torch.device("meta"):
        method = build(name, make_setting(teacher=24, d_T=1024, d_S=768), {})
    assert all(p.device.type == "meta" for p in method.parameters())


@pytest.mark.parametrize("name", ALL)
def test_weights_name_the_terms_and_the_state_can_be_restored(case, name):
    setting, batch, student, teacher = case()
    method = started(name, setting)
    assert set(method.terms(batch, student, teacher)) == set(method.weights)
    assert find(name).source
    assert method.needs_logits == (name != "no_kd") and (method.pooling is not None) == (name in INTERMEDIATE)
    other = started(name, setting, seed=1)
    other.load_state_dict(method.state_dict())
    other.start_training(torch.Generator().manual_seed(0))  # the layer draw is the seed's, not the state's
    for m in (method, other):
        m.start_epoch(5, torch.Generator().manual_seed(5))
    losses = [m.loss(batch, student, teacher)[0].item() for m in (method, other)]
    assert losses[0] == losses[1]


def test_codir_without_labels_cannot_be_trained(case):
    setting, batch, student, teacher = case(labels=None)
    with pytest.raises(RuntimeError, match="without training labels"):
        build("codir", setting, {}).terms(batch, student, teacher)
