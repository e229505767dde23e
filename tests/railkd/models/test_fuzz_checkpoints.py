"""Whatever stands in a checkpoint's files: the weights of the file are loaded, or one line says why not."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strange
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from strange import answered, fuzz, mutated

from railkd.data import preparation
from railkd.data.batches import Prepared
from railkd.models import inspection, probe, weight_headers
from railkd.models.checkpoints import Checkpoint
from railkd.models.classifier import load_classifier
from railkd.tasks import TASKS

WEIGHTS = "model.safetensors"
FAMILIES = {"bert2": "bert", "distilbert2": "distilbert", "roberta3": "roberta"}
SHARED = ("pooler", "classifier", "pre_classifier")  # a head or a pooler, which may begin at random
Draw = Callable[[Any], Any]
NAMES = st.sampled_from(
    ["", ".", "module.", "x", "bert.bert.", "encoder.layer.99.", "a" * 3000, "ünï", "²", "\n", "__metadata__"]
)
KINDS = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn]


def numbers(draw: Draw, folder: Path) -> None:
    """A value of config.json near what it was, or far from it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    key = draw(st.sampled_from(sorted(k for k, v in config.items() if isinstance(v, int | float | None))))
    now = config[key] or 0
    near = [0, 1, -1, 2, 3, now - 1, now + 1, 2 * now, now / 2, 10**6, 10**12, 2**63, True, None, "2", [], float("nan")]
    config[key] = draw(st.sampled_from(near))
    path.write_text(json.dumps(config))


def tree(file: str) -> Callable[[Draw, Path], None]:
    """A JSON file with parts taken out, renamed or replaced."""

    def edit(draw: Draw, folder: Path) -> None:
        changed = draw(mutated(json.loads((folder / file).read_text()), strange.JSON))
        (folder / file).write_bytes(json.dumps(changed).encode("utf-8", "surrogatepass"))

    return edit


def names(draw: Draw, folder: Path) -> None:
    """One weight, or all, under another name; two that change places; one less; one more."""
    stored = load_file(folder / WEIGHTS)
    some = draw(st.sampled_from(sorted(stored)))
    change = draw(st.sampled_from(["all", "one", "swap", "drop", "layer", "more", "legacy"]))
    extra = draw(NAMES)
    if change == "all":
        stored = {extra + name: tensor for name, tensor in stored.items()}
    elif change == "legacy":
        stored = {n.replace("LayerNorm.weight", "LayerNorm.gamma"): t for n, t in stored.items()}
    elif change == "swap":
        other = draw(st.sampled_from(sorted(stored)))
        stored[some], stored[other] = stored[other].clone(), stored[some].clone()
    elif change == "layer":
        number = str(draw(st.integers(0, 2)))
        stored = {n: t for n, t in stored.items() if number not in n.split(".")}
    else:
        tensor = stored[some] if change == "more" else stored.pop(some)
        if change != "drop":
            stored[extra + some] = tensor.clone()
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})


def shapes(draw: Draw, folder: Path) -> None:
    """A weight of another shape or type."""
    stored = load_file(folder / WEIGHTS)
    for _ in range(draw(st.integers(1, 3))):
        some = draw(st.sampled_from(sorted(stored)))
        tensor = stored[some]
        change = draw(
            st.sampled_from(["type", "types", "transpose", "flat", "cut", "grow", "empty", "scalar", "nan", "deep"])
        )
        kind = draw(st.sampled_from(KINDS))
        if change == "types":
            stored = {name: t.to(kind) for name, t in stored.items()}
            continue
        made = {
            "type": lambda t, kind=kind: t.to(kind),
            "transpose": lambda t: t.T if t.ndim == 2 else t,
            "flat": lambda t: t.flatten(),
            "cut": lambda t: t[: len(t) // 2] if t.ndim else t,
            "grow": lambda t: torch.cat([t, t]) if t.ndim else t,
            "empty": lambda t: torch.empty(0, *t.shape[1:]),
            "scalar": lambda t: torch.tensor(1.0),
            "nan": lambda t: torch.full_like(t, float("nan")) if t.is_floating_point() else t,
            "deep": lambda t: t.reshape(*[1] * 9, *t.shape),
        }[change](tensor)  # type: ignore[no-untyped-call]
        stored[some] = made.contiguous()
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})


