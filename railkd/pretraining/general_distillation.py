"""Distils a student on plain text, before any task, from the model whose layers it begins with: general distillation.

So DistilBERT (Sanh et al., 2019), TinyBERT (Jiao et al., 2020, stage 1) and MiniLMv2 (Wang et al., 2021) are made. The
objective is the term of one of the suite's methods that needs neither labels nor a trained head; the teacher runs in
every step. The result is an ordinary checkpoint folder, for all tasks, methods and seeds of a benchmark.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from railkd.benchmark.defaults import GENERAL_DISTILLATION, TRAINING, resolved
from railkd.benchmark.paths import Layout, text_path
from railkd.benchmark.specification import Benchmark
from railkd.data import plain_text
from railkd.data.batches import Prepared, Split, epoch_batches
from railkd.errors import Diverged, UserError
from railkd.methods import build
from railkd.methods.base import Method, Setting
from railkd.models import checkpoints, classifier
from railkd.models.checkpoints import Checkpoint
from railkd.models.inspection import Seen
from railkd.models.missing_weights import is_head
from railkd.models.weight_headers import headers
from railkd.random_streams import seed_global, stream
from railkd.records import provenance
from railkd.records.files import atomic_folder
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import read_json, require, seal, write_json
from railkd.tasks import TASKS
from railkd.teacher.live import LiveTeacher
from railkd.training.divergence import FiniteCheck
from railkd.training.loop import machine
from railkd.training.memory import with_less_memory
from railkd.training.run_state import State
from railkd.training.settings import TrainingSettings
from railkd.training.steps import Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Log = Callable[[str], None]
REPORT = "general_distillation.json"  # in the model's folder: how it was distilled
TERMS = {"minilm_v2": "relation", "distilbert_cos": "cos"}  # objective -> the term of that method which is trained
OPTIONS = ("teacher_layer", "relation_heads")  # keys that the objective takes as they are
OUTPUTS = 2  # of the heads that both models are loaded with; nothing trains or keeps them


@dataclass(frozen=True)
class _Work:
    """One general distillation: what is made of what, and how."""

    where: str  # the key of the benchmark file
    keys: dict[str, Any]  # all of general_distillation, at their values
    seed: int
    student: Checkpoint  # the layers with which it begins
    teacher: Checkpoint
    text: Split
    tokenizer: "PreTrainedTokenizerBase"
    state: State
    device: torch.device
    log: Log


@dataclass
class _Progress:
    """What the steps so far have given."""

    curve: list[dict[str, float]] = field(default_factory=list)  # step, and the mean loss since the entry before
    tokens: int = 0  # real ones that student and teacher have read
    seconds: float = 0.0
    resumed: int = 0  # how often it went on in another process


def keys_of(benchmark: Benchmark, model: str) -> dict[str, Any]:
    """All keys of a model's ``general_distillation``, with defaults."""
    return resolved(GENERAL_DISTILLATION, benchmark.models[model]["general_distillation"])


def objective(keys: dict[str, Any], setting: Setting, where: str) -> Method:
    """The method whose one term is the loss, the others without weight; UserError names the key of a bad option."""
    term, name = TERMS[keys["objective"]], keys["objective"]
    options = {key: keys[key] for key in OPTIONS if keys[key] is not None}
    try:
        method = build(name, setting, options)
    except UserError as error:
        raise UserError(f"{where}.{str(error).removeprefix(f'methods.{name}').lstrip('.: ')}") from None
    method.weights = {key: float(key == term) for key in method.weights}
    return method


def made_of(
    benchmark: Benchmark, model: str, teacher: str | None, digest: Callable[[Path], str] = sha256_file
) -> dict[str, Any]:
    """What the seal of a distilled student names: its keys, the seed, the SHA-256 of the text, and the teacher's
    fingerprint, ``teacher``."""
    text = text_path(benchmark, model)
    return {**benchmark.pretraining_config(model), "text": digest(text) if text.is_file() else None, "teacher": teacher}


def check(benchmark: Benchmark, model: str, setting: Setting | None, seen: Seen | None) -> None:
    """Raises UserError, one line that names the key, for what cannot be distilled: before any compute.

    ``setting`` has the sizes of teacher and student, ``seen`` is what the files of the student's checkpoint show; each
    is None where it cannot be known yet.
    """
    where, keys = f"models.{model}.general_distillation", keys_of(benchmark, model)
    texts = _texts(benchmark, model, keys, where)
    if setting is not None:
        with torch.device("meta"):
            objective(keys, setting, where)
    if seen is None:
        return
    if keys["objective"] == "minilm_v2" and seen.unreadable:
        raise UserError(
            f"{where}.objective: minilm_v2 reads queries, keys and values, which models.{model} does not show "
            f"({seen.unreadable}); expected distilbert_cos"
        )
    rows, _ = plain_text.token_rows(texts, seen.tokenizer, keys["max_length"], keys["batch_size"])
    _require_a_batch(len(rows), keys, where)


