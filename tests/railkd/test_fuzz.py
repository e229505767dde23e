"""Whatever stands in a benchmark file, a data file or a JSON file: success, or one line that names the place."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import strange
import yaml
from hypothesis import given
from hypothesis import strategies as st
from strange import answered, fuzz, mutated

from analysis import reported_benchmark
from railkd.benchmark import config
from railkd.benchmark.config import ROOT
from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.data import preparation, reading
from railkd.models.checkpoints import Checkpoint, load_tokenizer
from railkd.records import hashes, run_record, sealed_files
from railkd.tasks import TASKS

FILES = [*sorted((ROOT / "benchmarks").glob("*.yaml")), ROOT / "tests" / "micro.yaml"]
FILES = [path for path in FILES if path.stem != "claims"]
LAUGHS = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else 'lol'}]" for i in range(30))
LINES = st.one_of(
    st.sampled_from(
        ["&a [*a]", "x: &x {y: *x}", "x: *nobody", "!!python/object/apply:os.system [ls]", "<<: {seeds: 1}"]
    ),
    st.sampled_from(["\tx: 1", "? [1, 2]\n: 3", "---", "%YAML 9.9", "seeds: [1", "x: !!binary x", "- " * 3000, LAUGHS]),
    st.sampled_from(["{" * 3000, "name: mini", "x: 0x" + "f" * 5000, "x: 1e999", "x: 2022-99-99", "x: !!timestamp x"]),
    st.text(max_size=20),
)


def derive(path: Path, results: Path) -> None:
    """What the workflow and the analysis ask of a benchmark file before the first job."""
    benchmark = config.load(path)
    cells = list(benchmark.cells())
    list(benchmark.seed_groups())
    for cell in cells[:40]:
        hashes.canonical(benchmark.run_config(*cell)).encode()
    for model in benchmark.models:
        benchmark.initialisation(model)
    reported_benchmark.read(path)
    if len(cells) <= 80:
        check(benchmark, Layout(results), reach=False)


def test_the_files_as_they_are(tmp_path: Path, trained_encoders: Path) -> None:
    for path in FILES:
        derive(path, tmp_path)


def test_benchmark_files(examples: int, tmp_path: Path, trained_encoders: Path) -> None:
    specs = [yaml.load(path.read_text(), config_loader()) for path in FILES]
    path, said = tmp_path / "strange.yaml", Counter[bool]()

    def accepted(spec: Any) -> bool:
        path.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), "utf-8", errors="surrogatepass")
        return answered(lambda: derive(path, tmp_path / "results"), "strange.yaml")

    # Which of the strange files are refused is chance, so that both answers can be had is shown without it.
    assert all(accepted(spec) for spec in specs) and not accepted({**specs[0], "seeds": []})

    @fuzz(examples)
    @given(st.sampled_from(specs).flatmap(lambda spec: mutated(spec, strange.YAML)))
    def run(spec: Any) -> None:
        said[accepted(spec)] += 1

    run()
    print(f"{said.total()} files, {said[False]} refused")
    assert not (tmp_path / "results").exists()


def config_loader() -> Any:
    from railkd.benchmark import plain_yaml

    return plain_yaml._Loader


def test_benchmark_files_that_are_no_yaml(examples: int, tmp_path: Path) -> None:
    texts = [path.read_bytes() for path in FILES]
    path, said = tmp_path / "strange.yaml", Counter[bool]()
    path.write_bytes(b"seeds: [1")
    assert not answered(lambda: config.load(path), "strange.yaml")

    @fuzz(examples)
    @given(st.sampled_from(texts), st.data())
    def run(text: bytes, choice: st.DataObject) -> None:
        at = choice.draw(st.integers(0, len(text)))
        line = choice.draw(st.one_of(LINES.map(lambda s: s.encode("utf-8", "surrogatepass")), st.binary(max_size=6)))
        cut = choice.draw(st.sampled_from([0, 0, 1, 50, len(text)]))
        start = text.rfind(b"\n", 0, at) + 1 if choice.draw(st.booleans()) else at
        path.write_bytes(text[:start] + line + b"\n" * (start != at) + text[start + cut :])
        said[answered(lambda: config.load(path), "strange.yaml")] += 1

    run()
    print(f"{said.total()} files, {said[False]} refused")


CELLS = st.one_of(
    strange.SCALARS,
    st.binary(max_size=3),
    st.lists(st.integers(0, 1), max_size=2),
    st.just({"a": 1}),
    st.just("good film"),
)


@pytest.mark.parametrize("task", ["sst2", "stsb", "mnli"])
def test_data_files(
    examples: int, make_benchmark: Any, own_mirror: Path, checkpoints: Path, tmp_path: Path, task: str
) -> None:
    split = "validation_matched" if task == "mnli" else "validation"
    test = {"sst2": "heldout", "stsb": "none", "mnli": "hidden"}[task]
    changes = {"data.tasks": [task], "data.test": test, "data.root": str(own_mirror), "data.out_of_domain": []}
    benchmark = make_benchmark(changes)
    tokenizer = load_tokenizer(Checkpoint(str(checkpoints / "bert4")), "models")
    good = {name: pd.read_parquet(own_mirror / task / f"{name}.parquet") for name in ("train", split)}
    out, said = tmp_path / "out" / "x.safetensors", Counter[bool]()

    def prepare() -> None:
        reading.check_files(benchmark)
        preparation.prepare(benchmark, task, tokenizer, own_mirror, out, {})
        assert preparation.load(out).task is TASKS[task]

    assert answered(prepare, task)
    (own_mirror / task / "train.parquet").write_bytes(b"PAR1 no table")
    assert not answered(prepare, task)
    good["train"].to_parquet(own_mirror / task / "train.parquet")

    @fuzz(max(10, examples // 6))
    @given(st.sampled_from(["train", split]), st.data())
    def run(name: str, choice: st.DataObject) -> None:
        frame, path = good[name], own_mirror / task / f"{name}.parquet"
        columns = {c: frame[c].tolist() for c in frame.columns}
        rows = choice.draw(st.sampled_from([0, 1, 2, 5, len(frame)]))
        for _ in range(choice.draw(st.integers(0, 2))):
            column = choice.draw(st.sampled_from(list(columns) or ["none"]))
            change = choice.draw(st.sampled_from(["cell", "column", "drop", "rename", "twice"]))
            if change == "cell" and column in columns:
                columns[column][choice.draw(st.integers(0, len(frame) - 1))] = choice.draw(CELLS)
            elif change == "column":
                columns[column] = [choice.draw(CELLS)] * len(frame)
            elif change == "drop":
                columns.pop(column, None)
            elif change == "rename" and column in columns:
                columns[choice.draw(strange.TEXTS)] = columns.pop(column)
        try:
            arrays = [pyarrow.array(values[:rows], from_pandas=True) for values in columns.values()]
            table = pyarrow.table(arrays, names=list(columns)) if columns else pyarrow.table({"none": [1]})
            if choice.draw(st.integers(0, 9)) == 0 and columns:
                table = pyarrow.table([*arrays, arrays[-1]], names=[*columns, list(columns)[-1]])  # a name twice
            pyarrow.parquet.write_table(table, path)
        except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError, ValueError):
            path.write_bytes(b"PAR1 no table of these")  # Arrow has no such column
        if choice.draw(st.integers(0, 9)) == 0:
            content = path.read_bytes()
            path.write_bytes(content[: choice.draw(st.integers(0, len(content) - 1))])

        said[answered(prepare, task)] += 1
        good[name].to_parquet(path)

    run()
    print(f"{said.total()} files, {said[False]} refused")


def test_json_files(examples: int, tmp_path: Path) -> None:
    """Records, and files with a checksum: what is no JSON object of theirs is refused by name."""
    path, said = tmp_path / "strange.json", Counter[bool]()
    path.write_bytes(b"[1")
    assert not answered(lambda: run_record.read(path), "strange.json")
    assert not answered(lambda: sealed_files.read_sealed(path), "strange.json")

    @fuzz(examples)
    @given(
        st.one_of(
            strange.JSON.map(json.dumps), st.text(max_size=40), st.sampled_from(["[" * 10**5, "9" * 10**4, "1e999"])
        )
    )
    def run(text: str) -> None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        said[answered(lambda: run_record.read(path), "strange.json")] += 1
        said[answered(lambda: sealed_files.read_sealed(path), "strange.json")] += 1

    run()
    print(f"{said.total()} reads, {said[False]} refused")
