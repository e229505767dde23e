"""Data: what a tokenizer would say, in batches; every mistake in a file named with its row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from railkd.benchmark import paths
from railkd.data import batches, preparation, reading
from railkd.data.batches import Split, epoch_batches, sorted_batches
from railkd.data.sampling import rows_of
from railkd.errors import UserError
from railkd.metrics import constant_prediction_baseline
from railkd.models.checkpoints import Checkpoint, load_tokenizer
from railkd.tasks import OUT_OF_DOMAIN, TASKS


@pytest.fixture(scope="session")
def tokenizers(checkpoints: Path) -> dict[str, Any]:
    return {n: load_tokenizer(Checkpoint(str(checkpoints / n)), n) for n in ("bert4", "roberta3")}


@pytest.mark.parametrize("name", ["bert4", "roberta3"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("max_length", [12, 64])
def test_collate_equals_the_tokenizers_own_padding(
    mirror: Path, tokenizers: dict[str, Any], name: str, columns: int, max_length: int
) -> None:
    frame = pd.read_parquet(mirror / "mrpc" / "train.parquet")
    texts = [frame[c].tolist() for c in ("sentence1", "sentence2")[:columns]]
    tokenizer, type_ids = tokenizers[name], name == "bert4"
    split = preparation.tokenise(tokenizer, texts, frame["label"].to_numpy(), max_length)
    rows = torch.tensor([5, 0, 17, 3, 71])
    own = tokenizer(
        *[[c[i] for i in rows] for c in texts],
        padding=True,
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
    )
    made = split.collate(rows, tokenizer.pad_token_id, type_ids)
    assert set(made) == set(own.keys())
    for key, value in own.items():
        assert torch.equal(made[key], value), key
    assert torch.equal(split.lengths[rows], own["attention_mask"].sum(1)) and len(split) == 72
    padded = split.collate(rows, tokenizer.pad_token_id, type_ids, pad_to=max_length)
    for key, value in padded.items():
        assert value.shape == (5, max_length) and torch.equal(value[:, : made[key].shape[1]], made[key])
    assert int(padded["attention_mask"].sum()) == int(made["attention_mask"].sum())
    last = torch.tensor([71])  # the end of the flat tokens
    assert torch.equal(split.collate(last, 0, False, 99)["input_ids"][0, : int(split.lengths[71])],
                       split.tokens[split.offsets[71] :].long())  # fmt: skip


def waste(lengths: torch.Tensor, batches: list[torch.Tensor]) -> float:
    return float(sum(len(b) * lengths[b].max() for b in batches) / lengths.sum()) - 1


def test_epoch_batches_cover_each_row_once_and_waste_little() -> None:
    lengths = torch.randint(4, 120, (1003,), generator=torch.Generator().manual_seed(0))

    def made(seed: int) -> list[torch.Tensor]:
        return epoch_batches(lengths, 16, torch.Generator().manual_seed(seed))

    batches = made(1)
    assert torch.cat(batches).sort().values.equal(torch.arange(1003)) and len(batches) == 63
    assert sorted(map(len, batches)) == [11] + [16] * 62
    assert all(a.equal(b) for a, b in zip(batches, made(1), strict=True))
    assert not torch.cat(batches).equal(torch.cat(made(2)))
    shuffled = list(torch.randperm(1003, generator=torch.Generator().manual_seed(1)).split(16))
    assert waste(lengths, batches) < 0.15 * waste(lengths, shuffled)
    longest = torch.tensor([float(lengths[b].max()) for b in batches])
    assert (longest.diff() < 0).any() and (longest.diff() > 0).any()  # short and long batches in turn
    assert len(epoch_batches(lengths[:5], 16, torch.Generator())) == 1


def test_sorted_batches() -> None:
    lengths = torch.tensor([5, 3, 9, 3, 1])
    assert [b.tolist() for b in sorted_batches(lengths, 2)] == [[4, 1], [3, 0], [2]]


def raw(make_benchmark: Any, task: str, changes: dict[str, Any] | None = None) -> reading.Raw:
    benchmark = make_benchmark({"data.tasks": [task], **(changes or {})})
    return reading.read_task(benchmark, TASKS[task], paths.data_root(benchmark))


@pytest.mark.parametrize("task", ["mrpc", "stsb", "mnli"])
def test_heldout_is_stratified_disjoint_and_deterministic(make_benchmark: Any, task: str) -> None:
    whole = raw(make_benchmark, task)["train"]
    made = raw(make_benchmark, task, {"data.test": "heldout", "data.heldout": 0.25})
    again = raw(make_benchmark, task, {"data.test": "heldout", "data.heldout": 0.25})
    other = raw(make_benchmark, task, {"data.test": "heldout", "data.heldout": 0.25, "data.seed": 8})
    assert made["test"][0] == again["test"][0] != other["test"][0]

    def rows(part: tuple[list[list[str]], Any, str]) -> list[tuple[Any, ...]]:
        return list(zip(*part[0], part[1].tolist(), strict=True))

    train, test = rows(made["train"]), rows(made["test"])
    assert not set(train) & set(test) and sorted(train + test) == sorted(rows(whole))
    assert train == [r for r in rows(whole) if r in set(train)]  # order kept
    assert len(test) == pytest.approx(18, abs=2) and "held out" in made["test"][2]
    for part in (made["train"], made["test"]):
        if task == "stsb":
            assert np.mean(part[1] > 2.5) == pytest.approx(0.5, abs=0.1)
        else:
            classes = TASKS[task].outputs
            assert np.bincount(part[1]).tolist() == [len(part[1]) // classes] * classes


@pytest.mark.parametrize("task", ["mrpc", "stsb", "mnli"])
def test_train_examples_have_every_class_of_a_file_sorted_by_label(
    make_benchmark: Any, own_mirror: Path, task: str
) -> None:
    path = own_mirror / task / "train.parquet"
    frame = pd.read_parquet(path).sort_values("label")
    frame.to_parquet(path)
    changes = {"data.root": str(own_mirror), "data.tasks": {task: {"train_examples": 12}}}
    cut = raw(make_benchmark, task, changes)["train"]
    assert len(cut[1]) == 12 and cut[1].tolist() == sorted(cut[1].tolist())  # in the file's order
    if task == "stsb":
        assert np.mean(cut[1] > 2.5) == pytest.approx(frame["label"].gt(2.5).mean(), abs=0.1)
    else:
        assert np.bincount(cut[1]).tolist() == [12 // TASKS[task].outputs] * TASKS[task].outputs
    again, other = (raw(make_benchmark, task, {**changes, "data.seed": seed})["train"] for seed in (7, 8))
    assert cut[0] == again[0] != other[0]
    whole = raw(make_benchmark, task, {**changes, "data.tasks": {task: {"train_examples": 10**6}}})["train"]
    assert whole[1].tolist() == frame["label"].astype(whole[1].dtype).tolist()
    held = raw(make_benchmark, task, {**changes, "data.test": "heldout", "data.heldout": 0.25})
    assert len(held["train"][1]) + len(held["test"][1]) == 12 and set(held["test"][0][0]) <= set(cut[0][0])


def test_a_rare_class_is_drawn_once_at_least() -> None:
    labels = np.array([0] * 980 + [1] * 15 + [2] * 5)
    for count in (3, 4, 10, 100, 999):
        drawn = rows_of(labels, count, 7)
        assert len(drawn) == count and (np.bincount(labels[drawn], minlength=3) > 0).all()
        assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert np.bincount(labels[rows_of(labels, 200, 7)]).tolist() == [196, 3, 1]
    assert len(rows_of(np.zeros(9, dtype=np.float32), 4, 7)) == 4  # scores that are all the same
    assert len(rows_of(labels, 2, 7)) == 2


def test_a_class_without_rows_is_refused_by_file(make_benchmark: Any, own_mirror: Path) -> None:
    for task, kept, missing in (("mrpc", [1], "label 0 ('not_equivalent')"), ("mnli", [0, 2], "label 1 ('neutral')")):
        path = own_mirror / task / "train.parquet"
        frame = pd.read_parquet(path)
        frame[frame["label"].isin(kept)].to_parquet(path)
        with pytest.raises(UserError, match=rf"{task}/train.parquet: none of the \d+ training rows has ") as caught:
            raw(make_benchmark, task, {"data.root": str(own_mirror)})
        assert missing in str(caught.value)
    with pytest.raises(UserError, match=r"^data.tasks.mnli.train_examples: 2, expected at least one of each of 3"):
        reading.check_files(make_benchmark({"data.tasks": {"mnli": {"train_examples": 2}}}))


def test_too_few_rows_are_seen_in_the_footers(make_benchmark: Any, own_mirror: Path) -> None:
    """Both halves of dev are scored, so one row is too few; before, it was a traceback after the teacher's training."""
    benchmark = make_benchmark({"data.root": str(own_mirror), "data.tasks": ["mrpc", "stsb"]})
    reading.check_files(benchmark)
    for split, rows, expected in (
        ("validation", 1, "1 row, "),
        ("validation", 0, "no rows, "),
        ("train", 1, "1 row, "),
    ):
        path = own_mirror / "mrpc" / f"{split}.parquet"
        frame = pd.read_parquet(path)
        frame[:rows].to_parquet(path)
        for action in (
            lambda: reading.check_files(benchmark),
            lambda: reading.read_task(benchmark, TASKS["mrpc"], own_mirror),
        ):
            with pytest.raises(UserError, match=rf"mrpc/{split}.parquet: has {expected}expected at least 2$"):
                action()
        frame.to_parquet(path)


