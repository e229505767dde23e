"""Trains the students of one cell, and chooses the best point of a hyper-parameter search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from railkd import model_card
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data import preparation
from railkd.data.batches import Prepared
from railkd.errors import Diverged, MethodError, UserError
from railkd.evaluation.diagnostics import TeacherOnDev
from railkd.jobs import run_spec, students
from railkd.jobs.finished_runs import forget, keep, restore
from railkd.jobs.model_sizes import setting_for, shape
from railkd.jobs.preparing import require_same_vocabulary
from railkd.jobs.recording import Log, Trained, Write, epoch_lines, step_lines, write_diverged, write_record
from railkd.jobs.run_spec import RunSpec
from railkd.jobs.teacher_signals import TeacherSignals
from railkd.methods import build
from railkd.methods.base import Method, Setting
from railkd.methods.mistakes import blame
from railkd.models import checkpoints, classifier, probe
from railkd.models.fine_tuned import begin_in_order
from railkd.outdated import best_of, scores_of_points
from railkd.random_streams import seed_global
from railkd.records import provenance, run_record, sealed_files
from railkd.tracking import tracked
from railkd.training.loop import Outcome, train
from railkd.training.memory import with_less_memory
from railkd.training.run_state import State
from railkd.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class _Job:
    """What the runs of one job share."""

    benchmark: Benchmark
    layout: Layout
    prepared: Prepared
    setting: Setting
    teacher: TeacherSignals
    device: torch.device
    log: Log


def distil(
    benchmark: Benchmark,
    layout: Layout,
    cell: Cell,
    seeds: list[int],
    device: torch.device,
    log: Log,
    point: int | None = None,
) -> None:
    """Trains one cell's seeds, one after the other, and writes a record for each; a finished seed is kept.

    The copies that it keeps stay until the workflow knows the job as done: it may fail after its last seed (a time
    limit, a lost node), and its outputs are deleted before it is tried again.

    Raises Diverged, after the others, for seeds whose numbers do not stay finite or whose method cannot be trained.
    With ``point`` it trains that point of the hyper-parameter search instead, with the search's own seed. One whose
    numbers do not stay finite is a result: it is recorded as such, and never chosen.
    """
    teacher, student = (benchmark.pairs[cell.pair][role] for role in ("teacher", "student"))
    prepared = preparation.load(layout.prepared(teacher, cell.task))
    require_same_vocabulary(benchmark, layout, teacher, student)
    specs = run_spec.of_cell(benchmark, layout, cell, seeds, prepared, point)
    sizes = shape(benchmark, layout, teacher), shape(benchmark, layout, student)
    setting = setting_for(*sizes, prepared.task, prepared.splits["train"].labels)
    source = TeacherSignals(benchmark, layout, teacher, prepared, device, log)
    job = _Job(benchmark, layout, prepared, setting, source, device, log)
    failed: dict[str, list[int]] = {}  # why -> seeds
    for spec in _to_train(job, specs):
        why = _run(job, spec)
        if why is not None:
            failed.setdefault(why, []).append(spec.seed)
    if failed:
        which = f"{cell.pair} {cell.method} {cell.task} seed"
        raise Diverged("; ".join(f"{which} {', '.join(map(str, of))}: {why}" for why, of in failed.items()))


def _to_train(job: _Job, specs: Sequence[RunSpec]) -> Iterator[RunSpec]:
    """The runs that are not finished, and then the finished ones whose weights are asked for and were not kept.

    A job whose records are all in their place is finished: who runs it again by hand means it to train. The workflow
    deletes them before it runs a job.
    """
    if all(spec.record.is_file() for spec in specs):
        for spec in specs:
            forget(job.layout, spec.record)
    restored = [spec for spec in specs if _restored(job, spec)]
    yield from (spec for spec in specs if spec not in restored)
    for spec in restored:
        why = students.lacking(job.benchmark, job.layout, spec.cell).get(spec.seed) if spec.stage == "distil" else None
        if why is not None:
            job.log(f"seed {spec.seed}: trained again: {why}")
            yield spec


def _restored(job: _Job, spec: RunSpec) -> bool:
    """Whether the run was finished before, by a job that was killed later; it is put back in its place."""
    if not restore(spec):
        return False
    job.log(f"seed {spec.seed}: kept from before")
    spec.unfinished().clear()  # of a job killed before it could
    return True


def _run(job: _Job, spec: RunSpec) -> str | None:
    """Trains one run and records it; returns why it cannot be trained, None where it was."""
    state, own = spec.unfinished(), job.layout.teacher(spec.teacher, spec.task) / "record.json"
    on_dev = TeacherOnDev(job.teacher.store, run_record.predictions(own, run_record.read(own)))
    started = provenance.now()

    def say(line: str) -> None:
        job.log(f"{spec.label}: {line}")

    try:
        model, outcome, regime = with_less_memory(
            lambda share: _attempt(job, spec, state, share, say), job.benchmark.device_memory, say
        )
    except (Diverged, MethodError) as error:  # the other seeds go on
        say(str(error))
        if spec.stage != "search" or isinstance(error, MethodError):
            return str(error)
        write_diverged(spec, str(error), started)
        keep(job.layout, spec.record)
        state.clear()
        return None
    except UserError as error:  # a full disk, say: they would fail as well
        raise UserError(f"{spec.label}: {error}") from None
    trained = Trained(model, outcome, job.device, started, regime)

    write = _keeping(job, spec, model, say) if spec.stage == "distil" else run_record.write
    write_record(spec, job.prepared, trained, on_dev, write)
    keep(job.layout, spec.record)
    state.clear()
    return None


def _attempt(job: _Job, spec: RunSpec, state: State, share: float, say: Log) -> tuple["PreTrainedModel", Outcome, str]:
    """A run's trained student, its outcome and where its signals came from; on a GPU, data takes up to that share."""
    method = _method(job, spec)
    model = _student(job, spec, method)
    settings = TrainingSettings.of(spec.config["training"], spec.seed, job.device, share)
    regime = "live" if method.needs_live_teacher else settings.regime
    source = job.teacher.source(method, regime, settings.precision)
    log, steps = epoch_lines(say, settings.epochs, job.prepared.task.shown), step_lines(say, settings.epochs)
    with blame(method), tracked(spec.tracked(job.benchmark, job.layout)) as run:
        log, steps = run.beside(log, steps)
        outcome = train(model, method, source, job.prepared, settings, log, state, steps)
    return model, outcome, "none" if source is None else regime