def _texts(benchmark: Benchmark, model: str, keys: dict[str, Any], where: str) -> Iterator[str]:
    """The paragraphs of the text, of which there is one at least."""
    path = text_path(benchmark, model)
    if not path.is_file():
        raise UserError(
            f"{where}.text: no such file {path}, nor in the local mirror of the data (data.root or RAILKD_DATA)"
        )
    try:
        texts = plain_text.paragraphs(path, keys["column"])
        first = next(texts, None)
    except UserError as error:
        raise UserError(f"{where}.text: {error}") from None
    if first is None:
        raise UserError(f"{where}.text: {path} has no text that is more than white space")
    return chain([first], texts)


def _require_a_batch(rows: int, keys: dict[str, Any], where: str) -> None:
    if rows < keys["batch_size"]:
        raise UserError(
            f"{where}.text: gives {rows} rows of at most {keys['max_length']} tokens, expected at least one batch "
            f"(batch_size: {keys['batch_size']})"
        )


def distil(benchmark: Benchmark, layout: Layout, model: str, device: torch.device, log: Log) -> dict[str, Any]:
    """Distils a model of the benchmark file that has ``general_distillation`` and writes its folder, whole or not at
    all. A run that was stopped goes on where it was. Returns what ``general_distillation.json`` in the folder says:
    the keys, loss curve, tokens, seconds and hardware. Raises UserError for bad input and Diverged where the loss does
    not stay finite, each with the key.
    """
    started, where = provenance.now(), f"models.{model}.general_distillation"
    keys, parent = keys_of(benchmark, model), benchmark.models[model]["layers_of"]
    teacher = checkpoints.locate(benchmark, layout, parent)
    fingerprint = checkpoints.fingerprint(teacher, checkpoints.commit(teacher, f"models.{parent}"))
    made = made_of(benchmark, model, fingerprint)
    tokenizer = checkpoints.load_tokenizer(teacher, f"models.{parent}")
    seed, folder = benchmark.data["seed"], layout.model(model)
    texts = list(_texts(benchmark, model, keys, where))
    order = torch.randperm(len(texts), generator=stream(seed, "text")).tolist()
    drawn = (texts[i] for i in order)
    text, read = plain_text.token_rows(drawn, tokenizer, keys["max_length"], keys["steps"] * keys["batch_size"])
    _require_a_batch(len(text), keys, where)
    log(f"{len(text):,} rows, {len(text.tokens):,} tokens, of {read:,} of {len(texts):,} paragraphs")
    kept = layout.kept(folder)
    work = _Work(
        where=where,
        keys=keys,
        seed=seed,
        student=checkpoints.layers_taken(benchmark, layout, model),
        teacher=teacher,
        text=text,
        tokenizer=tokenizer,
        state=State(kept.with_name(f"{kept.name}.state"), made),
        device=device,
        log=log,
    )
    student, progress, ran_on = with_less_memory(lambda share: _attempt(work, share), benchmark.device_memory, log)
    report = {
        "model": model,
        "teacher": parent,
        "keys": {**keys, "text": Path(keys["text"]).name},
        "text_sha256": made["text"],
        "paragraphs": read,
        "rows": len(text),
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "resumed": progress.resumed,
        "loss": progress.curve,
        "machine": ran_on,
        "provenance": {**provenance.provenance(), "started": started, "finished": provenance.now()},
    }
    _save(student, work, folder, report, made)
    work.state.clear()
    return report


def _attempt(work: _Work, share: float) -> "tuple[PreTrainedModel, _Progress, dict[str, Any]]":
    """The distilled student, how it went, and on what; on a GPU, the text takes up to that share of free memory."""
    dropout, device = work.keys["dropout"], work.device
    student, teacher = (
        classifier.load_classifier(place, OUTPUTS, work.seed, work.where, dropout, True, device=device)
        for place in (work.student, work.teacher)
    )
    for name, parameter in student.named_parameters():
        if is_head(student, name):
            parameter.requires_grad_(False)
    n, m = teacher.config, student.config
    setting = Setting(
        n.num_hidden_layers, n.hidden_size, m.num_hidden_layers, m.hidden_size, OUTPUTS, False,
        teacher_heads=n.num_attention_heads, student_heads=m.num_attention_heads,
    )  # fmt: skip
    method = objective(work.keys, setting, work.where)
    given = {key: work.keys[key] for key in TRAINING if key in work.keys}
    settings = TrainingSettings.of({**given, "epochs": 1}, work.seed, work.device, share)
    source = LiveTeacher.for_method(method, teacher, None, work.device, settings.precision)
    nothing = Split(torch.empty(0, dtype=torch.int32), torch.zeros(1, dtype=torch.int64), *[torch.empty(0)] * 2)
    facts = {"pad_id": work.tokenizer.pad_token_id, "max_length": work.keys["max_length"]}
    if work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(work.device)
    step = Steps(
        student, method, source, Prepared(TASKS["sst2"], {"train": work.text, "dev": nothing}, facts), settings
    )
    step.total = work.keys["steps"]
    progress = _train(step, work)
    step.finish(step.shrink)
    if not all(bool(parameter.isfinite().all()) for parameter in student.parameters()):
        raise Diverged(
            f"{work.where}.learning_rate: the student's weights are not finite after the last step; lower it"
        )
    return student, progress, machine(work.device, step.dtype)


