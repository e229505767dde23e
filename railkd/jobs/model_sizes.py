"""Tells how deep and wide a benchmark's models are, as far as methods depend on it, without reading weights."""

from typing import NamedTuple

from torch import Tensor

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.methods import build_unused
from railkd.methods.base import Setting
from railkd.models import checkpoints
from railkd.signals import Pooling
from railkd.tasks import Task


class Shape(NamedTuple):
    """A model's size, as far as methods depend on it."""

    layers: int
    width: int
    heads: int = 1  # attention heads of a layer


def setting_for(
    teacher: tuple[int, ...], student: tuple[int, ...], task: Task, train_labels: Tensor | None = None
) -> Setting:
    """The facts a method may depend on, from the ``Shape`` of teacher and student."""
    t, s = Shape(*teacher), Shape(*student)
    facts = (task.outputs, task.regression, train_labels)
    return Setting(t.layers, t.width, s.layers, s.width, *facts, t.heads, s.heads)


def shape(benchmark: Benchmark, layout: Layout, model: str) -> Shape:
    """A model's shape: from the benchmark file where it says so, else from the checkpoint."""
    entry = benchmark.models[model]
    if "pretrain" in entry:
        return Shape(*(entry["pretrain"][key] for key in ("layers", "width", "heads")))
    if "layers_of" in entry:  # the parent may be one that is not pre-trained yet
        parent = shape(benchmark, layout, entry["layers_of"])
        return parent._replace(
            layers=len(checkpoints.taken_layers(parent.layers, entry["layers"], entry["keep"], model))
        )
    checkpoint = checkpoints.locate(benchmark, layout, model)
    config = checkpoints.read_config(checkpoint, f"models.{model}")
    depth = len(checkpoint.layers) if checkpoint.layers else config.num_hidden_layers
    return Shape(depth, config.hidden_size, config.num_attention_heads)


def _reads_cache(benchmark: Benchmark, cell: Cell) -> bool:
    """Whether a cell's runs may read signals from disk; with ``regime: live``, or in another repository, none do."""
    regime = benchmark.student_training(cell.pair, cell.task)["regime"]
    return regime == "cached" and not benchmark.external(cell.method)


def poolings_needed(benchmark: Benchmark, layout: Layout, teacher: str, task: str) -> list[Pooling]:
    """The pooled vectors that the benchmark's cached methods read of this teacher on this task, and no more."""
    needed: set[Pooling] = set()
    for cell in benchmark.cells():
        pair = benchmark.pairs[cell.pair]
        if pair["teacher"] == teacher and cell.task == task and _reads_cache(benchmark, cell):
            shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, pair["student"])
            setting = setting_for(*shapes, benchmark.task(task))
            for options in benchmark.options_of_points(cell.method):
                method = build_unused(benchmark.method_class(cell.method), setting, options)
                if method.pooling is not None and not method.needs_live_teacher:
                    needed.add(method.pooling)
    return sorted(needed)
