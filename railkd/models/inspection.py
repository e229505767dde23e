"""Checks what a checkpoint's files show before any compute: configuration, tokenizer, and headers of the weights.

The weights stay on disk: a model is assembled from stand-ins (see ``stand_ins``), and the encoder is run on them (see
``probe``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from railkd.benchmark.defaults import GENERAL_DISTILLATION, resolved
from railkd.benchmark.paths import Layout, model_root
from railkd.benchmark.specification import Benchmark
from railkd.errors import UserError
from railkd.methods.base import Method
from railkd.models import checkpoints, classifier, probe
from railkd.models.checkpoints import Checkpoint
from railkd.models.fine_tuned import known_order, output_order, reorder_outputs
from railkd.models.stand_ins import assemble, require_cut
from railkd.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DISTILLED_LENGTH = "general_distillation.max_length"


@dataclass(frozen=True)
class Seen(probe.Limits):
    """What a checkpoint's files say of a model that the suite can run."""

    tokenizer: "PreTrainedTokenizerBase"


def _position_table(model: "PreTrainedModel") -> nn.Embedding | None:
    """The learnt embedding of positions; None where they are relative, rotary or computed."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name.rpartition(".")[2] and module.weight.requires_grad:
            return module
    return None


def _require_fit(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", lengths: dict[str, int], where: str
) -> None:
    """Every token has its row, every position of the benchmark's lengths too."""
    rows = classifier.embedding_of(model, where).num_embeddings
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows or len(tokenizer) > rows:
        raise UserError(
            f"{where}: its tokenizer has {len(tokenizer)} entries, the highest id is {highest}, but the word embedding "
            f"has {rows} rows"
        )
    table = _position_table(model)
    if table is None:
        return
    usable = table.num_embeddings
    if table.padding_idx is not None:  # RoBERTa and its kin number the tokens that are not this id, from the next one
        usable -= table.padding_idx + 1
        if table.padding_idx != tokenizer.pad_token_id:
            raise UserError(
                f"{where}: its tokenizer pads with id {tokenizer.pad_token_id}, but its positions take "
                f"id {table.padding_idx} for padding"
            )
    _require_positions(lengths, usable, where)


def _require_positions(lengths: dict[str, int], usable: int, where: str) -> None:
    for key, length in lengths.items():
        if length > usable:
            place = where if key == DISTILLED_LENGTH else "data"
            raise UserError(f"{place}.{key}: {length} tokens, but {where} has positions for {usable}")


def look(
    checkpoint: Checkpoint,
    outputs: int,
    lengths: dict[str, int],
    where: str,
    orders: Sequence[tuple[int, ...]] = (),
) -> Seen:
    """Everything that can be known of a model before compute; ``lengths``: key of the benchmark file, of ``data`` or
    DISTILLED_LENGTH of the model, -> tokens.

    ``orders``: those into which the outputs of a fine-tuned checkpoint are to be put. Raises UserError, one line that
    names what is wrong and what was expected.
    """
    tokenizer = checkpoints.load_tokenizer(checkpoint, where)
    model = assemble(checkpoint, outputs, where)
    for order in orders:
        reorder_outputs(model, order, where)
    _require_fit(model, tokenizer, lengths, where)
    pad_id, rows = int(tokenizer.pad_token_id), classifier.embedding_of(model, where).num_embeddings
    probe.readable(model, rows, pad_id, max(lengths.values()), where)
    limits = probe.limits_of(model, rows, pad_id)
    seen = Seen(limits.unreadable, limits.unmixable, tokenizer)
    if checkpoint.layers is not None:
        require_cut(model, checkpoint.layers, where)
    return seen


def on_hub(benchmark: Benchmark, model: str) -> bool:
    """Whether a model's files are on the hub alone, its parent's if it is made of some layers of one."""
    entry = benchmark.models[model]
    if "layers_of" in entry:
        return on_hub(benchmark, entry["layers_of"])
    return "hub" in entry and model_root(benchmark) is None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and its report of a head that is missing."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def look_at_all(benchmark: Benchmark, layout: Layout, names: Sequence[str]) -> dict[str, Seen]:
    """What the files of these models show; of those that the workflow pre-trains, which have none yet, nothing.

    Raises UserError, one line, for a model that cannot be trained as the benchmark says, or a student that is not
    tokenised as its teacher.
    """
    data = benchmark.data
    lengths = {"max_length": data["max_length"]}
    if data["ood_max_length"] and data.get("out_of_domain"):
        lengths["ood_max_length"] = data["ood_max_length"]
    seen: dict[str, Seen] = {}
    for name in names:
        entry, own = lengths, benchmark.miniature(name)
        if "general_distillation" in benchmark.models[name]:
            given = resolved(GENERAL_DISTILLATION, benchmark.models[name]["general_distillation"])
            entry = {**lengths, DISTILLED_LENGTH: given["max_length"]}
        if own is None:
            checkpoint = checkpoints.locate(benchmark, layout, name, distilled=False)
            tasks = [benchmark.task(task) for task in benchmark.teacher_tasks(name) or benchmark.tasks]
            with _quiet():
                orders = _orders(benchmark, checkpoint, name, tasks)
                seen[name] = look(checkpoint, tasks[0].outputs, entry, f"models.{name}", orders)
            continue
        _require_positions(entry, own["max_length"], f"models.{name}")
    for pair in benchmark.pairs.values():
        teacher, student = pair["teacher"], pair["student"]
        if {teacher, student} <= seen.keys():
            with _quiet():  # of a text that is longer than the tokenizer says its model takes
                require_same_tokens(seen[teacher].tokenizer, seen[student].tokenizer, teacher, student)
    return seen


def _orders(benchmark: Benchmark, checkpoint: Checkpoint, model: str, tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """The order of a model's outputs for each of its tasks; of one that is to be trained, where their names say it."""
    config, labels = checkpoints.read_config(checkpoint, f"models.{model}"), benchmark.head_labels(model)
    if not checkpoint.fine_tuned:
        return [order for order in (known_order(config, labels, task) for task in tasks) if order]
    return [output_order(config, labels, task, f"models.{model}") for task in tasks]


def require_readable(seen: dict[str, Seen], method: Method, teacher: str, student: str, where: str) -> None:
    """Raises UserError when a method reads what a model of its pair has not: attention vectors, mixed inputs."""
    probe.require_within(method, [(f"models.{model}", seen.get(model)) for model in (student, teacher)], where)


def require_same_tokens(
    teacher: "PreTrainedTokenizerBase", student: "PreTrainedTokenizerBase", teacher_name: str, student_name: str
) -> None:
    """Raises UserError unless two tokenizers have one vocabulary and split a trying text and pair into the same tokens.

    Cached and token-level signals need one tokenisation, and a saved student its own tokenizer.
    """
    texts = ("The Film's plot, naïve & 1,000% dull -- UNÜBERTROFFEN", "  a second\ttext, 映画 ")
    need = "cached and token-level signals need one tokenisation for both"
    if student.get_vocab() != teacher.get_vocab():
        raise UserError(
            f"models.{student_name}: its vocabulary differs from that of its teacher {teacher_name}; {need}"
        )
    for given in (texts[:1], texts):
        ids = [tokenizer(*given)["input_ids"] for tokenizer in (teacher, student)]
        if ids[0] != ids[1]:
            raise UserError(
                f"models.{student_name}: its tokenizer splits {given[0]!r} differently from that of its teacher "
                f"{teacher_name}, though their vocabulary is the same; {need}"
            )
