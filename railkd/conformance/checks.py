"""What every distillation method must do, one check for each function, on miniature random models.

A teacher of 12 layers and a student of 6, narrower where the method allows it, on a dozen random examples of three
classes, of two, or of scores. A method may declare that something does not apply to it: ``pooling`` mean_padded
(padding), ``mixes_examples`` (a batch's loss is no mean over its examples), ``needs_live_teacher`` (nothing to cache),
``regression = False``.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from railkd.conformance.miniature import (
    BATCH,
    CPU,
    EPOCHS,
    EXAMPLES,
    LENGTH,
    Failure,
    Kept,
    Miniatures,
    Run,
    Terms,
    numbers,
)
from railkd.conformance.trial import trial
from railkd.devices import autocast
from railkd.errors import UserError
from railkd.methods import build, find
from railkd.methods.base import Setting
from railkd.random_streams import stream
from railkd.signals import Batch, Signals
from railkd.teacher.cache import SignalStore, write_signals

NOTHING = 1e-4  # of a gradient, left by rounding where there should be none


@dataclass(frozen=True)
class Example:
    """A case worked out by hand, which a method's class may give as ``by_hand()``: signals and the terms expected.

    ``railkd.models.forward.Forward(logits_BC, hidden, mask_BT)`` makes signals of tensors.
    """

    setting: Setting
    options: dict[str, Any]
    batch: Batch
    student: Signals
    teacher: Signals | None
    expected: Terms


class NotApplicable(Exception):
    """Why a check says nothing about a method."""


def _same(a: Terms, b: Terms, where_a: str, where_b: str, tolerance: float, what: str = "term") -> None:
    """Raises Failure unless the terms, or what they are, agree, to the bit where ``tolerance`` is 0."""
    if a.keys() != b.keys():
        raise Failure(f"the {what}s are {sorted(a)} {where_a} and {sorted(b)} {where_b}")
    for name, value in a.items():
        if not abs(value - b[name]) <= tolerance * max(abs(value), abs(b[name]), 1e-3):
            raise Failure(f"{what} '{name}' is {value:.7g} {where_a} and {b[name]:.7g} {where_b}")


def padding(miniatures: Miniatures) -> None:
    """The loss does not depend on how far a batch is padded."""
    if miniatures.start().pooling == "mean_padded":
        raise NotApplicable("declared: pooling is mean_padded")
    longest = int(miniatures.split.lengths[miniatures.rows].max())
    for epoch in (0, EPOCHS - 1):
        short = miniatures.terms(miniatures.start(epoch), pad_to=longest)
        long = miniatures.terms(miniatures.start(epoch), pad_to=LENGTH)
        _same(short, long, f"in a batch of {longest} tokens", f"in the same batch padded to {LENGTH}", 1e-4)


class _Watched:
    """A teacher's signals that remember each tensor handed out, and what was in it."""

    def __init__(self, outputs: Signals, handed: list[tuple[Tensor, Tensor]]) -> None:
        self._outputs, self._handed = outputs, handed

    def __getattr__(self, name: str) -> Any:
        return self._note(getattr(self._outputs, name))

    def _note(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self._handed.append((value, value.detach().clone()))
        elif callable(value):
            return lambda *a, **k: self._note(value(*a, **k))
        elif hasattr(value, "logits_BC"):
            return _Watched(value, self._handed)
        return value


def _reached(miniatures: Miniatures, epoch: int) -> tuple[Terms, set[str], list[tuple[Tensor, Tensor]]]:
    """Terms that train the student, own parameters that any term trains, and the teacher tensors handed out.

    The terms come with the largest gradient of a weight of the student; it is infinite for one whose weight is 0.
    """
    method, batch = miniatures.start(epoch), miniatures.batch(miniatures.rows)
    outputs = miniatures.outputs(method, batch)
    handed: list[tuple[Tensor, Tensor]] = []
    captured: dict[str, Tensor] = {}
    original = method.terms

    def terms(*arguments: Any) -> dict[str, Tensor]:
        captured.update(original(*arguments))
        return captured

    vars(method)["terms"] = terms
    miniatures.loss(method, batch, None if outputs is None else _Watched(outputs, handed))
    student = list(miniatures.student.parameters())
    own = {name: p for name, p in method.named_parameters() if p.requires_grad}
    training = {name: math.inf for name in captured if method.weights[name] == 0}
    trained: set[str] = set()
    for name, value in captured.items():
        if method.weights[name] == 0 or not value.requires_grad:
            continue
        (method.weights[name] * value).backward(retain_graph=True)  # a weight may be a parameter of the method
        largest = max((float(p.grad.abs().max()) for p in student if p.grad is not None), default=0.0)
        if largest:
            training[name] = largest
        trained |= {key for key, p in own.items() if p.grad is not None and bool(p.grad.any())}
        for p in (*student, *own.values()):
            p.grad = None
    return training, trained, handed


def gradients(miniatures: Miniatures) -> None:
    """Each weighted term trains the student, each own parameter is trained by one, the teacher stays as it is."""
    trained: set[str] = set()
    for epoch in (0, EPOCHS - 1):
        training, own, handed = _reached(miniatures, epoch)
        trained |= own
        idle = sorted(set(miniatures.terms(miniatures.start(epoch))) - training.keys())
        if idle:
            raise Failure(f"term '{idle[0]}' gives the student no gradient (is its side detached?)")
        for tensor, copy in handed:
            if tensor.requires_grad or tensor.grad is not None:
                raise Failure("a teacher tensor gets a gradient; it is fixed")
            if not torch.equal(tensor, copy):
                raise Failure("changes a teacher tensor in place; others read the same signals")
        _on_two_classes(miniatures, epoch, training)
    left = sorted({name for name, p in miniatures.start().named_parameters() if p.requires_grad} - trained)
    if left:
        raise Failure(f"parameter '{left[0]}' gets no gradient from any term")


def _on_two_classes(miniatures: Miniatures, epoch: int, training: Terms) -> None:
    """Raises Failure for a term that trains the student on three classes, and on two by rounding errors at most."""
    on_two = _reached(miniatures.on_two_classes, epoch)[0]
    for name, largest in training.items():
        if on_two.get(name, 0.0) <= NOTHING * largest < math.inf:
            raise Failure(
                f"term '{name}' trains the student on three classes but not on two, which most tasks have; let "
                "self.weights have it only where setting.outputs is not 2, or return another term there"
            )


def batch_split(miniatures: Miniatures) -> None:
    """The loss of a batch is the weighted mean of the losses of its parts: every reduction is a mean over examples."""
    if getattr(miniatures.start(), "mixes_examples", False):
        raise NotApplicable("declared: mixes a batch's examples")
    for epoch in (0, EPOCHS - 1):
        whole = miniatures.terms(miniatures.start(epoch).eval())  # eval: a memory bank rests between the parts
        method, mean = miniatures.start(epoch).eval(), dict.fromkeys(whole, 0.0)
        for rows in miniatures.rows.split([3, BATCH - 3]):
            for name, value in miniatures.terms(method, rows).items():
                mean[name] += value * len(rows) / BATCH
        try:
            _same(whole, mean, f"of {BATCH} examples", f"as the mean of its parts of 3 and {BATCH - 3}", 1e-4)
        except Failure as failure:
            raise Failure(
                f"{failure}; take the mean over the examples, or declare mixes_examples = True where a term compares "
                "examples with each other"
            ) from None


def cached_is_live(miniatures: Miniatures) -> None:
    """Signals from disk, in half precision, give the loss that a live teacher gives, to a thousandth."""
    method = miniatures.start()
    if getattr(method, "needs_live_teacher", False):
        raise NotApplicable("declared: always live")
    batch = miniatures.batch(miniatures.rows)
    if miniatures.outputs(method, batch) is None:
        raise NotApplicable("reads nothing from the teacher")
    poolings = [method.pooling] if method.pooling is not None else []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "signals"
        write_signals(miniatures.teacher, miniatures.prepared, poolings, place, "float32", {})
        store = SignalStore(place, CPU)
        for epoch in (0, EPOCHS - 1):
            live = miniatures.terms(miniatures.start(epoch))
            cached = numbers(miniatures.loss(miniatures.start(epoch), batch, store.signals(batch))[1])
            _same(live, cached, "with a live teacher", "with cached signals", 1e-3)


def determinism(miniatures: Miniatures) -> None:
    """One seed gives the same bits, whatever others draw from the global generators."""
    for epoch in (0, EPOCHS - 1):
        first, second = miniatures.start(epoch, seed=1), miniatures.start(epoch, seed=2)
        for step, rows in enumerate(torch.arange(EXAMPLES).split(4)):
            a, b = miniatures.terms(first, rows, seed=10 + step), miniatures.terms(second, rows, seed=20 + step)
            _same(a, b, "in one run", f"in another of the same seed, step {step + 1} (global generator?)", 0)


def resume(miniatures: Miniatures) -> None:
    """A run that is resumed at an epoch goes on as one that trained until there: draws, weights, parameters."""
    running = miniatures.start_run()
    with miniatures.student_kept():
        miniatures.step(running, miniatures.rows)
        for epoch in range(1, EPOCHS):
            running.method.end_epoch()
            kept = Kept.of(running)
            miniatures.start_epoch(running.method, epoch)
            resumed = miniatures.start_run(epoch, kept)
            for rows in torch.arange(EXAMPLES).split(6):
                with miniatures.student_kept():
                    undisturbed = _stepped(miniatures, running, rows)
                again = _stepped(miniatures, resumed, rows)
                for what, values in undisturbed.items():
                    _same(values, again[what], f"in epoch {epoch + 1}", "in a run resumed there", 0, what)


def _stepped(miniatures: Miniatures, run: Run, rows: Tensor) -> dict[str, Terms]:
    """What a training step on these rows gives: its terms, their weights, and the loss, which is their sum."""
    loss, terms = miniatures.step(run, rows)
    weights = {name: float(torch.as_tensor(weight).detach()) for name, weight in run.method.weights.items()}
    return {"term": numbers(terms), "weight": weights, "sum": {"loss": float(loss)}}


def regression(miniatures: Miniatures) -> None:
    """Scores in place of classes train the student too, or the class declares that they do not."""
    if not find(miniatures.name).regression:
        raise NotApplicable("declared: undefined for scores")
    try:
        scores = miniatures.on_scores
    except UserError as error:
        raise Failure(f"refuses scores ({error}); expected `regression = False` in the class body") from None
    trial(scores)
    for epoch in (0, EPOCHS - 1):
        lost = sorted(_reached(miniatures, epoch)[0].keys() - _reached(scores, epoch)[0].keys())
        if lost:
            raise Failure(f"term '{lost[0]}' trains the student on classes but not on scores")


def mixed_precision(miniatures: Miniatures) -> None:
    """Loss and gradients stay finite in bfloat16, for models as sure as trained ones are."""
    modules = [module for model in (miniatures.student, miniatures.teacher) for module in model.modules()]
    heads = [m for m in modules if isinstance(m, nn.Linear) and m.out_features == miniatures.task.outputs]
    kept = [head.weight.detach().clone() for head in heads]
    try:
        with torch.no_grad():
            for head in heads:
                head.weight.mul_(12)
        for epoch in (0, EPOCHS - 1):
            method, batch = miniatures.start(epoch), miniatures.batch(miniatures.rows)
            with autocast(CPU, torch.bfloat16):
                outputs = miniatures.outputs(method, batch)
            loss, terms = miniatures.loss(method, batch, outputs, precision=torch.bfloat16)
            for name, value in numbers(terms).items():
                if value - value != 0:
                    raise Failure(f"term '{name}' is {value} in bfloat16; compute it in float32")
            loss.backward()
            for name, parameter in (*miniatures.student.named_parameters(), *method.named_parameters()):
                if parameter.grad is not None and not parameter.grad.isfinite().all():
                    raise Failure(f"the gradient of '{name}' is not finite in bfloat16")
    finally:
        with torch.no_grad():
            for head, weight in zip(heads, kept, strict=True):
                head.weight.copy_(weight)
        miniatures.student.zero_grad()


def by_hand(miniatures: Miniatures) -> None:
    """The class's own example comes out as it says."""
    given = getattr(find(miniatures.name), "by_hand", None)
    if given is None:
        raise NotApplicable("the class gives no by_hand()")
    example = given()
    method = build(miniatures.name, example.setting, example.options)
    method.start_training(stream(0, "method"))
    method.start_epoch(0, stream(0, "method", 0))
    found = numbers(method.loss(example.batch, example.student, example.teacher)[1])
    _same(found, example.expected, "here", "by hand", 1e-4)