def header(draw: Draw, folder: Path) -> None:
    """The header's JSON with parts replaced, its data as they were; or its length."""
    content = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    if draw(st.booleans()):
        changed = draw(mutated(json.loads(content[8 : 8 + length]), strange.JSON))
        text = json.dumps(changed).encode("utf-8", "surrogatepass")
        written = len(text).to_bytes(8, "little") + text + content[8 + length :]
    else:
        other = draw(st.sampled_from([0, 1, length - 1, length + 1, len(content), 2**40, 2**63]))
        written = other.to_bytes(8, "little") + content[8:]
    (folder / WEIGHTS).write_bytes(written)


def rough(draw: Draw, folder: Path) -> None:
    """A file cut, flipped, emptied, deleted, or a folder of its name."""
    path = draw(st.sampled_from(sorted(folder.iterdir())))
    content = path.read_bytes()
    change = draw(st.sampled_from(["cut", "flip", "empty", "delete", "folder", "text"]))
    at = draw(st.integers(0, max(0, min(len(content), 4000) - 1)))
    if change == "flip" and content:
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :])
    elif change in {"delete", "folder"}:
        path.unlink()
        if change == "folder":
            path.mkdir()
    else:
        path.write_bytes({"cut": content[:at], "text": b"no such thing"}.get(change, b""))


def shards(draw: Draw, folder: Path) -> None:
    """The weights in two files and an index of them, which may say something else."""
    stored = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    files = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(sorted(stored))}
    for file in set(files.values()):
        save_file({n: t for n, t in stored.items() if files[n] == file}, folder / file, metadata={"format": "pt"})
    index: Any = {"metadata": {"total_size": 1}, "weight_map": files}
    if draw(st.booleans()):
        index = draw(mutated(index, strange.JSON))
    (folder / weight_headers.INDEX).write_bytes(json.dumps(index).encode("utf-8", "surrogatepass"))
    if draw(st.integers(0, 4)) == 0:
        (folder / draw(st.sampled_from(sorted(set(files.values()))))).unlink()


NO_SUCH_FILE = (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, SafetensorError)
EDITS = [
    numbers, numbers, tree("config.json"), tree("tokenizer.json"), tree("tokenizer_config.json"), names, names, shapes,
    header, rough, shards,
]  # fmt: skip


def stored_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's safetensors files, by the names of today."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")) if not (folder / WEIGHTS).exists() else [folder / WEIGHTS]:
        found.update(load_file(path))
    today = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    return {next((n.replace(a, b) for a, b in today.items() if n.endswith(a)), n): t for n, t in found.items()}


def used(folder: Path, prefix: str) -> None:
    """Looks at a checkpoint as check does, loads it, compares every weight with the file's, and runs it."""
    place = Checkpoint(str(folder))
    seen = inspection.look(place, 2, {"max_length": 16}, "models.m")
    model = load_classifier(place, 2, 1, "models.m", whole_last_layer=True)
    stored = stored_weights(folder)
    for name, parameter in model.named_parameters():
        if name.startswith(f"{prefix}.") and not any(part in SHARED for part in name.split(".")):
            inner = name.removeprefix(f"{prefix}.")
            mine = [stored[n] for n in (name, inner, f"{prefix}.{name}") if n in stored]
            same = (torch.equal(parameter, t.float()) or bool(t.isnan().any()) for t in mine)
            assert any(same), f"{name} is not the file's"
    texts = [["a good film", "the plot of a bad actor in the city, and a very long river"]]
    split = preparation.tokenise(seen.tokenizer, texts, torch.tensor([0, 1]).numpy(), 16)
    prepared = Prepared(TASKS["sst2"], {"train": split}, {"pad_id": seen.tokenizer.pad_token_id, "max_length": 16})
    probe.require_padding_unread(model, prepared, torch.device("cpu"), "models.m")


def test_checkpoints(examples: int, checkpoints: Path, tmp_path: Path) -> None:
    said = Counter[bool]()

    @fuzz(examples)
    @given(st.sampled_from(sorted(FAMILIES)), st.lists(st.sampled_from(EDITS), min_size=1, max_size=2), st.data())
    def run(name: str, edits: list[Any], choice: st.DataObject) -> None:
        folder = tmp_path / "edited"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkpoints / name, folder)
        for edit in edits:
            try:
                edit(choice.draw, folder)
            except NO_SUCH_FILE:
                break  # what the edit before has left is no such file any more
        said[answered(lambda: used(folder, FAMILIES[name]), "models.m")] += 1

    run()
    print(f"{said.total()} checkpoints, {said[False]} refused")
    assert said[True] and said[False]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_checkpoints_as_they_are(checkpoints: Path, name: str) -> None:
    used(checkpoints / name, FAMILIES[name])
