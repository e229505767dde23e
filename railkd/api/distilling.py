"""Trains and scores models in memory (``distil``, ``evaluate``). It reads and writes no file."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from railkd.api.examples import Reading, prepared
from railkd.api.models import (
    borrowed_student,
    borrowed_teacher,
    built,
    require_models,
    require_readable,
    require_tokenizer,
    setting_of,
)
from railkd.api.options import check_options
from railkd.api.progress_bar import ProgressBar
from railkd.benchmark.config import SCHEMA
from railkd.benchmark.defaults import LATER, TRAINING
from railkd.benchmark.schema_errors import settings_error
from railkd.data.batches import Prepared
from railkd.devices import device_for, precision
from railkd.errors import UserError, warn
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.methods import options_of
from railkd.methods.base import Method, reads_teacher
from railkd.methods.mistakes import blame
from railkd.models import classifier, probe
from railkd.models.compiled import require_compiler
from railkd.teacher.live import LiveTeacher
from railkd.teacher.memory import SignalsInMemory
from railkd.training.loop import AfterStep, MetricsLog, Outcome, no_log, train
from railkd.training.memory import with_less_memory
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Result:
    """What training a student gave, by epoch and in all. Scores are fractions, seconds are wall-clock."""

    method: str
    options: dict[str, Any]  # of the method, every one at its value
    training: dict[str, Any]  # settings, every one at its value
    best_epoch: int  # 1-based: the epoch whose weights the student has
    scores: dict[str, float]  # of the best epoch on dev, by metric
    epochs: list[dict[str, Any]]  # of each: epoch, dev (by metric), loss (means by term), learning_rate, seconds
    cost: dict[str, Any]  # train_seconds, step_seconds, steps, eval_seconds, signals_seconds, peak_memory_bytes, ...
    record: dict[str, Any]  # what the method reports: drawn layers, attention weights, ...


def distil(  # noqa: PLR0913 - a call in a notebook names what it sets, and nothing else
    teacher: "PreTrainedModel | None",
    student: "PreTrainedModel",
    train: Any,
    dev: Any,
    method: str = "rail_kd_c",
    *,
    tokenizer: "PreTrainedTokenizerBase",
    columns: Sequence[str] | None = None,
    label: str = "label",
    max_length: int | None = None,
    metric: str | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 1,
    device: str = "auto",
    progress: bool = True,
    log: MetricsLog = no_log,
    **options: Any,
) -> "tuple[PreTrainedModel, Result]":
    """Trains a student with a method of the suite, by its own loop, and returns it with what training gave.

    The student is changed in place; it ends with the weights of its best epoch on dev, in eval mode. A seed gives the
    run that the workflow has of the same models and texts. The teacher may be None for a method that reads nothing of
    it: ``distil(None, model, train, dev, "no_kd", tokenizer=tokenizer)`` fine-tunes a model, a teacher say.

    Args:
        teacher: a fine-tuned sequence classifier of `transformers`, which stays as it is.
        student: a sequence classifier with as many outputs, for the same tokenizer. One output: labels are scores.
        train, dev: see ``railkd.api.examples.prepared``.
        method: a name of ``railkd methods``, ``file.py:Class`` or ``module:Class``.
        columns, label: of the data sets; without ``columns``, all columns of text.
        max_length: longest input in tokens (default: 128, or what the models can take).
        metric: of dev, chooses the epoch (default: accuracy; for scores the mean of Pearson's and Spearman's).
        training: keys of ``training:`` in a benchmark file, such as ``{"epochs": 5, "learning_rate": 5e-5}``.
        progress: whether a progress bar is shown.
        log: called after every epoch with metrics by name and the number of steps.
        options: those of the method, as ``railkd methods`` lists them.

    Raises UserError, one line that names the argument or row, for what is wrong in these; Diverged for a loss or
    logits that are not finite.
    """
    models = {"student": student} if teacher is None else {"teacher": teacher, "student": student}
    require_models(models)
    require_tokenizer(tokenizer, models)
    settings = _settings(training, seed, device)
    check_options(method, options, distil.__kwdefaults__ or {})
    reading = Reading(tokenizer, columns, label, max_length, metric)
    data = prepared({"train": train, "dev": dev}, models, reading)
    setting = setting_of(teacher or student, student, data.splits["train"].labels)

    def make() -> Method:
        return built(method, setting, options, settings.seed, settings.epochs)

    first = make()
    if teacher is None and reads_teacher(first):
        raise UserError(f"teacher: is None, and the method {method} reads it; expected a fine-tuned classifier")
    require_readable(models, first, tokenizer.pad_token_id)
    outcome, seconds = _train(teacher, student, first, make, data, settings, _Listeners(progress, log, method))
    student.eval()
    return student, _result(method, type(first), options, settings, outcome, seconds)


def evaluate(  # noqa: PLR0913 - as ``distil``
    model: "PreTrainedModel",
    data: Any,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    columns: Sequence[str] | None = None,
    label: str = "label",
    max_length: int | None = None,
    metric: str | None = None,
    device: str = "auto",
) -> dict[str, float]:
    """Scores a sequence classifier on labelled examples: every metric by name, as a fraction. See ``distil``."""
    models = {"model": model}
    require_models(models)
    require_tokenizer(tokenizer, models)
    place = device_for(device)
    examples = prepared({"data": data}, models, Reading(tokenizer, columns, label, max_length, metric))
    classifier.place(model, place)
    probe.require_padding_unread(model, examples, place, "model", "data")
    dtype = precision("auto", place, model.config.hidden_size)
    pad_id = examples.facts["pad_id"]
    return scores_of(examples, "data", logits_of(model, examples.splits["data"], pad_id, place, dtype))


@dataclass(frozen=True)
class _Listeners:
    """Who is told how training goes on."""

    progress: bool
    log: MetricsLog
    title: str

    def started(self, steps: int, shown: str) -> tuple[MetricsLog, AfterStep | None, Callable[[], None]]:
        """What the loop calls after an epoch and after a step, and what is to be called at the end."""
        if not self.progress:
            return self.log, None, lambda: None
        bar = ProgressBar(self.title, steps, shown)

        def after_epoch(metrics: Mapping[str, float], step: int) -> None:
            bar.epoch(metrics)
            self.log(metrics, step)

        return after_epoch, bar.step, bar.close


def _settings(training: Mapping[str, Any] | None, seed: Any, device: str) -> TrainingSettings:
    given = dict(training or {})
    if "dropout" in given:
        raise UserError("training.dropout: is set when the student is loaded, as in hidden_dropout_prob=0.0")
    error = settings_error("training", given, SCHEMA)
    if error is not None:
        raise error
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed: {seed!r}, expected a whole number from 0")
    settings = TrainingSettings.of(given, seed, device_for(device))
    if settings.compile:
        require_compiler(settings.device)
    return settings


def _result(
    name: str,
    kind: type[Method],
    options: dict[str, Any],
    settings: TrainingSettings,
    outcome: Outcome,
    signals_seconds: float,
) -> Result:
    best = outcome.epochs[outcome.best_epoch - 1]
    return Result(
        method=name,
        options={key: options.get(key, option.default) for key, option in options_of(kind).items()},
        training={key: getattr(settings, key) for key in (*TRAINING, *LATER) if key != "dropout"},
        best_epoch=outcome.best_epoch,
        scores=best["dev"],
        epochs=outcome.epochs,
        cost={**outcome.cost, "signals_seconds": signals_seconds},
        record=outcome.method_record,
    )


def _train(
    teacher: "PreTrainedModel | None",
    student: "PreTrainedModel",
    method: Method,
    make: Callable[[], Method],
    data: Prepared,
    settings: TrainingSettings,
    listeners: _Listeners,
) -> tuple[Outcome, float]:
    """Runs the loop; returns its outcome, and the seconds that the teacher's signals took before it.

    Where a GPU's memory runs out, the loop runs again from the beginning, with less data there and a method that
    ``make`` builds anew, and a warning says so.
    """
    whole = method.whole_last_layer

    @cache  # a further try reads the same
    def source() -> tuple[Teacher | None, float]:
        started = time.perf_counter()
        signals = None if teacher is None else _signals(teacher, method, data, settings)
        if isinstance(signals, LiveTeacher):
            lent.callback(signals.quicken())
        return signals, time.perf_counter() - started

    def attempt(share: float) -> Outcome:
        with borrowed_student(student, whole, settings.device):
            probe.require_padding_unread(student, data, settings.device, "student")
            return _loop(student, make(), source()[0], data, replace(settings, device_memory=share), listeners)

    with borrowed_teacher(teacher, whole, settings.device) as lent:
        if teacher is not None:
            probe.require_padding_unread(teacher, data, settings.device, "teacher")
        outcome = with_less_memory(attempt, settings.device_memory, warn)
        return outcome, source()[1]


def _loop(
    student: "PreTrainedModel",
    method: Method,
    source: Teacher | None,
    data: Prepared,
    settings: TrainingSettings,
    listeners: _Listeners,
) -> Outcome:
    """Trains the student with the listeners told of it."""
    steps = settings.epochs * -(-len(data.splits["train"]) // settings.batch_size)
    log, after_step, close = listeners.started(steps, data.task.shown)
    try:
        with blame(method):
            return train(student, method, source, data, settings, log, after_step=after_step)
    finally:
        close()


def _signals(teacher: "PreTrainedModel", method: Method, data: Prepared, settings: TrainingSettings) -> Teacher | None:
    """What the steps read of the teacher: computed now and held in memory, or live; None where nothing is read."""
    if not reads_teacher(method):
        return None
    if method.needs_live_teacher or settings.regime == "live":
        return LiveTeacher.for_method(method, teacher, data, settings.device, settings.precision)
    classifier.place(teacher, settings.device)
    return SignalsInMemory(teacher, data, [method.pooling] if method.pooling else [], settings.precision)
