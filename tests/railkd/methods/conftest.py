"""Small models' signals made of random numbers: what a method sees, without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from cases import BEND, LABELS
from torch import Tensor

from railkd.methods import cr_ild, mixkd
from railkd.methods.base import Setting
from railkd.signals import AttentionVector, Batch, Pooling


@dataclass
class FakeSignals:
    """Hidden states of all layers, ``hidden[l]`` (B, T, D) with l = 0 the embedding layer, read like a model's."""

    logits_BC: Tensor
    hidden: list[Tensor]
    mask_BT: Tensor

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # stack of float16 is refused under autocast
            states_BLTD = torch.stack([self.hidden[layer] for layer in layers], 1)
        if kind == "cls":
            return states_BLTD[:, :, 0]
        if kind == "mean_padded":
            return states_BLTD.mean(2)
        mask_B1T1 = self.mask_BT[:, None, :, None].to(states_BLTD.dtype)
        return (states_BLTD * mask_B1T1).sum(2) / mask_B1T1.sum(2)

    def tokens(self, layer: int) -> Tensor:
        return self.hidden[layer]

    def vectors(self, part: AttentionVector, layer: int) -> Tensor:
        """A fixed map of the layer's input for each part, as a model's projections are."""
        inputs_BTD = self.hidden[layer - 1]
        g = torch.Generator().manual_seed(len(part))
        return inputs_BTD @ torch.randn(2 * (inputs_BTD.shape[-1],), generator=g).to(inputs_BTD.dtype)

    def mixed(self, partner_B: Tensor, share: float) -> "FakeSignals":
        """As of a model that is linear but for ``BEND``·λ(1 − λ), the same everywhere."""

        def mix(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x[partner_B] + BEND * share * (1 - share)

        own_BT = self.mask_BT.bool()
        real_BT = (own_BT & (share > 0)) | (own_BT[partner_B] & (share < 1))
        hidden = [mix(h.masked_fill(~own_BT[..., None], 0)) for h in self.hidden]
        return FakeSignals(mix(self.logits_BC), hidden, real_BT.long())

    def padded(self, extra: int) -> "FakeSignals":
        """The same examples in a batch that is longer by ``extra`` positions of padding, filled with large numbers."""
        junk = [torch.full((len(h), extra, h.shape[-1]), 50.0, dtype=h.dtype) for h in self.hidden]
        zeros = torch.zeros(len(self.mask_BT), extra, dtype=self.mask_BT.dtype)
        hidden = [torch.cat([h, j], 1) for h, j in zip(self.hidden, junk, strict=True)]
        return FakeSignals(self.logits_BC, hidden, torch.cat([self.mask_BT, zeros], 1))

    def rows(self, rows: slice) -> "FakeSignals":
        """Some of the batch's examples."""
        return FakeSignals(self.logits_BC[rows], [h[rows] for h in self.hidden], self.mask_BT[rows])

    def to(self, dtype: torch.dtype) -> "FakeSignals":
        """The same numbers in another precision."""
        return FakeSignals(self.logits_BC.to(dtype), [h.to(dtype) for h in self.hidden], self.mask_BT)

    def tensors(self) -> list[Tensor]:
        """All floating tensors."""
        return [self.logits_BC, *self.hidden]


@pytest.fixture
def make_setting() -> Callable[..., Setting]:
    """A setting: 12 → 6 layers of widths 10 and 8, 3 classes, unless told otherwise."""

    def make(
        teacher: int = 12,
        student: int = 6,
        d_T: int = 10,
        d_S: int = 8,
        outputs: int = 3,
        labels: Tensor | None = None,
    ) -> Setting:
        return Setting(teacher, d_T, student, d_S, outputs, outputs == 1, labels)

    return make


@pytest.fixture
def make_batch() -> Callable[..., tuple[Batch, FakeSignals, FakeSignals]]:
    """A batch of the first B training examples, and what student and teacher say about it."""

    def make(
        setting: Setting, examples: int = 6, tokens: int = 5, seed: int = 0
    ) -> tuple[Batch, FakeSignals, FakeSignals]:
        g = torch.Generator().manual_seed(seed)
        lengths = torch.randint(min(2, tokens), tokens + 1, (examples, 1), generator=g)
        mask_BT = (torch.arange(tokens)[None] < lengths).long()
        if setting.regression:
            labels = torch.rand(examples, generator=g) * 5
        elif setting.train_labels is not None:
            labels = setting.train_labels[:examples]
        else:
            labels = torch.randint(setting.outputs, (examples,), generator=g)

        def signals(layers: int, width: int) -> FakeSignals:
            hidden = [torch.randn(examples, tokens, width, generator=g) for _ in range(layers + 1)]
            return FakeSignals(torch.randn(examples, setting.outputs, generator=g), hidden, mask_BT)

        student = signals(setting.student_layers, setting.student_width)
        teacher = signals(setting.teacher_layers, setting.teacher_width)
        return Batch(torch.arange(examples), labels, {"attention_mask": mask_BT}), student, teacher

    return make


@pytest.fixture
def case(
    make_setting: Callable[..., Setting], make_batch: Callable[..., tuple[Batch, FakeSignals, FakeSignals]]
) -> Callable[..., tuple[Setting, Batch, FakeSignals, FakeSignals]]:
    """A setting with training labels and two attention heads, and a batch of it."""

    def make(**changes: Any) -> tuple[Setting, Batch, FakeSignals, FakeSignals]:
        setting = replace(make_setting(**{"labels": LABELS, **changes}), teacher_heads=2, student_heads=2)
        return setting, *make_batch(setting)

    return make


@pytest.fixture
def mix(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[int], float], None]:
    """Fixes what the next draws of a mix give."""

    def make(partner: Sequence[int], share: float) -> None:
        for module in (cr_ild, mixkd):
            monkeypatch.setattr(module, "draw_mix", lambda *_: (torch.tensor(partner), share))

    return make
