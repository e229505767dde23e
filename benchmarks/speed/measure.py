"""Times a group: its methods one after the other, round after round, each a few steps of the project's own loop.

Only one method's optimizer lives at a time, so memory does not grow with their number; the student, the teacher and the
batches are the same for all. Nothing inside a step is synchronised: the clock is read after the device has finished a
method's steps. What a method needs to start (optimizer, first allocations) happens in steps outside the clock.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.work import Group, TimedMethod, objective, store
from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared, epoch_batches
from railkd.devices import precision, to_device
from railkd.models.classifier import place
from railkd.planning.untrained_models import made_up, settle, untrained
from railkd.random_streams import seed_global, stream
from railkd.signals import Batch, Pooling, Signals
from railkd.teacher.live import LiveTeacher
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps, Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER = TimedMethod("teacher", "forward", None, True)  # the teacher's forward pass alone, with its hidden states


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    device: torch.device
    precision: str  # float32 | bfloat16 | auto
    batch_size: int
    mean_length: float  # tokens of an example
    max_length: int
    examples: int
    rounds: int
    steps: int  # a method and round
    warmup: int  # steps before the clock starts


class Memory:
    """The most memory that a method takes, weights of the models it uses included, in bytes; None where unknown.

    On a GPU: the allocator's peak. On a CPU: the growth of the resident set over what it was before the method, whose
    high-water mark Linux can reset, and the weights, which were there before. What an earlier method has freed is given
    back to the system first: else this one takes its pages again, and the resident set does not grow.
    """

    def __init__(self, device: torch.device, weights: int) -> None:
        self.device, self.weights = device, weights
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            return
        gc.collect()
        given_back = _give_back()
        self.before = _status("VmRSS") if given_back else None
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.before = None

    def peak(self) -> int | None:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        most = _status("VmHWM")
        return None if most is None or self.before is None else most - self.before + self.weights


def _give_back() -> bool:
    """Gives memory that Python has freed back to the system; False where the C library cannot (it is not glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def _status(key: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _weights(model: "PreTrainedModel") -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


class TimedGroup:
    """One group, ready to be timed."""

    def __init__(
        self, benchmark: Benchmark, group: Group, methods: list[TimedMethod], settings: Settings, folder: Path
    ) -> None:
        self.benchmark, self.group, self.settings = benchmark, group, settings
        config = group.student
        self.data: Prepared = made_up(
            settings.examples,
            settings.mean_length,
            min(settings.max_length, config.max_position_embeddings - 2),
            config.vocab_size,
            config.pad_token_id or 0,
        )
        self.student = untrained(config, 2, settings.device)
        self.teacher = untrained(group.teacher, 2, settings.device)
        self.dtype = precision(settings.precision, settings.device, config.hidden_size)
        poolings: set[Pooling] = set()
        for timed in methods:
            pooling = objective(benchmark, group, timed, self.data).pooling
            if pooling is not None:
                poolings.add(pooling)
        self.store = store(group, self.data, sorted(poolings), folder, settings.device)
        batches = epoch_batches(self.data.splits["train"].lengths, settings.batch_size, stream(0, "order", 0))
        full = [rows for rows in batches if len(rows) == settings.batch_size]
        self.batches = full[: settings.steps]  # the same in every round and for every method
        lengths = self.data.splits["train"].lengths
        self.tokens = [len(rows) * int(lengths[rows].max()) for rows in self.batches]  # padded
        self.warm_batches = [max(self.batches, key=lambda rows: int(lengths[rows].max()))] * settings.warmup

    def _steps(self, timed: TimedMethod) -> Steps:
        settings = self.settings
        seed_global(0, "method")
        method = objective(self.benchmark, self.group, timed, self.data)
        method.start_training(stream(0, "method"))
        method.start_epoch(0, stream(0, "method", 0))
        source: Teacher | None = None
        live = timed.regime == "live"
        place(self.teacher, settings.device if live else torch.device("cpu"))
        if live:
            source = LiveTeacher.for_method(method, self.teacher, self.data, settings.device, settings.precision)
            source.quicken()
        elif timed.regime == "cached":
            source = self.store
        training = {"batch_size": settings.batch_size, "precision": settings.precision, "epochs": 1000}
        return Steps(self.student, method, source, self.data, TrainingSettings.of(training, 0, settings.device))

    def time(self, timed: TimedMethod) -> tuple[float, int | None]:
        """Seconds of a step, and bytes of memory at most."""
        if timed == TEACHER:
            return self._time_teacher(), None
        live = timed.regime == "live"
        memory = Memory(self.settings.device, _weights(self.student) + (_weights(self.teacher) if live else 0))
        steps = self._steps(timed)
        try:
            seconds, last = self._clock(lambda rows: steps(rows))
        finally:
            steps.finish(1.0)
            self.student.zero_grad(set_to_none=True)  # gradients are the method's, and no memory of the next one
        if not bool(torch.isfinite(last).all()):
            raise RuntimeError(
                f"{self.group.name}: the loss of {timed.method} is not finite, so its time means nothing"
            )
        return seconds, memory.peak()

    def _time_teacher(self) -> float:
        live = LiveTeacher(self.teacher, self.data, self.settings.device, self.settings.precision)
        live.quicken()
        return self._clock(lambda rows: self._signals(live, rows).logits_BC)[0]

    def _signals(self, live: LiveTeacher, rows_B: Tensor) -> Signals:
        split = self.data.splits["train"]
        inputs = to_device(split.collate(rows_B, self.data.facts["pad_id"], False), self.settings.device)
        return live.signals(Batch(rows_B, split.labels[rows_B], inputs))

    def _clock(self, step: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
        last = torch.zeros(())
        for rows in self.warm_batches:
            last = step(rows)
        settle(self.settings.device)
        started = time.perf_counter()
        for rows in self.batches:
            last = step(rows)
        settle(self.settings.device)
        return (time.perf_counter() - started) / len(self.batches), last

    def operations(self) -> dict[str, float]:
        """Floating-point operations of a step's matrix products: the student's step, the teacher's forward pass."""
        steps = self._steps(TimedMethod("no_kd", "none", None, True))
        with FlopCounterMode(display=False) as student:
            for rows in self.batches:
                steps(rows)
        steps.finish(1.0)
        live = LiveTeacher(self.teacher, self.data, self.settings.device, self.settings.precision)
        with FlopCounterMode(display=False) as teacher:
            for rows in self.batches:
                _ = self._signals(live, rows).logits_BC  # a live teacher runs when it is read
        counted = {"student": student.get_total_flops(), "teacher": teacher.get_total_flops()}
        return {name: value / len(self.batches) for name, value in counted.items()}

    def matrix_rate(self, repeats: int = 3) -> float:
        """Operations a second of the products of the student's layers, forward and backward, by themselves.

        (T, D) times D × D (four times), D × F and F × D, each with its two gradients; T: padded tokens of a mean batch.
        """
        config, device = self.group.student, self.settings.device
        width, inner = config.hidden_size, getattr(config, "intermediate_size", None) or config.hidden_dim
        tokens = round(sum(self.tokens) / len(self.tokens))
        operations, seconds = 0.0, 0.0
        for into, out, count in ((width, width, 4), (width, inner, 1), (inner, width, 1)):
            x_TD, w_FD = (torch.randn(rows, into, device=device, dtype=self.dtype) for rows in (tokens, out))
            y_TF = torch.randn(tokens, out, device=device, dtype=self.dtype)
            products = (lambda x=x_TD, w=w_FD: x @ w.T, lambda y=y_TF, w=w_FD: y @ w, lambda y=y_TF, x=x_TD: y.T @ x)
            for product in products:
                product()
                settle(device)
                started = time.perf_counter()
                for _ in range(repeats):
                    product()
                settle(device)
                seconds += count * (time.perf_counter() - started) / repeats
                operations += count * 2.0 * tokens * into * out
        return operations / seconds


def measure(
    benchmark: Benchmark,
    group: Group,
    methods: list[TimedMethod],
    settings: Settings,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Times every method of a group in every round, A B C … A B C …; each round begins with the next one."""
    timed_group = TimedGroup(benchmark, group, methods, settings, folder)
    operations = timed_group.operations()
    order = [*methods, TEACHER]
    seconds: dict[TimedMethod, list[float]] = {timed: [] for timed in order}
    memory: dict[TimedMethod, list[int | None]] = {timed: [] for timed in order}
    rates: list[float] = []
    for turn in range(settings.rounds):
        rates.append(timed_group.matrix_rate())
        first = turn % len(order)
        for timed in [*order[first:], *order[:first]]:
            took, peak = timed_group.time(timed)
            seconds[timed].append(took)
            memory[timed].append(peak)
        say(f"{group.name}: round {turn + 1} of {settings.rounds}, no_kd {seconds[methods[0]][-1]:.4f} s a step")
    return {
        "group": group.name,
        "pair": group.pair,
        "kind": group.kind,
        "teacher_layers": group.teacher.num_hidden_layers,
        "teacher_width": group.teacher.hidden_size,
        "student_layers": group.student.num_hidden_layers,
        "student_width": group.student.hidden_size,
        "precision": str(timed_group.dtype).removeprefix("torch."),
        "tokens": timed_group.tokens,
        "operations": operations,
        "matrix_rate": rates,
        "jobs": [
            {
                **vars(timed),
                "seconds": seconds[timed],
                "peak_memory_bytes": max((m for m in memory[timed] if m), default=None),
            }
            for timed in order
        ],
    }
