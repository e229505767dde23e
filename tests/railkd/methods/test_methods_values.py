"""Every loss against the same formula written out in plain Python numbers."""

import math

import pytest
import torch
from cases import dot

from railkd.methods import build
from railkd.methods.ckd import buckets

# ---- plain-number arithmetic: lists of floats, no tensors ----


def unit(v):
    norm = math.sqrt(dot(v, v))
    return [x / norm for x in v]


def distance(a, b):
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def softmax(v):
    total = math.fsum(math.exp(x) for x in v)
    return [math.exp(x) / total for x in v]


def apply(columns_DU, v):
    """v W with W as (D, U)."""
    return [dot(v, column) for column in zip(*columns_DU, strict=True)]


def rows_UD(linear):
    """(D, U) of an nn.Linear, whose weight is (U, D)."""
    return linear.weight.T.tolist()


def cls(signals, layer, b):
    return signals.hidden[layer][b, 0].tolist()


def mean(signals, layer, b, padded=False):
    tokens = signals.hidden[layer][b].tolist()
    if not padded:
        tokens = [t for t, real in zip(tokens, signals.mask_BT[b].tolist(), strict=True) if real]
    return [math.fsum(column) / len(tokens) for column in zip(*tokens, strict=True)]


def plain_ce(batch, student):
    rows = zip(student.logits_BC.tolist(), batch.labels_B.tolist(), strict=True)
    return math.fsum(-math.log(softmax(z)[y]) for z, y in rows) / len(batch.labels_B)


def plain_kd(student, teacher, tau):
    total = 0.0
    for z_s, z_t in zip(student.logits_BC.tolist(), teacher.logits_BC.tolist(), strict=True):
        p_s, p_t = softmax([z / tau for z in z_s]), softmax([z / tau for z in z_t])
        total += math.fsum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True))
    return tau**2 * total / len(student.logits_BC)


def check(method, batch, student, teacher, expected, weights):
    """Every term, and their weighted sum."""
    total, terms = method.loss(batch, student, teacher)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert total.item() == pytest.approx(sum(weights[name] * expected[name] for name in expected), rel=1e-4)


@pytest.fixture
def small(make_setting, make_batch):
    """A 4-layer teacher and a 3-layer student, widths 3 and 2: intermediate layers 1, 2, 3 and 1, 2."""

    def make(**changes):
        setting = make_setting(**{"teacher": 4, "student": 3, "d_T": 3, "d_S": 2, **changes})
        return setting, *make_batch(setting, examples=3, tokens=4)

    return make


# ---- the numbers of a case small enough for paper and pencil ----


def test_kd_by_hand(make_setting, make_batch):
    setting = make_setting(outputs=2)
    batch, student, teacher = make_batch(setting, examples=1)
    batch.labels_B[:] = 0
    student.logits_BC[:] = torch.tensor([0.0, 0.0])
    teacher.logits_BC[:] = torch.tensor([math.log(9.0), 0.0])  # p_T = (.9, .1), p_S = (.5, .5)
    terms = build("vanilla_kd", setting, {}).terms(batch, student, teacher)
    assert terms["ce"].item() == pytest.approx(math.log(2))
    assert terms["kd"].item() == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    # at temperature 2 the teacher says (.75, .25), and the term is multiplied by 4
    terms = build("vanilla_kd", setting, {"temperature": 2.0}).terms(batch, student, teacher)
    assert terms["kd"].item() == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))


def test_rail_by_hand(make_setting, make_batch):
    setting = make_setting(teacher=2, student=2, d_T=2, d_S=2)
    batch, student, teacher = make_batch(setting, examples=1, tokens=2)
    student.mask_BT[:] = 1
    student.hidden[1][0] = torch.tensor([[2.0, 0.0], [4.0, 0.0]])  # direction (1, 0)
    teacher.hidden[1][0] = torch.tensor([[3.0, 0.0], [3.0, 8.0]])  # mean (3, 4), direction (.6, .8)
    for name in ("rail_kd_l", "rail_kd_c"):
        method = build(name, setting, {"mapping": [1], "projection": "none"})
        assert method.terms(batch, student, teacher)["rail"].item() == pytest.approx(0.4**2 + 0.8**2)


# ---- every method against the formula ----


def test_no_kd(small):
    setting, batch, student, _ = small()
    check(build("no_kd", setting, {}), batch, student, None, {"ce": plain_ce(batch, student)}, {"ce": 1})


