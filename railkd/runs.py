"""One job of the workflow: fine-tune a teacher, compute its signals, or train one cell's seeds."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from railkd import data, diagnostics, files, models, records
from railkd.config import Benchmark, Cell, Layout
from railkd.data import Prepared
from railkd.errors import Diverged, UserError
from railkd.methods import build
from railkd.methods.base import Method, Pooling, Setting
from railkd.registry import source_files
from railkd.resume import State
from railkd.streams import seed_global
from railkd.tasks import TASKS
from railkd.teacher import LiveTeacher, SignalStore, write_signals
from railkd.train import Outcome, Teacher, logits_of, precision, scores_of, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Log = Callable[[str], None]


class Shape(NamedTuple):
    """A model's size, as far as methods depend on it."""

    layers: int
    width: int
    heads: int = 1  # attention heads of a layer


def setting_for(
    teacher: tuple[int, ...], student: tuple[int, ...], task: str, train_labels: Tensor | None = None
) -> Setting:
    """The facts a method may depend on, from the ``Shape`` of teacher and student."""
    t, s, known = Shape(*teacher), Shape(*student), TASKS[task]
    facts = (known.outputs, known.regression, train_labels)
    return Setting(t.layers, t.width, s.layers, s.width, *facts, t.heads, s.heads)


def shape(benchmark: Benchmark, layout: Layout, model: str) -> Shape:
    """A model's shape: from the benchmark file where it says so, else from the checkpoint."""
    entry = benchmark.models[model]
    if "pretrain" in entry:
        return Shape(*(entry["pretrain"][key] for key in ("layers", "width", "heads")))
    if "layers_of" in entry:  # the parent may be one that is not pre-trained yet
        parent = shape(benchmark, layout, entry["layers_of"])
        return parent._replace(layers=len(models.taken_layers(parent.layers, entry["layers"], entry["keep"], model)))
    checkpoint = models.locate(benchmark, layout, model)
    config = models.read_config(checkpoint, f"models.{model}")
    depth = len(checkpoint.layers) if checkpoint.layers else config.num_hidden_layers
    return Shape(depth, config.hidden_size, config.num_attention_heads)


def poolings_needed(benchmark: Benchmark, layout: Layout, teacher: str, task: str) -> list[Pooling]:
    """The pooled vectors that the benchmark's cached methods read of this teacher on this task, and no more."""
    needed: set[Pooling] = set()
    for cell in benchmark.cells():
        pair = benchmark.pairs[cell.pair]
        if pair["teacher"] == teacher and cell.task == task and not benchmark.external(cell.method):
            shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, pair["student"])
            setting = setting_for(*shapes, task)
            with torch.device("meta"):
                method = build(benchmark.method_class(cell.method), setting, benchmark.options(cell.method))
            if method.pooling is not None and not method.live:
                needed.add(method.pooling)
    return sorted(needed)


def prepare(benchmark: Benchmark, layout: Layout, teacher: str, task: str) -> None:
    """Tokenises one task for a teacher and its students, whose vocabularies must be the same."""
    checkpoint = models.locate(benchmark, layout, teacher)
    tokenizer = models.load_tokenizer(checkpoint, f"models.{teacher}")
    resolved = {teacher: models.commit(checkpoint, f"models.{teacher}")}
    for pair in benchmark.pairs.values():
        student = pair["student"]
        if pair["teacher"] == teacher and student not in resolved:
            place = models.locate(benchmark, layout, student)
            if models.load_tokenizer(place, f"models.{student}").get_vocab() != tokenizer.get_vocab():
                raise UserError(
                    f"models.{student}: its vocabulary is not that of its teacher {teacher}; cached and token-level "
                    "signals need one tokenisation for both"
                )
            resolved[student] = models.commit(place, f"models.{student}")
    mirror = data.locate(benchmark, layout.data())
    data.prepare(benchmark, task, tokenizer, mirror, layout.prepared(teacher, task), resolved)


