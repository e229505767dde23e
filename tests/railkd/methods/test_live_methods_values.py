"""Methods that read more than a cache holds, each term worked out by hand in plain numbers."""

import math
from dataclasses import replace

import pytest
import torch
from cases import BEND, dot, started

from railkd.methods import build

# ---- plain-number arithmetic ----


def log_softmax(v):
    total = math.log(math.fsum(math.exp(x) for x in v))
    return [x - total for x in v]


def times(v, linear):
    return [dot(v, row) for row in linear.weight.tolist()]


def mse(a, b):
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)


def real(signals, b):
    return [t for t, mark in enumerate(signals.mask_BT[b].tolist()) if mark]


def average(values):
    values = list(values)
    return math.fsum(values) / len(values)


def over_tokens(signals, of):
    """Mean over each example's real tokens of ``of(b, t)``, then over the batch."""
    examples = range(len(signals.mask_BT))
    return average(average(of(b, t) for t in real(signals, b)) for b in examples)


@pytest.fixture
def small(make_setting, make_batch):
    """A 4-layer teacher and a 2-layer student of two heads, widths 4 and 2."""

    def make(**changes):
        setting = make_setting(**{"teacher": 4, "student": 2, "d_T": 4, "d_S": 2, **changes})
        setting = replace(setting, teacher_heads=2, student_heads=2)
        return setting, *make_batch(setting, examples=3, tokens=4)

    return make


def test_distilbert_cos_by_hand(small):
    setting, batch, student, teacher = small()
    method = started("distilbert_cos", setting)

    def gap(b, t):
        ours, theirs = times(student.hidden[2][b, t].tolist(), method.project), teacher.hidden[4][b, t].tolist()
        return 1 - dot(ours, theirs) / math.sqrt(dot(ours, ours) * dot(theirs, theirs))

    total, terms = method.loss(batch, student, teacher)
    assert terms["cos"].item() == pytest.approx(over_tokens(student, gap), rel=1e-4)
    weighted = 0.25 * terms["ce"] + 0.625 * terms["kd"] + 0.125 * terms["cos"]
    assert total.item() == pytest.approx(weighted.item())


@pytest.mark.parametrize("attention_weight", [1.0, 0.0])
def test_tinybert_by_hand(small, attention_weight):
    setting, batch, student, teacher = small()
    method = started("tinybert", setting, attention_weight=attention_weight)
    assert method.layers == [0, 2, 4]

    def hidden(i, j):
        project = method.project if i else method.project_embedding
        return over_tokens(
            student,
            lambda b, t: mse(times(student.hidden[i][b, t].tolist(), project), teacher.hidden[j][b, t].tolist()),
        )

    def score(signals, layer, b, head, width):
        query, key = signals.vectors("query", layer)[b], signals.vectors("key", layer)[b]
        part = slice(head * width, (head + 1) * width)
        return lambda s, t: dot(query[s, part].tolist(), key[t, part].tolist()) / math.sqrt(width)

    def attention(i, j):
        found = []
        for b in range(3):
            gaps = []
            for head in range(2):
                ours, theirs = score(student, i, b, head, 1), score(teacher, j, b, head, 2)
                gaps += [(ours(s, t) - theirs(s, t)) ** 2 for s in real(student, b) for t in real(student, b)]
            found.append(average(gaps))
        return average(found)

    terms = method.terms(batch, student, teacher)
    assert terms["hidden"].item() == pytest.approx(sum(hidden(i, j) for i, j in enumerate([0, 2, 4])), rel=1e-4)
    if attention_weight:
        assert terms["attention"].item() == pytest.approx(attention(1, 2) + attention(2, 4), rel=1e-4)
    else:
        assert set(terms) == set(method.weights) == {"hidden"} and method.attention_layers == ([], [])


