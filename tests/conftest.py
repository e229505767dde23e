"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest import Item

REAL_DATA = os.environ.get("RAILKD_DATA")


def pytest_configure(config: pytest.Config) -> None:
    """Hides a GPU from tests that do not ask for one: theirs are a CPU's numbers, bit by bit."""
    if "gpu" not in str(config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True, scope="session")
def own_environment() -> Iterator[None]:
    """The mirrors, hub and workflow of whoever runs the tests must not decide how they end."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
            patch.delenv(variable, raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The local mirror of the real data sets."""
    if not REAL_DATA:
        pytest.skip("needs the real data sets: set RAILKD_DATA to a local mirror")
    return Path(REAL_DATA).resolve()


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reviews.csv, 200 rows that can be learnt, and bert-base-uncased, a made model of six layers."""
    import csv
    from random import Random

    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast, set_seed

    folder, rng = tmp_path_factory.mktemp("reviews"), Random(1)
    words = {"positive": ["warm", "clever", "moving"], "negative": ["dull", "slow", "empty"]}
    rows = []
    for i in range(200):
        label = ("negative", "positive")[i % 2]
        said = rng.sample(words[label], 2)
        rows.append(
            {"text": f"A {said[0]}, {said[1]} film about {rng.choice(['war', 'love', 'rain'])}.", "label": label}
        )
    with open(folder / "reviews.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    made = BertWordPieceTokenizer()
    made.train_from_iterator((str(row["text"]) for row in rows), vocab_size=150, show_progress=False)
    (folder / "vocabulary").mkdir()
    made.save_model(str(folder / "vocabulary"))
    tokenizer = BertTokenizerFast.from_pretrained(str(folder / "vocabulary"))
    set_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 6}
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=0.2, **sizes)
    BertModel(config).save_pretrained(folder / "bert-base-uncased")
    tokenizer.save_pretrained(folder / "bert-base-uncased")
    return folder


def pytest_collection_modifyitems(items: list[Item]) -> None:
    """Files with a test marked as slow first, the workflow's before them: a file stays in one process, and one that
    takes minutes and began last would keep the others waiting."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in long, item.path.name != "test_workflow.py"))


@pytest.fixture(params=[pytest.param(30, id="quick"), pytest.param(1000, id="long", marks=pytest.mark.trust)])
def examples(request: pytest.FixtureRequest) -> int:
    """How many strange inputs a fuzz test tries."""
    return int(request.param)
