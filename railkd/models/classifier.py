"""Loads and saves sequence classifiers: always a real `transformers` architecture with its classification head."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from railkd.errors import UserError
from railkd.models.checkpoints import Checkpoint, failed, read_config
from railkd.models.missing_weights import require_encoder
from railkd.models.shortcuts import narrow_where_exact
from railkd.random_streams import seed_global
from railkd.records.files import atomic_folder
from railkd.records.sealed_files import seal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CPU = torch.device("cpu")
DROPOUTS = (  # what the families call their rates
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "classifier_dropout",
    "classifier_dropout_prob",  # ALBERT, RemBERT
    "summary_first_dropout",  # XLM, FlauBERT
    "cls_dropout",  # DeBERTa's head
    "pooler_dropout",
    "embedding_dropout",  # ModernBERT
    "mlp_dropout",
)


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


def how(kind: Any, device: torch.device = CPU) -> dict[str, Any]:
    """How a classifier is loaded, from a checkpoint or from tensors: it says what was missing, and refuses nothing."""
    return {
        "dtype": torch.float32,
        "attn_implementation": attention(kind, device),
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # ``require_encoder`` refuses those outside the head
    }


def load_classifier(  # noqa: PLR0913 - what a checkpoint leaves open, and where the model is to run
    checkpoint: Checkpoint,
    outputs: int,
    seed: int,
    where: str,
    dropout: float | None = None,
    whole_last_layer: bool = False,
    log: Callable[[str], None] = lambda line: None,
    device: torch.device = CPU,
) -> "PreTrainedModel":
    """A sequence classifier with ``outputs`` logits; a head that the checkpoint lacks is drawn from the run's "head"
    stream, and one with another number of outputs too, which ``log`` is told. It is on the CPU, with the attention for
    ``device``.

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
            **how(kind, device),
            **checkpoint.options(),
        )
    except Exception as error:  # as above
        raise failed(where, checkpoint, error) from None
    redrawn = require_encoder(model, info, f"{where}: {checkpoint.place}", checkpoint.fine_tuned)
    if redrawn:
        log(f"{where}: its head has another number of outputs than {outputs}; drawn anew: {', '.join(redrawn)}")
    if checkpoint.layers is not None:
        take_layers(model, checkpoint.layers, where)
    if not whole_last_layer:
        narrow(model)
    return model


def attention(kind: Any, device: torch.device) -> str:
    """On a CPU the fused kernel gains nothing at these lengths, and at width 64 it costs a fifth of a step.

    ``kind``: the class of models, some of which have no such kernel. ``device``: where they are to run.
    """
    return "eager" if device.type == "cpu" or not kind._supports_sdpa else "sdpa"


def narrow(model: "PreTrainedModel") -> Callable[[], None] | None:
    """Lets the last layer compute its first position alone: see ``narrow_where_exact``, whose result it returns."""
    if hasattr(model.config, "attention_window"):  # Longformer pads the states of its layers, and cuts them again
        return None
    with suppress(UserError):  # layers that are one and the same, as ALBERT's
        return narrow_where_exact(model, layers_of(model)[-1])
    return None


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


def save_classifier(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    labels: Sequence[str],
    folder: Path,
    max_length: int | None = None,
    card: str = "",
    made_of: Any = None,
) -> None:
    """Writes configuration, weights and tokenizer, and their checksums, in the place of what the folder held.

    ``labels``: the task's class names in the order of the logits; none for regression. ``max_length``: the longest
    input in tokens that the model was trained on, at which the tokenizer then truncates. ``card``: the text of
    README.md, which has no checksum. `transformers` loads the folder by itself; the user's group may read it.
    """
    names = dict(enumerate(labels or ("score",)))
    model.config.id2label, model.config.label2id = names, {name: i for i, name in names.items()}
    model.config.problem_type = "single_label_classification" if labels else "regression"
    _fit_tokenizer(tokenizer, uses_type_ids(model), max_length)
    with atomic_folder(folder) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        seal(unfinished, [file.name for file in unfinished.iterdir()], made_of=made_of)
        if card:
            (unfinished / "README.md").write_text(card, encoding="utf-8")
        for file in (*unfinished.iterdir(), unfinished):  # safetensors writes for its owner alone
            file.chmod(file.stat().st_mode | (0o050 if file.is_dir() else 0o040))


def _fit_tokenizer(tokenizer: "PreTrainedTokenizerBase", type_ids: bool, max_length: int | None) -> None:
    """Lets a tokenizer give the inputs that the model takes, and truncate as it did in training."""
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    tokenizer.model_input_names = [names[0], "token_type_ids", *names[1:]] if type_ids else names
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
    if max_length is not None:
        tokenizer.model_max_length = max_length
