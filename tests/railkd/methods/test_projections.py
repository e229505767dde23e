"""What is measured of RAIL-KD's projections: effective rank, and how far the teacher's maps have moved."""

import pytest
import torch
from cases import started

from railkd.methods.parts.projection import Spectrum


@pytest.mark.parametrize("name", ["rail_kd_l", "rail_kd_c"])
def test_effective_rank_tells_collapse_from_use(make_setting, make_batch, name):
    setting = make_setting(d_T=16)
    batch, student, teacher = make_batch(setting, examples=400, tokens=1)
    method = started(name, setting, projection_dim=4)
    method.terms(batch, student, teacher)
    method.end_epoch()
    with torch.no_grad():  # random features through a map of rank one: all examples on one line
        method.teacher_map.weight.copy_(method.teacher_map.weight[:, :, :1].expand_as(method.teacher_map.weight))
    for hidden in teacher.hidden:
        hidden.abs_()
    method.teacher_map.weight.data.abs_()
    method.start_epoch(1, torch.Generator().manual_seed(0))
    method.terms(batch, student, teacher)
    method.end_epoch()
    record = method.record()
    used, collapsed = record["effective_rank"]
    assert 3 < used <= 4
    assert collapsed == pytest.approx(1, abs=0.02)
    assert record["spread"][0] > 0.9 and record["spread"][1] == pytest.approx(0, abs=1e-3)
    assert len(record["effective_rank_centred"]) == 2


@pytest.mark.parametrize("projection", ["learned", "learned_student", "frozen_random"])
def test_the_drift_of_the_teachers_maps_is_from_their_start(case, projection):
    setting, batch, student, teacher = case()
    method = started("rail_kd_l", setting, projection=projection)
    assert "start_GDU" not in method.state_dict()
    for factor in (1.0, 1.5, 3.0):  # of the start, whatever the epoch before
        method.terms(batch, student, teacher)
        with torch.no_grad():
            method.teacher_map.weight.copy_(factor * method.start_GDU)
        method.end_epoch()
    assert method.record()["teacher_map_drift"] == pytest.approx([0, 0.5, 2.0], abs=1e-5)


def test_effective_rank_by_hand():
    spectrum = Spectrum(groups=1, width=2)
    spectrum.add(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    # Second moment diag(.5, .5): two equal directions. Mean (.5, .5): half the norm is common; centred, one line.
    assert spectrum.summary() == {"effective_rank": 2.0, "effective_rank_centred": 1.0, "spread": 0.5}


def test_without_projection_no_rank_is_recorded(case):
    setting, batch, student, teacher = case(d_T=8)
    method = started("rail_kd_l", setting, projection="none")
    method.terms(batch, student, teacher)
    method.end_epoch()
    assert set(method.record()) == {"layers"}
