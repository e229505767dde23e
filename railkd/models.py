"""Teachers and students: from the hub, a local folder, an installed package, the workflow's own pre-training, or some
layers of another model. Always a real `transformers` architecture with a sequence-classification head.

Only safetensors are read (no pickled weights), and never code that comes with a checkpoint.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from railkd.attention import capture
from railkd.config import Benchmark, Layout, checkpoint_path, model_root
from railkd.errors import UserError
from railkd.exact import narrow_where_exact
from railkd.files import atomic_folder
from railkd.methods.base import Part, Pooling
from railkd.mixing import mixed_inputs
from railkd.records import mirrored, require, seal, sha256_file
from railkd.streams import seed_global

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        depth = read_config(parent, f"models.{entry['layers_of']}").num_hidden_layers
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


def _failed(where: str, checkpoint: Checkpoint, error: Exception) -> UserError:
    text = " ".join(str(error).split())[:200]
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
        raise _failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "config.json", getattr(config, "auto_map", None))
    return config


def _refuse_code(where: str, checkpoint: Checkpoint, file: str, auto_map: object) -> None:
    """Without its own code, which is never run, a checkpoint would be another model than its authors meant."""
    if auto_map:
        raise _failed(where, checkpoint, ValueError(f"{file} names code of its own, auto_map, which is never run"))


def commit(checkpoint: Checkpoint, where: str) -> str | None:
    """The hub commit that was resolved; of a local folder, the one that ``railkd mirror`` fetched, else None."""
    return getattr(read_config(checkpoint, where), "_commit_hash", None) or checkpoint.revision


def load_tokenizer(checkpoint: Checkpoint, where: str) -> "PreTrainedTokenizerBase":
    """The checkpoint's fast tokenizer."""
    from transformers import AutoTokenizer

    require(Path(checkpoint.place))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.place, use_fast=True, trust_remote_code=False, **checkpoint.options()
        )
    except Exception as error:  # as above
        raise _failed(where, checkpoint, error) from None
    _refuse_code(where, checkpoint, "tokenizer_config.json", tokenizer.init_kwargs.get("auto_map"))
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what `transformers` makes of a folder without one
        raise _failed(where, checkpoint, ValueError("it has no tokenizer: tokenizer.json or vocab.txt is missing"))
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


def load_classifier(
    checkpoint: Checkpoint,
    outputs: int,
    seed: int,
    where: str,
    dropout: float | None = None,
    whole_last_layer: bool = False,
) -> "PreTrainedModel":
    """A sequence classifier with ``outputs`` logits; what the checkpoint lacks is drawn from the run's "head" stream.

    Unless ``whole_last_layer``, the last layer's hidden states are those of the first position alone, where
    ``narrow_where_exact`` knows the architecture. Raises UserError for a missing, truncated or foreign checkpoint.
    """
    from transformers import AutoModelForSequenceClassification

    config = read_config(checkpoint, where)
    config.num_labels = outputs
    config.problem_type = None
    if dropout is not None:
        for key in (
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
        ):
            if hasattr(config, key):
                setattr(config, key, dropout)
    seed_global(seed, "head")
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.place,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=attention(),
            **checkpoint.options(),
        )
    except Exception as error:  # as above
        raise _failed(where, checkpoint, error) from None
    if checkpoint.layers is not None:
        owner, name = layer_list(model, config.num_hidden_layers)
        layers = getattr(owner, name)
        setattr(owner, name, nn.ModuleList([layers[i - 1] for i in checkpoint.layers]))
        model.config.num_hidden_layers = len(checkpoint.layers)
    if not whole_last_layer:
        narrow(model)
    return model


def attention() -> str:
    """On a CPU the fused kernel gains nothing at these lengths, and at width 64 it costs a fifth of a step."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def narrow(model: "PreTrainedModel") -> None:
    """Lets the last layer compute its first position alone: see ``narrow_where_exact``."""
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
        states_BTD = self.hidden[layer]
        if states_BTD.shape[1] != self.mask_BT.shape[1]:
            raise RuntimeError(f"layer {layer} has its first position alone: declare whole_last_layer = True")
        return states_BTD

    def vectors(self, part: Part, layer: int) -> Tensor:
        """(B, T, D), in the precision of the run."""
        made_BTD = self._attention.get((part, layer))
        if made_BTD is None or made_BTD.shape[:2] != self.mask_BT.shape:  # a narrowed layer makes a query alone
            raise RuntimeError(
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
            return torch.stack([self.hidden[layer][:, 0] for layer in layers], dim=1).float()
        if kind == "mean_padded":
            return torch.stack([self.hidden[layer].float().mean(dim=1) for layer in layers], dim=1)
        weight_B1T = (self.mask_BT / self.mask_BT.sum(dim=1, keepdim=True)).float().unsqueeze(1)
        with torch.autocast(self.mask_BT.device.type, enabled=False):  # a sum over tokens wants float32
            return torch.cat([weight_B1T @ self.hidden[layer].float() for layer in layers], dim=1)


def forward(
    model: "PreTrainedModel", inputs: dict[str, Tensor], hidden: bool = True, attention: Sequence[int] = ()
) -> Forward:
    """Runs a classifier and keeps its hidden states, and the queries, keys and values of some layers (1-based)."""
    with capture(layers_of(model) if attention else (), attention) as kept:
        output = model(**inputs, output_hidden_states=hidden)

    def mix(partner_B: Tensor, share: float) -> Forward:
        return forward(model, mixed_inputs(model.get_input_embeddings(), inputs, partner_B, share), hidden, attention)

    return Forward(output.logits, output.hidden_states or (), inputs["attention_mask"], kept, mix)


def save_classifier(model: "PreTrainedModel", folder: Path) -> None:
    """Writes config.json and model.safetensors, and their checksums, in the place of what the folder held."""
    with atomic_folder(folder) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        seal(unfinished, [file.name for file in unfinished.iterdir()])


def fingerprint(checkpoint: Checkpoint, resolved: str | None) -> str:
    """SHA-256 of a local checkpoint's weights, or the hub commit; with the layers taken, if not all."""
    weights = Path(checkpoint.place) / "model.safetensors"
    what = sha256_file(weights) if weights.is_file() else f"{checkpoint.place}@{resolved or checkpoint.revision}"
    return f"{what} layers {list(checkpoint.layers)}" if checkpoint.layers else what
