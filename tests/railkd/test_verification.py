"""`railkd verify` finds each thing that does not hold, by name, and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from railkd import cli, outdated
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.jobs import distillation
from railkd.records import hashes, sealed_files

CPU = torch.device("cpu")
CELL = Cell("distilbert2", "no_kd", "mrpc")


@pytest.fixture(scope="module")
def finished(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A benchmark of two methods, one task and one seed, and its complete results."""
    folder = tmp_path_factory.mktemp("verify")
    shutil.copytree(pipeline.layout.root, folder / "results", ignore=shutil.ignore_patterns("runs", ".kept"))
    spec = yaml.safe_load(pipeline.benchmark.path.read_text())
    spec["seeds"] = [1]
    spec["pairs"] = {"distilbert2": {**spec["pairs"]["distilbert2"], "methods": ["no_kd", "pkd"], "tasks": ["mrpc"]}}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    benchmark, layout = config.load(path), Layout(folder / "results")
    for method in ("no_kd", "pkd"):
        distillation.distil(benchmark, layout, CELL._replace(method=method), [1], CPU, lambda line: None)
    shutil.rmtree(layout.root / "teachers" / "bert4" / "stsb")
    return path, layout.root


@pytest.fixture
def copy(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Layout]:
    shutil.copytree(finished[1], tmp_path / "results")
    return Path(shutil.copy(finished[0], tmp_path)), Layout(tmp_path / "results")


