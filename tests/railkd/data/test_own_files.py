"""Tasks of one's own: every kind of file gives the same examples, and every mistake is one line before any compute."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from railkd import cli, errors
from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.data import preparation, reading
from railkd.errors import UserError
from railkd.evaluation.scoring import scores_of
from railkd.models.checkpoints import Checkpoint, load_tokenizer

REVIEWS = {
    "files": {"train": "train.csv", "dev": "dev.csv"},
    "text": "review",
    "label": "stars",
    "labels": ["bad", "good"],
}
SETS = {"hotels": {"task": "reviews", "file": "hotels.csv"}}


def examples(count: int, word: str = "film", labels: tuple[Any, ...] = ("bad", "good")) -> pd.DataFrame:
    texts = [f'a {word}, "number {i}"\nof many' for i in range(count)]
    return pd.DataFrame({"id": range(count), "review": texts, "stars": [labels[i % len(labels)] for i in range(count)]})


@pytest.fixture
def own(make_benchmark: Any, tmp_path: Path) -> Callable[..., Any]:
    """A benchmark with the task ``reviews`` alone, its files written beside it; changes to the entry."""
    examples(40).to_csv(tmp_path / "train.csv", index=False)
    examples(12, "play").to_csv(tmp_path / "dev.csv", index=False)
    examples(8, "room").to_csv(tmp_path / "hotels.csv", index=False)

    def make(changes: dict[str, Any] | None = None, **data: Any) -> Any:
        entry = {key: value for key, value in {**REVIEWS, **(changes or {})}.items() if value is not None}
        settings = {"data.source": "files", "data.root": ..., "data.tasks": {"reviews": entry}}
        return make_benchmark({**settings, **{f"data.{key}": value for key, value in data.items()}})

    return make


def read(benchmark: Any) -> reading.Raw:
    return reading.read_task(benchmark, benchmark.task("reviews"), None)


WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("labels", [("bad", "good"), (0, 1), ("0", "1"), (0.0, 1.0)])
def test_every_kind_of_file_and_label_gives_the_same_examples(own: Any, tmp_path: Path, kind: str, labels: Any) -> None:
    expected = read(own())
    for split, count, word in (("train", 40, "film"), ("dev", 12, "play")):
        WRITERS[kind](examples(count, word, labels), tmp_path / f"{split}.{kind}")
    declared = ["bad", "good"] if labels[0] == "bad" else [0, 1]
    found = read(own({"files": {s: f"{s}.{kind}" for s in ("train", "dev")}, "labels": declared}))
    for split in ("train", "dev"):
        assert found[split][0] == expected[split][0] and found[split][1].tolist() == expected[split][1].tolist()
    named = {"0": "bad", "1": "good"} if declared == [0, 1] else {"bad": "bad", "good": "good"}
    again = read(own({"files": {s: f"{s}.{kind}" for s in ("train", "dev")}, "labels": named}))
    assert again["dev"][1].tolist() == expected["dev"][1].tolist()


@pytest.mark.parametrize("start, end", [("\ufeff", "\n"), ("", "\r\n"), ("\ufeff", "\r\n")])
def test_byte_order_mark_and_windows_line_ends_change_nothing(own: Any, tmp_path: Path, start: str, end: str) -> None:
    expected = read(own())["train"]
    text = (tmp_path / "train.csv").read_text().replace("\nof", "\0").replace("\n", end).replace("\0", "\nof")
    (tmp_path / "train.csv").write_bytes((start + text).encode())
    found = read(own())["train"]
    assert found[0] == expected[0] and found[1].tolist() == expected[1].tolist()


def test_old_line_ends_are_named(own: Any, tmp_path: Path) -> None:
    rows = "review,stars\r" + "\r".join(f"film {i},{('bad', 'good')[i % 2]}" for i in range(9))
    (tmp_path / "train.csv").write_bytes(rows.encode())
    with pytest.raises(UserError, match=r"train.csv: line 1: has a carriage return without a line feed behind it"):
        read(own())


def test_true_and_false_are_labels_however_they_are_written(own: Any, tmp_path: Path) -> None:
    for name, count, labels in (("train", 40, ("False", "True")), ("dev", 12, ("false", "true"))):
        examples(count, name, labels).to_csv(tmp_path / f"{name}.csv", index=False)
    found = read(own({"labels": ["False", "true"]}))
    assert found["train"][1].tolist()[:2] == found["dev"][1].tolist()[:2] == [0, 1]


def test_scores_that_are_all_alike_are_refused(own: Any, tmp_path: Path) -> None:
    examples(40, "film", (3,)).to_csv(tmp_path / "train.csv", index=False)
    examples(12, "play", (1, 2)).to_csv(tmp_path / "dev.csv", index=False)
    with pytest.raises(UserError, match=r"train.csv: every one of the 40 rows of train has the score 3, expected sev"):
        read(own({"labels": None, "regression": [0, 5]}))


def test_texts_that_look_like_missing_values_or_numbers_are_texts(own: Any, tmp_path: Path) -> None:
    texts = ["NA", "null", "None", "007", "1e3", "nan"]
    pd.DataFrame({"review": texts, "stars": ["bad", "good"] * 3}).to_csv(tmp_path / "train.csv", index=False)
    assert read(own())["train"][0] == [texts]


def test_a_tsv_without_quoting_keeps_its_quotes(own: Any, tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text('review\tstars\n"so so\tbad\nfine" film\tgood\nwell\tgood\n')
    files = {"train": "train.csv", "dev": "dev.tsv"}
    assert read(own({"files": {"train": "dev.tsv", "dev": "dev.tsv"}, "quoted": False}))["dev"][0][0][:2] == [
        '"so so', 'fine" film'
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"dev.tsv: line 2: a double quote is left open, .* set quoted: false$"):
        read(own({"files": files}))


def test_dev_is_held_out_of_one_file_by_class_and_seed(own: Any, tmp_path: Path) -> None:
    frame = examples(100).sort_values("stars")
    frame.to_csv(tmp_path / "train.csv", index=False)
    one = {"files": "train.csv", "heldout": 0.2}
    made, again, other = read(own(one)), read(own(one)), read(own(one, seed=8))
    assert made["dev"][0] == again["dev"][0] != other["dev"][0]
    assert np.bincount(made["dev"][1]).tolist() == [10, 10] and np.bincount(made["train"][1]).tolist() == [40, 40]
    assert sorted(made["dev"][0][0] + made["train"][0][0]) == sorted(frame["review"])
    three = read(own(one, test="heldout", heldout=0.25))
    assert {split: len(part[1]) for split, part in three.items()} == {"train": 60, "dev": 20, "test": 20}
    assert not set(three["test"][0][0]) & {*three["train"][0][0], *three["dev"][0][0]}
    assert three["dev"][0] == made["dev"][0]
    assert reading.training_rows(own(one), own(one).task("reviews")) == 80


def test_scores_in_their_range(own: Any, tmp_path: Path) -> None:
    for name, count in (("train", 40), ("dev", 12)):
        examples(count, name, (-1, 0.5, "1", -0.25)).to_csv(tmp_path / f"{name}.csv", index=False)
    benchmark = own({"labels": None, "regression": [-1, 1]})
    found = read(benchmark)["dev"][1]
    assert found.dtype == np.float32 and found[:4].tolist() == [-1, 0.5, 1, -0.25]
    task = benchmark.task("reviews")
    assert (task.outputs, task.metrics, task.shown) == (1, ("pearson", "spearman"), "pearson_spearman")
    for value, said in ((1.5, "'1.5'"), ("high", "'high'"), ("nan", "'nan'"), ("inf", "'inf'"), ("", "''")):
        examples(12, "play", (0, value)).to_csv(tmp_path / "dev.csv", index=False)
        with pytest.raises(UserError) as caught:
            read(benchmark)
        place = tmp_path / "dev.csv"
        assert str(caught.value) == f"{place}: line 4: column 'stars' is {said}, expected a score from -1 to 1"


@pytest.mark.parametrize(("low", "high", "advised"), [(0, 5, False), (-10, 0, False), (0, 100, True), (8, 11, True)])
def test_scores_that_train_slowly_are_told_and_not_refused(
    own: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], low: int, high: int, advised: bool
) -> None:
    for name, count in (("train", 40), ("dev", 12)):
        examples(count, name, (low, high)).to_csv(tmp_path / f"{name}.csv", index=False)
    benchmark = own({"labels": None, "regression": [low, high]})
    errors.warn.cache_clear()
    check(benchmark, Layout(tmp_path / "results"))
    line = (
        f"railkd: warning: {benchmark.path}: data.tasks.reviews.regression: scores from {low} to {high} are learnt "
        "as they stand, which takes many steps; divide them, so that none is beyond 10 (STS-B has 0 to 5)\n"
    )
    assert capsys.readouterr().err == (line if advised else "")


def test_scores_that_no_loss_can_hold_are_refused(own: Any, tmp_path: Path) -> None:
    """A first loss beyond 1e8 ends a run as one that explodes."""
    for name, count in (("train", 40), ("dev", 12)):
        examples(count, name, (0, 20000)).to_csv(tmp_path / f"{name}.csv", index=False)
    benchmark = own({"labels": None, "regression": [0, 20000]})
    with pytest.raises(UserError, match="data.tasks.reviews.regression: scores from 0 to 20000, expected none beyond"):
        check(benchmark, Layout(tmp_path / "results"))


def test_prepared_data_know_their_own_declaration(own: Any, checkpoints: Path, tmp_path: Path) -> None:
    """Three classes, one of them rare; a set whose labels collapse. Scores are those of the metrics, by hand."""
    examples(60, "film", ("low", "mid", "high")).to_csv(tmp_path / "train.csv", index=False)
    examples(12, "play", ("low", "mid", "high")).to_csv(tmp_path / "dev.csv", index=False)
    sets = {"hotels": {**SETS["hotels"], "labels": ["bad", "good"],
                       "collapse": {"low": "bad", "mid": "good", "high": "good"}}}  # fmt: skip
    benchmark = own({"labels": ["low", "mid", "high"], "metrics": ["accuracy", "macro_f1"]}, out_of_domain=sets)
    out = tmp_path / "reviews.safetensors"
    tokenizer = load_tokenizer(Checkpoint(str(checkpoints / "bert4")), "bert4")
    facts = preparation.prepare(benchmark, "reviews", tokenizer, None, out, {})
    data = preparation.load(out)
    assert data.task == benchmark.task("reviews") and data.scored == ["dev", "hotels"] and data.hidden == []
    assert data.out_of_domain["hotels"] == benchmark.out_of_domain_set("hotels")
    constant = {"accuracy": 1 / 3, "macro_f1": pytest.approx(1 / 6)}
    assert facts["baselines"] == {"train": constant, "dev": constant, "hotels": {"accuracy": 0.5}}
    logits = np.eye(3, dtype=np.float32)[[0, 0, 0, 1] * 3]
    assert scores_of(data, "dev", logits)["accuracy"] == np.mean(np.array([0, 0, 0, 1] * 3) == [0, 1, 2] * 4)
    logits = np.eye(3, dtype=np.float32)[[0, 2] * 4]  # bad, good in turn: as the file has them
    assert scores_of(data, "hotels", logits) == {"accuracy": 1.0}


def test_another_content_is_another_data_set_and_another_place_is_not(own: Any, tmp_path: Path) -> None:
    benchmark = own(out_of_domain=SETS)
    before = reading.file_digests(benchmark, "reviews")
    assert set(before) == {"reviews/train.csv", "reviews/dev.csv", "hotels/test.csv"}
    (tmp_path / "data").mkdir()
    for name in ("train", "dev", "hotels"):
        os.rename(tmp_path / f"{name}.csv", tmp_path / "data" / f"{name}.csv")
    moved = own(
        {"files": {"train": "data/train.csv", "dev": str(tmp_path / "data" / "dev.csv")}},
        out_of_domain={"hotels": {**SETS["hotels"], "file": "./data/hotels.csv"}},
    )
    assert reading.file_digests(moved, "reviews") == before
    assert moved.data_config("reviews") == benchmark.data_config("reviews")
    assert json.loads(json.dumps(moved.data_config("reviews"))) == moved.data_config("reviews")
    with open(tmp_path / "data" / "train.csv", "a") as file:
        file.write("99,one more,good\n")
    assert reading.file_digests(moved, "reviews") != before
    for changes in ({"labels": ["good", "bad"]}, {"shown": "f1"}, {"label": "id"}, {"quoted": False}):
        assert own(changes, out_of_domain=SETS).data_config("reviews") != benchmark.data_config("reviews")


def test_examples_of_train_in_dev_are_told_once_with_their_number(
    own: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.concat([examples(3), examples(9, "play")]).to_csv(tmp_path / "dev.csv", index=False)
    errors.warn.cache_clear()
    reading._SOUND.clear()
    benchmark = own()
    for _ in range(2):
        reading.check_files(benchmark)
    said = f"railkd: warning: {tmp_path / 'dev.csv'}: 3 of 12 rows of dev have the same text as a training row\n"
    assert capsys.readouterr().err == said


def test_examples_of_train_out_of_domain_are_told(own: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file of a set may be that of the training examples: its score would be one of train."""
    (tmp_path / "hotels.csv").write_bytes((tmp_path / "train.csv").read_bytes())
    errors.warn.cache_clear()
    reading._SOUND.clear()
    raw = read(own(out_of_domain=SETS))
    said = f"hotels.csv: {len(raw['train'][1])} of 40 rows of hotels have the same text as a training row\n"
    assert capsys.readouterr().err.endswith(said)


