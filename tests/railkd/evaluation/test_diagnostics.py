"""What is said of a student beside its teacher, against values computed otherwise."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.evaluation import diagnostics
from railkd.evaluation.diagnostics import agreement, layer_similarity, linear_cka, probes
from railkd.jobs import distillation
from railkd.models.forward import forward
from railkd.records import run_record
from railkd.teacher.cache import SignalStore, probe_rows

CPU = torch.device("cpu")


@pytest.fixture
def store(pipeline: Any) -> SignalStore:
    return SignalStore(pipeline.layout.signals("bert4", "mrpc"), CPU)


def test_layer_similarity_by_hand(pipeline: Any, store: SignalStore) -> None:
    prepared = pipeline.prepared("mrpc")
    student, teacher = pipeline.student("bert2").eval(), pipeline.teacher("mrpc").eval()
    found = layer_similarity(probes(student, prepared, store, CPU))
    assert set(found) == {"cls", "mean"} and np.shape(found["cls"]) == (1, 3)
    split = prepared.splits["dev"]
    rows = probe_rows(len(split))
    assert rows.tolist() == list(range(30)) and len(probe_rows(500)) == 100 == len(set(probe_rows(500).tolist()))
    inputs = split.collate(rows, prepared.facts["pad_id"], True)
    with torch.no_grad():
        mine, theirs = forward(student, inputs), forward(teacher, inputs)
    weights = inputs["attention_mask"][..., None].float()
    for j in range(3):
        pairs = {
            "cls": (mine.hidden[1][:, 0], theirs.hidden[j + 1][:, 0]),
            "mean": tuple((h * weights).sum(1) / weights.sum(1) for h in (mine.hidden[1], theirs.hidden[j + 1])),
        }
        for kind, (a, b) in pairs.items():
            by_hand = ((a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)).mean()
            assert found[kind][0][j] == pytest.approx(float(by_hand), abs=1e-3)
    student.train()
    probes(student, prepared, store, CPU)
    assert student.training
    own = probes(teacher, prepared, store, CPU)
    for kind in ("cls", "mean"):
        assert np.diag(layer_similarity(own)[kind]) == pytest.approx(np.ones(3), abs=1e-3)
        assert torch.diag(linear_cka(*own[kind])).tolist() == pytest.approx([1] * 3, abs=1e-3)
    narrow = probes(pipeline.student("distilbert2"), prepared, store, CPU)
    assert layer_similarity(narrow) == {}  # other width: a cosine is undefined, CKA is not
    assert linear_cka(*narrow["mean"]).shape == (1, 3)


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cka_is_blind_to_rotation_scale_and_shift_and_sees_independence() -> None:
    a_PMD = random_features(100, 2, 8)
    turn = torch.linalg.qr(random_features(8, 8, seed=1))[0]
    assert linear_cka(a_PMD, 3 * a_PMD @ turn + 5).diagonal().tolist() == pytest.approx([1, 1], abs=1e-5)
    stretched = linear_cka(a_PMD, a_PMD * torch.tensor([9.0, 1, 1, 1, 1, 1, 1, 1]))
    assert 0.1 < float(stretched[0, 0]) < 0.9
    wide = linear_cka(random_features(100, 3, 400, seed=2), random_features(100, 3, 400, seed=3))
    assert wide.abs().max() < 0.1  # the plain, biased estimate says .8 of these
    assert torch.equal(linear_cka(a_PMD, torch.ones(100, 1, 4)), torch.zeros(2, 1))
    assert torch.equal(linear_cka(a_PMD[:3], a_PMD[:3]), torch.zeros(2, 2))


def test_cka_against_the_formula_with_sums_written_out() -> None:
    """Song et al. (2012), Eq. 5: the mean of k_ij l_ij + k_ij l_qr − 2 k_ij l_iq over different i, j, q, r."""
    x, y = random_features(6, 1, 3), random_features(6, 1, 2, seed=1)

    def hsic(k: Any, m: Any) -> float:
        n = range(6)
        pairs = [(i, j) for i in n for j in n if i != j]
        triples = [(i, j, q) for i, j in pairs for q in n if q not in (i, j)]
        fours = [(i, j, q, r) for i, j, q in triples for r in n if r not in (i, j, q)]
        return (
            math.fsum(k[i][j] * m[i][j] for i, j in pairs) / len(pairs)
            + math.fsum(k[i][j] * m[q][r] for i, j, q, r in fours) / len(fours)
            - 2 * math.fsum(k[i][j] * m[i][q] for i, j, q in triples) / len(triples)
        )

    k, m = ((z[:, 0].double() @ z[:, 0].double().T).tolist() for z in (x, y))
    expected = hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))
    assert float(linear_cka(x, y)[0, 0]) == pytest.approx(expected, rel=1e-6)


def test_agreement_by_hand() -> None:
    student = np.array([[0.0, 0.0], [3.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    teacher = np.array([[math.log(9), 0.0], [3.0, 1.0], [2.0, 0.0]], dtype=np.float32)
    first = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    p = math.exp(2) / (math.exp(2) + 1)
    found = agreement(student, teacher)
    assert found["same"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["kl"] == pytest.approx((first + 0 + (2 * p - 2 * (1 - p))) / 3, abs=1e-5)
    scores = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    assert agreement(scores, 2 * scores + 1) == {"pearson": 1.0, "rmse": round(math.sqrt((4 + 9 + 25) / 3), 6)}
    assert agreement(np.ones((3, 1), np.float32), scores)["pearson"] == 0.0


@pytest.mark.parametrize("task, measures", [("mrpc", {"same", "kl"}), ("stsb", {"pearson", "rmse"})])
def test_every_run_records_them(pipeline: Any, task: str, measures: set[str], tmp_path: Path) -> None:
    cell = Cell("distilbert2", "rail_kd_l", task)
    distillation.distil(pipeline.benchmark, pipeline.layout, cell, [5], CPU, lambda line: None)
    record = run_record.read(pipeline.layout.run(cell, 5))
    found = record["diagnostics"]
    assert set(found) == {"agreement", "cka"} and set(found["agreement"]) == set(record["scores"])
    assert all(set(values) == measures for values in found["agreement"].values())
    assert np.shape(found["cka"]["mean"]) == np.shape(found["cka"]["cls"]) == (1, 3)
    drift = record["method_record"]["teacher_map_drift"]
    assert len(drift) == 2 and 0 < drift[0] < drift[1] < 1
    teacher = run_record.read(pipeline.layout.teacher("bert4", task) / "record.json")
    assert teacher["diagnostics"] == {}


def test_the_teachers_predictions_are_those_of_its_record(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pipeline.layout.teacher("bert4", "mrpc") / "record.json"
    record = run_record.read(path)
    logits = run_record.predictions(path, record)
    assert diagnostics.agreement(logits["dev"], logits["dev"]) == {"same": 1.0, "kl": 0.0}
    monkeypatch.setattr(run_record, "sha256_bytes", lambda content: "another")
    with pytest.raises(UserError, match=r"record.safetensors: missing or not what was written"):
        run_record.predictions(path, record)
