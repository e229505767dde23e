"""One job of the workflow: fine-tune a teacher, compute its signals, or train one cell's seeds."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from railkd import checkpoints, data, diagnostics, files, models, probe, records
from railkd.config import Benchmark, Cell, Layout
from railkd.data import Prepared
from railkd.errors import Diverged, UserError
from railkd.method_errors import blame
from railkd.methods import build
from railkd.methods.base import Pooling, Setting
from railkd.registry import as_json, fingerprint, source_files
from railkd.resume import State
from railkd.schema import SCHEMA_VERSION
from railkd.streams import seed_global
from railkd.tasks import TASKS
from railkd.teacher import LiveTeacher, SignalStore, lacks, write_signals
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
    for pair in benchmark.pairs.values():
        if pair["teacher"] == teacher and benchmark.pretrained(pair["student"]) is None:  # else it may not be there yet
            _same_vocabulary(benchmark, layout, teacher, pair["student"])
    checkpoint = models.locate(benchmark, layout, teacher)
    tokenizer = models.load_tokenizer(checkpoint, f"models.{teacher}")
    made_of = {
        "data": benchmark.data_config(task),
        "tokenizer": models.tokenizer_fingerprint(checkpoint),
        "files": data.file_digests(benchmark, task),
    }
    mirror = data.locate(benchmark, layout.data())
    data.prepare(benchmark, task, tokenizer, mirror, layout.prepared(teacher, task), made_of)


def _same_vocabulary(benchmark: Benchmark, layout: Layout, teacher: str, student: str) -> None:
    """Raises UserError unless a student reads the token ids that were made for its teacher."""
    places = {name: models.locate(benchmark, layout, name) for name in (teacher, student)}
    if len({models.tokenizer_fingerprint(place) for place in places.values()}) == 1:
        return
    tokenizers = [models.load_tokenizer(place, f"models.{name}") for name, place in places.items()]
    checkpoints.require_same_tokens(tokenizers[0], tokenizers[1], teacher, student)


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
    resolved: dict[str, str | None],
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
        "schema": SCHEMA_VERSION,
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
        **({"method_class": as_json(config["method"]["method"])} if "method" in config else {}),
        "method_record": outcome.method_record,
        "similarity": similarity,
        "diagnostics": found,
        "cost": outcome.cost,
        "fingerprints": {"data": prepared.facts["sha256"], **fingerprints},
        "predictions": {"file": predictions.name, "sha256": records.sha256_file(predictions)},
        "provenance": {
            **records.provenance(),
            "resolved": resolved,
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
    where = f"models.{teacher}"
    resolved = {teacher: models.commit(checkpoint, where)}
    inputs = {"data": prepared.facts["sha256"], "backbone": models.fingerprint(checkpoint, resolved[teacher])}
    if _back_in_place(layout, teacher, task, config, inputs):
        log(f"{teacher} {task}: kept from before")
        return records.read(layout.teacher(teacher, task) / "record.json")
    model = models.load_classifier(checkpoint, prepared.task.outputs, seed, where, settings["dropout"], log=log)
    probe.require_padding_unread(model, prepared, device, where)
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
    state = _state(layout, folder / "record.json", identity, config, inputs)
    try:
        outcome = train(model, method, None, prepared, settings, seed, device, log, state)
    except Diverged as error:
        raise Diverged(f"teacher {teacher} {task} seed {seed}: {error}") from None
    outcome.cost["regime"] = "none"
    models.save_classifier(model, models.load_tokenizer(checkpoint, where), prepared.task.labels, folder)
    fingerprints = {"teacher": records.sha256_file(folder / "model.safetensors"), "backbone": inputs["backbone"]}
    path = folder / "record.json"
    record = _record(
        benchmark, prepared, model, outcome, device, path, started, identity, config, fingerprints, resolved
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
    why = lacks(folder, fingerprints, poolings_needed(benchmark, layout, teacher, task))
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

    Raises Diverged, after the others, for seeds whose numbers do not stay finite or whose method cannot be trained.
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
    _same_vocabulary(benchmark, layout, teacher, student)
    own = layout.teacher(teacher, cell.task) / "record.json"
    teacher_record = records.read(own)
    checkpoint = models.locate(benchmark, layout, student)
    method_class = benchmark.method_class(cell.method)
    resolved = {
        name: models.commit(models.locate(benchmark, layout, name), f"models.{name}") for name in (teacher, student)
    }
    fingerprints = {
        "teacher": teacher_record["fingerprints"]["teacher"],
        "student": models.fingerprint(checkpoint, resolved[student]),
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
        state = _state(layout, path, identity, config, inputs)
        saved = path.with_suffix("").is_dir() or not saves
        if saved and restore(layout, path, identity, config, inputs):
            log(f"seed {seed}: kept from before")
            state.clear()  # of a job killed before it could
            continue
        store = store or _store(benchmark, layout, teacher, cell.task, prepared, device, log)
        on_dev = diagnostics.TeacherOnDev(store, records.predictions(own, teacher_record))
        started = records.now()
        seed_global(seed, "method")  # the initialisation of the method's projections
        method = build(method_class, setting, benchmark.options(cell.method))
        regime = "live" if method.live else config["training"]["regime"]
        whole, outputs = method.whole_last_layer, prepared.task.outputs
        model = models.load_classifier(
            checkpoint, outputs, seed, f"models.{student}", config["training"]["dropout"], whole, log
        )
        probe.require_padding_unread(model, prepared, device, f"models.{student}")
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
            with blame(method):
                outcome = train(model, method, source, prepared, config["training"], seed, device, say, state)
        except UserError as error:  # the other seeds go on
            failed.setdefault(str(error), []).append(seed)
            say(str(error))
            continue
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
            resolved,
            on_dev,
        )
        if saves:
            tokenizer = models.load_tokenizer(checkpoint, f"models.{student}")
            models.save_classifier(model, tokenizer, prepared.task.labels, path.with_suffix(""))
        keep(layout, path)
        state.clear()
    if failed:
        which = f"{cell.pair} {cell.method} {cell.task} seed"
        raise Diverged("; ".join(f"{which} {', '.join(map(str, of))}: {why}" for why, of in failed.items()))
    for seed in seeds:  # the workflow knows them from here on; a forced rerun is to train anew
        path = layout.kept(layout.run(cell, seed) if point is None else layout.point(cell, point))
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def keep(layout: Layout, path: Path) -> None:
    """Links a finished run to where the workflow, which deletes a job's outputs before it reruns it, does not look."""
    _link(path, layout.kept(path))


def set_aside(layout: Layout, path: Path) -> None:
    """Moves the record of a run, or a teacher, that the benchmark file no longer names to where a job that is asked for
    it again finds it."""
    source, target = (path, layout.kept(path))
    if path.name == "record.json":  # a teacher: its whole folder
        source, target = path.parent, layout.kept(path.parent)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        return
    keep(layout, path)
    for file in (path, path.with_suffix(".safetensors")):
        file.unlink(missing_ok=True)


def _back_in_place(layout: Layout, teacher: str, task: str, config: dict[str, Any], inputs: dict[str, Any]) -> bool:
    """Puts a teacher back that was set aside, if it is exactly the one asked for."""
    folder, kept = layout.teacher(teacher, task), layout.kept(layout.teacher(teacher, task))
    try:
        record = records.read(kept / "record.json")
        records.predictions(kept / "record.json", record)
        records.require(kept)
    except (UserError, OSError):
        return False
    known = {"data": record["fingerprints"].get("data"), "backbone": record["fingerprints"].get("backbone")}
    if record["config_hash"] != records.sha256_text(records.canonical(config)) or known != inputs:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(kept, folder)
    return True


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
