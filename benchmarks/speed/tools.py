"""Does one distillation by this suite and by each other tool, from the same teacher, student and token ids.

Peers are optional: ``pip install -e .[peers]``.
"""

import importlib
import importlib.util
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.data.batches import Prepared, Split
from railkd.devices import precision, to_device
from railkd.methods.base import Method
from railkd.models import classifier
from railkd.models.forward import Forward
from railkd.signals import Batch
from railkd.teacher.cache import SignalStore, write_signals
from railkd.training.loop import train
from railkd.training.schedule import learning_rate_factor
from railkd.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = {"railkd": "", "trainer": "transformers", "textbrewer": "textbrewer", "torchdistill": "torchdistill"}


@dataclass
class Distillation:
    """One distillation, as every tool is given it."""

    prepared: Prepared
    teacher: "PreTrainedModel"
    student: "PreTrainedModel"
    method: Method
    settings: dict[str, Any]
    device: torch.device
    seed: int
    best: bool  # the tool's best settings, not those of its documentation
    folder: Path

    @property
    def split(self) -> Split:
        return self.prepared.splits["train"]

    @property
    def steps(self) -> int:
        return math.ceil(len(self.split) / self.settings["batch_size"]) * int(self.settings["epochs"])

    @property
    def bfloat16(self) -> bool:
        """Whether this suite would train in bfloat16 here, and the peer is at its best settings."""
        return self.best and precision("auto", self.device, self.student.config.hidden_size) == torch.bfloat16

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch as `transformers` models take it, made by this suite's code: faster than padding lists."""
        rows_B = torch.tensor([feature["index"] for feature in features])
        pad_to = None if self.best else self.prepared.facts["max_length"]
        inputs = self.split.collate(
            rows_B, self.prepared.facts["pad_id"], classifier.uses_type_ids(self.student), pad_to
        )
        return {**inputs, "labels": self.split.labels[rows_B]}

    def loss(self, labels_B: Tensor, student: Any, teacher: Any) -> Tensor:
        """PKD's loss of two `transformers` outputs with hidden states; first-token vectors need no mask."""
        said = [Forward(o.logits, o.hidden_states, labels_B) for o in (student, teacher)]
        return self.method.loss(Batch(labels_B, labels_B, {}), said[0], said[1])[0]