def test_vanilla_kd(small):
    setting, batch, student, teacher = small()
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 3)}
    method = build("vanilla_kd", setting, {"alpha": 0.3, "temperature": 3})
    check(method, batch, student, teacher, expected, {"ce": 0.7, "kd": 0.3})


@pytest.mark.parametrize("reduction", ["source", "sum"])
@pytest.mark.parametrize("d_S", [3, 2])
def test_pkd(small, reduction, d_S):
    setting, batch, student, teacher = small(d_S=d_S)
    method = build("pkd", setting, {"mapping": [3, 1], "reduction": reduction, "beta": 10, "alpha": 0.2})
    total = 0.0
    for b in range(3):
        for i, j in enumerate([3, 1]):
            anchor = cls(student, i + 1, b)
            if d_S == 2:
                anchor = apply(method.project.weight[i].tolist(), anchor)
            total += distance(unit(anchor), unit(cls(teacher, j, b)))
    expected = {
        "ce": plain_ce(batch, student),
        "kd": plain_kd(student, teacher, 1),
        "pt": total / 3 if reduction == "sum" else total / (3 * 2 * 3),
    }
    check(method, batch, student, teacher, expected, {"ce": 0.8, "kd": 0.2, "pt": 10})


@pytest.mark.parametrize(
    ("variant", "groups"),
    [
        ("regular", [[1], [2, 3]]),
        ("overlap", [[1, 2], [2, 3]]),
        ("skip", [[1], [2]]),
        ("cross", [[1, 3], [2]]),
    ],
)
def test_ckd(small, variant, groups):
    setting, batch, student, teacher = small()
    options = {"variant": variant, "ce_weight": 1, "kd_weight": 2, "ckd_weight": 3}
    method = build("ckd", setting, options)
    assert method.buckets == groups
    total = 0.0
    for i, group in enumerate(groups):
        for b in range(3):
            joined = [x for j in group for x in cls(teacher, j, b)]
            total += distance(cls(student, i + 1, b), apply(rows_UD(method.combine[i]), joined)) / (3 * 2)
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 1), "ckd": total}
    check(method, batch, student, teacher, expected, {"ce": 1, "kd": 2, "ckd": 3})


def test_ckd_buckets_of_the_paper_depths():
    assert buckets("regular", 11, 5) == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10, 11]]
    assert buckets("overlap", 11, 5) == [[1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 8, 9], [9, 10, 11]]
    assert buckets("skip", 11, 5) == [[1], [3], [5], [7], [9, 10]]
    assert buckets("cross", 11, 5) == [[1, 6, 11], [2, 7], [3, 8], [4, 9], [5, 10]]
    for variant in ("regular", "cross"):  # partitions, as even as possible
        for layers, count in ((11, 5), (23, 5), (5, 5), (7, 3)):
            groups = buckets(variant, layers, count)
            assert sorted(j for group in groups for j in group) == list(range(1, layers + 1))
            assert max(map(len, groups)) - min(map(len, groups)) <= 1


