"""What a checkpoint's files show before any compute: configuration, tokenizer, and the headers of its weights.

The weights stay on disk. `transformers` itself loads stand-ins of the same names and shapes, so that its renamings,
conversions and ties are those of a real load; then the encoder is run on them (see ``probe``).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from railkd.benchmark.paths import Layout, model_root
from railkd.benchmark.specification import Benchmark
from railkd.errors import UserError
from railkd.methods.base import Method
from railkd.models import checkpoints, classifier, probe
from railkd.models.checkpoints import Checkpoint
from railkd.models.fine_tuned import output_order, reorder_outputs
from railkd.models.missing_weights import natural, require_encoder, shown
from railkd.records.sealed_files import read_json
from railkd.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")  # the types of a weight that float32 holds as they are, or nearly (F64)
STRIDES = (7, 1, 3, 11, 5)  # of the stand-ins' dimensions, over one buffer of random numbers
LARGEST = 10**6  # weights of a head and a pooler beside an encoder of next to none


class Weight(NamedTuple):
    """One tensor of a safetensors header."""

    shape: tuple[int, ...]
    dtype: str  # as safetensors names it: F32, BF16, I64, ...


@dataclass(frozen=True)
class Seen:
    """What a checkpoint's files say of a model that the suite can run."""

    tokenizer: "PreTrainedTokenizerBase"
    unreadable: str | None  # why methods cannot read queries, keys and values; None: they can
    unmixable: str | None  # why methods cannot mix word embeddings; None: they can


def headers(checkpoint: Checkpoint, config: Any, where: str) -> dict[str, Weight]:
    """Every weight's shape and type, by its name in the file, from the safetensors headers alone.

    Raises UserError for a missing, truncated or foreign file, or a shard that the index does not name.
    """
    folder = Path(checkpoint.place)
    try:
        if folder.is_dir():
            return _local(folder, getattr(config, "transformers_weights", None) or WEIGHTS)
        return _on_hub(checkpoint)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # a header that is none, no route, no such file: each a different class
        raise checkpoints.failed(where, checkpoint, error) from None


def _local(folder: Path, name: str) -> dict[str, Weight]:
    if (folder / name).is_file():
        return _header(folder / name)
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder / name}: no such file (expected weights as safetensors; pickled ones are not read)")
    found: dict[str, Weight] = {}
    index = read_json(folder / INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise UserError(f"{folder / INDEX}: expected a mapping 'weight_map' from weights to files")
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise UserError(f"{folder}: no file '{shown(shard)}', though {INDEX} names it")
        found.update(_header(folder / shard))
    lost = next((name for name in shards if name not in found), None)
    if lost is not None:
        raise UserError(f"{folder / shards[lost]}: the weight '{shown(lost)}' is missing, though {INDEX} names it")
    return found


def _header(path: Path) -> dict[str, Weight]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: Weight(tuple(s.get_shape()), str(s.get_dtype())) for name, s in slices.items()}
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({str(error)[:160]})") from None


