"""The model card's front matter: each score is of the examples that it was measured on, and of no other dataset."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from railkd import model_card
from railkd.records import run_record

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def record_of(folder: str, pair: str, task: str) -> dict[str, Any]:
    return run_record.read(REFERENCE / folder / "runs" / pair / "rail_kd_c" / task / "seed-1.json")


def card_of(record: dict[str, Any]) -> ModelCard:
    return ModelCard(model_card.card(record, {record["seed"]: record}, "mit"))


def examples(card: ModelCard) -> set[tuple[str, str | None, str]]:
    return {(r.dataset_type, r.dataset_config, r.dataset_split) for r in card.data.eval_results}


def test_no_score_is_said_to_be_of_glues_hidden_test_set_or_of_another_dataset() -> None:
    card = card_of(record_of("minilm", "minilm6-minilm3", "mnli"))
    assert examples(card) == {
        ("nyu-mll/glue", "mnli", "dev"),
        ("nyu-mll/glue", "mnli", "dev_mismatched"),
        ("nyu-mll/glue", "mnli", "train, held out"),
        ("allenai/scitail", "tsv_format", "test"),
    }
    assert "The test set is a part of the training set that was held out." in card.text
    (imdb,) = [e for e in examples(card_of(record_of("minilm", "minilm6-minilm3", "sst2"))) if "glue" not in e[0]]
    assert imdb == ("stanfordnlp/imdb", None, "test")


def test_generated_text_is_no_dataset_of_the_hub() -> None:
    card = card_of(record_of("mini", "bert12-distilbert6", "mnli"))
    assert {kind for kind, _, _ in examples(card)} == {"miniglue"} and card.data.datasets is None
    assert ("miniglue", "scitail", "test") in examples(card) and ("miniglue", "mnli", "test") in examples(card)
    assert "held out" not in card.text


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
@pytest.mark.parametrize("beside", ["glue", "files", "miniglue"])
def test_a_task_of_ones_own_beside_others_is_neither_glue_nor_generated(beside: str, splits: list[str]) -> None:
    record = record_of("minilm", "minilm6-minilm3", "sst2")
    record["scores"]["hotels"] = record["scores"].pop("imdb")
    data = {**record["config"]["data"], "source": beside, "out_of_domain": ["hotels"]}
    data["declared"] = {"reviews": {"splits": splits}, "hotels": {"splits": ["test"]}}
    record |= {"task": "reviews", "synthetic": beside == "miniglue", "config": {**record["config"], "data": data}}
    card = card_of(record)
    part = "test" if "test" in splits else "train, held out"
    assert examples(card) == {("reviews", None, "dev"), ("reviews", None, part), ("hotels", None, "test")}
    assert card.data.datasets is None and card.data.language is None
    assert "| data | own files, reviews, " in card.text and "generated text" not in card.text
    assert ("held out" in card.text) == ("test" not in splits)
