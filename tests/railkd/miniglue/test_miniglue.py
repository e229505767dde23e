"""MiniGLUE: layout, labels, determinism, disjoint splits, and the grammar's own claims about meaning."""

import hashlib
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from railkd.errors import UserError
from railkd.miniglue import generation, lexicon, sentence_pairs, single_sentences
from railkd.miniglue.lexicon import TOPICS, Clause, edits, negate, render, swap
from railkd.miniglue.rows import check_disjoint, texts, unique_rows

SMALL = {"train": 40, "dev": 20, "test": 20, "ood": 20, "corpus_sentences": 200}
LABELS = {
    "cola": {0, 1}, "sst2": {0, 1}, "mrpc": {0, 1}, "qqp": {0, 1}, "mnli": {0, 1, 2}, "qnli": {0, 1}, "rte": {0, 1},
    "scitail": {"entails", "neutral"}, "paws": {0, 1}, "imdb": {0, 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("miniglue")
    generation.generate(directory, seed=3, **SMALL)
    return directory


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def digest(directory: Path) -> str:
    files = sorted(directory.rglob("*.parquet"))
    return hashlib.sha256(
        b"".join(f.relative_to(directory).as_posix().encode() + f.read_bytes() for f in files)
    ).hexdigest()


def test_same_seed_same_bytes_other_seed_other_bytes(data: Path, tmp_path: Path) -> None:
    generation.generate(tmp_path / "again", seed=3, **SMALL)
    generation.generate(tmp_path / "other", seed=4, **SMALL)
    assert digest(tmp_path / "again") == digest(data)
    assert digest(tmp_path / "other") != digest(data)


def test_layout_is_glues(data: Path) -> None:
    for task in generation.TASKS:
        found = {f.stem for f in (data / task).iterdir()}
        if task == "mnli":
            sides = ("matched", "mismatched")
            assert found == {"train"} | {f"{s}_{side}" for s in ("validation", "test") for side in sides}
        else:
            assert found == {"train", "validation", "test"}
    schema = {f.name: str(f.type) for f in pq.read_schema(data / "stsb" / "train.parquet")}
    assert schema == {"sentence1": "string", "sentence2": "string", "label": "float", "idx": "int32"}
    assert pq.read_schema(data / "paws" / "test.parquet").names == ["id", "sentence1", "sentence2", "label"]
    assert pq.read_schema(data / "qnli" / "test.parquet").names == ["question", "sentence", "label", "idx"]
    assert len(rows(data / "mrpc" / "train.parquet")) == 40
    assert len(rows(data / "corpus" / "corpus.parquet")) == 200


def test_labels_texts_and_uniqueness(data: Path) -> None:
    for path in data.rglob("*.parquet"):
        found = rows(path)
        texts = [tuple(v for k, v in r.items() if isinstance(v, str) and k != "label") for r in found]
        assert all(t.strip() for pair in texts for t in pair), path
        if path.parent.name == "corpus":
            continue
        assert len(set(texts)) == len(texts), path
        labels = {r["label"] for r in found}
        if path.parent.name == "stsb":
            assert all(0 <= label <= 5 for label in labels) and len(labels) > 5
        else:
            assert labels == LABELS[path.parent.name], path


def test_splits_share_no_example_and_corpus_holds_none(data: Path) -> None:
    corpus = {r["text"].split(" : ", 1)[-1] for r in rows(data / "corpus" / "corpus.parquet")}
    for task in generation.TASKS:
        owner: dict[frozenset, str] = {}
        for path in (data / task).iterdir():
            for row in rows(path):
                example = texts(row)
                assert owner.setdefault(frozenset(example), path.stem) == path.stem
                assert path.stem == "train" or " ".join(example) not in corpus


def test_an_overlap_between_splits_is_refused() -> None:
    row = {"premise": "a .", "hypothesis": "b .", "label": 0}
    mirrored = {"premise": "b .", "hypothesis": "a .", "label": 0}
    with pytest.raises(RuntimeError, match="in both train and test"):
        check_disjoint("mnli", {"train": [row], "test": [mirrored]})


@pytest.mark.parametrize("key", ["train", "dev", "test", "ood", "corpus_sentences"])
def test_a_size_that_is_not_positive_names_its_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}: expected a positive .* got 0$"):
        generation.generate(tmp_path, **(SMALL | {key: 0}))
    assert not list(tmp_path.iterdir())


def test_train_sizes(tmp_path: Path) -> None:
    generation.generate(tmp_path, **SMALL, train_sizes={"rte": 11})
    assert len(rows(tmp_path / "rte" / "train.parquet")) == 11
    assert len(rows(tmp_path / "cola" / "train.parquet")) == 40
    with pytest.raises(UserError, match="did you mean 'cola'"):
        generation.generate(tmp_path, **SMALL, train_sizes={"kola": 11})
    with pytest.raises(UserError, match="train_sizes.rte"):
        generation.generate(tmp_path, **SMALL, train_sizes={"rte": -1})


def test_class_shares_survive_the_removal_of_duplicates() -> None:
    share = {}
    for task in ("cola", "mrpc", "qqp", "sst2", "qnli", "rte"):
        found = unique_rows(generation.TASKS[task][0], 1000, Random(0), set())
        share[task] = sum(row["label"] == 1 for row in found) / len(found)
    expected = {"cola": 0.7, "mrpc": 0.67, "qqp": 0.37, "sst2": 0.5, "qnli": 0.5, "rte": 0.5}
    assert share == pytest.approx(expected, abs=0.05)


def polarity(text: str) -> bool:
    """Whether a review praises, read from its words alone: what stands after “but” and outside “although” counts."""
    text = text.removesuffix(" .").split(" but ")[-1].split(" , ")[-1].split(" and ")[0]
    words = text.split()
    synonyms = {b: a for a, b in lexicon.SYNONYMS.items()}
    known = {synonyms.get(w, w) for w in words} | {synonyms.get(w[:-1], w[:-1]) for w in words}
    good = bool(known & {*lexicon.PRAISE, *lexicon.LIKING})
    assert good != bool(known & {*lexicon.BLAME, *lexicon.DISLIKING}), text
    denials = sum(w in ("not", "never", "nobody", "deny", "denies") for w in words) + text.count("no critic")
    return good == (denials % 2 == 0)


def test_a_reviews_verdict_follows_from_its_words() -> None:
    rng = Random(0)
    denials = set()
    for _ in range(2000):
        row = single_sentences.sst2(rng)
        assert row["label"] == polarity(row["sentence"]), row
        denials.add(sum(w in ("not", "never", "nobody", "deny", "denies") for w in row["sentence"].split()))
    assert {0, 1, 2, 3} <= denials
    for _ in range(500):
        row = single_sentences.imdb(rng)
        sides = [polarity(f"{sentence} .") for sentence in row["text"].removesuffix(" .").split(" . ")]
        assert sum(side == row["label"] for side in sides) * 2 > len(sides), row


def test_what_follows_from_comparisons_follows_from_their_order() -> None:
    """The hypothesis of a chain of comparisons is entailed, or contradicted, by what the two premises say together."""
    rng, chains = Random(0), 0
    less = {b: a for a, b in lexicon.COMPARATIVES.items()}

    def stated(text: str) -> tuple[str, str, str]:
        first, _, than, _, second = text.split()
        return (than, first, second) if than in lexicon.COMPARATIVES else (less[than], second, first)

    while chains < 300:
        row = sentence_pairs.rte(rng)
        if " than " not in row["sentence2"]:
            continue
        chains += 1
        facts = {stated(text) for text in row["sentence1"].removesuffix(" .").split(" and ")}
        facts |= {(than, a, d) for than, a, b in facts for _, c, d in facts if b == c}
        than, x, y = stated(row["sentence2"].removesuffix(" ."))
        assert ((than, x, y) in facts) == (row["label"] == 0) and ((than, y, x) in facts) == (row["label"] == 1), row


def test_paws_pairs_hold_the_same_words() -> None:
    rng = Random(0)
    ignored = {"is", "by", ",", "not"}

    def bag(text: str) -> list[str]:
        return sorted(w[:4] for w in text.split() if w not in ignored)

    for _ in range(200):
        row = sentence_pairs.paws(rng)
        assert bag(row["sentence1"]) == bag(row["sentence2"])


def test_clause_semantics() -> None:
    topic, rng = TOPICS["farm"], Random(0)
    every = Clause("every", "beast", "chase", "dog", place="barn")
    weaker, stronger = dict(edits(every, topic, rng, True)), dict(edits(every, topic, rng, False))
    assert weaker["subject"].subject in topic.animate["beast"]  # every beast … entails every dog …
    assert weaker["object"].object == "beast" and weaker["place"].place == ""
    assert stronger["subject"].subject == "creature"
    no = Clause("no", "beast", "chase", "dog", place="barn")
    assert "place" not in dict(edits(no, topic, rng, True)) and "place" in dict(edits(no, topic, rng, False))
    assert negate(negate(every)) == every and negate(no).quantifier == "a"
    assert render(negate(every), rng, 0, 0, 0) == "not every beast chases the dog in the barn"
    the = Clause("the", "dog", "chase", "goat", negated=True)
    assert render(the, rng, 0, 1, 0) == "the goat is not chased by the dog"
    exchanged = swap(the)
    assert exchanged and (exchanged.subject, exchanged.object) == ("goat", "dog")
    assert swap(every) is None