def test_splits_of_mnli_and_hidden_labels(make_benchmark: Any) -> None:
    made = raw(make_benchmark, "mnli", {"data.test": "labels", "data.out_of_domain": ["scitail"]})
    assert set(made) == {"train", "dev", "dev_mismatched", "test", "test_mismatched", "scitail"}
    assert set(made["scitail"][1].tolist()) == {0, 1}  # 'entails' is 0
    with pytest.raises(UserError, match=r"sst2/test.parquet: row 0: label -1, expected one of 0, 1"):
        raw(make_benchmark, "sst2", {"data.test": "labels"})
    assert set(raw(make_benchmark, "sst2")) == {"train", "dev"}
    hidden = Split(torch.zeros(4), torch.tensor([0, 2, 4]), torch.zeros(2), torch.tensor([-1, -1]))
    known = Split(torch.zeros(4), torch.tensor([0, 2, 4]), torch.zeros(2), torch.tensor([1, 0]))
    prepared = batches.Prepared(TASKS["sst2"], {"train": known, "dev": known, "test": hidden}, {})
    assert prepared.scored == ["dev"]


def test_scitail_collapses_mnlis_classes_by_name() -> None:
    source, ood = TASKS["mnli"], OUT_OF_DOMAIN["scitail"]
    assert {label: ood.labels[c] for label, c in zip(source.labels, ood.collapse, strict=True)} == {
        "entailment": "entails", "neutral": "neutral", "contradiction": "neutral"}  # fmt: skip


