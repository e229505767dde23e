"""What is refused, and how: one line that names the file."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_records import Folder

from analysis.__main__ import main
from analysis.load import read as load
from analysis.reported_benchmark import read
from analysis.statistics import summaries
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Cell
from railkd.method_facts import as_json
from railkd.method_sources import fingerprint, source_files
from railkd.records import run_record, sealed_files
from railkd.records.hashes import canonical, sha256_text

PAIR = "bert12-distilbert6"
ROOT = Path(__file__).parents[2]


def refusal(folder: Folder, capsys: pytest.CaptureFixture[str], step: str = "tables") -> str:
    """The one line that a command fails with; what commands before it have printed is left out."""
    capsys.readouterr()
    assert main([step, str(folder.file), "--results", str(folder.results)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    return printed.err


def other_config(record: dict[str, Any]) -> None:
    record["config"]["learning_rate"] = 1
    record["config_hash"] = sha256_text(canonical(record["config"]))


def test_two_configurations_in_one_cell_are_refused(small: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    small.edit(other_config, PAIR, "pkd", "cola", 2)
    message = refusal(small, capsys)
    assert str(small.path(PAIR, "pkd", "cola", 2)) in message and "another configuration" in message
    for seed in (1, 3):
        small.edit(other_config, PAIR, "pkd", "cola", seed)
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda r: r.pop("shown"), "missing key 'shown'"),
        (lambda r: r.update(config_hash="0"), "config_hash does not match"),
        (lambda r: r["scores"]["dev"].update(matthews=58.8), "expected a fraction"),
        (lambda r: r.update(seed=7), "'seed' is 7, but this place in the results is for 1"),
        (lambda r: r.update(method="ckd"), "'method' is 'ckd'"),
        (lambda r: r["scores"]["dev"].pop("matthews"), "no 'matthews'"),
        (lambda r: r["examples"].update(dev=399), "scored on other dev data"),
        (lambda r: r["baselines"]["test"].update(matthews=0.1), "scored on other test data"),
        (lambda r: r.update(shown="accuracy"), "no 'accuracy', the metric that a table shows"),
    ],
)
def test_a_wrong_record_is_refused(
    small: Folder, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], wanted: str
) -> None:
    small.edit(change, PAIR, "pkd", "cola", 1)
    message = refusal(small, capsys)
    assert str(small.path(PAIR, "pkd", "cola", 1)) in message and wanted in message


def test_a_broken_file_is_refused(small: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    small.path(PAIR, "pkd", "cola", 1).write_text('{"schema": 1,', encoding="utf-8")
    assert str(small.path(PAIR, "pkd", "cola", 1)) in refusal(small, capsys)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda s: s.pop("seeds"), "'seeds' is a required property"),
        (lambda s: s["pairs"][PAIR]["methods"].append("pdk"), "unknown method 'pdk'; did you mean 'pkd'?"),
        (lambda s: s["pairs"][PAIR]["tables"].append("figure9"), "'figure9' is not one of"),
        (lambda s: s["pairs"][PAIR].update(tasks=["colA"]), "unknown task 'colA'; did you mean 'cola'?"),
        (lambda s: s["data"].update(out_of_domain=["imbd"]), "did you mean 'imdb'?"),
        (lambda s: s["pairs"][PAIR].pop("teacher"), "pairs.bert12-distilbert6: 'teacher' is a required property"),
        (lambda s: s["data"].update(out_of_domain=[]), "names 6, but data.out_of_domain has no set"),
    ],
)
def test_a_wrong_benchmark_file_is_refused(
    small: Folder, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], wanted: str
) -> None:
    change(small.spec)
    small.save()
    assert wanted in refusal(small, capsys)


def test_files_that_are_not_there(small: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert "claims' first" in refusal(small, capsys, "report")
    for step in ("claims", "audit"):
        assert main([step, str(small.file), "--results", str(small.results)]) == 0
    assert "tables' first" in refusal(small, capsys, "report")
    small.results = small.root / "nowhere"
    assert "no such results folder" in refusal(small, capsys)
    small.file = small.root / "none.yaml"
    assert "no such benchmark file" in refusal(small, capsys)


def test_equal_records_give_equal_bytes_in_another_process_without_torch(full: Folder, folder: Folder) -> None:
    code = (
        "import sys; from analysis.__main__ import main; "
        f"assert main(['all', {str(folder.file)!r}, '--results', {str(folder.results)!r}]) == 0; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=600)
    written = [p.relative_to(full.results) for p in full.results.rglob("*") if p.parent.name in ("tables", "figures")]
    assert len(written) == 6 * 3 + 3 * 3  # tables, and with the averages three figures
    for name in [*written, "report.md"]:
        assert (full.results / name).read_bytes() == (folder.results / name).read_bytes(), name


def test_a_method_without_regression_gets_a_dash_and_an_external_one_does_not(small: Folder) -> None:
    source = small.root / "mine.py"
    source.write_text("from railkd.methods.codir import CoDIR\n\nclass Mine(CoDIR):\n    pass\n", encoding="utf-8")
    small.spec["methods"]["my_kd"] = {"method": f"{source}:Mine"}
    small.save()
    assert read(small.file).undefined("my_kd", "stsb") and not read(small.file).undefined("my_kd", "cola")
    small.spec["methods"]["my_kd"]["external"] = True
    small.save()
    assert not read(small.file).undefined("my_kd", "stsb")


def agree(
    folder: Folder, method: str, task: str, seeds: tuple[int, ...] = (1, 2, 3), version: str | None = None
) -> None:
    """Gives runs the configuration that the benchmark file asks for, of this version of the method's source."""
    asked = run_record.expected_config(read(folder.file).file, Layout(folder.results), Cell(PAIR, method, task))

    def change(record: dict[str, Any]) -> None:
        record.update(config=asked, config_hash=sha256_text(canonical(asked)))
        record["fingerprints"].update({"method": version} if version else {})

    for seed in seeds:
        folder.edit(change, PAIR, method, task, seed)


