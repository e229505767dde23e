"""Teachers and students: from the hub, a local folder, an installed package, the workflow's own pre-training, or some
layers of another model. Always a real `transformers` architecture with a sequence-classification head.

Only safetensors are read (no pickled weights), and never code that comes with a checkpoint.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.attention import capture
from railkd.config import Benchmark, Layout, checkpoint_path, model_root
from railkd.errors import Undeclared, UserError
from railkd.exact import narrow_where_exact
from railkd.files import atomic_folder
from railkd.loading import require_encoder
from railkd.methods.base import Part, Pooling
from railkd.mixing import mixed_inputs
from railkd.records import mirrored, require, seal, sha256_file, sha256_once, sha256_text
from railkd.streams import seed_global

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DROPOUTS = (  # what the families call their rates
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "classifier_dropout",
    "cls_dropout",  # DeBERTa's head
    "pooler_dropout",
    "embedding_dropout",  # ModernBERT
    "mlp_dropout",
)


@dataclass(frozen=True)
class Checkpoint:
    """Where a backbone's weights are, and which of its layers to take."""

    place: str  # folder, or hub id
    revision: str | None = None
    layers: tuple[int, ...] | None = None  # 1-based, of the checkpoint; None: all

    def options(self) -> dict[str, Any]:
        return {"revision": self.revision} if self.revision else {}


def locate(benchmark: Benchmark, layout: Layout, name: str) -> Checkpoint:
    """The checkpoint behind a model of the benchmark file; raises UserError when a local one is not there."""
    entry = benchmark.models[name]
    if "pretrain" in entry:
        return Checkpoint(str(layout.model(name)))
    if "path" in entry:
        return Checkpoint(str(checkpoint_path(benchmark, name)))
    if "package" in entry:
        spec = importlib.util.find_spec(entry["package"])
        if spec is None or spec.origin is None:
            raise UserError(f"models.{name}.package: the Python package '{entry['package']}' is not installed")
        return Checkpoint(str(Path(spec.origin).parent / entry.get("folder", ".")))
    if "layers_of" in entry:
        parent = locate(benchmark, layout, entry["layers_of"])
        where = f"models.{entry['layers_of']}"
        depth = positive(read_config(parent, where), "num_hidden_layers", where)
        there = parent.layers or tuple(range(1, depth + 1))  # the parent may itself have some layers only
        taken = taken_layers(len(there), entry["layers"], entry["keep"], name)
        return Checkpoint(parent.place, parent.revision, tuple(there[i - 1] for i in taken))
    root = model_root(benchmark)
    if root is not None:
        folder = root / entry["hub"]
        if not (folder / "config.json").is_file():
            raise UserError(f"models.{name}.hub: no {folder}/config.json in the local mirror of checkpoints")
        there, wanted = mirrored(root).get(entry["hub"], {}).get("revision"), entry.get("revision")
        if there and wanted and there != wanted:
            raise UserError(
                f"models.{name}.revision: {folder} is commit {there}, expected {wanted}; railkd mirror fetches it"
            )
        return Checkpoint(str(folder), there)
    return Checkpoint(entry["hub"], entry.get("revision"))


def taken_layers(depth: int, count: int, keep: str, name: str) -> tuple[int, ...]:
    """1-based layers a shallow student takes: the first ones, or every other as DistilBERT does (Sanh et al., 2019).

    DistilBERT's script takes 0-based layers 0, 2, 4, 7, 9, 11 of 12: evenly spaced from the first to the last.
    """
    if not 1 <= count <= depth:
        raise UserError(f"models.{name}.layers: {count} layers cannot be taken of {depth}")
    if keep == "first":
        return tuple(range(1, count + 1))
    if count == 1:
        return (1,)
    return tuple(round(i * (depth - 1) / (count - 1)) + 1 for i in range(count))


def failed(where: str, checkpoint: Checkpoint, error: Exception) -> UserError:
    """One line for whatever a library says of a checkpoint that it cannot load."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    local = Path(checkpoint.place).is_dir()
    hint = "" if local else "; without network, set data.model_root or RAILKD_MODELS to a local mirror"
    kind = "checkpoint folder" if local else "hub checkpoint"
    return UserError(f"{where}: cannot load the {kind} {checkpoint.place} ({text}){hint}")


def read_config(checkpoint: Checkpoint, where: str) -> Any:
    """The checkpoint's `transformers` configuration; raises UserError when it cannot be had."""
    from transformers import AutoConfig

    require(Path(checkpoint.place))
    try:
        config = AutoConfig.from_pretrained(checkpoint.place, trust_remote_code=False, **checkpoint.options())
    except Exception as error:  # missing, truncated, offline: each a different class
        raise failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "config.json", getattr(config, "auto_map", None))
    return config


