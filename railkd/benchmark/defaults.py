"""Holds every setting that a benchmark file may leave out, at its default: run records hold them all."""

from collections.abc import Mapping
from typing import Any

# of data:
DATA: dict[str, Any] = {
    "root": None,
    "model_root": None,
    "seed": 7,
    "test": "none",
    "heldout": 0.1,
    "ood_max_length": None,
}

# of data.sizes, for MiniGLUE
SIZES: dict[str, Any] = {
    "train": 1000,  # examples of each task
    "dev": 400,
    "test": 400,
    "ood": 500,  # examples of each out-of-domain set
    "corpus_sentences": 40000,
    "train_sizes": None,  # task -> examples, over train
}

# of training.<role>; methods.md of the literature leaves these unstated, so they are keys.
TRAINING: dict[str, Any] = {
    "learning_rate": 2e-5,  # peak
    "batch_size": 32,
    "epochs": 3,
    "warmup": 0.06,  # share of all steps, linear; then linear decay to 0
    "weight_decay": 0.01,  # AdamW, not on biases and layer norms
    "max_gradient_norm": 1.0,
    "patience": None,  # epochs without a better dev score before stopping; null: never
    "precision": "auto",  # float32 | bfloat16 | auto: see train.precision
    "regime": "cached",  # cached | live: whether the teacher's signals are read from disk or computed in each step
    "dropout": None,  # null: as the checkpoint says
}

# of training.<role> too, but in a run's configuration only where they are not at their default: they are younger than
# published records, whose hashes cover every other key
LATER: dict[str, Any] = {"compile": False}

# of models.<name>.pretrain
PRETRAINING: dict[str, Any] = {
    "family": None,  # bert | roberta | distilbert
    "layers": None,
    "first_layers": None,  # layers of the first stage, doubled until they are enough; default: layers (no growth)
    "first_share": 0.6,  # share of the steps in the first stage; the later stages share the rest evenly
    "width": 64,
    "heads": 4,
    "intermediate": None,  # 4 * width
    "vocabulary": 1000,  # at most; the corpus may need fewer
    "max_length": 64,  # longest input in tokens, special tokens included
    "row_length": 32,  # most tokens per training row
    "steps": 1000,
    "batch_size": 32,  # rows
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "masked": 0.1,  # share of positions predicted
}

# of models.<name>.general_distillation
GENERAL_DISTILLATION: dict[str, Any] = {
    "column": "text",
    "objective": "minilm_v2",  # minilm_v2 | distilbert_cos
    "teacher_layer": None,  # of minilm_v2; null: the last
    "relation_heads": None,  # of minilm_v2; null: 48, or the greatest number below that divides the width
    "steps": 2000,
    "batch_size": 32,  # rows
    "max_length": 128,  # tokens of a row, special tokens included
    "learning_rate": 5e-4,  # peak, as DistilBERT's
    "warmup": 0.06,  # share of the steps, linear; then linear decay to 0
    "weight_decay": 0.01,  # AdamW, not on biases and layer norms
    "max_gradient_norm": 1.0,
    "precision": "auto",  # float32 | bfloat16 | auto
    "dropout": None,  # null: as the checkpoint says
}


def resolved(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting at its value: the given ones over the defaults. A whole number for a fraction is that fraction."""
    fractions = {k: float(v) for k, v in given.items() if type(v) is int and isinstance(defaults.get(k), float)}
    return {**defaults, **given, **fractions}


def resolved_training(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``resolved`` for settings of training: a key of ``LATER`` is in it only where it is not at its default."""
    settings = resolved(defaults, given)
    return {key: value for key, value in settings.items() if key not in LATER or value != LATER[key]}
