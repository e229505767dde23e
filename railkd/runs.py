"""One job of the workflow: fine-tune a teacher, compute its signals, or train one cell's seeds."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from railkd import data, models, records
from railkd.config import Benchmark, Cell, Layout
from railkd.data import Prepared
from railkd.errors import UserError
from railkd.methods import build
from railkd.methods.base import Method, Pooling, Setting
from railkd.registry import source_files
from railkd.streams import seed_global
from railkd.tasks import TASKS
from railkd.teacher import LiveTeacher, SignalStore, layer_similarity, write_signals
from railkd.train import Outcome, Teacher, logits_of, precision, scores_of, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Log = Callable[[str], None]


def setting_for(
    teacher: tuple[int, int], student: tuple[int, int], task: str, train_labels: Tensor | None = None
) -> Setting:
    """The facts a method may depend on, from the (layers, width) of teacher and student."""
    return Setting(*teacher, *student, TASKS[task].outputs, TASKS[task].regression, train_labels)


def shape(benchmark: Benchmark, layout: Layout, model: str) -> tuple[int, int]:
    """(layers, width) of a model: from the benchmark file where it says so, else from the checkpoint."""
    entry = benchmark.models[model]
    if "pretrain" in entry:
        return entry["pretrain"]["layers"], entry["pretrain"]["width"]
    if "layers_of" in entry:  # the parent may be one that is not pre-trained yet
        depth, width = shape(benchmark, layout, entry["layers_of"])
        return len(models.taken_layers(depth, entry["layers"], entry["keep"], model)), width
    checkpoint = models.locate(benchmark, layout, model)
    config = models.read_config(checkpoint, f"models.{model}")
    depth = len(checkpoint.layers) if checkpoint.layers else config.num_hidden_layers
    return depth, config.hidden_size


def poolings_needed(benchmark: Benchmark, layout: Layout, teacher: str, task: str) -> list[Pooling]:
    """The pooled vectors that the benchmark's cached methods read of this teacher on this task, and no more."""
    needed: set[Pooling] = set()
    for cell in benchmark.cells():
        pair = benchmark.pairs[cell.pair]
        if pair["teacher"] == teacher and cell.task == task and not benchmark.external(cell.method):
            shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, pair["student"])
            setting = setting_for(*shapes, task)
            with torch.device("meta"):
                pooling = build(benchmark.method_class(cell.method), setting, benchmark.options(cell.method)).pooling
            if pooling is not None:
                needed.add(pooling)
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
    similarity: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores a trained model on every split and writes its predictions and then its record."""
    from safetensors.numpy import save

    dtype = precision(config["training"]["precision"], device, model.config.hidden_size)
    clock = time.perf_counter()
    logits = {s: logits_of(model, prepared.splits[s], prepared.facts["pad_id"], device, dtype) for s in prepared.scored}
    outcome.cost["eval_seconds"] += time.perf_counter() - clock
    predictions = path.with_suffix(".safetensors")
    payload = save(logits)
    records.write_bytes(predictions, payload)
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
        "scores": {split: scores_of(prepared, split, values) for split, values in logits.items()},
        "baselines": {split: prepared.facts["baselines"][split] for split in logits},
        "examples": {split: prepared.facts["examples"][split] for split in ("train", *logits)},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        "method_record": method.record() if method else {},
        "similarity": similarity or {},
        "cost": outcome.cost,
        "fingerprints": {"data": prepared.facts["sha256"], **fingerprints},
        "predictions": {"file": predictions.name, "sha256": records.sha256_file(predictions)},
        "provenance": {
            **records.provenance(),
            "resolved": prepared.facts["resolved"],
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
    config = {"data": benchmark.data_config(task), **benchmark.teacher_config(teacher, task)}
    started, seed, settings = records.now(), config["seed"], config["training"]
    checkpoint = models.locate(benchmark, layout, teacher)
    model = models.load_classifier(checkpoint, prepared.task.outputs, seed, f"models.{teacher}", settings["dropout"])
    own = shape(benchmark, layout, teacher)
    method = build("no_kd", setting_for(own, own, task), {})
    outcome = train(model, method, None, prepared, settings, seed, device, log)
    outcome.cost["regime"] = "none"
    folder = layout.teacher(teacher, task)
    models.save_classifier(model, folder)
    identity = {
        "stage": "teacher",
        "pair": teacher,
        "teacher": teacher,
        "student": teacher,
        "method": "teacher",
        "seed": seed,
    }
    fingerprints = {"teacher": records.sha256_file(folder / "model.safetensors")}
    return _record(
        benchmark, prepared, model, outcome, device, folder / "record.json", started, identity, config, fingerprints
    )


def fine_tuned(layout: Layout, teacher: str, task: str, outputs: int) -> tuple["PreTrainedModel", str]:
    """A fine-tuned teacher and its fingerprint; raises UserError when its weights are not those of its record."""
    folder = layout.teacher(teacher, task)
    record = records.read(folder / "record.json")
    weights = folder / "model.safetensors"
    if not weights.is_file() or records.sha256_file(weights) != record["fingerprints"]["teacher"]:
        raise UserError(f"{weights}: missing or not what was written (checksum); delete {folder} and run again")
    checkpoint = models.Checkpoint(str(folder))
    return models.load_classifier(checkpoint, outputs, 0, str(folder)), record["fingerprints"]["teacher"]


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
    import fcntl

    folder = layout.signals(teacher, task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _refresh(benchmark, layout, teacher, task, prepared, device, log)
        return SignalStore(folder, device)


def _refresh(
    benchmark: Benchmark, layout: Layout, teacher: str, task: str, prepared: Prepared, device: torch.device, log: Log
) -> None:
    folder = layout.signals(teacher, task)
    fingerprints = _signal_fingerprints(layout, teacher, task, prepared)
    why = "not there"
    if (folder / "signals.json").is_file():
        facts = records.read_json(folder / "signals.json")
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

    With ``point`` it trains that point of the hyper-parameter search instead, with the search's own seed.
    """
    spec = benchmark.pairs[cell.pair]
    teacher, student = spec["teacher"], spec["student"]
    grid = benchmark.grid()
    chosen: dict[str, Any] = {}
    if grid:
        chosen = records.read_json(layout.best(cell))["point"] if point is None else grid[point]
    config = benchmark.run_config(cell.pair, cell.method, cell.task, chosen)
    prepared = data.load(layout.prepared(teacher, cell.task))
    store = _store(benchmark, layout, teacher, cell.task, prepared, device, log)
    checkpoint = models.locate(benchmark, layout, student)
    method_class = benchmark.method_class(cell.method)
    fingerprints = {
        "teacher": store.facts["fingerprints"]["teacher"],
        "student": models.fingerprint(checkpoint, prepared.facts["resolved"].get(student)),
        "method": records.sha256_text("".join(map(records.sha256_file, source_files(method_class)))),
    }
    shapes = shape(benchmark, layout, teacher), shape(benchmark, layout, student)
    setting = setting_for(*shapes, cell.task, prepared.splits["train"].labels)
    regime, live = config["training"]["regime"], None
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
        if restore(layout, path, identity, config, {"data": prepared.facts["sha256"], **fingerprints}):
            log(f"seed {seed}: kept from before")
            continue
        started = records.now()
        model = models.load_classifier(
            checkpoint, prepared.task.outputs, seed, f"models.{student}", config["training"]["dropout"]
        )
        seed_global(seed, "method")  # the initialisation of the method's projections
        method = build(method_class, setting, benchmark.options(cell.method))
        source: Teacher | None = None
        if method.needs_logits or method.pooling is not None:
            source = store
            if regime == "live":
                live = live or LiveTeacher(
                    fine_tuned(layout, teacher, cell.task, prepared.task.outputs)[0],
                    prepared,
                    device,
                    config["training"]["precision"],
                    method.pooling is not None,
                )
                source = live
        prefix = f"{cell.pair} {cell.method} {cell.task} seed {seed}:"

        def say(line: str, prefix: str = prefix) -> None:
            log(f"{prefix} {line}")

        try:
            outcome = train(model, method, source, prepared, config["training"], seed, device, say)
        except UserError as error:
            raise UserError(f"{prefix} {error}") from None
        outcome.cost["regime"] = regime if source is not None else "none"
        similarity = layer_similarity(model, prepared, store, device)
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
            similarity,
        )
        if benchmark.spec.get("save_students") and point is None:
            models.save_classifier(model, path.with_suffix(""))
        keep(layout, path)
    for seed in seeds:  # the workflow knows them from here on; a forced rerun is to train anew
        path = layout.kept(layout.run(cell, seed) if point is None else layout.point(cell, point))
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def keep(layout: Layout, path: Path) -> None:
    """Links a finished run to where the workflow, which deletes a job's outputs before it reruns it, does not look."""
    _link(path, layout.kept(path))


def _link(record: Path, target: Path) -> None:
    """Links a record's predictions and then the record itself to another place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for source, link in ((record.with_suffix(".safetensors"), target.with_suffix(".safetensors")), (record, target)):
        link.unlink(missing_ok=True)
        os.link(source, link)


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
    records.write_json(layout.best(cell), result)
    return result