def positive(config: Any, key: str, where: str, most: int = 10**6) -> int:
    """A count of a `transformers` configuration; UserError unless it is a whole number from 1 to ``most``."""
    value = getattr(config, key, None)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        kind = str(getattr(config, "model_type", ""))[:40]
        said = repr(value)[:40]
        raise UserError(
            f"{where}: config.json: {key} of this {kind} is {said}, expected a whole number from 1 to {most}"
        )
    return value


def _refuse_code(where: str, checkpoint: Checkpoint, file: str, auto_map: object) -> None:
    """Without its own code, which is never run, a checkpoint would be another model than its authors meant."""
    if auto_map:
        raise failed(where, checkpoint, ValueError(f"{file} names code of its own, auto_map, which is never run"))


def commit(checkpoint: Checkpoint, where: str) -> str | None:
    """The hub commit that was resolved; of a local folder, the one that ``railkd mirror`` fetched, else None."""
    return getattr(read_config(checkpoint, where), "_commit_hash", None) or checkpoint.revision


def load_tokenizer(checkpoint: Checkpoint, where: str) -> "PreTrainedTokenizerBase":
    """The checkpoint's fast tokenizer; UserError for one that is slow or has no padding token."""
    from transformers import AutoTokenizer

    require(Path(checkpoint.place))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.place, use_fast=True, trust_remote_code=False, **checkpoint.options()
        )
    except Exception as error:  # as above
        raise failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "tokenizer_config.json", tokenizer.init_kwargs.get("auto_map"))
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what `transformers` makes of a folder without one
        raise failed(where, checkpoint, ValueError("it has no tokenizer: tokenizer.json or vocab.txt is missing"))
    if not tokenizer.is_fast:
        why = f"its tokenizer, a {type(tokenizer).__name__}, is a slow one; expected a tokenizer.json"
        raise failed(where, checkpoint, ValueError(why))
    if tokenizer.pad_token_id is None:
        why = "its tokenizer has no padding token; expected a pad_token in tokenizer_config.json"
        raise failed(where, checkpoint, ValueError(why))
    return tokenizer


def layer_list(model: nn.Module, depth: int) -> tuple[nn.Module, str]:
    """The module that owns the encoder's layers, and the attribute's name: the first ModuleList of that length."""
    for owner in model.modules():
        for name, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == depth:
                return owner, name
    raise UserError(f"{type(model).__name__}: no list of {depth} encoder layers found")


def layers_of(model: "PreTrainedModel") -> nn.ModuleList:
    """The encoder's layers."""
    owner, name = layer_list(model, model.config.num_hidden_layers)
    layers = getattr(owner, name)
    assert isinstance(layers, nn.ModuleList)
    return layers


def take_layers(model: "PreTrainedModel", taken: Sequence[int], where: str) -> None:
    """Leaves a model some of its layers (1-based), and its configuration what that says of these layers."""
    depth = model.config.num_hidden_layers
    try:
        owner, name = layer_list(model, depth)
    except UserError as error:
        raise UserError(f"{where}: layers cannot be taken of it ({error})") from None
    layers = getattr(owner, name)
    setattr(owner, name, nn.ModuleList([layers[i - 1] for i in taken]))
    take_config(model.config, taken)


def take_config(config: Any, taken: Sequence[int]) -> None:
    """A configuration cut to some layers (1-based), with its lists of a value a layer, such as ModernBERT's."""
    depth = config.num_hidden_layers
    config.num_hidden_layers = len(taken)
    for key, value in list(vars(config).items()):
        of_layers = key == "attention_window" or "layer" in key.split("_") or "layers" in key.split("_")
        if of_layers and isinstance(value, list | tuple) and len(value) == depth:
            setattr(config, key, [value[i - 1] for i in taken])


