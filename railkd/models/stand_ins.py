"""Assembles a model from stand-ins for a checkpoint's weights: its loading is seen while the weights stay on disk.

`transformers` itself loads stand-ins of the same names and shapes, so its renamings, conversions and ties
are those of a real load.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from railkd.errors import UserError
from railkd.models import checkpoints, classifier
from railkd.models.checkpoints import Checkpoint
from railkd.models.missing_weights import natural, require_encoder, shown
from railkd.models.weight_headers import Weight, headers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOATS = ("F64", "F32", "F16", "BF16")  # the types of a weight that float32 holds as they are, or nearly (F64)
STRIDES = (7, 1, 3, 11, 5)  # of the stand-ins' dimensions, over one buffer of random numbers
LARGEST = 10**6  # weights of a head and a pooler beside an encoder of next to none


def stand_ins(found: dict[str, Weight]) -> dict[str, Tensor]:
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
            model, info = _from(kind, config, stand_ins(found))
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
    made: tuple[Any, Any] = kind.from_pretrained(
        None, config=config, state_dict=tensors, trust_remote_code=False, **classifier.how(kind)
    )
    return made


def _shapes(found: dict[str, Weight]) -> list[tuple[int, ...]]:
    return [weight.shape for weight in found.values()]


def require_cut(model: "PreTrainedModel", taken: Sequence[int], where: str) -> None:
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