def verify(copy: tuple[Path, Layout], capsys: Any) -> tuple[int, list[str], str]:
    status = cli.main(["verify", str(copy[0]), "--results", str(copy[1].root)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_what_was_run_holds(copy: Any, capsys: Any) -> None:
    status, lines, error = verify(copy, capsys)
    assert status == 0 and not error and lines == [
        f"{copy[1].root}: 3 records, every score recomputed from its predictions: all hold"
    ]  # fmt: skip


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.unlink()
    sealed_files.write_json(path, sealed_files.sealed(record))


def swap_predictions(path: Path) -> None:
    """Other predictions with a right checksum: only the scores give them away."""
    file = path.with_suffix(".safetensors")
    logits = load_file(file)
    file.unlink()
    save_file({k: -v for k, v in logits.items()}, file)
    edit(path, lambda r: r["predictions"].update(sha256=hashes.sha256_file(file)))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(bytes(content))


DAMAGE: dict[str, tuple[Callable[[Path, Layout], Any], str]] = {
    "record gone": (lambda run, _: run.unlink(), "seed-1.json: missing"),
    "predictions gone": (lambda run, _: run.with_suffix(".safetensors").unlink(), "seed-1.safetensors: missing"),
    "predictions flipped": (lambda run, _: flip(run.with_suffix(".safetensors")), "not what was written (checksum"),
    "other predictions": (lambda run, _: swap_predictions(run), "on dev is"),
    "a better score": (lambda run, _: edit(run, lambda r: r["scores"]["test"].update(f1=0.9)), "f1 on test is 0.9"),
    "an error": (
        lambda run, _: edit(run, lambda r: r.update(sampling_errors={"test": {"macro_f1": 0.001}})),
        "error of macro_f1 on test is 0.001",
    ),
    "half a record": (lambda run, _: run.write_text(run.read_text()[:99]), "cannot be read as JSON"),
    "wrong place": (lambda run, _: edit(run, lambda r: r.update(seed=2)), "'seed' is 2, expected 1"),
    "edited config": (lambda run, _: edit(run, lambda r: r["config"].update(x=1)), "config_hash does not match"),
    "other teacher": (lambda _, at: flip(at.teacher("bert4", "mrpc") / "model.safetensors"), "its teacher was another"),
    "other data": (lambda _, at: flip(at.prepared("bert4", "mrpc")), "its scores cannot be recomputed"),
    "stray record": (lambda run, _: shutil.copy(run, run.with_name("seed-9.json")), "seed-9.json: no run of"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_what_does_not_hold_is_named(copy: Any, capsys: Any, name: str) -> None:
    damage, expected = DAMAGE[name]
    damage(copy[1].run(CELL, 1), copy[1])
    status, lines, error = verify(copy, capsys)
    assert status == 1 and len(error.splitlines()) == 1 and "do not hold" in error
    assert lines and any(expected in line for line in lines), lines


def test_published_results_say_what_their_scores_need(copy: Any, capsys: Any) -> None:
    shutil.rmtree(copy[1].root / "prepared")
    status, lines, error = verify(copy, capsys)
    assert status == 1 and len(lines) == len([line for line in lines if "cannot be recomputed" in line])
    need = f"{len(lines)} scores need the prepared data: copy the folder prepared of a run of the same benchmark into"
    assert f"{need} {copy[1].root}" in error and len(error.splitlines()) == 1


def test_another_configuration_is_named(copy: Any, capsys: Any) -> None:
    spec = yaml.safe_load(copy[0].read_text())
    spec["training"] = {**spec["training"], "student": {**spec["training"]["student"], "learning_rate": 1e-4}}
    copy[0].write_text(yaml.safe_dump(spec))
    status, lines, _ = verify(copy, capsys)
    assert status == 1 and len(lines) == 2 and all("(training differ)" in line for line in lines)


def test_a_choice_whose_points_are_not_kept_is_checked_by_what_it_says(copy: Any, capsys: Any) -> None:
    """As in the published results, which have no points; a search that has some has to have them all."""
    file, layout = copy
    spec = yaml.safe_load(file.read_text())
    spec["search"] = {"seed": 5, "grid": {"weight_decay": [0.0, 0.1]}}
    spec["pairs"]["distilbert2"]["methods"] = ["no_kd"]
    file.write_text(yaml.safe_dump(spec))
    benchmark = config.load(file)
    shutil.rmtree(layout.root / "runs")
    for point in (0, 1):
        distillation.distil(benchmark, layout, CELL, [5], CPU, lambda line: None, point)
    distillation.select(benchmark, layout, CELL)
    distillation.distil(benchmark, layout, CELL, [1], CPU, lambda line: None)
    assert verify(copy, capsys)[1][-1].endswith("4 records, every score recomputed from its predictions: all hold")
    layout.point(CELL, 1).unlink()
    assert verify(copy, capsys)[1] == [f"{layout.point(CELL, 1)}: missing"]
    layout.point(CELL, 0).unlink()
    status, (line,), _ = verify(copy, capsys)
    assert status == 0 and line.endswith("1 choices of the search not recomputed, because their points are not kept")
    edit(layout.best(CELL), lambda best: best.update(scores=[float(p != best["point"]) for p in best["grid"]]))
    status, (line,), _ = verify(copy, capsys)
    assert status == 1 and line.startswith(f"{layout.best(CELL)}: ") and "is not the point with the best f1 on" in line


def test_tables_and_a_report_of_other_records_are_named(copy: Any, capsys: Any) -> None:
    """After one job by hand every record holds, and what was drawn of the former ones is old."""
    layout = copy[1]
    made = outdated.digest_of_records(layout)
    for step in ("tables", "report"):
        sealed_files.seal(layout.root, [], layout.checksums(step), "what decides", made)
    assert verify(copy, capsys)[0] == 0
    edit(layout.run(CELL, 1), lambda record: record["cost"].update(train_seconds=1.0))
    status, (line,), error = verify(copy, capsys)
    assert status == 1 and "1 things do not hold" in error and f"railkd report {layout.root}" in line
    assert line.startswith(f"{layout.root}: made of other records than those that are present: tables, report;")


def test_the_pages_block_reads_predictions_beside_labels_and_texts(copy: Any, capsys: Any) -> None:
    """The block of docs/results-format.md, with this run's names: as many wrong answers as the record's score says."""
    page = (config.ROOT / "docs" / "results-format.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for told, here in (
        ("results/quick", str(copy[1].root)), ("bert6-distilbert3", CELL.pair), ("rail_kd_c", CELL.method),
        ('"rte"', f'"{CELL.task}"'), ("[:5]", ""),
    ):  # fmt: skip
        assert block.count(told) == 1
        block = block.replace(told, here)
    exec(block, names := {})
    lines, record = capsys.readouterr().out.splitlines(), names["record"]
    assert len(lines) == round((1 - record["scores"]["dev"]["accuracy"]) * record["examples"]["dev"]) > 0
    assert all("->" in line and "[CLS]" in line for line in lines)