def _train(step: Steps, work: _Work) -> _Progress:
    """All steps, in blocks: after each a line of the log, a point of the curve, and a state to go on from if due."""
    progress, method, term = _Progress(), step.method, TERMS[work.keys["objective"]]
    method.start_training(stream(work.seed, "method"))
    found = work.state.load()
    if found is not None:
        facts, tensors = found
        step.load(facts["step"], tensors)
        progress = _Progress(**facts["progress"])
        progress = replace(progress, resumed=progress.resumed + 1)
        work.log(f"resumed after step {step.done}")
    finite, size = FiniteCheck(method), min(100, max(1, step.total // 50))
    rows = islice(_batches(step.split.lengths, work.keys["batch_size"], work.seed), step.done, step.total)
    while block := list(islice(rows, size)):
        seed_global(work.seed, "dropout", step.done)
        started, before = time.perf_counter(), step.done
        losses = torch.stack([step(rows_B) for rows_B in block]).cpu()  # (steps, terms); waits for the device
        try:
            finite.losses(losses[:, [step.names.index(term)]], [term], before)
        except Diverged as error:
            raise Diverged(f"{work.where}.learning_rate: {error}; lower it") from None
        progress.seconds += time.perf_counter() - started
        progress.tokens += sum(int(step.split.lengths[rows_B].sum()) for rows_B in block)
        progress.curve.append({"step": step.done, "loss": float(losses[:, 0].double().mean())})
        work.log(f"step {step.done}/{step.total}: loss {progress.curve[-1]['loss']:.4f}, {progress.tokens:,} tokens")
        if work.state.due and step.done < step.total:
            work.state.save(step.done, {"step": step.facts(), "progress": vars(progress)}, step.tensors())
    return progress


def _batches(lengths: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches of rows without end: every row once, in batches of similar length, and again in another order."""
    for epoch in count():
        yield from epoch_batches(lengths, batch_size, stream(seed, "order", epoch))


def _save(student: "PreTrainedModel", work: _Work, folder: Path, report: dict[str, Any], made: dict[str, Any]) -> None:
    """Writes the encoder and its tokenizer, without a pooler that its checkpoint lacks: every run draws its own."""
    config = checkpoints.read_config(work.student, work.where)
    known, prefix = headers(work.student, config, work.where), student.base_model_prefix
    encoder: PreTrainedModel = getattr(student, prefix)
    weights = {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        if not is_head(student, f"{prefix}.{name}") or any(f".{other}".endswith(f".{name}") for other in known)
    }
    with atomic_folder(folder) as unfinished:
        encoder.save_pretrained(unfinished, state_dict=weights)
        checkpoints.load_tokenizer(work.teacher, work.where).save_pretrained(unfinished)
        write_json(unfinished / REPORT, report)
        seal(unfinished, [file.name for file in unfinished.iterdir()], made_of=made)


def summary(benchmark: Benchmark, layout: Layout, model: str) -> dict[str, Any] | None:
    """What a run's record says of the general distillation that its student began with; None where there was none.

    Raises UserError for a report that is missing or was changed.
    """
    origin = benchmark.pretrained(model)
    if origin is None or "general_distillation" not in benchmark.models[origin]:
        return None
    require(layout.model(origin), REPORT)
    report = read_json(layout.model(origin) / REPORT)
    keys, curve = report["keys"], report["loss"]
    return {
        "model": origin,
        "teacher": report["teacher"],
        "text": keys["text"],
        "text_sha256": report["text_sha256"],
        "objective": keys["objective"],
        "steps": keys["steps"],
        "tokens": report["tokens"],
        "first_loss": curve[0]["loss"],
        "last_loss": curve[-1]["loss"],
        "seconds": report["seconds"],
        "device": report["machine"]["device"],
        "precision": report["machine"]["precision"],
        "threads": report["machine"]["threads"],
    }