def _record(
    benchmark: Benchmark,
    prepared: Prepared,
    model: "PreTrainedModel",
    outcome: Outcome,
    device: torch.device,
    path: Path,
    started: str,
    identity: dict[str, Any],
    config: dict[str, Any],
    fingerprints: dict[str, Any],
    method: Method | None = None,
    teacher: diagnostics.TeacherOnDev | None = None,
) -> dict[str, Any]:
    """Scores a trained model on every labelled split, predicts the hidden ones; writes predictions, then the record."""
    from safetensors.numpy import save

    dtype = precision(config["training"]["precision"], device, model.config.hidden_size)
    clock = time.perf_counter()
    assert outcome.dev_logits is not None
    logits = {
        s: outcome.dev_logits
        if s == "dev"
        else logits_of(model, prepared.splits[s], prepared.facts["pad_id"], device, dtype)
        for s in (*prepared.scored, *prepared.hidden)
    }
    outcome.cost["eval_seconds"] += time.perf_counter() - clock
    similarity, found = diagnostics.measure(model, prepared, logits, teacher, device) if teacher else ({}, {})
    predictions = path.with_suffix(".safetensors")
    payload = save(logits)
    files.write_bytes(predictions, payload)
    task = prepared.task
    record = {
        "schema": records.SCHEMA_VERSION,
        "benchmark": benchmark.name,
        "synthetic": benchmark.synthetic,
        **identity,
        "task": task.name,
        "config": config,
        "config_hash": records.sha256_text(records.canonical(config)),
        "shown": task.shown,
        "scores": {split: scores_of(prepared, split, logits[split]) for split in prepared.scored},
        "baselines": {split: prepared.facts["baselines"][split] for split in prepared.scored},
        "examples": {split: prepared.facts["examples"][split] for split in ("train", *prepared.scored)},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        "method_record": method.record() if method else {},
        "similarity": similarity,
        "diagnostics": found,
        "cost": outcome.cost,
        "fingerprints": {"data": prepared.facts["sha256"], **fingerprints},
        "predictions": {"file": predictions.name, "sha256": records.sha256_file(predictions)},
        "provenance": {
            **records.provenance(),
            "resolved": prepared.facts["resolved"],
            "initialisation": benchmark.initialisation(identity["student"]),
            "sources": {s: "/".join(p.split("/")[-2:]) for s, p in prepared.facts["sources"].items()},
            "started": started,
            "finished": records.now(),
        },
    }
    records.write(path, record)
    return record


def fine_tune(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device, log: Log
) -> dict[str, Any]:
    """Fine-tunes a teacher on a task; writes the checkpoint and its record."""
    prepared = data.load(layout.prepared(teacher, task))
    config = records.asked_of_teacher(benchmark, teacher, task)
    started, seed, settings = records.now(), config["seed"], config["training"]
    checkpoint = models.locate(benchmark, layout, teacher)
    model = models.load_classifier(checkpoint, prepared.task.outputs, seed, f"models.{teacher}", settings["dropout"])
    own = shape(benchmark, layout, teacher)
    method = build("no_kd", setting_for(own, own, task), {})
    folder = layout.teacher(teacher, task)
    identity = {
        "stage": "teacher",
        "pair": teacher,
        "teacher": teacher,
        "student": teacher,
        "method": "teacher",
        "seed": seed,
    }
    inputs = {
        "data": prepared.facts["sha256"],
        "backbone": models.fingerprint(checkpoint, prepared.facts["resolved"].get(teacher)),
    }
    state = _state(layout, folder / "record.json", identity, config, inputs)
    try:
        outcome = train(model, method, None, prepared, settings, seed, device, log, state)
    except Diverged as error:
        raise Diverged(f"teacher {teacher} {task} seed {seed}: {error}") from None
    outcome.cost["regime"] = "none"
    models.save_classifier(model, folder)
    fingerprints = {"teacher": records.sha256_file(folder / "model.safetensors"), "backbone": inputs["backbone"]}
    record = _record(
        benchmark, prepared, model, outcome, device, folder / "record.json", started, identity, config, fingerprints
    )
    state.clear()
    return record


def _state(
    layout: Layout, path: Path, identity: dict[str, Any], config: dict[str, Any], inputs: dict[str, Any]
) -> State:
    """Where the state of an unfinished run is kept: beside its kept record, with all that its numbers depend on."""
    return State(layout.kept(path).with_suffix(".state"), {**identity, "config": config, "inputs": inputs})