def _on_hub(checkpoint: Checkpoint) -> dict[str, Weight]:
    """From the cache when it has the files; else the hub is asked for the headers' bytes alone."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    for name in (WEIGHTS, INDEX):
        cached = try_to_load_from_cache(checkpoint.place, name, revision=checkpoint.revision)
        if isinstance(cached, str):
            return _local(Path(cached).parent, name)
    said = HfApi().get_safetensors_metadata(checkpoint.place, revision=checkpoint.revision)
    return {
        name: Weight(tuple(tensor.shape), str(tensor.dtype))
        for file in said.files_metadata.values()
        for name, tensor in file.tensors.items()
    }


def _stand_ins(found: dict[str, Weight]) -> dict[str, Tensor]:
    """Random tensors of those names and shapes that share one small buffer: views, so a gigabyte takes kilobytes."""

    def reach(shape: Sequence[int]) -> int:
        return sum(stride * (size - 1) for stride, size in zip(STRIDES, shape, strict=False)) + 1

    usable = {name: weight for name, weight in found.items() if len(weight.shape) <= len(STRIDES)}
    largest = max((reach(w.shape) for w in usable.values() if math.prod(w.shape)), default=1)
    buffer = torch.randn(largest, generator=torch.Generator().manual_seed(0)) * 0.05
    scales = 1 + buffer  # of norms
    made = {}
    for name, (shape, dtype) in usable.items():
        if dtype not in FLOATS:
            made[name] = torch.zeros(1, dtype=torch.int64).expand(shape) if shape else torch.tensor(0)
        elif not math.prod(shape):
            made[name] = torch.empty(shape)
        else:
            source = scales if len(shape) == 1 and name.endswith(("weight", "gamma")) else buffer
            made[name] = source.as_strided(shape, STRIDES[: len(shape)])
    return made


def _refuse_config(config: Any, found: dict[str, Weight], where: str) -> None:
    """What a configuration says that no encoder can be, or that its file contradicts at first sight."""
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{where}: config.json: '{config.model_type}' is an encoder-decoder, expected an encoder")
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(f"{where}: config.json has a quantization_config, expected weights that can be trained")
    checkpoints.positive(config, "num_hidden_layers", where, len(found))
    for key in ("hidden_size", "num_attention_heads"):
        checkpoints.positive(config, key, where)
    if config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"{where}: config.json: hidden_size {config.hidden_size} is no multiple of num_attention_heads "
            f"{config.num_attention_heads}"
        )


def assemble(checkpoint: Checkpoint, outputs: int, where: str) -> "PreTrainedModel":
    """The classifier that ``load_classifier`` would give, with all its layers and with stand-ins of the file's weights.

    Raises UserError for whatever it would refuse, before a weight is read.
    """
    config = checkpoints.read_config(checkpoint, where)
    found = headers(checkpoint, config, where)
    place = f"{where}: {checkpoint.place}"
    _refuse_config(config, found, where)
    config.num_labels, config.problem_type = outputs, None
    kind = classifier.classifier_class(config, where)
    try:
        with torch.random.fork_rng(devices=[]):
            with torch.device("meta"):
                parameters = {name: p.shape for name, p in kind(config).named_parameters()}
            needed, there = (sum(math.prod(shape) for shape in s) for s in (parameters.values(), _shapes(found)))
            if needed > 4 * there + LARGEST:  # before any memory is taken
                raise UserError(f"{place}: config.json needs {needed:,} weights, but the file has {there:,}")
            model, info = _from(kind, config, _stand_ins(found))
    except UserError:
        raise
    except Exception as error:  # whatever a value in config.json leads to
        raise checkpoints.failed(where, checkpoint, error) from None
    require_encoder(model, info, place, checkpoint.fine_tuned)
    for name in sorted(found, key=natural):
        if found[name].dtype not in FLOATS and any(p == name or p.endswith(f".{name}") for p in parameters):
            raise UserError(f"{place}: the weight '{shown(name)}' is {found[name].dtype}, expected {', '.join(FLOATS)}")
    return model.eval()


def _from(kind: Any, config: Any, tensors: dict[str, Tensor]) -> tuple[Any, Any]:
    """A model of these tensors, and what was missing; with the kernel that gives its attention."""
    how = {**classifier.how(kind), "attn_implementation": "eager"}
    made: tuple[Any, Any] = kind.from_pretrained(
        None, config=config, state_dict=tensors, trust_remote_code=False, **how
    )
    return made


def _shapes(found: dict[str, Weight]) -> list[tuple[int, ...]]:
    return [weight.shape for weight in found.values()]


def _require_cut(model: "PreTrainedModel", taken: Sequence[int], where: str) -> None:
    """Takes some layers; UserError for a family whose layers cannot be taken so and stored as a whole model."""
    classifier.take_layers(model, taken, where)
    kind: Any = type(model)
    ids = torch.arange(1, 7)[None] % classifier.embedding_of(model, where).num_embeddings
    try:
        again, info = _from(kind, model.config, dict(model.state_dict()))
        with torch.inference_mode():
            same = [m.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for m in (model, again)]
    except Exception as error:  # a part that goes on counting the layers that were there
        why = " ".join(str(error).split())[:160]
        raise UserError(f"{where}: layers of a {kind.__name__} cannot be taken by themselves ({why})") from None
    lost = info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]
    if lost or not torch.allclose(same[0], same[1], rtol=1e-4, atol=1e-5, equal_nan=True):
        raise UserError(f"{where}: layers of a {kind.__name__} cannot be taken by themselves and stored")


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
    for key, length in lengths.items():
        if length > usable:
            raise UserError(f"data.{key}: {length} tokens, but {where} has positions for {usable}")


def look(
    checkpoint: Checkpoint,
    outputs: int,
    lengths: dict[str, int],
    where: str,
    orders: Sequence[tuple[int, ...]] = (),
) -> Seen:
    """Everything that can be known of a model before compute; ``lengths``: key of the benchmark file -> tokens.

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
    seen = Seen(tokenizer, probe.unreadable(model, rows, pad_id), probe.unmixable(model, rows, pad_id))
    if checkpoint.layers is not None:
        _require_cut(model, checkpoint.layers, where)
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
        own = _pretrained(benchmark, name)
        if own is None:
            checkpoint = checkpoints.locate(benchmark, layout, name)
            tasks = [benchmark.task(task) for task in benchmark.teacher_tasks(name) or benchmark.tasks]
            with _quiet():
                orders = _orders(benchmark, checkpoint, name, tasks)
                seen[name] = look(checkpoint, tasks[0].outputs, lengths, f"models.{name}", orders)
            continue
        for key, length in lengths.items():
            if length > own["max_length"]:
                raise UserError(f"data.{key}: {length} tokens, but models.{name} has positions for {own['max_length']}")
    for pair in benchmark.pairs.values():
        teacher, student = pair["teacher"], pair["student"]
        if {teacher, student} <= seen.keys():
            require_same_tokens(seen[teacher].tokenizer, seen[student].tokenizer, teacher, student)
    return seen