def _cell(row: int, column: str, value: Any) -> Callable[[Path], Any]:
    def edit(path: Path) -> None:
        frame = pd.read_csv(path, dtype=str)
        frame.at[row, column] = value
        frame.to_csv(path, index=False)

    return edit


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing file": (lambda p: p.unlink(), "no such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no such file"),
    "empty file": (_bytes(lambda b: b""), "is empty, expected a file with examples"),
    "blank lines": (_bytes(lambda b: b"\n\n"), "is empty, expected a first line with the columns' names"),
    "header only": (_bytes(lambda b: b"review,stars\n"), "has no rows below the columns' names"),
    "no text column": (
        _bytes(lambda b: b.replace(b"review", b"text", 1)),
        "no column 'review' (expected review, stars; found id, text, stars)",
    ),
    "no label column": (
        _bytes(lambda b: b.replace(b"stars", b"label", 1)),
        "no column 'stars' (expected review, stars",
    ),
    "a column twice": (_bytes(lambda b: b.replace(b"id,", b"stars,", 1)), "has two columns 'stars' in its first line"),
    "another separator": (
        _bytes(lambda b: b"review;stars\nx;bad\n"),
        "line 1: is one column, 'review;stars'; a .csv file has commas between its columns, this one seems",
    ),
    "label outside": (_cell(2, "stars", "fine"), "line 6: column 'stars' is 'fine', expected one of bad, good"),
    "label missing": (_cell(1, "stars", ""), "line 4: column 'stars' is '', expected one of bad, good"),
    "text missing": (_cell(0, "review", ""), "line 2: column 'review' is '', expected a non-empty text"),
    "text of spaces": (_cell(3, "review", " \t"), "line 8: column 'review' is ' \\t', expected a non-empty text"),
    "Latin-1": (
        _bytes(lambda b: b.replace(b"number 1", "né".encode("latin-1"), 1)),
        "line 4: byte 0xE9 is not UTF-8; save the file as UTF-8",
    ),
    "UTF-16": (_bytes(lambda b: b.decode().encode("utf-16")), "line 1: byte 0xFF is not UTF-8"),
    "a zero byte": (_bytes(lambda b: b.replace(b"number 2", b"\0", 1)), "line 6: holds a zero byte"),
    "a quote left open": (_bytes(lambda b: b + b'99,"never closed,bad\n'), "line 26: a double quote is left open"),
    "a quote not doubled": (_bytes(lambda b: b.replace(b'""number 0""', b'"number 0"', 1)), "line 2: a double quote"),
    "a comma not quoted": (_bytes(lambda b: b + b"99,good, not bad,good\n"), "line 26: has 4 fields, expected 3 as in"),
    "a field too few": (_bytes(lambda b: b + b"99,good\n"), "line 26: has 2 fields, expected 3"),
    "one class in dev": (
        lambda p: examples(6, "play", ("bad",)).to_csv(p, index=False),
        "every one of the 6 rows of dev has the label 'bad', expected several",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_before_any_compute(
    own: Any, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dev.csv"
    own()
    edit, expected = BROKEN[name]
    edit(path)
    assert cli.main(["check", str(own().path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"railkd: error: {path}: ") and expected in said and said.count("\n") == 1
    assert not (tmp_path / "results").exists()


JSON_LINES = {
    '{"review": "a", "stars": "bad"}\n{"review": "b"\n': "line 2: is not JSON",
    '{"review": "a", "stars": "bad"}\n["b", "good"]\n': 'line 2: ["b", "good"] is not an object',
    '{"review": "a", "stars": "bad"}\n{"review": "b"}\n': "line 2: column 'stars' is nan, expected one of bad, good",
    '{"review": "a", "stars": "bad"}\n\n{"review": 3, "stars": "good"}\n': "JSON",
    '{"review": null, "stars": "bad"}\n{"review": "b", "stars": "good"}\n': "line 1: column 'review' is nan",
    "\n": "has no rows",
}


@pytest.mark.parametrize("content", JSON_LINES)
def test_broken_json_lines(own: Any, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dev.jsonl").write_text(content)
    with pytest.raises(UserError) as caught:
        reading.check_files(own({"files": {"train": "train.csv", "dev": "dev.jsonl"}}))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'dev.jsonl'}: ") and JSON_LINES[content] in text and "\n" not in text
    assert capsys.readouterr().err == ""  # nor does the library that reads it say more


def test_a_broken_parquet_file_and_a_missing_value_in_it(own: Any, tmp_path: Path) -> None:
    place = tmp_path / "dev.parquet"
    benchmark = own({"files": {"train": "train.csv", "dev": "dev.parquet"}})
    place.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"dev.parquet: not a readable parquet file \("):
        reading.check_files(benchmark)
    frame = examples(6)
    frame.loc[2, "review"] = None
    examples(0).to_parquet(place)
    with pytest.raises(UserError, match=r"dev.parquet: has no rows"):
        reading.check_files(benchmark)
    frame.to_parquet(place)
    with pytest.raises(UserError, match=r"dev.parquet: row 2: column 'review' is (None|nan), expected a non-empty"):
        reading.check_files(benchmark)


def test_a_label_that_never_occurs_and_one_class_in_train(own: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of the 40 training rows has label 2 \('so-so'\), expected every class"):
        reading.check_files(own({"labels": ["bad", "good", "so-so"]}))
    examples(9, "film", ("good",)).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(UserError, match=r"train.csv: none of the 9 training rows has label 0 \('bad'\)"):
        reading.check_files(own())


def test_a_set_beside_a_built_in_task_is_checked_too(make_benchmark: Any, tmp_path: Path) -> None:
    hotels = {"task": "sst2", "file": "hotels.csv", "text": "review", "label": "stars",
              "labels": {"bad": "negative", "good": "positive"}}  # fmt: skip
    benchmark = make_benchmark({"data.out_of_domain": {"imdb": None, "hotels": hotels}})
    with pytest.raises(UserError, match="hotels.csv: no such file$"):
        reading.check_files(benchmark)
    examples(8, "room").to_csv(tmp_path / "hotels.csv", index=False)
    reading.check_files(benchmark)
    raw = reading.read_task(benchmark, benchmark.task("sst2"), reading.data_root(benchmark))
    assert set(raw) == {"train", "dev", "imdb", "hotels"} and raw["hotels"][1].tolist() == [0, 1] * 4


def test_nothing_is_left_in_the_home_folder(own: Any, tmp_path: Path) -> None:
    """A process of its own, because `datasets` looks for its cache when it is imported."""
    import subprocess
    import sys

    home, path = tmp_path / "home", own().path
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1"}
    code = "from railkd.data import reading; from railkd.benchmark import config; import sys; "
    code += "reading.check_files(config.load(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True, capture_output=True)
    assert list(home.rglob("*")) == []


def test_the_check_of_a_large_benchmark_reads_each_file_once(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    known = reading.own_files.read
    monkeypatch.setattr(reading.own_files, "read", lambda path, source: (opened.append(path), known(path, source))[1])
    reading._SOUND.clear()
    benchmark = own()
    check(benchmark, Layout("results"))
    check(benchmark, Layout("results"))
    assert [path.name for path in opened] == ["dev.csv", "train.csv"]
