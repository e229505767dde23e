"""Lists what is timed: groups of a teacher and a student, and for each group every method in every regime."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared
from railkd.jobs.model_sizes import setting_for
from railkd.method_facts import facts
from railkd.methods import build
from railkd.planning.untrained_models import configuration
from railkd.signals import Pooling
from railkd.teacher.cache import SignalStore, seal

DEPTHS = (12, 24, 48)  # teacher layers n
NEGATIVES = (100, 1000, 4000)  # CoDIR's K
MINI_WIDTH = 64


@dataclass(frozen=True)
class Group:
    """A teacher and a student whose methods are timed side by side."""

    name: str
    pair: str  # of the benchmark file, which has the methods' options
    kind: str  # pair: one of the benchmark's; depth: its first pair with another number of teacher layers
    teacher: Any  # `transformers` configurations
    student: Any


@dataclass(frozen=True)
class TimedMethod:
    """A method in a regime."""

    method: str  # name in the benchmark file
    regime: str  # none: no teacher; cached | live
    negatives: int | None  # K, where the method draws negatives
    own: bool  # with the benchmark file's own options


def shrink(config: Any) -> Any:
    """The same depth and family at a width of 64, for a run of seconds."""
    small = copy.deepcopy(config)
    if small.model_type == "distilbert":
        small.dim, small.hidden_dim, small.n_heads = MINI_WIDTH, 4 * MINI_WIDTH, 4
    else:
        small.hidden_size, small.intermediate_size, small.num_attention_heads = MINI_WIDTH, 4 * MINI_WIDTH, 4
    small.vocab_size = min(small.vocab_size, 1000)
    return small


def groups(benchmark: Benchmark, layout: Layout, shapes: str, say: Any) -> list[Group]:
    """The benchmark's pairs, and its first pair with 12, 24 and 48 teacher layers (where that is not the pair)."""
    found = []
    for pair, spec in benchmark.pairs.items():
        own = [configuration(benchmark, layout, spec[role], say) for role in ("teacher", "student")]
        teacher, student = [shrink(config) for config in own] if shapes == "mini" else own
        found.append(Group(pair, pair, "pair", teacher, student))
    first = found[0]
    for depth in DEPTHS:
        if depth != first.teacher.num_hidden_layers:
            teacher = copy.deepcopy(first.teacher)
            teacher.num_hidden_layers = depth
            found.append(Group(f"{first.name}, n = {depth}", first.pair, "depth", teacher, first.student))
    return found


def timed_methods(benchmark: Benchmark) -> list[TimedMethod]:
    """Every method of the benchmark in both regimes; one with negatives also for each K. ``no_kd`` is the first.

    Methods that cannot be cached are left out: here a method is timed beside its cached self.
    """
    found = [TimedMethod("no_kd", "none", None, True)]
    for method in benchmark.spec["methods"]:
        if benchmark.external(method) or benchmark.method_class(method) == "no_kd":
            continue
        if facts(benchmark.method_class(method)).needs_live_teacher:
            continue
        own = negatives_of(benchmark, method)
        for regime in ("cached", "live"):
            found.append(TimedMethod(method, regime, own, True))
            if own is not None:
                found += [TimedMethod(method, regime, k, False) for k in NEGATIVES if k != own]
    return found


def negatives_of(benchmark: Benchmark, method: str) -> int | None:
    """K as the benchmark file gives it, or by default; None for a method that draws no negatives."""
    value = benchmark.method_config(method).get("negatives")
    return None if value is None else int(value)


def objective(benchmark: Benchmark, group: Group, timed: TimedMethod, data: Prepared) -> Any:
    """The method to be timed, ready for its first epoch but for its streams."""
    shapes = [(config.num_hidden_layers, config.hidden_size) for config in (group.teacher, group.student)]
    setting = setting_for(shapes[0], shapes[1], data.task, data.splits["train"].labels)
    if timed.method not in benchmark.spec["methods"]:  # the unit of the ratios, though no row of this benchmark
        return build(timed.method, setting, {})
    options = benchmark.options(timed.method)
    if timed.negatives is not None:
        options["negatives"] = timed.negatives
    return build(benchmark.method_class(timed.method), setting, options)


def store(group: Group, data: Prepared, poolings: list[Pooling], folder: Path, device: torch.device) -> SignalStore:
    """A store of random signals of the teacher's shape: what is in it makes no difference to the time."""
    rng = np.random.default_rng(0)
    examples, layers, width = len(data.splits["train"]), group.teacher.num_hidden_layers - 1, group.teacher.hidden_size
    folder.mkdir(parents=True)
    np.save(folder / "logits.npy", rng.standard_normal((examples, data.task.outputs), dtype=np.float32))
    for kind in poolings:
        array = np.lib.format.open_memmap(
            folder / f"{kind}.npy", mode="w+", dtype=np.float16, shape=(examples, layers, width)
        )
        for row in range(examples):
            array[row] = rng.standard_normal((layers, width), dtype=np.float32)
        array.flush()
    seal(folder, {}, poolings, "float32")
    return SignalStore(folder, device)


def table_1(benchmark: Benchmark, method: str) -> str:
    """The complexity that the paper's Table 1 states for a method."""
    return facts(benchmark.method_class(method)).complexity if method != "no_kd" else ""
