"""docs/own-task.md, block by block: a CSV file of one's own from check to report, and beside a built-in task."""

import ast
import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import yaml
from test_workflow import ENVIRONMENT, ROOT

from railkd.benchmark.config import load
from railkd.benchmark.paths import Layout
from railkd.records import run_record

PAGE = (ROOT / "docs" / "own-task.md").read_text()
WORDS = [
    "a",
    "the",
    "film",
    "story",
    "music",
    "actor",
    "end",
    "start",
    "dull",
    "warm",
    "long",
    "short",
    "play",
    "room",
    "scene",
    "hour",
]


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


def block(language: str) -> str:
    return blocks(language)[0]


def rows(count: int, rng: Random, labels: dict[str, str]) -> list[dict[str, str]]:
    """Made text in which a word tells the label."""
    kinds = [list(labels)[i % len(labels)] for i in range(count)]
    texts = [f'{" ".join(rng.choices(WORDS, k=6))}, "{labels[kind]}" {i}' for i, kind in enumerate(kinds)]
    return [{"id": str(i), "review": t, "stars": k} for i, (t, k) in enumerate(zip(texts, kinds, strict=True))]


def write(path: Path, content: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "review", "stars"])
        writer.writeheader()
        writer.writerows(content)


def save_models(folder: Path, texts: list[str]) -> None:
    """The two folders of the page: random weights, one vocabulary."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(texts, vocab_size=200, min_frequency=1)
    (folder / "vocabulary").mkdir()
    trained.save_model(str(folder / "vocabulary"))
    tokenizer = BertTokenizerFast.from_pretrained(str(folder / "vocabulary"))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "max_position_embeddings": 80}
    for name, layers in (("teacher", 4), ("student", 2)):
        config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=layers, initializer_range=0.2, **sizes)
        BertModel(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files and commands, run once."""
    folder, rng = tmp_path_factory.mktemp("own"), Random(3)
    reviews = rows(100, rng, {"bad": "awful", "good": "great"})
    write(folder / "reviews.csv", reviews)
    write(folder / "hotels.csv", rows(24, rng, {"1": "awful", "2": "awful", "4": "great", "5": "great"}))
    save_models(folder, [row["review"] for row in reviews])
    (folder / "reviews.yaml").write_text(block("yaml"))
    for line in "".join(blocks("sh")).splitlines():
        command = line.replace("--cores all", f"--snakefile {ROOT / 'Snakefile'} --cores 1").split()
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return folder


def test_the_page_s_file_has_the_columns_that_its_benchmark_names() -> None:
    header, *lines = list(csv.reader(block("csv").splitlines()))
    task = yaml.safe_load(block("yaml"))["data"]["tasks"]["reviews"]
    assert {task["text"], task["label"]} < set(header)
    assert {row[header.index(task["label"])] for row in lines} == set(task["labels"])


@pytest.mark.slow
def test_every_run_and_table_speaks_of_the_task_and_of_no_other(finished: Path) -> None:
    benchmark, layout = load(finished / "reviews.yaml"), Layout(finished / "results" / "reviews")
    for cell in benchmark.cells():
        for seed in benchmark.seeds:
            record = run_record.read(layout.run(cell, seed))
            assert not record["synthetic"] and record["shown"] == "macro_f1"
            assert set(record["scores"]) == {"dev", "test", "hotels"}
            assert set(record["scores"]["dev"]) == {"accuracy", "macro_f1"}
            assert set(record["sampling_errors"]) == {s for s, of in record["scores"].items() if "macro_f1" in of}
            assert all(0 < of["macro_f1"] < 0.3 for of in record["sampling_errors"].values())
            assert record["examples"]["dev"] == 10 and record["examples"]["hotels"] == 24
    tables = layout.root / "tables"
    with open(tables / "table2.csv", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert {cell["column"] for cell in cells} == {"reviews", "avg"} and all(cell["paper"] == "" for cell in cells)
    assert {cell["metric"] for cell in cells if cell["column"] == "reviews"} == {"macro_f1"}
    assert "reviews models on hotels" in (tables / "table6.md").read_text()
    report = (layout.root / "report.md").read_text() + (layout.root / "claims.md").read_text()
    for foreign in ("paper's value", "not run", "GLUE", "SST-2", "MNLI", "English"):
        assert foreign not in report.replace("benchmarks/reference", ""), foreign
    claims = json.loads((layout.root / "claims.json").read_text())
    assert claims["claims"] == [] and "## Which methods differ?" in report
    assert [(p["block"], p["columns"]) for p in claims["differences"]] == [("test", ["reviews"]), ("ood", ["hotels"])]
    assert all(len(p["differences"]) == 3 for p in claims["differences"])  # of three methods
    assert all(d["se_examples"] is not None for p in claims["differences"] for d in p["differences"])


@pytest.mark.slow
def test_the_first_file_is_accepted(finished: Path) -> None:
    assert load(finished / "my.yaml").own_tasks["reviews"].labels == ("bad", "good")


@pytest.mark.slow
def test_the_exported_student_answers(finished: Path) -> None:
    """In a process that knows nothing of the suite, as the page has it."""
    code = [sys.executable, "-I", "-c", block("python")]
    done = subprocess.run(code, cwd=finished, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (answer,) = ast.literal_eval(done.stdout.splitlines()[-1])
    assert answer["label"] in ("bad", "good") and 0.5 <= answer["score"] <= 1


@pytest.mark.slow
def test_an_edited_file_trains_again_and_a_moved_one_does_not(finished: Path) -> None:
    from analysis import made_of
    from railkd.jobs_to_run import JobsToRun

    path, layout = finished / "reviews.yaml", Layout(finished / "results" / "reviews")

    def outdated() -> dict[str, str]:
        benchmark = load(path)
        return JobsToRun(
            benchmark, layout, made_of.digests(benchmark, layout), made_of.files(benchmark, layout)
        ).outdated

    assert outdated() == {}
    text, content = path.read_text(), (finished / "reviews.csv").read_bytes()
    (finished / "moved.csv").write_bytes(content)
    path.write_text(text.replace("files: reviews.csv", "files: ./moved.csv"))
    assert outdated() == {}
    (finished / "moved.csv").write_bytes(content.replace(b"awful", b"poor", 1))
    assert "files.reviews/train.csv" in {why.split()[0] for why in outdated().values()}
    path.write_text(text.replace("labels: [bad, good]", "labels: [good, bad]"))
    assert any(why.startswith("data.declared.") for why in outdated().values())
    path.write_text(text)
    assert outdated() == {}
