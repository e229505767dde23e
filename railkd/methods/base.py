"""Defines what a distillation method is, and the losses that most methods share.

Dimensions: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` classes, ``N`` intermediate teacher layers (n - 1),
``M`` intermediate student layers (m), ``U`` projected width. Layers are 1-based wherever a person sees them:
an n-layer model has the intermediate layers 1..n-1; the embedding layer (0) and the last layer (n) are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from railkd.errors import UserError
from railkd.methods.mistakes import check_terms
from railkd.signals import Batch, Pooling, Signals


@dataclass(frozen=True)
class Setting:
    """The facts a method may depend on, fixed before training starts."""

    teacher_layers: int  # n, all of them
    teacher_width: int
    student_layers: int  # m + 1, all of them
    student_width: int
    outputs: int  # C: classes, or 1 for regression
    regression: bool
    train_labels: Tensor | None = None  # (examples,), in dataset order; None while only options are checked
    teacher_heads: int = 1  # attention heads of a layer
    student_heads: int = 1

    @property
    def teacher_intermediate(self) -> list[int]:
        """1..n-1."""
        return list(range(1, self.teacher_layers))

    @property
    def student_intermediate(self) -> list[int]:
        """1..m."""
        return list(range(1, self.student_layers))


class Method(nn.Module):
    """A distillation objective: named loss terms, what they read from the teacher, and their trained projections.

    Subclasses say what they read and define ``terms``; options are the keyword arguments of ``__init__`` (typed, with
    defaults), and a value that makes no sense raises ``UserError``. The loss is the sum over terms of
    ``weights[name] * terms()[name]``. Sub-modules are trained with the student and dropped after training.

    The class is where tables and reports learn what a method is: from the constants below and the first line of its
    docstring, one sentence for a reader who has not met the method. A subclass inherits them all.
    """

    title: ClassVar[str] = ""  # of its rows; empty: its name in the benchmark file
    needs_logits: ClassVar[bool] = False  # reads the teacher's logits
    needs_live_teacher: ClassVar[bool] = False  # reads tokens, vectors or mixed, which no cache holds
    whole_last_layer: ClassVar[bool] = False  # reads more of the last layer than its first position
    mixes_examples: ClassVar[bool] = False  # mixes a batch's examples: its loss is not the mean of its halves'
    source: ClassVar[str] = ""  # paper and equation
    regression: ClassVar[bool] = True  # False: undefined for STS-B; the cell becomes a dash with a footnote
    # the row of Table 1; empty for methods that are no row of it
    layer_mapping: ClassVar[str] = ""
    complexity: ClassVar[str] = ""
    limitation: ClassVar[str] = ""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.weights: dict[str, float] = {"ce": 1.0}
        self.generator = torch.Generator()  # replaced at each epoch by the run's "method" stream
        self.epochs = 1  # of the run, at most; set by the training loop before start_training
        self.history: dict[str, list[Any]] = {}  # per-epoch facts for the record

    @property
    def pooling(self) -> Pooling | None:
        """Which pooled vector of the intermediate layers the method reads from both models, if any."""
        return None

    def start_training(self, generator: torch.Generator) -> None:
        """Called once before the first epoch, also when a run resumes, with a stream seeded by (seed,) alone."""

    @property
    def needs_hidden(self) -> bool:
        """Whether the student's forward pass keeps its hidden states."""
        return self.pooling is not None

    @property
    def attention_layers(self) -> tuple[Sequence[int], Sequence[int]]:
        """Layers of student and teacher, 1-based, whose ``vectors`` the method reads."""
        return (), ()

    def check_run(self) -> None:
        """Called with ``epochs`` set, before anything is computed; raises UserError for a run it cannot train in."""

    @property
    def trains_classifier(self) -> bool:
        """False in a stage that trains no classifier: its epochs are neither chosen nor a reason to stop early."""
        return True

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Called before each epoch (0-based) with the run's method stream, seeded by (seed, epoch) alone."""
        self.generator = generator

    def end_epoch(self) -> None:
        """Called after the last step of each epoch: the place to move what was accumulated on the device."""

    def resume(self, history: dict[str, list[Any]]) -> None:
        """Called after ``start_training`` when a run resumes, with ``history`` as it was at the end of an epoch.

        Parameters and persistent buffers are restored besides; a method that keeps more than these and ``history``
        between epochs derives it here.
        """
        self.history = history

    def terms(self, batch: Batch, student: Signals, teacher: Signals | None) -> dict[str, Tensor]:
        """Unweighted loss terms by name, each a scalar."""
        raise NotImplementedError

    def loss(self, batch: Batch, student: Signals, teacher: Signals | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms, and the detached terms for the record.

        Raises MethodError, which names file and line, unless the terms are scalars by name, each with a weight.
        """
        terms = self.terms(batch, student, teacher)
        check_terms(self, terms)
        total = torch.stack([self.weights[name] * value.float() for name, value in terms.items()]).sum()
        return total, {name: value.detach() for name, value in terms.items()}

    def record(self) -> dict[str, Any]:
        """What the method adds to the run record (drawn layers, attention weights, ...), JSON-serialisable."""
        return dict(self.history)


def reads_teacher(method: Method) -> bool:
    """Whether a method reads anything of its teacher."""
    return method.needs_logits or method.needs_hidden or method.needs_live_teacher


def cross_entropy(logits_BC: Tensor, labels_B: Tensor, regression: bool) -> Tensor:
    """CE against the gold labels; mean squared error on the score for STS-B. Scalar, float32."""
    if regression:
        return F.mse_loss(logits_BC.float().squeeze(-1), labels_B.float())
    return F.cross_entropy(logits_BC.float(), labels_B)


def kd(student_BC: Tensor, teacher_BC: Tensor, temperature: float, regression: bool) -> Tensor:
    """τ² · KL(p_T ‖ p_S) at temperature τ, summed over classes, mean over the batch (Hinton et al., 2015, sec. 2).

    For regression: mean squared error between the two scores. Scalar, float32.
    """
    if regression:
        return F.mse_loss(student_BC.float(), teacher_BC.float())
    log_student = F.log_softmax(student_BC.float() / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_BC.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


def normalise(vectors: Tensor) -> Tensor:
    """v / ‖v‖₂ over the last dimension, in float32 whatever the precision of the run."""
    return F.normalize(vectors.float(), dim=-1)


def skip_mapping(setting: Setting) -> list[int]:
    """PKD-skip: student layer i reads teacher layer i·n/(m+1); 2,4,6,8,10 for 12 → 6, 4,8,12,16,20 for 24 → 6."""
    n, k = setting.teacher_layers, setting.student_layers
    return [min(n - 1, max(1, round(i * n / k))) for i in setting.student_intermediate]


def last_mapping(setting: Setting) -> list[int]:
    """PKD-last: the m intermediate teacher layers nearest the top; 7..11 for 12 → 6."""
    return setting.teacher_intermediate[-len(setting.student_intermediate) :]


def check_mapping(mapping: Sequence[int], setting: Setting, key: str) -> list[int]:
    """One teacher layer for each intermediate student layer, each in 1..n-1; raises UserError naming the key."""
    m, last = len(setting.student_intermediate), setting.teacher_layers - 1
    if len(mapping) != m:
        raise UserError(f"{key}: {list(mapping)} names {len(mapping)} teacher layers; this student needs {m}")
    for layer in mapping:
        if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= layer <= last:
            raise UserError(
                f"{key}: the teacher has no intermediate layer {layer!r} (it has {setting.teacher_layers} layers: "
                f"expected 1 to {last})"
            )
    return list(mapping)


def check_range(key: str, value: float, low: float = 0.0, high: float = float("inf"), *, above: bool = False) -> None:
    """Raises UserError unless low <= value <= high (low < value with ``above``)."""
    if not (low < value if above else low <= value) or not value <= high:
        bound = f"above {low:g}" if above else f"at least {low:g}"
        raise UserError(
            f"{key}: {value!r} is out of range, expected a number {bound}"
            + (f" and at most {high:g}" if high != float("inf") else "")
        )
