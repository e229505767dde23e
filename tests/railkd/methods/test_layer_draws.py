"""Random draws: of the layers that RAIL-KD reads, and of CoDIR's negatives."""

import pytest
import torch
from cases import LABELS, started

from railkd.methods import build
from railkd.methods.parts.mapping import draw_layers
from railkd.signals import Batch

MAPPINGS = [
    "random_sorted", "random_sorted_step", "random_once", "random_unsorted", "skip", "last", "reverse", "all_to_one",
]  # fmt: skip


def test_sorted_draws_have_the_pkd_map_as_their_mean(make_setting):
    for teacher, expected in ((12, [2, 4, 6, 8, 10]), (24, [4, 8, 12, 16, 20])):
        setting = make_setting(teacher=teacher)
        g = torch.Generator().manual_seed(0)
        draws = [draw_layers(setting, g) for _ in range(4000)]
        for draw in draws:
            assert draw == sorted(set(draw)) and draw[0] >= 1 and draw[-1] <= teacher - 1 and len(draw) == 5
        assert torch.tensor(draws).float().mean(0).tolist() == pytest.approx(expected, abs=0.25)
        assert {layer for draw in draws for layer in draw} == set(range(1, teacher))


def test_unsorted_draws_read_every_layer_alike(make_setting):
    g = torch.Generator().manual_seed(0)
    draws = torch.tensor([draw_layers(make_setting(), g, ordered=False) for _ in range(4000)])
    assert draws.float().mean(0).tolist() == pytest.approx([6] * 5, abs=0.25)
    assert (draws.sort(1).values != draws).any()


def run(setting, make_batch, mapping, epochs, batch_size, seed=3, name="rail_kd_l"):
    """What is recorded of these epochs, a range, of a run of 12 examples."""
    _, student, teacher = make_batch(setting, examples=12)
    torch.manual_seed(0)
    method = build(name, setting, {"mapping": mapping, "projection_dim": 4})
    method.start_training(torch.Generator().manual_seed(seed))
    for epoch in epochs:
        method.start_epoch(epoch, torch.Generator().manual_seed(100 * seed + epoch))
        for low in range(0, 12, batch_size):
            rows = slice(low, low + batch_size)
            batch = Batch(torch.arange(12)[rows], LABELS[rows], {})
            method.terms(batch, student.rows(rows), teacher.rows(rows))
        method.end_epoch()
    return method.record()


@pytest.mark.parametrize("mapping", [m for m in MAPPINGS if m != "random_sorted_step"])
def test_layers_depend_on_seed_and_epoch_alone(make_setting, make_batch, mapping):
    setting = make_setting()
    layers = run(setting, make_batch, mapping, epochs=range(6), batch_size=4)["layers"]
    assert len(layers) == 6
    assert layers == run(setting, make_batch, mapping, epochs=range(6), batch_size=12)["layers"]
    assert layers[4:] == run(setting, make_batch, mapping, epochs=range(4, 6), batch_size=4)["layers"]  # resumed
    assert layers == run(setting, make_batch, mapping, epochs=range(6), batch_size=4, name="rail_kd_c")["layers"]
    redrawn = mapping in ("random_sorted", "random_unsorted")
    assert (len({tuple(draw) for draw in layers}) > 1) == redrawn
    upwards = all(draw == sorted(draw) for draw in layers)
    assert upwards == (mapping not in ("random_unsorted", "reverse"))
    other = run(setting, make_batch, mapping, epochs=range(6), batch_size=4, seed=4)["layers"]
    assert (other != layers) == mapping.startswith("random")


def test_step_draws_are_counted(make_setting, make_batch):
    counts = torch.tensor(
        run(make_setting(), make_batch, "random_sorted_step", epochs=range(3), batch_size=2)["layer_counts"]
    )
    assert counts.shape == (5, 11)
    assert counts.sum(1).tolist() == [3 * 6] * 5  # one layer for each student layer and step
    assert (counts.sum(0) > 0).sum() > 5


def test_fixed_maps(make_setting):
    expected = {
        "skip": [2, 4, 6, 8, 10],
        "last": [7, 8, 9, 10, 11],
        "reverse": [10, 8, 6, 4, 2],
        "all_to_one": [11] * 5,
    }
    for mapping, layers in expected.items():
        assert build("rail_kd_l", make_setting(), {"mapping": mapping}).layers == layers
    assert build("pkd", make_setting(teacher=24), {}).layers == [4, 8, 12, 16, 20]
    assert build("rail_kd_c", make_setting(), {"mapping": [1, 1, 5, 9, 2]}).layers == [1, 1, 5, 9, 2]


def test_a_shallow_teacher_still_has_a_skip_map(make_setting):
    for teacher in range(2, 7):
        layers = build("pkd", make_setting(teacher=teacher), {}).layers
        assert layers == sorted(layers) and layers[0] >= 1 and layers[-1] <= teacher - 1


def test_rail_without_a_draw_says_so(case):
    setting, batch, student, teacher = case()
    for mapping in ("random_sorted", "random_once"):
        with pytest.raises(RuntimeError, match="call start_training and start_epoch first"):
            build("rail_kd_l", setting, {"mapping": mapping}).terms(batch, student, teacher)


# ---- CoDIR's negatives ----


def test_negatives_are_of_other_classes_and_uniform(make_setting):
    labels = torch.tensor([2, 0, 0, 1, 2, 2, 0, 1, 0, 0])
    method = build("codir", make_setting(labels=labels), {"negatives": 2000})
    method.start_epoch(0, torch.Generator().manual_seed(0))
    rows_BK = method.draw(torch.tensor([0, 1, 2]))
    for label, rows in enumerate(rows_BK):
        others = (labels != label).nonzero().flatten().tolist()
        counts = torch.bincount(rows, minlength=len(labels))
        assert counts.nonzero().flatten().tolist() == others
        share = 2000 / len(others)
        assert counts[others].float().sub(share).abs().max() < 6 * share**0.5


def test_negatives_do_not_depend_on_the_batch_size(make_setting):
    method = build("codir", make_setting(labels=LABELS), {"negatives": 17})
    draws = []
    for size in (12, 5, 1):
        method.start_epoch(0, torch.Generator().manual_seed(5))
        draws.append(torch.cat([method.draw(part) for part in LABELS.split(size)]))
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


def test_the_bank_rests_outside_training(case):
    setting, batch, student, teacher = case()
    method = started("codir", setting).eval()
    before = method.bank.clone()
    method.terms(batch, student, teacher)
    assert torch.equal(method.bank, before)
    method.train().terms(batch, student, teacher)
    assert not torch.equal(method.bank[:6], before[:6]) and torch.equal(method.bank[6:], before[6:])
    assert torch.allclose(method.bank.norm(dim=1), torch.ones(len(LABELS)))
    assert not method.bank.requires_grad