def test_ood_examples_are_a_seeded_subset(make_benchmark: Any) -> None:
    ood = {"data.out_of_domain": ["imdb"]}
    whole, cut = (raw(make_benchmark, "sst2", {**ood, **more})["imdb"] for more in ({}, {"data.ood_examples": 10}))
    pairs = list(zip(whole[0][0], whole[1].tolist(), strict=True))
    kept = list(zip(cut[0][0], cut[1].tolist(), strict=True))
    assert len(kept) == 10 and kept == [p for p in pairs if p in kept]
    assert raw(make_benchmark, "sst2", {**ood, "data.ood_examples": 10})["imdb"][0] == cut[0]
    assert raw(make_benchmark, "sst2", {**ood, "data.ood_examples": 10, "data.seed": 9})["imdb"][0] != cut[0]
    assert len(raw(make_benchmark, "sst2", {**ood, "data.ood_examples": 999})["imdb"][1]) == 30


def _edit(column: str, row: int, value: Any) -> Any:
    def edit(path: Path) -> None:
        frame = pd.read_parquet(path).astype({column: object})
        frame.at[row, column] = value
        if column == "label":
            frame["label"] = frame["label"].astype(float if isinstance(value, float | int | None) else str)
        frame.to_parquet(path)

    return edit


DAMAGES = {
    "missing column": (
        lambda p: pd.read_parquet(p).drop(columns="sentence2").to_parquet(p),
        "no column 'sentence2' (expected sentence1, sentence2, label; found sentence1, label, idx)",
    ),
    "no label": (lambda p: pd.read_parquet(p).drop(columns="label").to_parquet(p), "no column 'label'"),
    "wrong label": (_edit("label", 3, 2), "row 3: label 2.0, expected one of 0, 1"),
    "label missing": (_edit("label", 4, None), "row 4: label nan, expected one of 0, 1"),
    "text label": (_edit("label", 0, "one"), "row 0: label 'one'"),
    "empty text": (_edit("sentence2", 2, " \n"), "row 2: column 'sentence2' is ' \\n', expected a non-empty text"),
    "missing text": (_edit("sentence1", 1, None), "row 1: column 'sentence1' is"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-20]), "not a readable parquet file"),
    "empty file": (lambda p: p.write_bytes(b""), "not a readable parquet file"),
    "no parquet": (lambda p: p.write_text("sentence1,sentence2,label\n"), "not a readable parquet file"),
    "missing file": (lambda p: p.unlink(), "no such file (expected the split 'validation' of mrpc"),
    "no rows": (lambda p: pd.read_parquet(p).iloc[:0].to_parquet(p), "has no rows"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_one_line_with_file_and_row(make_benchmark: Any, own_mirror: Path, damage: str) -> None:
    path = own_mirror / "mrpc" / "validation.parquet"
    break_it, expected = DAMAGES[damage]
    break_it(path)
    changes = {"data.root": str(own_mirror)}
    with pytest.raises(UserError) as caught:
        raw(make_benchmark, "mrpc", changes)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and expected in text and "\n" not in text
    early = {"missing column", "no label", "truncated", "empty file", "no parquet", "missing file"}
    if damage in early:  # seen from the footers, before the first job
        with pytest.raises(UserError) as caught:
            reading.check_files(make_benchmark({**changes, "data.tasks": ["mrpc"]}))
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and expected in text and "\n" not in text


@pytest.mark.parametrize("label", [5.5, -1.0, None])
def test_scores_out_of_range(make_benchmark: Any, own_mirror: Path, label: float | None) -> None:
    _edit("label", 2, label)(own_mirror / "stsb" / "train.parquet")
    with pytest.raises(UserError, match=r"stsb/train.parquet: row 2: label .*, expected a score from 0 to 5"):
        raw(make_benchmark, "stsb", {"data.root": str(own_mirror)})


def test_check_files_accepts_the_mirror(make_benchmark: Any) -> None:
    every = {"data.tasks": ["mnli", "sst2", "stsb"], "data.out_of_domain": ["scitail", "imdb"], "data.test": "labels"}
    reading.check_files(make_benchmark(every))


def test_without_network_the_hub_is_one_line(make_benchmark: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        raw(make_benchmark, "mrpc", {"data.root": None})
    text = str(caught.value)
    assert text.startswith("nyu-mll/glue (mrpc, train) at bcdcba79d07b: ") and "RAILKD_DATA" in text
    assert "\n" not in text
    with pytest.raises(UserError, match="paws_qqp: is on no hub"):
        reading.read_split("paws_qqp", "test", ("sentence1", "sentence2"), None, None)


def test_prepare_and_load_round_trip_and_notice_a_flipped_byte(
    make_benchmark: Any, mirror: Path, tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    benchmark = make_benchmark({"data.tasks": ["mnli"], "data.out_of_domain": ["scitail"], "data.ood_max_length": 48})
    out = tmp_path / "mnli.safetensors"
    facts = preparation.prepare(benchmark, "mnli", tokenizers["bert4"], mirror, out, {"bert4": None})
    prepared = preparation.load(out)
    assert list(prepared.splits) == ["train", "dev", "dev_mismatched", "scitail"]
    assert prepared.scored == ["dev", "dev_mismatched", "scitail"] and prepared.facts == facts
    assert facts["examples"] == {"train": 72, "dev": 30, "dev_mismatched": 30, "scitail": 30}
    assert facts["pad_id"] == tokenizers["bert4"].pad_token_id and facts["max_length"] == 32
    labels = prepared.splits["scitail"].labels.numpy()
    assert facts["baselines"]["scitail"] == constant_prediction_baseline(("accuracy", "f1"), labels, 2)
    assert facts["baselines"]["dev"] == {"accuracy": pytest.approx(1 / 3)}
    frame = pd.read_parquet(mirror / "mnli" / "train.parquet")
    split = prepared.splits["train"]
    for i in (0, 40, 71):
        own = tokenizers["bert4"](frame["premise"][i], frame["hypothesis"][i], truncation=True, max_length=32)
        assert split.tokens[split.offsets[i] : split.offsets[i + 1]].tolist() == own["input_ids"]
        assert int(split.labels[i]) == frame["label"][i]
    assert int(prepared.splits["train"].lengths.max()) <= 32
    content = bytearray(out.read_bytes())
    content[-3] ^= 1
    out.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"mnli.safetensors: .*checksum"):
        preparation.load(out)
    out.unlink()
    with pytest.raises(UserError, match="missing"):
        preparation.load(out)
    with pytest.raises(UserError, match="absent.json: no such file"):
        preparation.load(tmp_path / "absent.safetensors")


def test_token_types_are_the_tokenizers_own(
    make_benchmark: Any, mirror: Path, tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    """RoBERTa's gives both texts of a pair the type 0. What is stored of it is what earlier versions stored."""
    benchmark = make_benchmark({"data.tasks": ["mrpc"]})
    frame = pd.read_parquet(mirror / "mrpc" / "train.parquet")
    texts = [frame[c].tolist() for c in ("sentence1", "sentence2")]
    for name, tokenizer in tokenizers.items():
        out = tmp_path / f"{name}.safetensors"
        facts = preparation.prepare(benchmark, "mrpc", tokenizer, mirror, out, {})
        assert facts.get("one_token_type") == {"roberta3": True}.get(name)
        own = tokenizer(*texts, padding=True, truncation=True, max_length=32, return_token_type_ids=True)
        split = preparation.load(out).splits["train"]
        made = split.collate(torch.arange(72), tokenizer.pad_token_id, True)
        assert made["token_type_ids"].tolist() == own["token_type_ids"]
        stored = preparation.tokenise(tokenizer, texts, frame["label"].to_numpy(), 32)
        assert torch.equal(load_file(out)["train.second"], stored.second) and bool(
            (stored.second < stored.lengths).any()
        )


@pytest.mark.realtext
@pytest.mark.parametrize("task, train", [("cola", 8551), ("mrpc", 3668), ("stsb", 5749), ("rte", 2490)])
def test_the_real_files_are_read_whole(real_data: Path, make_benchmark: Any, task: str, train: int) -> None:
    made = raw(make_benchmark, task, {"data.root": str(real_data)})
    assert len(made["train"][1]) == train
    held = raw(make_benchmark, task, {"data.root": str(real_data), "data.test": "heldout"})
    assert len(held["test"][1]) == pytest.approx(train / 10, abs=3)
    assert held["test"][1].mean() == pytest.approx(made["train"][1].mean(), abs=0.03)