def _keeping(job: _Job, spec: RunSpec, model: "PreTrainedModel", say: Log) -> Write:
    """What writes the record of a trained student, and its weights where they are to be kept."""
    checkpoint = _checkpoint(job, spec)
    own = job.benchmark.miniature(spec.student) is not None
    published = checkpoints.locate(job.benchmark, job.layout, spec.student, distilled=False)
    licence = model_card.OWN if own else model_card.licence_of(Path(published.place))

    def save(folder: Path, card: str, made_of: Any) -> None:
        tokenizer = checkpoints.load_tokenizer(checkpoint, f"models.{spec.student}")
        labels, length = job.prepared.task.labels, job.prepared.facts["max_length"]
        classifier.save_classifier(model, tokenizer, labels, folder, length, card, made_of)

    def write(_: Path, record: dict[str, Any]) -> None:
        problem = students.finish(job.benchmark, job.layout, spec.cell, record, licence, save)
        if problem:
            say(problem)

    return write


def _method(job: _Job, spec: RunSpec) -> Method:
    """The run's method, its projections as the seed begins them.

    Raises UserError when its source is not the one that the record will name: each seed reads the file anew.
    """
    seed_global(spec.seed, "method")
    method = build(job.benchmark.method_class(spec.method), job.setting, spec.options)
    if run_spec.source_of(job.benchmark, spec.method) != spec.inputs["method"]:
        raise UserError(f"methods.{spec.method}: its source was edited while the job ran; run it again")
    return method


def _student(job: _Job, spec: RunSpec, method: Method) -> "PreTrainedModel":
    """The run's student before training, with as much of its last layer as the method reads."""
    where, dropout = f"models.{spec.student}", spec.config["training"]["dropout"]
    checkpoint, outputs = _checkpoint(job, spec), job.prepared.task.outputs
    model = classifier.load_classifier(
        checkpoint, outputs, spec.seed, where, dropout, method.whole_last_layer, job.log, job.device
    )
    begin_in_order(model, job.benchmark.head_labels(spec.student), job.prepared.task, where)
    probe.require_padding_unread(model, job.prepared, job.device, where)
    return model


def _checkpoint(job: _Job, spec: RunSpec) -> checkpoints.Checkpoint:
    return checkpoints.locate(job.benchmark, job.layout, spec.student)


def select(benchmark: Benchmark, layout: Layout, cell: Cell) -> dict[str, Any]:
    """The search's best point by the table's metric on dev; the first of equals. Writes ``best.json``.

    Of a task that ``search.tasks`` leaves out: the point with the best mean over the tasks that it names. Raises
    UserError where every point diverged.
    """
    grid = benchmark.grid(cell.method)
    scores = scores_of_points(benchmark, layout, cell, run_record.read_point)
    best, decided_on = best_of(scores), [of.task for of in benchmark.searched(cell)]
    if scores[best] is None:
        first = (run_record.diverged(run_record.read_point(layout.point(of, 0))) for of in benchmark.searched(cell))
        raise UserError(
            f"{' '.join(cell)}: each of the {len(grid)} points of the search diverged, so that none can be chosen; the "
            f"first: {next(filter(None, first))}"
        )
    metric = benchmark.task(cell.task).shown if decided_on == [cell.task] else "mean of the tasks' metrics"
    chosen = {"point": grid[best], "index": best, "metric": metric, "tasks": decided_on}
    result = {**chosen, "scores": scores, "grid": grid}
    sealed_files.write_json(layout.best(cell), sealed_files.sealed(result))
    return result