def fine_tuned(
    layout: Layout, teacher: str, task: str, outputs: int, whole_last_layer: bool = False
) -> tuple["PreTrainedModel", str]:
    """A fine-tuned teacher and its fingerprint; raises UserError when its weights are not those of its record."""
    folder = layout.teacher(teacher, task)
    record = records.read(folder / "record.json")
    weights = folder / "model.safetensors"
    if not weights.is_file() or records.sha256_file(weights) != record["fingerprints"]["teacher"]:
        raise UserError(f"{weights}: missing or not what was written (checksum); delete {folder} and run again")
    checkpoint = models.Checkpoint(str(folder))
    model = models.load_classifier(checkpoint, outputs, 0, str(folder), whole_last_layer=whole_last_layer)
    return model, record["fingerprints"]["teacher"]


def signals(benchmark: Benchmark, layout: Layout, teacher: str, task: str, device: torch.device) -> None:
    """Computes a teacher's signals on a task, once for all its students, methods and seeds."""
    prepared = data.load(layout.prepared(teacher, task))
    model, _ = fine_tuned(layout, teacher, task, prepared.task.outputs)
    setting = benchmark.training("teacher", teacher, task)["precision"]
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    poolings = poolings_needed(benchmark, layout, teacher, task)
    write_signals(model, prepared, poolings, layout.signals(teacher, task), device, setting, fingerprints)


def _signal_fingerprints(layout: Layout, teacher: str, task: str, prepared: Prepared) -> dict[str, str]:
    """What a teacher's signals depend on: the tokenised data, the tokenizer and the teacher's weights."""
    record = records.read(layout.teacher(teacher, task) / "record.json")
    return {
        "data": prepared.facts["sha256"],
        "tokenizer": prepared.facts.get("tokenizer", ""),  # absent from what earlier versions prepared
        "teacher": record["fingerprints"]["teacher"],
    }


