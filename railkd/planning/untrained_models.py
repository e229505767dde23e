"""Builds models by their dimensions alone, for timing: without the hub, with untrained weights and made-up words."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from railkd.benchmark.paths import Layout, model_root
from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared, Split
from railkd.models import checkpoints, classifier
from railkd.random_streams import seed_global
from railkd.tasks import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
_SMALL = {"model_type": "bert", "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}

# The config.json of published checkpoints, where it differs from the defaults of `transformers`.
PUBLISHED: dict[str, dict[str, Any]] = {
    "google-bert/bert-base-uncased": {"model_type": "bert"},
    "google/bert_uncased_L-12_H-256_A-4": {**_SMALL, "num_hidden_layers": 12},
    "google/bert_uncased_L-6_H-256_A-4": {**_SMALL, "num_hidden_layers": 6},
    "FacebookAI/roberta-base": _ROBERTA,
    "FacebookAI/roberta-large": {
        **_ROBERTA,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "distilbert/distilbert-base-uncased": {"model_type": "distilbert"},
    "distilbert/distilroberta-base": {**_ROBERTA, "num_hidden_layers": 6},
}


def configuration(benchmark: Benchmark, layout: Layout, name: str, say: Callable[[str], None]) -> Any:
    """A model's `transformers` configuration, from the benchmark file or the checkpoint.

    For the published checkpoints above the hub is not asked, which ``say`` is told in a line. Raises UserError when
    another's configuration cannot be read.
    """
    from transformers import AutoConfig

    entry = benchmark.models[name]
    if "pretrain" in entry:
        from railkd.pretraining.masked_lm import build, resolve

        with torch.device("meta"):
            return build(resolve(entry["pretrain"]), entry["pretrain"]["vocabulary"]).config
    if "layers_of" in entry:
        config = configuration(benchmark, layout, entry["layers_of"], say)
        taken = checkpoints.taken_layers(config.num_hidden_layers, entry["layers"], entry["keep"], name)
        classifier.take_config(config, taken)
        return config
    if entry.get("hub") in PUBLISHED and model_root(benchmark) is None:
        say(f"models.{name}: the published shape of {entry['hub']}; the hub was not asked")
        return AutoConfig.for_model(**PUBLISHED[entry["hub"]])
    return checkpoints.read_config(checkpoints.locate(benchmark, layout, name), f"models.{name}")


def untrained(config: Any, outputs: int, device: torch.device) -> "PreTrainedModel":
    """A sequence classifier of this shape with random weights, as ``load_classifier`` would return it."""
    from transformers import AutoModelForSequenceClassification

    config.num_labels = outputs
    kind = classifier.classifier_class(config, "models")
    seed_global(0, "head")
    model = AutoModelForSequenceClassification.from_config(
        config, dtype=torch.float32, attn_implementation=classifier.attention(kind, device)
    )
    classifier.narrow(model)
    return model


def settle(device: torch.device) -> None:
    """Waits until the device has done what it was asked to: before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _split(examples: int, mean_length: float, max_length: int, vocabulary: int, rng: np.random.Generator) -> Split:
    """Lengths are log-normal as GLUE's nearly are (σ = .5); words follow Zipf's law, so that rare ones stay rare."""
    sigma = 0.5
    drawn = rng.lognormal(math.log(mean_length) - sigma**2 / 2, sigma, examples)
    lengths = np.clip(drawn.round(), min(6, max_length), max_length).astype(np.int64)
    first = min(5, vocabulary - 1)  # ids below are special tokens
    chance = 1 / (np.arange(vocabulary - first) + 3.0)
    place = np.searchsorted(chance.cumsum() / chance.sum(), rng.random(int(lengths.sum())))
    return Split(
        torch.from_numpy((first + place).clip(max=vocabulary - 1).astype(np.int32)),
        torch.from_numpy(np.concatenate([[0], lengths.cumsum()])),
        torch.from_numpy((lengths // 2).astype(np.int32)),
        torch.from_numpy(np.arange(examples) % 2),
    )


def made_up(examples: int, mean_length: float, max_length: int, vocabulary: int, pad_id: int) -> Prepared:
    """A two-class training set and a small dev set of random words, the same on every machine."""
    rng = np.random.default_rng(0)
    splits = {
        name: _split(size, mean_length, max_length, vocabulary, rng)
        for name, size in (("train", examples), ("dev", min(examples, 64)))
    }
    return Prepared(TASKS["mrpc"], splits, {"max_length": max_length, "pad_id": pad_id})