def _orders(benchmark: Benchmark, checkpoint: Checkpoint, model: str, tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """The order of a fine-tuned model's outputs for each of its tasks; none for a model that is to be trained."""
    if not checkpoint.fine_tuned:
        return []
    config = checkpoints.read_config(checkpoint, f"models.{model}")
    labels = benchmark.models[model].get("labels")
    return [output_order(config, labels, task, f"models.{model}") for task in tasks]


def _pretrained(benchmark: Benchmark, model: str) -> dict[str, Any] | None:
    """How the workflow pre-trains a model, or the one whose layers it has; None for a checkpoint."""
    entry = benchmark.models[model]
    if "layers_of" in entry:
        return _pretrained(benchmark, entry["layers_of"])
    return entry.get("pretrain")


def require_readable(seen: dict[str, Seen], method: Method, teacher: str, student: str, where: str) -> None:
    """Raises UserError when a method reads what a model of its pair has not: attention vectors, mixed inputs."""
    for model, layers in zip((student, teacher), method.attention_layers, strict=True):
        if model not in seen:
            continue
        if layers and seen[model].unreadable:
            raise UserError(
                f"{where}: reads queries, keys and values, which models.{model} has not ({seen[model].unreadable})"
            )
        if method.mixes_examples and seen[model].unmixable:
            raise UserError(f"{where}: mixes word embeddings, for which models.{model} is not: {seen[model].unmixable}")


def require_same_tokens(
    teacher: "PreTrainedTokenizerBase", student: "PreTrainedTokenizerBase", teacher_name: str, student_name: str
) -> None:
    """Raises UserError unless two tokenizers have one vocabulary and split a trying text and pair into the same tokens.

    Cached and token-level signals need one tokenisation, and a saved student its own tokenizer.
    """
    texts = ("The Film's plot, naïve & 1,000% dull -- UNÜBERTROFFEN", "  a second\ttext, 映画 ")
    need = "cached and token-level signals need one tokenisation for both"
    if student.get_vocab() != teacher.get_vocab():
        raise UserError(f"models.{student_name}: its vocabulary is not that of its teacher {teacher_name}; {need}")
    for given in (texts[:1], texts):
        ids = [tokenizer(*given)["input_ids"] for tokenizer in (teacher, student)]
        if ids[0] != ids[1]:
            raise UserError(
                f"models.{student_name}: its tokenizer splits {given[0]!r} otherwise than that of its teacher "
                f"{teacher_name}, though their vocabulary is one; {need}"
            )
