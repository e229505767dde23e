"""What is held out of a training set is as far from the rest as GLUE's own dev sets are."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest

from railkd.data.held_out import phrases_of, sharing, without_held_out
from railkd.data.sampling import share_of
from railkd.errors import UserError
from railkd.tasks import TASKS

SENTENCES = [" ".join(f"w{n}_{i}" for i in range(9)) for n in range(300)]  # with no word in common


def phrases(rng: Random) -> list[str]:
    """As SST-2's training set: each sentence and seven runs of its words."""
    rows = list(SENTENCES)
    for sentence in SENTENCES:
        rows += rng.sample(sorted(phrases_of(sentence) - {sentence}), 7)
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("limit", [None, 400, 10**6])
def test_no_sentence_of_the_test_set_is_in_train_nor_a_phrase_of_it(limit: int | None) -> None:
    rows = phrases(Random(1))
    labels = np.array([int(row.split()[0][1:].split("_")[0]) % 2 for row in rows])
    made = without_held_out(([rows], labels, "here"), TASKS["sst2"], "test", 0.1, 7, limit)
    train, test = made["train"][0][0], made["test"][0][0]
    assert set(test) <= set(SENTENCES) and np.bincount(made["test"][1]).tolist() == [len(test) / 2] * 2
    assert not set().union(*map(phrases_of, test)) & set(train)
    assert train == [row for row in rows if row in set(train)]  # in the file's order
    if limit == 400:
        assert (len(train), len(test)) == (370, 30)  # a tenth of 400 rows, but no more than a tenth of the sentences
    else:
        assert (len(train), len(test)) == (270 * 8, 30)  # train loses what lies inside them, and nothing else


def test_a_cut_training_set_gives_a_share_of_its_rows() -> None:
    labels = np.arange(300) % 2
    made = without_held_out(([SENTENCES], labels, "here"), TASKS["sst2"], "test", 0.1, 7, 100)
    assert [len(made[split][1]) for split in ("train", "test")] == [90, 10]


@pytest.mark.parametrize("task", ["mnli", "qnli"])
def test_rows_with_a_text_in_common_stay_together(task: str) -> None:
    """Three hypotheses for each premise, and texts that stand now in the one column, now in the other."""
    rng = Random(2)
    firsts = [f"premise {i // 3}" for i in range(900)]
    seconds = [f"premise {rng.randrange(300)}" if i % 50 == 0 else f"hypothesis {i}" for i in range(900)]
    labels = np.array([i % 3 if task == "mnli" else i % 2 for i in range(900)])
    groups = sharing([firsts, seconds])
    assert len(set(groups[:3])) == 1 and 250 < len(set(groups)) < 300
    made = without_held_out(([firsts, seconds], labels, "here"), TASKS[task], "test", 0.1, 7)
    train, test = ({text for column in made[split][0] for text in column} for split in ("train", "test"))
    assert not train & test and len(made["train"][1]) + len(made["test"][1]) == 900
    assert len(made["test"][1]) == pytest.approx(90, abs=6)
    assert np.bincount(made["test"][1]) == pytest.approx(np.bincount(labels) / 10, abs=5)


def test_one_large_group_stays_in_train() -> None:
    labels = np.arange(100) % 2
    groups = np.array([0] * 60 + list(range(1, 41)))
    held = share_of(labels, 0.2, 7, groups)
    assert held.sum() == 20 and not held[:60].any()


@pytest.mark.parametrize("task", ["cola", "mrpc", "stsb", "qqp", "rte"])
def test_rows_of_other_tasks_are_drawn_one_by_one(task: str) -> None:
    """GLUE's own dev sets of these tasks share texts with train, too."""
    labels = np.linspace(0, 5, 200, dtype=np.float32) if task == "stsb" else np.arange(200) % 2
    texts = [[str(i // 2) for i in range(200)] for _ in TASKS[task].columns]
    made = without_held_out((texts, labels, "here"), TASKS[task], "test", 0.1, 7)
    assert made["test"][0][0] == [texts[0][i] for i in np.flatnonzero(share_of(labels, 0.1, 7))]


def test_one_sentence_alone_is_refused() -> None:
    rows = sorted(phrases_of(SENTENCES[0]))
    labels = np.arange(len(rows)) % 2
    with pytest.raises(UserError, match="^here: 45 rows are too few to hold 0.4 of them out as test$"):
        without_held_out(([rows], labels, "here"), TASKS["sst2"], "test", 0.4, 7)


def test_another_way_of_holding_out_is_another_configuration(make_benchmark: Any) -> None:
    def config(task: str, test: str) -> dict[str, Any]:
        return dict(make_benchmark({"data.tasks": [task], "data.test": test}).data_config(task))

    assert config("sst2", "heldout")["held_out_by"] == "sentence" and config("qnli", "heldout")["held_out_by"] == "text"
    assert "held_out_by" not in config("cola", "heldout") | config("sst2", "none")


@pytest.mark.realtext
@pytest.mark.parametrize(("task", "limit"), [("sst2", None), ("sst2", 4000), ("mnli", 4000), ("qnli", None)])
def test_real_text(real_data: Path, task: str, limit: int | None) -> None:
    frame, columns = pd.read_parquet(real_data / task / "train.parquet"), TASKS[task].columns
    rows = ([frame[column].tolist() for column in columns], frame["label"].to_numpy(), task)
    made = without_held_out(rows, TASKS[task], "test", 0.1, 7, limit)
    train, test = ({text for column in made[split][0] for text in column} for split in ("train", "test"))
    assert not train & test
    if task == "sst2":
        assert not test & set().union(*map(phrases_of, train))
    if limit:
        assert [len(made[split][1]) for split in ("train", "test")] == [3600, 400]
