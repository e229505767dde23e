"""The jobs of a student: train one cell's seeds, and choose the best point of a hyper-parameter search."""

from typing import Any

import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.data import preparation
from railkd.errors import Diverged, MethodError, UserError
from railkd.evaluation import diagnostics
from railkd.jobs.fine_tuning import fine_tuned, open_store
from railkd.jobs.finished_runs import keep, restore
from railkd.jobs.model_sizes import setting_for, shape
from railkd.jobs.preparing import require_same_vocabulary
from railkd.jobs.recording import Log, unfinished_state, write_record
from railkd.method_sources import fingerprint, source_files
from railkd.methods import build
from railkd.methods.mistakes import blame
from railkd.models import checkpoints, classifier, probe
from railkd.random_streams import seed_global
from railkd.records import provenance, run_record, sealed_files
from railkd.tasks import TASKS
from railkd.teacher.cache import SignalStore
from railkd.teacher.live import LiveTeacher
from railkd.training.loop import Teacher, train


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

    Raises Diverged, after the others, for seeds whose numbers do not stay finite or whose method cannot be trained.
    With ``point`` it trains that point of the hyper-parameter search instead, with the search's own seed.
    """
    spec = benchmark.pairs[cell.pair]
    teacher, student = spec["teacher"], spec["student"]
    grid = benchmark.grid()
    chosen: dict[str, Any] = {}
    if grid:
        chosen = sealed_files.read_sealed(layout.best(cell))["point"] if point is None else grid[point]
    config = benchmark.run_config(cell.pair, cell.method, cell.task, chosen)
    prepared = preparation.load(layout.prepared(teacher, cell.task))
    require_same_vocabulary(benchmark, layout, teacher, student)
    own = layout.teacher(teacher, cell.task) / "record.json"
    teacher_record = run_record.read(own)
    checkpoint = checkpoints.locate(benchmark, layout, student)
    method_class = benchmark.method_class(cell.method)
    resolved = {
        name: checkpoints.commit(checkpoints.locate(benchmark, layout, name), f"models.{name}")
        for name in (teacher, student)
    }
    fingerprints = {
        "teacher": teacher_record["fingerprints"]["teacher"],
        "student": checkpoints.fingerprint(checkpoint, resolved[student]),
        "method": fingerprint(source_files(method_class)),
    }
    shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, student)
    setting = setting_for(*shapes, cell.task, prepared.splits["train"].labels)
    saves = bool(benchmark.spec.get("save_students")) and point is None
    store: SignalStore | None = None  # opened, and the live teacher loaded, when the first seed needs it
    live: LiveTeacher | None = None
    failed: dict[str, list[int]] = {}  # why -> seeds
    for seed in seeds:
        path = layout.run(cell, seed) if point is None else layout.point(cell, point)
        identity = {
            "stage": "distil" if point is None else "search",
            "pair": cell.pair,
            "teacher": teacher,
            "student": student,
            "method": cell.method,
            "seed": seed,
        }
        inputs = {"data": prepared.facts["sha256"], **fingerprints}
        state = unfinished_state(layout, path, identity, config, inputs)
        saved = path.with_suffix("").is_dir() or not saves
        if saved and restore(layout, path, identity, config, inputs):
            log(f"seed {seed}: kept from before")
            state.clear()  # of a job killed before it could
            continue
        store = store or open_store(benchmark, layout, teacher, cell.task, prepared, device, log)
        on_dev = diagnostics.TeacherOnDev(store, run_record.predictions(own, teacher_record))
        started = provenance.now()
        seed_global(seed, "method")  # the initialisation of the method's projections
        method = build(method_class, setting, benchmark.options(cell.method))
        regime = "live" if method.needs_live_teacher else config["training"]["regime"]
        whole, outputs = method.whole_last_layer, prepared.task.outputs
        model = classifier.load_classifier(
            checkpoint, outputs, seed, f"models.{student}", config["training"]["dropout"], whole, log
        )
        probe.require_padding_unread(model, prepared, device, f"models.{student}")
        source: Teacher | None = None
        if method.needs_logits or method.needs_hidden or method.needs_live_teacher:
            source = store
            if regime == "live":
                live = live or LiveTeacher(
                    fine_tuned(layout, teacher, cell.task, outputs, whole)[0],
                    prepared,
                    device,
                    config["training"]["precision"],
                    method.needs_hidden,
                    method.attention_layers[1],
                )
                source = live
        prefix = f"{cell.pair} {cell.method} {cell.task} seed {seed}:"

        def say(line: str, prefix: str = prefix) -> None:
            log(f"{prefix} {line}")

        try:
            with blame(method):
                outcome = train(model, method, source, prepared, config["training"], seed, device, say, state)
        except (Diverged, MethodError) as error:  # the other seeds go on
            failed.setdefault(str(error), []).append(seed)
            say(str(error))
            continue
        except UserError as error:  # a full disk, say: they would fail as well
            raise UserError(f"{prefix} {error}") from None
        outcome.cost["regime"] = regime if source is not None else "none"
        write_record(
            benchmark,
            prepared,
            model,
            outcome,
            device,
            path,
            started,
            identity,
            config,
            fingerprints,
            resolved,
            on_dev,
        )
        if saves:
            tokenizer = checkpoints.load_tokenizer(checkpoint, f"models.{student}")
            classifier.save_classifier(model, tokenizer, prepared.task.labels, path.with_suffix(""))
        keep(layout, path)
        state.clear()
    if failed:
        which = f"{cell.pair} {cell.method} {cell.task} seed"
        raise Diverged("; ".join(f"{which} {', '.join(map(str, of))}: {why}" for why, of in failed.items()))
    for seed in seeds:  # the workflow knows them from here on; a forced rerun is to train anew
        path = layout.kept(layout.run(cell, seed) if point is None else layout.point(cell, point))
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def select(benchmark: Benchmark, layout: Layout, cell: Cell) -> dict[str, Any]:
    """The search's best point by the table's metric on dev; the first of equals. Writes ``best.json``."""
    grid = benchmark.grid()
    found = [run_record.read(layout.point(cell, k)) for k in range(len(grid))]
    metric = TASKS[cell.task].shown
    scores = [record["scores"]["dev"][metric] for record in found]
    best = max(range(len(grid)), key=lambda k: scores[k])
    result = {"point": grid[best], "index": best, "metric": metric, "scores": scores, "grid": grid}
    sealed_files.write_json(layout.best(cell), sealed_files.sealed(result))
    return result
