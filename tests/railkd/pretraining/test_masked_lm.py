"""Pre-training: the folder loads offline, learning happens, students start from their parent, seeds decide."""

from pathlib import Path
from random import Random

import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from railkd.errors import UserError
from railkd.miniglue.pretraining_corpus import corpus_lines
from railkd.pretraining.masked_lm import build, grow, inherit, masked_logits, pretrain, resolve
from railkd.pretraining.training_text import batches, packed_rows, train_tokenizer

TINY = {"layers": 2, "width": 16, "heads": 2, "steps": 6, "batch_size": 8, "vocabulary": 600, "row_length": 24}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": corpus_lines(Random(0), 600, set())}), path)
    return path


def lines(corpus: Path) -> list[str]:
    return pyarrow.parquet.read_table(corpus)["text"].to_pylist()


def quiet(_: str) -> None: ...


@pytest.mark.parametrize("family, student_family", [("bert", "distilbert"), ("roberta", "roberta")])
def test_teacher_and_student_folders_load_and_classify(
    corpus: Path, tmp_path: Path, family: str, student_family: str
) -> None:
    pretrain(TINY | {"family": family}, corpus, tmp_path / "t", 1, progress=quiet)
    report = pretrain(
        TINY | {"family": student_family, "layers": 1}, corpus, tmp_path / "s", 1, parent=tmp_path / "t", progress=quiet
    )
    assert set(report) == {"loss", "seconds", "steps", "parameters"} and report["steps"] == 6
    assert (tmp_path / "s" / "tokenizer.json").read_text() == (tmp_path / "t" / "tokenizer.json").read_text()
    for name in ("t", "s"):
        assert {f.name for f in (tmp_path / name).iterdir()} == {
            "checksums.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / name, num_labels=3, output_loading_info=True
        )
        assert all("classifier" in k or "pooler" in k for k in info["missing_keys"])
        batch = tokenizer(["the dog sleeps ."], ["a dog sleeps in the barn ."], return_tensors="pt", padding=True)
        assert model(**batch).logits.shape == (1, 3)
        assert tokenizer.unk_token_id not in batch["input_ids"]
        # most words are single tokens
        assert batch["input_ids"].shape[1] <= 11 + (4 if family == "roberta" else 3) + 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "t"]  # nothing unfinished left behind


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_seed_decides_and_nothing_else(corpus: Path, tmp_path: Path, family: str) -> None:
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        pretrain(TINY | {"family": family, "dropout": 0.1}, corpus, tmp_path / name, seed, progress=quiet)
        return load_file(tmp_path / name / "model.safetensors")

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = weights("a", 1)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's generator is untouched
    torch.manual_seed(99)
    second, third = weights("b", 1), weights("c", 2)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], third[k]) for k in first)


def test_loss_falls(corpus: Path, tmp_path: Path) -> None:
    spec = TINY | {"family": "roberta", "width": 32, "learning_rate": 3e-3}
    start = pretrain(spec | {"steps": 1}, corpus, tmp_path / "m", 1, progress=quiet)["loss"]
    assert pretrain(spec | {"steps": 60}, corpus, tmp_path / "m", 1, progress=quiet)["loss"] < start - 1.0


def test_rows_are_full_and_masking_is_berts(corpus: Path) -> None:
    for family, cls, mask in (("bert", "[CLS]", "[MASK]"), ("roberta", "<s>", "<mask>")):
        tokenizer = train_tokenizer(family, lines(corpus), 600)
        groups = packed_rows(lines(corpus), tokenizer, family, 24, Random(0))
        pad = tokenizer.token_to_id("[PAD]" if family == "bert" else "<pad>")
        for rows, headings in groups:
            assert rows.shape[1] <= 24 and not (rows == pad).any() and (rows[:, 0] == tokenizer.token_to_id(cls)).all()
            assert len(headings) == len(rows)
        stream = batches(groups, resolve(TINY | {"family": family, "masked": 0.2}), tokenizer, 0)
        masked, words, headings = 0, 0, 0
        for _ in range(40):
            x, positions, targets = next(stream)
            word = positions[:, 1] > 0
            assert (targets >= 5).all() and len(targets) == len(positions)
            clean = set(positions[~word, 0].tolist())  # predict their heading
            assert len(clean) == int((~word).sum()) <= len(x) // 2 and not clean & set(positions[word, 0].tolist())
            assert int(word.sum()) == (len(x) - len(clean)) * round(0.2 * (x.shape[1] - 1))
            assert not (x[sorted(clean)] == tokenizer.token_to_id(mask)).any()
            headings += len(clean)
            masked += int((x[positions[word, 0], positions[word, 1]] == tokenizer.token_to_id(mask)).sum())
            words += int(word.sum())
        assert 0.7 < masked / words < 0.9 and headings