@pytest.mark.parametrize(("heads", "layer"), [(1, None), (2, 3)])
def test_minilm_v2_by_hand(small, heads, layer):
    setting, batch, student, teacher = small()
    method = started("minilm_v2", setting, relation_heads=heads, teacher_layer=layer)
    total = 0.0
    for part in ("query", "key", "value"):
        ours, theirs = student.vectors(part, 2), teacher.vectors(part, layer or 4)
        examples = []
        for b in range(3):
            found = []
            for head in range(heads):
                for s in real(student, b):
                    rows = []
                    for x in (ours[b], theirs[b]):
                        width = x.shape[-1] // heads
                        x = x[:, head * width : (head + 1) * width].tolist()
                        rows.append(log_softmax([dot(x[s], x[t]) / math.sqrt(width) for t in real(student, b)]))
                    found.append(math.fsum(math.exp(q) * (q - p) for p, q in zip(*rows, strict=True)))
            examples.append(average(found))
        total += average(examples)
    assert method.terms(batch, student, teacher)["relation"].item() == pytest.approx(total, rel=1e-4)
    assert method.record()["relation_heads"] == heads and method.attention_layers == ([2], [layer or 4])


def test_minilm_v2_takes_the_most_relation_heads_up_to_48(make_setting):
    for d_T, d_S, heads in ((768, 768, 48), (768, 384, 48), (64, 64, 32), (32, 16, 16), (10, 8, 2), (9, 8, 1)):
        assert build("minilm_v2", make_setting(d_T=d_T, d_S=d_S), {}).relation_heads == heads


def ce(z, y):
    return -log_softmax(z)[y]


def test_mixkd_by_hand(small, mix):
    setting, batch, student, teacher = small()
    mix([2, 0, 1], 0.7)
    y, offset = batch.labels_B.tolist(), BEND * 0.7 * 0.3
    mixed = [
        [[0.7 * a + 0.3 * b + offset for a, b in zip(z[i], z[p], strict=True)] for i, p in enumerate([2, 0, 1])]
        for z in (student.logits_BC.tolist(), teacher.logits_BC.tolist())
    ]
    expected = {
        "ce": average(ce(z, label) for z, label in zip(student.logits_BC.tolist(), y, strict=True)),
        "ce_mixed": average(0.7 * ce(mixed[0][b], y[b]) + 0.3 * ce(mixed[0][b], y[p]) for b, p in enumerate([2, 0, 1])),
        "kd_mixed": average(mse(mixed[0][b], mixed[1][b]) for b in range(3)),
    }
    method = started("mixkd", setting, mixed_weight=2, kd_weight=3)
    total, terms = method.loss(batch, student, teacher)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)
    weighted = expected["ce"] + 2 * expected["ce_mixed"] + 3 * expected["kd_mixed"]
    assert total.item() == pytest.approx(weighted, rel=1e-4)


def test_cr_ild_by_hand(small, mix):
    setting, batch, student, teacher = small()
    mix([2, 0, 1], 0.3)  # the greater of λ and 1 − λ is the example's own share: .7
    method = started("cr_ild", setting, epoch=2, epochs=8, consistency_weight=0.4)

    def gap(ours, theirs):
        return over_tokens(
            ours,
            lambda b, t: mse(times(ours.hidden[2][b, t].tolist(), method.project), theirs.hidden[4][b, t].tolist()),
        )

    mixed = [signals.mixed(torch.tensor([2, 0, 1]), 0.7) for signals in (student, teacher)]
    terms = method.terms(batch, student, teacher)
    assert terms["ild"].item() == pytest.approx(gap(student, teacher), rel=1e-4)
    assert terms["mixed"].item() == pytest.approx(gap(*mixed), rel=1e-4)
    # the fake student is linear but for this, wherever both examples have a token
    assert terms["consistency"].item() == pytest.approx((BEND * 0.7 * 0.3) ** 2, rel=1e-4)
    assert method.weights == {"ild": 1, "mixed": 1, "consistency": pytest.approx(0.4 * 3 / 4)}
