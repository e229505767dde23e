"""Measures what a trained student has in common with its teacher: similar layers and the same predictions.

Taken once a run, after training, on what a run has anyway: one forward pass on the probe examples of dev, the logits
that were scored, and the teacher's predictions. Dimensions: ``P`` probe examples, ``M`` and ``N`` intermediate layers
of student and teacher, ``D`` width, ``C`` classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from railkd.data.batches import Prepared
from railkd.devices import to_device
from railkd.models.classifier import uses_type_ids
from railkd.models.forward import forward
from railkd.teacher.cache import POOLINGS, SignalStore

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Logits = Mapping[str, NDArray[np.float32]]  # split -> (examples, C)
Probes = dict[str, tuple[Tensor, Tensor]]  # pooling -> student (P, M, D_S), teacher (P, N, D_T), float32


@dataclass(frozen=True)
class TeacherOnDev:
    """What a run keeps of its teacher to compare the student with."""

    store: SignalStore
    logits: Logits


def measure(
    model: "PreTrainedModel", data: Prepared, logits: Logits, teacher: TeacherOnDev, device: torch.device
) -> tuple[dict[str, list[list[float]]], dict[str, Any]]:
    """The run record's ``similarity`` and ``diagnostics``.

    ``diagnostics`` is ``agreement``: split -> measures (see ``agreement``), and ``cka``: pooling -> (M, N) as lists.
    """
    probed = probes(model, data, teacher.store, device)
    both = {split: (logits[split], teacher.logits[split]) for split in logits if split in teacher.logits}
    agreed = {split: agreement(*pair) for split, pair in both.items()}
    aligned = {kind: _rows(linear_cka(student, own)) for kind, (student, own) in probed.items()}
    return layer_similarity(probed), {"agreement": agreed, "cka": aligned}


def probes(model: "PreTrainedModel", data: Prepared, store: SignalStore, device: torch.device) -> Probes:
    """Pooled vectors of the probe examples in all intermediate layers; the model in eval mode, and then back.

    Empty where the student or the teacher has no intermediate layer.
    """
    rows = torch.from_numpy(np.array(store.array("probe_rows")))
    inputs = to_device(data.splits["dev"].collate(rows, data.facts["pad_id"], uses_type_ids(model)), device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        outputs = forward(model, inputs)
    model.train(was_training)
    layers = list(range(1, model.config.num_hidden_layers))
    kinds = [kind for kind in POOLINGS if layers and store.probed(kind)]
    teacher = {kind: torch.from_numpy(np.array(store.array(f"probe_{kind}"))).to(device).float() for kind in kinds}
    return {kind: (outputs.pooled(kind, layers), teacher[kind]) for kind in kinds}


def layer_similarity(probed: Probes) -> dict[str, list[list[float]]]:
    """Cosine similarity of student layers with teacher layers: pooling -> [student layer 1..m][teacher layer 1..n-1].

    Mean over the probe examples (the paper's Figure 2 takes 100 of SST-2). Empty when the widths differ: a cosine
    between spaces of different width is undefined.
    """
    return {
        kind: F.cosine_similarity(student_PMD[:, :, None], teacher_PND[:, None], dim=-1).mean(dim=0).tolist()
        for kind, (student_PMD, teacher_PND) in probed.items()
        if student_PMD.shape[-1] == teacher_PND.shape[-1]
    }


def linear_cka(student_PMD: Tensor, teacher_PND: Tensor) -> Tensor:
    """(M, N): linear centred kernel alignment of each pair of layers (Kornblith et al., 2019), at most 1; any widths.

    With the unbiased estimate of HSIC (Song et al., 2012, Eq. 5), because P is not larger than D: the plain estimate
    calls independent features alike. So it may be slightly negative. NaN-free: 0 where a layer says the same of all
    examples, or with fewer than four of them.
    """
    examples = len(student_PMD)
    if examples < 4:
        return torch.zeros(student_PMD.shape[1], teacher_PND.shape[1])
    gram_M, gram_N = (_gram(x_PLD.double()) for x_PLD in (student_PMD, teacher_PND))
    own_M, own_N = (torch.stack([_hsic(g[None], g[None])[0, 0] for g in gram]) for gram in (gram_M, gram_N))
    scale_MN = (own_M.clamp(min=0)[:, None] * own_N.clamp(min=0)[None]).sqrt()
    return torch.where(scale_MN > 1e-12, _hsic(gram_M, gram_N) / scale_MN.clamp(min=1e-12), 0.0)


def _gram(x_PLD: Tensor) -> Tensor:
    """(L, P, P): inner products of the examples in each layer, at a common scale, the diagonal zero."""
    centred_LPD = (x_PLD - x_PLD.mean(0)).transpose(0, 1)
    gram_LPP = centred_LPD @ centred_LPD.mT
    gram_LPP = gram_LPP / gram_LPP.diagonal(dim1=1, dim2=2).mean(-1).clamp(min=1e-12)[:, None, None]
    gram_LPP.diagonal(dim1=1, dim2=2).zero_()
    return gram_LPP


def _hsic(k_MPP: Tensor, l_NPP: Tensor) -> Tensor:
    """(M, N), unbiased, of kernel matrices whose diagonals are zero."""
    p = k_MPP.shape[-1]
    k_MP, l_NP = k_MPP.sum(-1), l_NPP.sum(-1)
    trace_MN = torch.einsum("mpq,npq->mn", k_MPP, l_NPP)
    sums_MN = k_MP.sum(-1)[:, None] * l_NP.sum(-1)[None] / ((p - 1) * (p - 2))
    return (trace_MN + sums_MN - 2 / (p - 2) * k_MP @ l_NP.mT) / (p * (p - 3))


def agreement(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> dict[str, float]:
    """How far a student answers as its teacher does, from logits (examples, C); labels play no part.

    Classes: ``same``, the share of examples with the same answer, and ``kl``, the mean of KL(p_T ‖ p_S) in nats at
    temperature 1 (fidelity; Stanton et al., 2021). Scores (C = 1): ``pearson``, 0 where one of them never changes, and
    ``rmse`` in the score's unit.
    """
    z_S, z_T = (torch.from_numpy(z).double() for z in (student, teacher))
    if z_S.shape[1] == 1:
        centred_S, centred_T = (z[:, 0] - z.mean() for z in (z_S, z_T))
        norms = centred_S.norm() * centred_T.norm()
        correlation = float(centred_S @ centred_T / norms) if norms > 0 else 0.0
        return {"pearson": round(correlation, 6), "rmse": round(float((z_S - z_T).square().mean().sqrt()), 6)}
    kl = F.kl_div(z_S.log_softmax(-1), z_T.log_softmax(-1), log_target=True, reduction="batchmean")
    same = (z_S.argmax(-1) == z_T.argmax(-1)).double().mean()
    return {"same": round(float(same), 6), "kl": round(float(kl), 6)}


def _rows(matrix: Tensor) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in matrix.tolist()]