def test_a_cell_never_mixes_two_versions_of_a_methods_source(small: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, version in ((1, "a" * 64), (2, "b" * 64), (3, "a" * 64)):
        small.edit(lambda r, v=version: r["fingerprints"].update(method=v), PAIR, "pkd", "cola", seed)
    message = refusal(small, capsys)
    assert str(small.path(PAIR, "pkd", "cola", 2)) in message and "another version of its method's source" in message
    assert "fingerprint bbbbbbbbbbbb) than seed-1.json (aaaaaaaaaaaa)" in message


def test_runs_of_another_source_than_the_present_one_are_named(small: Folder) -> None:
    for task in ("cola", "mnli"):
        agree(small, "pkd", task, version="a" * 64)
        agree(small, "no_kd", task)
    runs = load(read(small.file), small.results)
    assert runs.edited == {(PAIR, "pkd"): ["cola", "mnli"]} and not runs.left_out
    assert not [key for key in runs.outdated if key[1] != "teacher"]
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    for number in (2, 6):
        text = (small.results / "tables" / f"table{number}.md").read_text()
        assert "another version of their method's source than the present one, so not comparable" in text


@pytest.mark.parametrize("what", ["configuration", "source"])
def test_outdated_runs_are_left_out_by_name_beside_runs_as_asked(small: Folder, what: str) -> None:
    agree(small, "pkd", "cola", (1, 3))
    agree(small, "pkd", "cola", (2,), "a" * 64 if what == "source" else None)
    if what == "configuration":
        small.edit(lambda r: r["config"].update(training=1) or rehash(r), PAIR, "pkd", "cola", 2)
    runs = load(read(small.file), small.results)
    assert sorted(runs.cell(PAIR, "pkd", "cola")) == [1, 3] and runs.left_out == [f"{PAIR} pkd: cola (seed 2)"]
    assert (PAIR, "pkd") not in runs.edited and "cola" not in runs.outdated.get((PAIR, "pkd"), [])
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    text = (small.results / "tables" / "table2.md").read_text()
    assert f"Left out, because trained with another configuration or source: {PAIR} pkd: cola (seed 2)." in text


def rehash(record: dict[str, Any]) -> None:
    record["config_hash"] = sha256_text(canonical(record["config"]))


def test_a_default_that_was_another_when_a_run_was_trained(small: Folder) -> None:
    """The file gives no option and has not changed: the record tells."""
    agree(small, "pkd", "cola")
    assert (PAIR, "pkd") not in load(read(small.file), small.results).outdated or "cola" not in (
        load(read(small.file), small.results).outdated[PAIR, "pkd"]
    )
    for seed in (1, 2, 3):
        small.edit(lambda r: r["config"]["method"].update(temperature=2.0) or rehash(r), PAIR, "pkd", "cola", seed)
    assert "cola" in load(read(small.file), small.results).outdated[PAIR, "pkd"]


def test_facts_of_a_class_travel_in_its_records(small: Folder) -> None:
    """Analysis reads titles and defaults there without importing the class; one without a record is imported."""
    code = (
        "import sys; from pathlib import Path; "
        "from analysis import load; from analysis.reported_benchmark import read; "
        f"b = read(Path({str(small.file)!r})); runs = load.read(b, Path({str(small.results)!r})); "
        "print(b.title_of('pkd'), '|', b.summary_of('no_kd'), '|', sorted(runs.outdated)[-1], 'torch' in sys.modules); "
        "print(b.title_of('codir'), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        f"PKD | The student alone, trained on the labels: what distillation has to beat. | ('{PAIR}', 'pkd') False",
        "CoDIR True",
    ]


def test_facts_of_another_source_are_not_taken_from_a_record(small: Folder) -> None:
    for seed in (1, 2, 3):
        for task in ("cola", "mnli"):
            small.edit(lambda r: r["method_class"].update(title="Old"), PAIR, "pkd", task, seed)
            small.edit(lambda r: r["fingerprints"].update(method="a" * 64), PAIR, "pkd", task, seed)
    benchmark = read(small.file)
    load(benchmark, small.results)
    assert benchmark.title_of("pkd") == "PKD"


@pytest.mark.parametrize("wrong", [{}, {"title": 3}, {"extra": "x"}, {"defaults": []}])
def test_facts_that_are_none_are_not_taken(small: Folder, wrong: dict[str, Any]) -> None:
    source = small.root / "mine.py"  # a class that no other test asks for
    source.write_text(f"from railkd.methods.pkd import PKD\n\nclass Mine(PKD):\n    title = 'Mine'  # {wrong}\n")
    small.spec["methods"]["mine"] = {"method": f"{source}:Mine"}
    small.spec["pairs"][PAIR]["methods"] = ["no_kd", "mine"]
    small.save()
    small.fill()
    for seed in (1, 2, 3):
        for task in ("cola", "mnli"):

            def change(record: dict[str, Any]) -> None:
                record["fingerprints"]["method"] = fingerprint(source_files(f"{source}:Mine"))
                record["method_class"] = {**as_json("pkd"), **wrong} if wrong else {}

            small.edit(change, PAIR, "mine", task, seed)
    benchmark = read(small.file)
    load(benchmark, small.results)
    assert benchmark.title_of("mine") == "Mine"


def test_titles_are_those_of_the_classes(small: Folder) -> None:
    """An entry named as its method has the class's title; so has a user's, unless two rows would share it.

    What inherits from CoDIR is not CoDIR.
    """
    source = small.root / "mine.py"
    source.write_text(
        "from railkd.methods.codir import CoDIR\n\n"
        "class Mine(CoDIR):\n    pass\n\nclass Own(CoDIR):\n    title = 'Own'\n"
    )
    small.spec["methods"] = {
        "no_kd": {}, "pkd": {}, "pkd_last": {"method": "pkd"}, "named": {"method": "pkd", "title": "Given"},
        "mine": {"method": f"{source}:Mine"}, "own": {"method": f"{source}:Own"}, "codir": {"external": True},
    }  # fmt: skip
    small.save()
    benchmark = read(small.file)
    assert {m: benchmark.title_of(m) for m in ("teacher", *benchmark.methods)} == {
        "teacher": "Teacher", "no_kd": "w/o KD", "pkd": "PKD", "pkd_last": "pkd_last", "named": "Given", "mine": "mine",
        "own": "Own", "codir": "CoDIR",
    }  # fmt: skip
    del small.spec["methods"]["codir"]
    small.spec["methods"]["own"] = {"method": f"{source}:Own", "alpha": 0.1}
    small.spec["methods"]["own2"] = {"method": f"{source}:Own"}
    small.save()
    benchmark = read(small.file)
    assert [benchmark.title_of(m) for m in ("mine", "own", "own2")] == ["mine", "own", "own2"]


def test_f1_sampling_error_is_that_of_resampled_examples() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    hits, errors, rest = 250, 100, 58
    drawn = rng.multinomial(408, np.array([hits, errors, rest]) / 408, size=20000)
    f1 = 2 * drawn[:, 0] / (2 * drawn[:, 0] + drawn[:, 1])
    exact = 2 * hits / (2 * hits + errors)
    assert summaries.sampling_error("f1", exact, 408, 1 - errors / 408) == pytest.approx(f1.std(), rel=0.03)


def test_matthews_sampling_error_of_a_constant_prediction() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = rng.random((2000, 1043)) < 0.7, rng.random((2000, 1043)) < 0.6
    phi = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    assert summaries.sampling_error("matthews", 0.0, 1043) == pytest.approx(np.std(phi), rel=0.06)


def test_sd_interval_holds_what_it_says() -> None:
    import numpy as np

    low, high = summaries.sd_factors(5)
    sds = np.random.default_rng(0).normal(size=(20000, 5)).std(axis=1, ddof=1)
    assert np.mean((sds * low < 1) & (sds * high > 1)) == pytest.approx(0.95, abs=0.005)
    assert not summaries.clears(0.5, math.nan, 1, 0.5, 0.0) and summaries.clears(1.0, 0.0, 3, 0.5, 0.0)


def test_records_of_other_seeds_and_methods_are_left_alone(small: Folder) -> None:
    stray = small.path(PAIR, "pkd", "cola", 99)
    stray.write_text(json.dumps({"broken": True}), encoding="utf-8")
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0


def test_runs_of_another_configuration_than_the_file_says_are_flagged(small: Folder) -> None:
    """A whole cell of them agrees with itself: every caption names it, until the file and the runs agree."""
    benchmark = read(small.file)
    for method in ("teacher", "no_kd", "pkd"):
        for task in ("cola", "mnli"):
            asked = (
                run_record.expected_config(benchmark.file, Layout(small.results), Cell(PAIR, method, task))
                if method != "teacher"
                else run_record.expected_teacher_config(benchmark.file, "bert12", task)
            )

            def agree(record: dict[str, Any], asked: Any = asked) -> None:
                record.update(config=asked, config_hash=sha256_text(canonical(asked)))

            for seed in (1,) if method == "teacher" else (1, 2, 3):
                small.edit(agree, PAIR, method, task, seed)
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    captions = [small.results / "tables" / f"table{n}.md" for n in (2, 6)]
    assert not [p for p in captions if "another configuration" in p.read_text()]
    small.spec["methods"]["pkd"] = {"alpha": 0.3}
    small.save()
    assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
    for path in captions:
        text = path.read_text()
        assert "another configuration than the benchmark file now says" in text
        assert r"bert12-distilbert6 pkd: cola, mnli" in text and r"no\_kd: " not in text


def test_runs_whose_setting_was_chosen_among_other_points_are_named(small: Folder) -> None:
    """A grid that was edited since: what the choice says is no longer what the file asks for."""
    grid = {"learning_rate": [1e-3, 2e-3]}
    small.spec["search"] = {"seed": 0, "tasks": ["cola"], "grid": grid}
    small.save()
    benchmark, layout = read(small.file).file, Layout(small.results)
    for cell in benchmark.cells():
        points = benchmark.grid(cell.method)
        best = {"point": points[1], "index": 1, "scores": [0.1, 0.2], "grid": points, "tasks": ["cola"]}
        sealed_files.write_json(layout.best(cell), sealed_files.sealed(best))
        agree(small, cell.method, cell.task)
    assert load(read(small.file), small.results).unchosen == {}
    whole: dict[str, Any] = dict(small.spec["search"])
    for change, tasks in (({"grid": {"learning_rate": [2e-3]}}, ["cola", "mnli"]), ({"tasks": None}, ["mnli"])):
        small.spec["search"] = {key: value for key, value in {**whole, **change}.items() if value is not None}
        small.save()
        runs = load(read(small.file), small.results)
        assert runs.unchosen[PAIR, "pkd"] == tasks and not runs.outdated.get((PAIR, "pkd"))
        assert main(["tables", str(small.file), "--results", str(small.results)]) == 0
        caption = (small.results / "tables" / "table2.md").read_text()
        assert "chosen among other points, or on other tasks, than search now names, so not comparable" in caption
    cell = Cell(PAIR, "pkd", "mnli")
    assert run_record.expected_config(read(small.file).file, layout, cell) is None