def _store(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared, device: torch.device, log: Log
) -> SignalStore:
    """A teacher's signals; computed when they are not there, or were of other data, tokenizer or teacher.

    One job at a time looks: of several that start together, the first fills what ``railkd release`` has emptied.
    """
    folder = layout.signals(teacher, task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.exclusive_lock(folder.with_name(f".{folder.name}.lock")):
        _refresh(benchmark, layout, teacher, task, prepared, device, log)
        return SignalStore(folder, device)


def _refresh(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared, device: torch.device, log: Log
) -> None:
    folder = layout.signals(teacher, task)
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    why = "not there"
    if (folder / "signals.json").is_file():
        facts = records.read_sealed(folder / "signals.json")
        there = all((folder / name).is_file() for name in facts["sha256"])
        reasons = [] if there else ["not there"]
        reasons += [f"other {key}" for key, value in fingerprints.items() if facts["fingerprints"].get(key) != value]
        asked = poolings_needed(benchmark, layout, teacher, task)
        why = ", ".join([*reasons, *(f"without {kind}" for kind in asked if kind not in facts["poolings"])])
    if why:
        log(f"{folder}: {why}; computed now")
        signals(benchmark, layout, teacher, task, device)


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

    Raises Diverged, after the others, for seeds whose numbers do not stay finite.
    With ``point`` it trains that point of the hyper-parameter search instead, with the search's own seed.
    """
    spec = benchmark.pairs[cell.pair]
    teacher, student = spec["teacher"], spec["student"]
    grid = benchmark.grid()
    chosen: dict[str, Any] = {}
    if grid:
        chosen = records.read_sealed(layout.best(cell))["point"] if point is None else grid[point]
    config = benchmark.run_config(cell.pair, cell.method, cell.task, chosen)
    prepared = data.load(layout.prepared(teacher, cell.task))
    store = _store(benchmark, layout, teacher, cell.task, prepared, device, log)
    own = layout.teacher(teacher, cell.task) / "record.json"
    on_dev = diagnostics.TeacherOnDev(store, records.predictions(own, records.read(own)))
    checkpoint = models.locate(benchmark, layout, student)
    method_class = benchmark.method_class(cell.method)
    fingerprints = {
        "teacher": store.facts["fingerprints"]["teacher"],
        "student": models.fingerprint(checkpoint, prepared.facts["resolved"].get(student)),
        "method": records.sha256_text("".join(map(records.sha256_file, source_files(method_class)))),
    }
    shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, student)
    setting = setting_for(*shapes, cell.task, prepared.splits["train"].labels)
    live: LiveTeacher | None = None  # loaded when the first seed needs it
    failed: list[str] = []
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
        state = _state(layout, path, identity, config, inputs)
        if restore(layout, path, identity, config, inputs):
            log(f"seed {seed}: kept from before")
            state.clear()  # of a job killed before it could
            continue
        started = records.now()
        seed_global(seed, "method")  # the initialisation of the method's projections
        method = build(method_class, setting, benchmark.options(cell.method))
        regime = "live" if method.live else config["training"]["regime"]
        whole, outputs = method.whole_last_layer, prepared.task.outputs
        model = models.load_classifier(
            checkpoint, outputs, seed, f"models.{student}", config["training"]["dropout"], whole
        )
        source: Teacher | None = None
        if method.needs_logits or method.needs_hidden or method.live:
            source = store
            if regime == "live":
                live = live or LiveTeacher(
                    fine_tuned(layout, teacher, cell.task, outputs, whole)[0],
                    prepared,
                    device,
                    config["training"]["precision"],
                    method.needs_hidden,
                    method.attention[1],
                )
                source = live
        prefix = f"{cell.pair} {cell.method} {cell.task} seed {seed}:"

        def say(line: str, prefix: str = prefix) -> None:
            log(f"{prefix} {line}")

        try:
            outcome = train(model, method, source, prepared, config["training"], seed, device, say, state)
        except Diverged as error:  # the other seeds go on
            failed.append(f"{prefix} {error}")
            log(failed[-1])
            continue
        except UserError as error:
            raise UserError(f"{prefix} {error}") from None
        outcome.cost["regime"] = regime if source is not None else "none"
        _record(
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
            method,
            on_dev,
        )
        if benchmark.spec.get("save_students") and point is None:
            models.save_classifier(model, path.with_suffix(""))
        keep(layout, path)
        state.clear()
    if failed:
        raise Diverged("; ".join(failed))
    for seed in seeds:  # the workflow knows them from here on; a forced rerun is to train anew
        path = layout.kept(layout.run(cell, seed) if point is None else layout.point(cell, point))
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def keep(layout: Layout, path: Path) -> None:
    """Links a finished run to where the workflow, which deletes a job's outputs before it reruns it, does not look."""
    _link(path, layout.kept(path))


def _link(record: Path, target: Path) -> None:
    """Links a record's predictions and then the record itself to another place."""
    for source, link in ((record.with_suffix(".safetensors"), target.with_suffix(".safetensors")), (record, target)):
        files.link_or_copy(source, link)


def restore(
    layout: Layout, path: Path, identity: dict[str, Any], config: dict[str, Any], fingerprints: dict[str, Any]
) -> bool:
    """Puts a finished run back when it is exactly the one asked for: same identity, configuration and inputs."""
    kept = layout.kept(path)
    try:
        record = records.read(kept)
        intact = records.sha256_file(kept.with_suffix(".safetensors")) == record["predictions"].get("sha256")
    except (UserError, OSError):
        return False
    same = all(record[key] == value for key, value in identity.items())
    hashed = record["config_hash"] == records.sha256_text(records.canonical(config))
    if not (intact and same and hashed and record["fingerprints"] == fingerprints):
        return False
    _link(kept, path)
    return True


def select(benchmark: Benchmark, layout: Layout, cell: Cell) -> dict[str, Any]:
    """The search's best point by the table's metric on dev; the first of equals. Writes ``best.json``."""
    grid = benchmark.grid()
    found = [records.read(layout.point(cell, k)) for k in range(len(grid))]
    metric = TASKS[cell.task].shown
    scores = [record["scores"]["dev"][metric] for record in found]
    best = max(range(len(grid)), key=lambda k: scores[k])
    result = {"point": grid[best], "index": best, "metric": metric, "scores": scores, "grid": grid}
    records.write_json(layout.best(cell), records.sealed(result))
    return result