def test_headings_are_taken_off_and_predicted() -> None:
    text = ["praise : the film is good .", "the dog sleeps . a dog sleeps ."] * 20
    tokenizer = train_tokenizer("bert", text, 300)
    groups = packed_rows(text, tokenizer, "bert", 12, Random(0))
    praise = tokenizer.token_to_id("praise")
    headed = [(rows, headings) for rows, headings in groups if (headings >= 0).all()]
    assert sum(len(rows) for rows, _ in headed) == 20
    for rows, headings in headed:
        assert (headings == praise).all() and not (rows == praise).any()
        assert tokenizer.decode(rows[0].tolist(), skip_special_tokens=True).replace(" .", ".") == "the film is good."


def test_growth_doubles_to_the_depth_asked_for(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    spec = TINY | {"family": "roberta", "layers": 4, "first_layers": 1, "steps": 8}
    pretrain(spec, corpus, tmp_path / "m", 1, progress=said.append)
    assert [line for line in said if line.endswith("layers")] == ["1 layers", "2 layers", "4 layers"]
    assert any(line.startswith("step 8/8") for line in said)
    assert len([k for k in load_file(tmp_path / "m" / "model.safetensors") if k.endswith("query.weight")]) == 4


def test_growing_keeps_the_function() -> None:
    torch.manual_seed(0)
    spec = resolve(TINY | {"family": "bert", "layers": 4})
    shallow, deep = build(spec | {"layers": 2}, 50).eval(), build(spec, 50).eval()
    x = torch.randint(5, 50, (8, 10))
    grow(deep, shallow)
    assert torch.equal(
        deep.bert.encoder.layer[2].output.dense.weight, shallow.bert.encoder.layer[1].output.dense.weight
    )
    torch.testing.assert_close(deep(x).logits, shallow(x).logits, atol=1e-4, rtol=1e-3)
    for layer in shallow.bert.encoder.layer:  # trained layer norms: the scale is kept on average
        torch.nn.init.normal_(layer.output.LayerNorm.weight, 1.5, 0.1)
        torch.nn.init.normal_(layer.output.LayerNorm.bias, 0.3, 0.1)
    grow(deep, shallow)
    ours, theirs = deep(x).logits.flatten(), shallow(x).logits.flatten()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.98


def test_a_student_as_deep_as_its_parent_is_its_parent() -> None:
    torch.manual_seed(0)
    x, positions = torch.randint(5, 50, (3, 10)), torch.tensor([[0, 1], [2, 4]])
    for family, student_family in (("bert", "distilbert"), ("roberta", "roberta")):
        spec = resolve(TINY | {"family": family, "layers": 4})
        parent = build(spec, 50).eval()
        same = build(spec | {"family": student_family}, 50).eval()
        if family == "bert":  # DistilBERT has no segment embeddings
            torch.nn.init.zeros_(parent.bert.embeddings.token_type_embeddings.weight)
        inherit(same, parent, 4, 4)
        ours, theirs = masked_logits(same, x, positions, 3), masked_logits(parent, x, positions, 3)
        torch.testing.assert_close(ours, theirs)


def test_every_other_layer_is_copied() -> None:
    torch.manual_seed(0)
    spec = resolve(TINY | {"family": "bert", "layers": 4})
    parent, student = build(spec, 50), build(spec | {"family": "distilbert", "layers": 2}, 50)
    inherit(student, parent, 2, 4)
    for mine, its in ((0, 0), (1, 3)):  # 0-based, evenly spaced from the first to the last, as DistilBERT
        ours = student.distilbert.transformer.layer[mine].ffn.lin1.weight
        assert torch.equal(ours, parent.bert.encoder.layer[its].intermediate.dense.weight)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"family": "brt"}, "unknown family 'brt'; did you mean 'bert'"),
        ({"stepz": 3}, "unknown key 'stepz'; did you mean 'steps'"),
        ({"steps": 0}, "^steps: expected a positive"),
        ({"heads": 3}, "^heads: 3 heads do not divide width 16"),
        ({"first_layers": 3}, "^first_layers: doubling 3 never gives 2"),
        ({"row_length": 100}, "^row_length: 100 is more than max_length"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(TINY | {"family": "bert"} | change)