@pytest.mark.parametrize("scale", ["none", "sqrt"])
@pytest.mark.parametrize("d_S", [3, 2])
def test_alp_kd(small, scale, d_S):
    setting, batch, student, teacher = small(d_S=d_S)
    method = build("alp_kd", setting, {"scale": scale, "projection_dim": 4})
    method.start_epoch(0, torch.Generator())
    width = 3 if d_S == 3 else 4
    total, attention = 0.0, [[0.0] * 3 for _ in range(2)]
    for b in range(3):
        teachers = [cls(teacher, j, b) for j in (1, 2, 3)]
        if d_S == 2:
            teachers = [apply(rows_UD(method.teacher_map), v) for v in teachers]
        for i in range(2):
            anchor = cls(student, i + 1, b)
            if d_S == 2:
                anchor = apply(rows_UD(method.student_map), anchor)
            divisor = math.sqrt(width) if scale == "sqrt" else 1
            w = softmax([dot(anchor, v) / divisor for v in teachers])
            mixed = [dot(w, column) for column in zip(*teachers, strict=True)]
            total += distance(anchor, mixed) / (3 * width)
            attention[i] = [a + x / 3 for a, x in zip(attention[i], w, strict=True)]
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 1), "alp": total}
    check(method, batch, student, teacher, expected, {"ce": 0.1, "kd": 0.7, "alp": 0.2})
    method.end_epoch()
    assert method.record()["attention"] == [pytest.approx(row, abs=1e-5) for row in attention]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_codir(small, pooling):
    labels = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    setting, batch, student, teacher = small(labels=labels)
    pool = mean if pooling == "mean" else cls
    options = {"negatives": 4, "projection_dim": 5, "mapping": [2, 3], "pooling": pooling, "momentum": 0.25, "beta": 2}
    method = build("codir", setting, options)
    bank = method.bank.tolist()
    method.start_epoch(0, torch.Generator().manual_seed(7))
    rows = method.draw(batch.labels_B).tolist()
    method.start_epoch(0, torch.Generator().manual_seed(7))  # the same draw again
    total, updated = 0.0, {}
    for b in range(3):
        s = [x for i in (1, 2) for x in pool(student, i, b)]
        t = [x for j in (2, 3) for x in pool(teacher, j, b)]
        bias_s, bias_t = method.student_map.bias.tolist(), method.teacher_map.bias.tolist()
        s = unit([x + y for x, y in zip(apply(rows_UD(method.student_map), s), bias_s, strict=True)])
        t = unit([x + y for x, y in zip(apply(rows_UD(method.teacher_map), t), bias_t, strict=True)])
        positive = math.exp(dot(s, t) / 0.07)
        negative = math.fsum(math.exp(dot(s, bank[k]) / 0.07) for k in rows[b])
        total -= math.log(positive / (positive + negative)) / 3
        updated[b] = unit([0.25 * x + 0.75 * y for x, y in zip(bank[b], t, strict=True)])
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 1), "nce": total}
    check(method, batch, student, teacher, expected, {"ce": 0.5, "kd": 0.5, "nce": 2})
    for k in range(len(labels)):  # only the batch's rows move
        assert method.bank[k].tolist() == pytest.approx(updated.get(k, bank[k]), abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "mean_padded", "cls"])
def test_rail_kd_l(small, pooling):
    setting, batch, student, teacher = small()
    options = {"mapping": [3, 1], "projection_dim": 4, "layer_weights": [1.0, 0.5]}
    options |= {"pool_padding": True} if pooling == "mean_padded" else {"pooling": pooling}
    method = build("rail_kd_l", setting, options)

    def pooled(signals, layer, b):
        return cls(signals, layer, b) if pooling == "cls" else mean(signals, layer, b, pooling == "mean_padded")

    total = 0.0
    for b in range(3):
        for i, (j, alpha) in enumerate(zip([3, 1], [1.0, 0.5], strict=True)):
            t = apply(method.teacher_map.weight[i].tolist(), pooled(teacher, j, b))
            s = apply(method.student_map.weight[i].tolist(), pooled(student, i + 1, b))
            total += alpha * distance(unit(t), unit(s)) / 3
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 1), "rail": total}
    check(method, batch, student, teacher, expected, dict.fromkeys(expected, 1 / 3))


def test_rail_kd_c(small):
    setting, batch, student, teacher = small()
    options = {"mapping": [1, 3], "projection_dim": 4, "ce_weight": 0.5, "kd_weight": 0.3, "rail_weight": 0.2}
    method = build("rail_kd_c", setting, options)
    total = 0.0
    for b in range(3):
        t = apply(method.teacher_map.weight[0].tolist(), [x for j in (1, 3) for x in mean(teacher, j, b)])
        s = apply(method.student_map.weight[0].tolist(), [x for i in (1, 2) for x in mean(student, i, b)])
        total += distance(unit(t), unit(s)) / 3
    expected = {"ce": plain_ce(batch, student), "kd": plain_kd(student, teacher, 1), "rail": total}
    check(method, batch, student, teacher, expected, {"ce": 0.5, "kd": 0.3, "rail": 0.2})


@pytest.mark.parametrize("name", ["no_kd", "vanilla_kd", "pkd", "ckd", "alp_kd", "rail_kd_l", "rail_kd_c"])
def test_regression_uses_squared_errors(make_setting, make_batch, name):
    setting = make_setting(outputs=1)
    batch, student, teacher = make_batch(setting)
    method = build(name, setting, {})
    method.start_epoch(0, torch.Generator().manual_seed(0))
    total, terms = method.loss(batch, student, teacher)
    z_s, z_t = student.logits_BC[:, 0].tolist(), teacher.logits_BC[:, 0].tolist()
    assert terms["ce"].item() == pytest.approx(distance(z_s, batch.labels_B.tolist()) / 6, rel=1e-4)
    if name != "no_kd":
        assert terms["kd"].item() == pytest.approx(distance(z_s, z_t) / 6, rel=1e-4)
    assert total.isfinite()