def classifier_class(config: Any, where: str) -> Any:
    """The `transformers` class of sequence classifiers for a configuration; UserError when there is none."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    try:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    except KeyError:
        kind = getattr(config, "model_type", "")
        raise UserError(f"{where}: config.json: `transformers` has no sequence classifier for '{kind}'") from None


def how(kind: Any) -> dict[str, Any]:
    """How a classifier is loaded, from a checkpoint or from tensors: it says what was missing, and refuses nothing."""
    return {
        "dtype": torch.float32,
        "attn_implementation": attention(kind),
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # ``require_encoder`` refuses those outside the head
    }


def load_classifier(
    checkpoint: Checkpoint,
    outputs: int,
    seed: int,
    where: str,
    dropout: float | None = None,
    whole_last_layer: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> "PreTrainedModel":
    """A sequence classifier with ``outputs`` logits; a head that the checkpoint lacks is drawn from the run's "head"
    stream, and one with another number of outputs too, which ``log`` is told.

    Unless ``whole_last_layer``, the last layer's hidden states are those of the first position alone, where
    ``narrow_where_exact`` knows the architecture. Raises UserError for a missing, truncated or foreign checkpoint, and
    for one that lacks a weight of the encoder.
    """
    config = read_config(checkpoint, where)
    config.num_labels = outputs
    config.problem_type = None
    for key in DROPOUTS if dropout is not None else ():
        if hasattr(config, key):
            setattr(config, key, dropout)
    kind = classifier_class(config, where)
    seed_global(seed, "head")
    try:
        model, info = kind.from_pretrained(
            checkpoint.place,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            **how(kind),
            **checkpoint.options(),
        )
    except Exception as error:  # as above
        raise failed(where, checkpoint, error) from None
    redrawn = require_encoder(model, info, f"{where}: {checkpoint.place}")
    if redrawn:
        log(f"{where}: its head has another number of outputs than {outputs}; drawn anew: {', '.join(redrawn)}")
    if checkpoint.layers is not None:
        take_layers(model, checkpoint.layers, where)
    if not whole_last_layer:
        narrow(model)
    return model


def attention(kind: Any) -> str:
    """On a CPU the fused kernel gains nothing at these lengths, and at width 64 it costs a fifth of a step.

    ``kind``: the class of models, some of which have no such kernel.
    """
    return "sdpa" if torch.cuda.is_available() and kind._supports_sdpa else "eager"


def narrow(model: "PreTrainedModel") -> None:
    """Lets the last layer compute its first position alone: see ``narrow_where_exact``."""
    if hasattr(model.config, "attention_window"):  # Longformer pads the states of its layers, and cuts them again
        return
    with suppress(UserError):  # layers that are one and the same, as ALBERT's
        narrow_where_exact(model, layers_of(model)[-1])


def place(model: "PreTrainedModel", device: torch.device) -> "PreTrainedModel":
    """Moves a model in place (`transformers` wraps ``to`` so that type checkers misread it)."""
    nn.Module.to(model, device)
    return model


def outputs_of(model: "PreTrainedModel") -> int:
    """Width of the logits."""
    outputs = model.config.num_labels
    assert outputs is not None
    return outputs


def embedding_of(model: "PreTrainedModel", where: str) -> nn.Embedding:
    """The table of word embeddings; UserError for one that does more than look rows up, which ``UsedRows`` is not."""
    embedding = model.get_input_embeddings()
    if type(embedding) is not nn.Embedding:
        raise UserError(
            f"{where}: the word embedding of a {type(model).__name__} is a {type(embedding).__name__}, expected a "
            "plain table of rows"
        )
    return embedding


def uses_type_ids(model: "PreTrainedModel") -> bool:
    """Whether token_type_ids tell the two texts apart (BERT: yes; RoBERTa, DistilBERT: no)."""
    return getattr(model.config, "type_vocab_size", 0) > 1


class Forward:
    """One model's forward pass on a batch. ``hidden[l]`` is (B, T, D), l = 0 the embedding layer.

    The last one is (B, 1, D), its first position, unless the model was loaded with its whole last layer.
    """

    def __init__(
        self,
        logits_BC: Tensor,
        hidden: Sequence[Tensor],
        mask_BT: Tensor,
        attention: Mapping[tuple[Part, int], Tensor] | None = None,
        mix: Callable[[Tensor, float], "Forward"] | None = None,
    ) -> None:
        self.logits_BC = logits_BC
        self.hidden = hidden
        self.mask_BT = mask_BT
        self._attention, self._mix = attention or {}, mix

    def tokens(self, layer: int) -> Tensor:
        """(B, T, D), in the precision of the run."""
        states_BTD = self._kept(layer)
        if states_BTD.shape[1] != self.mask_BT.shape[1]:
            raise Undeclared(f"layer {layer} has its first position alone: declare whole_last_layer = True")
        return states_BTD

    def _kept(self, layer: int) -> Tensor:
        if not self.hidden:
            raise Undeclared(
                "hidden layers are read, but were not kept: declare them with the property pooling (cls, mean or "
                "mean_padded), or for token states with the property needs_hidden"
            )
        if not 0 <= layer < len(self.hidden):
            raise Undeclared(f"there is no layer {layer}: layers are 1 to {len(self.hidden) - 1}, 0 the embeddings")
        return self.hidden[layer]

    def vectors(self, part: Part, layer: int) -> Tensor:
        """(B, T, D), in the precision of the run."""
        made_BTD = self._attention.get((part, layer))
        if made_BTD is None or made_BTD.shape[:2] != self.mask_BT.shape:  # a narrowed layer makes a query alone
            raise Undeclared(
                f"the {part} vectors of layer {layer} were not kept: name it in the property attention, and declare "
                "whole_last_layer = True if it is the last"
            )
        return made_BTD

    def mixed(self, partner_B: Tensor, share: float) -> "Forward":
        """The same model on mixed word embeddings: another forward pass."""
        assert self._mix is not None, "made of tensors, without a model"
        return self._mix(partner_B, share)

    def pooled(self, kind: Pooling, layers: Sequence[int]) -> Tensor:
        """(B, len(layers), D) float32: ``cls``, ``mean`` over real tokens, or ``mean_padded`` over all positions."""
        if kind == "cls":
            return torch.stack([self._kept(layer)[:, 0] for layer in layers], dim=1).float()
        if kind == "mean_padded":
            return torch.stack([self.tokens(layer).float().mean(dim=1) for layer in layers], dim=1)
        weight_B1T = (self.mask_BT / self.mask_BT.sum(dim=1, keepdim=True)).float().unsqueeze(1)
        with torch.autocast(self.mask_BT.device.type, enabled=False):  # a sum over tokens wants float32
            return torch.cat([weight_B1T @ self.tokens(layer).float() for layer in layers], dim=1)


def forward(
    model: "PreTrainedModel", inputs: dict[str, Tensor], hidden: bool = True, attention: Sequence[int] = ()
) -> Forward:
    """Runs a classifier and keeps its hidden states, and the queries, keys and values of some layers (1-based)."""
    with capture(layers_of(model) if attention else (), attention) as kept:
        output = model(**inputs, output_hidden_states=hidden)

    def mix(partner_B: Tensor, share: float) -> Forward:
        return forward(model, mixed_inputs(model.get_input_embeddings(), inputs, partner_B, share), hidden, attention)

    return Forward(output.logits, output.hidden_states or (), inputs["attention_mask"], kept, mix)


def save_classifier(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", labels: Sequence[str], folder: Path
) -> None:
    """Writes configuration, weights and tokenizer, and their checksums, in the place of what the folder held.

    ``labels``: the task's class names in the order of the logits; none for regression. `transformers` loads the folder
    by itself.
    """
    names = dict(enumerate(labels or ("score",)))
    model.config.id2label, model.config.label2id = names, {name: i for i, name in names.items()}
    with atomic_folder(folder) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        seal(unfinished, [file.name for file in unfinished.iterdir()])


TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")


def tokenizer_fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over a local checkpoint's tokenizer files, or the hub id and commit as far as the benchmark names it."""
    folder = Path(checkpoint.place)
    if not folder.is_dir():
        return f"{checkpoint.place}@{checkpoint.revision}"
    files = sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})
    return sha256_text("".join(f"{file.name} {sha256_once(file)}\n" for file in files))


def fingerprint(checkpoint: Checkpoint, resolved: str | None, digest: Callable[[Path], str] = sha256_file) -> str:
    """SHA-256 of a local checkpoint's weights, or the hub commit; with the layers taken, if not all.

    ``digest`` gives a file's SHA-256: it may remember it.
    """
    weights = Path(checkpoint.place) / "model.safetensors"
    what = digest(weights) if weights.is_file() else f"{checkpoint.place}@{resolved or checkpoint.revision}"
    return f"{what} layers {list(checkpoint.layers)}" if checkpoint.layers else what