class Rows:
    """The training set as a map of features: token ids (read for their length) and the row."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.split.tokens[self.split.offsets[row] : self.split.offsets[row + 1]], "index": row}


def railkd(run: Distillation) -> dict[str, float]:
    """This suite, cached; seconds of the cache apart."""
    started = time.perf_counter()
    assert run.method.pooling is not None
    folder = run.folder / "signals"
    teacher = classifier.place(run.teacher, run.device)
    write_signals(teacher, run.prepared, [run.method.pooling], folder, run.settings["precision"], {})
    cache = time.perf_counter() - started
    store = SignalStore(folder, run.device)
    settings = TrainingSettings.of(run.settings, run.seed, run.device)
    train(run.student, run.method, store, run.prepared, settings)
    return {"cache_seconds": cache}


def trainer(run: Distillation) -> dict[str, float]:
    """`transformers.Trainer` with ``compute_loss`` overridden, the teacher run in it."""
    from transformers import Trainer, TrainingArguments

    class Distiller(Trainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels_B = inputs.pop("labels")
            student = model(**inputs, output_hidden_states=True)
            with torch.no_grad():
                teacher = run.teacher(**inputs, output_hidden_states=True)
            loss = run.loss(labels_B, student, teacher)
            return (loss, student) if return_outputs else loss

    settings = run.settings
    arguments = TrainingArguments(
        output_dir=str(run.folder),
        per_device_train_batch_size=settings["batch_size"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        warmup_steps=math.ceil(settings["warmup"] * run.steps),
        max_grad_norm=settings["max_gradient_norm"],
        train_sampling_strategy="group_by_length" if run.best else "random",
        bf16=run.bfloat16,
        use_cpu=run.device.type == "cpu",
        seed=run.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    Distiller(run.student, arguments, data_collator=run.collate, train_dataset=Rows(run.split)).train()
    return {}


def _loader(run: Distillation) -> Any:
    """Random batches; neither TextBrewer nor torchdistill has a sampler of its own."""
    return torch.utils.data.DataLoader(
        Rows(run.split),  # type: ignore[arg-type]
        batch_size=run.settings["batch_size"],
        shuffle=True,
        collate_fn=run.collate,
        generator=torch.Generator().manual_seed(run.seed),
    )


def textbrewer(run: Distillation) -> dict[str, float]:
    """TextBrewer's GeneralDistiller: its hidden-state matches are squared errors of whole layers, not of one token."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import get_linear_schedule_with_warmup

    def adaptor(batch: Any, outputs: Any) -> dict[str, Any]:
        mask = batch["attention_mask"]
        return {"logits": outputs.logits, "hidden": outputs.hidden_states, "losses": outputs.loss, "inputs_mask": mask}

    settings, layers = run.settings, run.method.layers
    widths = (run.student.config.hidden_size, run.teacher.config.hidden_size)
    project = {"proj": ["linear", *widths, {}]} if widths[0] != widths[1] else {}
    matches = [
        {"layer_T": t, "layer_S": s, "feature": "hidden", "loss": "hidden_mse", "weight": 1, **project}
        for s, t in enumerate(layers, start=1)  # type: ignore[arg-type]
    ]
    distiller = GeneralDistiller(
        TrainingConfig(output_dir=str(run.folder), device=run.device, ckpt_epoch_frequency=settings["epochs"]),
        DistillationConfig(temperature=1, kd_loss_weight=0.5, hard_label_weight=0.5, intermediate_matches=matches),
        run.teacher,
        run.student,
        adaptor,
        adaptor,
    )
    optimizer = torch.optim.AdamW(
        run.student.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    warmup = math.ceil(settings["warmup"] * run.steps)
    with distiller:
        distiller.train(
            optimizer,
            _loader(run),
            num_epochs=settings["epochs"],
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args={"num_warmup_steps": warmup, "num_training_steps": run.steps},
            max_grad_norm=settings["max_gradient_norm"],
            output_hidden_states=True,
        )
    return {}


def torchdistill(run: Distillation) -> dict[str, float]:
    """torchdistill's DistillationBox, its loop as in its examples; the objective is a module of ours."""
    from torchdistill.core.distillation import get_distillation_box

    class Objective(nn.Module):
        def forward(self, student: Any, teacher: Any, targets: Tensor) -> Tensor:
            return run.loss(targets, student["."]["output"], teacher["."]["output"])

    settings, steps = run.settings, run.steps
    for model in (run.teacher, run.student):
        model.config.output_hidden_states = True
    forward = {"forward_proc": "forward_batch_only_as_kwargs"}
    plan = {
        "num_epochs": settings["epochs"],
        "teacher": {**forward, "requires_grad": False},
        "student": forward,
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]},
            "max_grad_norm": settings["max_gradient_norm"],
        },
        "scheduler": {
            "key": "LambdaLR",
            "kwargs": {"lr_lambda": lambda step: learning_rate_factor(step, steps, settings["warmup"])},
            "scheduling_step": 1,
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"distillation": {"criterion": Objective(), "weight": 1.0}}},
        },
    }
    box = get_distillation_box(run.teacher, run.student, {}, plan, run.device, None, False, 1.0)
    for epoch in range(settings["epochs"]):
        box.pre_epoch_process(epoch=epoch)
        for batch in _loader(run):
            inputs = to_device(batch, run.device)
            targets = inputs.pop("labels")
            box.post_forward_process(loss=box.forward_process(inputs, targets, None))
        box.post_epoch_process()
    return {}


def allow_torchvision() -> None:
    """torchdistill needs torchvision, whose wheels hold CUDA kernels that a CPU build of torch cannot load.

    No job on text calls them, but torchvision describes two of them when it is imported (by `transformers` too, where
    it is installed): so they are declared.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


_KEPT: list[Any] = []  # a library's declarations last as long as it does

TOOLS: dict[str, tuple[Callable[[Distillation], dict[str, float]], tuple[bool, ...]]] = {
    "railkd": (railkd, (True,)),
    "trainer": (trainer, (False, True)),
    "textbrewer": (textbrewer, (False, True)),
    "torchdistill": (torchdistill, (False, True)),
}
