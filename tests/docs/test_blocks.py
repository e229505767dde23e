"""What a reader copies from the README and docs/: commands exist, blocks run, and the tutorial's diff applies."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from railkd.benchmark.config import load
from railkd.benchmark.paths import results_folder
from railkd.benchmark.plain_yaml import parse
from railkd.benchmark.schema_errors import schema_error

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
SCHEMA = ROOT / "railkd" / "benchmark" / "schema.json"
OWN = {"mine.yaml", "my.yaml", "reviews.yaml", "BENCHMARK.yaml"}  # files that a reader makes or names


def commands(page: Path, program: str) -> list[list[str]]:
    """The lines of code, in blocks and in sentences, that call a program."""
    text = page.read_text()
    lines = [line.strip() for line in re.findall(r"^    (.*)$", text, re.MULTILINE)]
    lines += [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    return [line.split("  ")[0].split(" #")[0].split() for line in lines if line.startswith(f"{program} ")]


def block(page: str, language: str, number: int = 0) -> str:
    """One of a page's fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[number]


@cache
def usage(*words: str) -> str:
    """What a command says of itself."""
    done = subprocess.run([sys.executable, "-m", *words, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_railkd_exists(page: Path) -> None:
    for words in commands(page, "railkd"):
        if words[1].startswith("-"):
            assert words[1] in usage("railkd")
            continue
        options = {word for word in words if word.startswith("--")}
        assert not {option for option in options if option not in usage("railkd", words[1])}, words


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in commands(page, "make") if words[1:]} <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_benchmark_and_module_that_is_run_exists(page: Path) -> None:
    for program in ("snakemake", "railkd", "python"):
        for words in commands(page, program):
            files = {word.removeprefix("benchmark=") for word in words if word.endswith(".yaml")}
            assert not [file for file in files - OWN if not (ROOT / file).is_file()], words
            if words[1:2] == ["-m"]:
                assert not {w for w in words[2:] if w.startswith("--")} - set(re.findall(r"--\w+", usage(words[2])))


def test_the_diff_makes_a_benchmark_with_the_tutorials_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says: a copy of a benchmark file, edited, with results in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    page = "docs/add-a-method.md"
    ((_, source, copy),) = commands(ROOT / page, "cp")
    shutil.copy(ROOT / source, tmp_path / copy)
    (tmp_path / "last_mix.py").write_text(block(page, "python"))
    (tmp_path / "mine.diff").write_text(block(page, "diff"))
    applied = subprocess.run(["git", "apply", "mine.diff"], cwd=tmp_path, capture_output=True, text=True)
    assert applied.returncode == 0, applied.stderr
    benchmark, before = load(tmp_path / copy), load(ROOT / source)
    (run,) = commands(ROOT / page, "snakemake")[:1]
    assert f"benchmark={copy}" in run
    assert results_folder(benchmark, None) != results_folder(before, None)
    assert f"`{results_folder(benchmark, None)}/report.html`" in (ROOT / page).read_text()
    new = {cell.method for cell in benchmark.cells()} - {cell.method for cell in before.cells()}
    assert new == {"last_mix"} and len(benchmark.pairs) == len(before.pairs)
    shown = {table for pair in benchmark.pairs.values() if "last_mix" in pair["methods"] for table in pair["tables"]}
    assert {"figure2", "figure3"} <= shown


def test_the_readmes_method_takes_twelve_lines_and_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in block("README.md", "python").splitlines() if line.strip()]
    assert len(lines) <= 12
    (tmp_path / "my_kd.py").write_text(block("README.md", "python"))
    (command,) = [words for words in commands(ROOT / "README.md", "railkd") if words[1] == "check-method"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout + done.stderr
    spec = yaml.safe_load((ROOT / "benchmarks" / "mini.yaml").read_text())
    spec["methods"] |= yaml.safe_load(block("README.md", "yaml"))["methods"]
    spec["pairs"]["bert12-distilbert6"]["methods"].append("my_kd")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    assert load(tmp_path / "mine.yaml").options("my_kd")["sharpness"] == 2.0


def test_the_citation_is_the_one_of_citation_cff() -> None:
    cited, entry = yaml.safe_load((ROOT / "CITATION.cff").read_text()), block("README.md", "bibtex")
    (paper,) = cited["references"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert f"author={{{authors}}}" in entry
    titles = re.findall(r"^  title=\{(.*)\},?$", entry, re.MULTILINE)
    assert [re.sub("[{}]", "", title) for title in titles] == [cited["title"], paper["title"]]
    assert f"year={{{paper['year']}}}" in entry and f"doi={{{paper['doi']}}}" in entry
    assert f"pages={{{paper['start']}--{paper['end']}}}" in entry
    assert f"booktitle={{{paper['collection-title']}}}" in entry


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_of_yaml_is_part_of_a_benchmark_file(page: Path) -> None:
    """Its keys, put into the default benchmark, are those of the schema."""
    for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        spec = parse((ROOT / "benchmarks" / "mini.yaml").read_text(), "mini.yaml")
        for key, value in parse(text, page.name).items():
            spec[key] = {**spec.get(key, {}), **value} if isinstance(value, dict) else value
        assert schema_error(page, spec, SCHEMA) is None, schema_error(page, spec, SCHEMA)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_of_python_can_be_compiled(page: Path) -> None:
    for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        if not text.startswith("rule "):  # Snakemake's, which test_workflow.py runs
            compile(text, page.name, "exec")
