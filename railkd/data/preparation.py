"""Tokenises a task once for each teacher, in the ``prepare`` command; training maps the result."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared, Split
from railkd.data.reading import read_task
from railkd.errors import UserError
from railkd.metrics import constant_prediction_baseline
from railkd.records.files import write_bytes
from railkd.records.hashes import sha256_file, sha256_text
from railkd.records.sealed_files import read_sealed, sealed, write_json
from railkd.tasks import DIAGNOSTIC, OUT_OF_DOMAIN, TASKS, set_from_json, task_from_json, to_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# --- preparing -----------------------------------------------------------------------------------------------------


def tokenise(
    tokenizer: "PreTrainedTokenizerBase", texts: list[list[str]], labels: NDArray[Any], max_length: int
) -> Split:
    """Texts, ``texts[column][example]``, one or two of each example, as token ids; longer ones are cut."""
    tokens: list[int] = []
    offsets, second = [0], []
    for start in range(0, len(labels), 4096):  # the encodings of a whole IMDb would take gigabytes
        encoded = tokenizer(*[c[start : start + 4096] for c in texts], truncation=True, max_length=max_length)
        for i, ids in enumerate(encoded["input_ids"]):
            sequence = encoded.sequence_ids(i)
            # type ids as BERT counts them: the second text's [SEP] belongs to it, the first [SEP] to the first
            second.append(sequence.index(1) if 1 in sequence else len(ids))
            tokens.extend(ids)
            offsets.append(len(tokens))
    return Split(
        torch.tensor(tokens, dtype=torch.int32),
        torch.tensor(offsets),
        torch.tensor(second, dtype=torch.int32),
        torch.from_numpy(np.array(labels)),
    )


def tells_texts_apart(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a tokenizer gives the second text of a pair the token type 1, as BERT's does; RoBERTa's gives it 0."""
    return 1 in tokenizer("a", "a").encodings[0].type_ids


def prepare(
    benchmark: Benchmark,
    task_name: str,
    tokenizer: "PreTrainedTokenizerBase",
    mirror: Path | None,
    out: Path,
    made_of: dict[str, Any],
) -> dict[str, Any]:
    """Reads, checks and tokenises one task; writes ``out`` (safetensors) and ``out`` with suffix .json (its facts).

    Facts: examples, baselines (of each labelled split and metric), max_length, pad_id, vocabulary, one_token_type (only
    for a tokenizer that gives both texts of a pair the token type 0: true), sources (where each split was read),
    own_task and own_sets (what a benchmark file declares), made_of (what all this follows from), SHA-256 of the
    tokenizer and of the tensors.
    """
    from safetensors.torch import save

    task, data = benchmark.task(task_name), benchmark.data
    foreign = {name: benchmark.out_of_domain_set(name) for name in benchmark.out_of_domain(task_name)}
    raw = read_task(benchmark, task, mirror)
    splits: dict[str, Split] = {}
    baselines: dict[str, dict[str, float]] = {}
    for name, (texts, labels, _) in raw.items():
        source = foreign.get(name, task)
        length = (data["ood_max_length"] or data["max_length"]) if name in foreign else data["max_length"]
        splits[name] = tokenise(tokenizer, texts, labels, length)
        if (labels == -1).all():  # hidden
            continue
        baselines[name] = constant_prediction_baseline(source.all_metrics, labels, len(source.labels))
    tensors = {f"{name}.{key}": value for name, split in splits.items() for key, value in vars(split).items()}
    write_bytes(out, save(tensors))
    facts = {
        "task": task_name,
        "examples": {name: len(split) for name, split in splits.items()},
        "baselines": baselines,
        "max_length": data["max_length"],
        "pad_id": tokenizer.pad_token_id,
        "vocabulary": len(tokenizer),
        **({} if tells_texts_apart(tokenizer) else {"one_token_type": True}),
        "tokenizer": sha256_text(tokenizer.backend_tokenizer.to_str()),
        "sources": {name: place for name, (_, _, place) in raw.items()},
        **({"own_task": to_json(task)} if task.own else {}),
        "own_sets": [to_json(source) for source in foreign.values() if source.own],
        "made_of": made_of,
        "sha256": sha256_file(out),
    }
    write_json(out.with_suffix(".json"), sealed(facts))
    return facts


def load(path: Path) -> Prepared:
    """Maps what ``prepare`` wrote. Raises UserError when it is missing or does not match its checksum."""
    from safetensors.torch import load_file

    facts = read_sealed(path.with_suffix(".json"))
    if not path.is_file() or sha256_file(path) != facts["sha256"]:
        raise UserError(f"{path}: missing or not what was written (checksum); delete it and run again")
    tensors = load_file(path)
    names = list(dict.fromkeys(key.split(".")[0] for key in tensors))
    splits = {n: Split(**{k: tensors[f"{n}.{k}"] for k in ("tokens", "offsets", "second", "labels")}) for n in names}
    if facts.get("one_token_type"):  # what is stored says where the second text begins, whoever reads it
        splits = {name: split.of_one_type() for name, split in splits.items()}
    order = ["train", "dev", "dev_mismatched", "test", "test_mismatched", DIAGNOSTIC]
    names.sort(key=lambda n: (order.index(n) if n in order else len(order), n))
    task = task_from_json(facts["own_task"]) if "own_task" in facts else TASKS[facts["task"]]
    own_sets = [set_from_json(content) for content in facts.get("own_sets", [])]  # absent from earlier versions' facts
    return Prepared(task, {n: splits[n] for n in names}, facts, {**OUT_OF_DOMAIN, **{s.name: s for s in own_sets}})
