"""Every number of the README and docs/ that a published file holds is the file's number."""

import json
import re
from pathlib import Path

import yaml
from said_and_published import (
    REFERENCE,
    ROOT,
    ROWS,
    against,
    at_their_end,
    cell,
    claims,
    page,
    part,
    printed,
    ratios,
    real_text,
    records,
    table,
)

from analysis.claims import errors_of_intervals
from railkd.benchmark.config import load


def test_the_readmes_table() -> None:
    rows = table("README.md", "| test average, percent |")
    assert [row["test average, percent"] for row in rows][-2:] == ["RAIL-KD<sup>l</sup>", "RAIL-KD<sup>c</sup>"]
    for row in rows:
        name = row["test average, percent"]
        assert row == {
            "test average, percent": name,
            "12 → 6 layers": cell("mini/tables/table2.csv", "test", name, "avg"),
            "24 → 6 layers": cell("mini/tables/table3.csv", "test", name, "avg"),
            "paper: 12 → 6": printed("table2.csv", "test", name),
            "paper: 24 → 6": printed("table3.csv", "test", name),
        }


def test_what_was_found_about_gains() -> None:
    found = claims("mini")
    pages = page("README.md"), page("docs/results.md")
    low, value, high = part(found["above-ild-12-test"], "RAIL-KD^c − ALP-KD")
    low_24, value_24, high_24 = part(found["above-ild-24-test"], "RAIL-KD^c − ALP-KD")
    plain = [text.removeprefix("−") for text in (value, high, low, value_24, high_24, low_24)]
    sentence = (
        "is {} points below ALP-KD on test (95 % interval {} to {}, over seeds and examples) at 12 → 6 layers and {} "
        "({} to {}) at 24 → 6"
    )
    assert sentence.format(*plain) in pages[0] and "On each depth's five tasks of eight" in pages[0]
    for claim in (found["above-ild-12-test"], found["above-ild-24-test"]):
        assert {len(part["columns"]) for part in claim["parts"]} == {5} and claim["verdict"] == "contradicted"
    sentence = "ALP-KD is {} points on test at 12 → 6 layers (95 % interval {} to {}) and {} ({} to {}) at 24 → 6"
    assert sentence.format(value, low, high, value_24, low_24, high_24) in pages[1]
    content = json.loads((REFERENCE / "mini" / "claims.json").read_text())
    assert errors_of_intervals(content) == "Intervals of scores are of seeds and examples together."
    vanilla = against(content["differences"][0], "RAIL-KD<sup>c</sup>", "vanilla KD")
    assert "Against vanilla KD: {} ({} to {}, {})".format(*vanilla) in pages[0]
    pairs = content["validity"]["pairs"]
    holds = {p["pair"]: {a["question"]: a["holds"] for a in p["answers"]} for p in pairs}
    for name in ("bert12-distilbert6", "roberta24-distilroberta6"):
        assert (
            holds[name]["converged"] and holds[name]["gain"] and holds[name]["tuning"] and not holds[name]["collapse"]
        )


def test_the_readmes_other_findings() -> None:
    text = page("README.md")
    for regime, words in (("cached", "times as long as one without KD"), ("live", "times with a live teacher")):
        values = sorted(ratios("bert12-distilbert6", regime).values())
        assert f"{values[0]} to {values[-1]} {words}" in text
    cut = {r["examples"]["train"] for r in records("minilm") if r["task"] in ("sst2", "qqp", "mnli", "qnli")}
    assert f"large sets cut to {cut.pop():,} examples" in text and not cut
    assert "On real text, with MiniLM and MPNet, nothing is decided between RAIL-KD and vanilla KD." in text
    for benchmark in ("minilm", "base"):
        for form in ("RAIL-KD<sup>l</sup>", "RAIL-KD<sup>c</sup>"):
            assert against(real_text(benchmark), form, "vanilla KD")[3] in ("undecided", "not decided")


def test_what_the_results_are_worth() -> None:
    for row in table("docs/results.md", "| benchmark | student runs"):
        assert list(row.values())[1:] == [
            at_their_end(records(row["benchmark"])),
            at_their_end(records(row["benchmark"], "teachers")),
        ]
    text = page("docs/results.md")
    steps = {record["cost"]["steps"] for record in records("mini")}
    assert f"takes {min(steps)} to {max(steps)} steps" in text
    counts = json.loads((REFERENCE / "mini" / "claims.json").read_text())["counts"]
    said = ", ".join(
        f"{counts[key]} {key}" for key in ("reproduced", "contradicted", "undecided", "not decided", "not run")
    )
    assert f"({sum(counts.values())} claims: {said})" in text


def test_the_gap_of_the_miniature() -> None:
    text = page("docs/miniature.md")
    pairs = json.loads((REFERENCE / "mini" / "claims.json").read_text())["validity"]["pairs"]
    gaps = {p["pair"]: [g for g in p["gaps"] if g["block"] == "test"] for p in pairs}
    mean = {pair: sum(g["gap"] for g in some) / len(some) for pair, some in gaps.items() if some}
    assert f"by {mean['bert12-distilbert6']:.1f} points on average (test)" in text
    assert f"it is {mean['roberta24-distilroberta6']:.1f} points" in text
    clear = {g["column"] for g in gaps["bert12-distilbert6"] if g["clears"]}
    assert clear == {"mrpc", "stsb", "qqp", "mnli", "rte"} and "on MRPC, STS-B, QQP, MNLI and RTE" in text
    gap12, gap24 = (
        float(printed(file, "dev", "teacher")) - float(printed(file, "dev", "without KD"))
        for file in ("table2.csv", "table3.csv")
    )
    assert f"{gap12:.1f} points at 12 → 6 layers, {gap24:.1f} at 24 → 6" in text


def test_the_miniatures_table() -> None:
    assert f"{len(records('mini'))} students and {len(records('mini', 'teachers'))} teachers" in page("docs/results.md")
    for row in table("docs/results.md", "| | 12 → 6, dev |"):
        name = row[""]
        assert row == {
            "": name,
            "12 → 6, dev": cell("mini/tables/table2.csv", "dev", name, "avg"),
            "12 → 6, test": cell("mini/tables/table2.csv", "test", name, "avg"),
            "24 → 6, dev": cell("mini/tables/table3.csv", "dev", name, "avg"),
            "24 → 6, test": cell("mini/tables/table3.csv", "test", name, "avg"),
            "paper: 12 → 6, dev": printed("table2.csv", "dev", name),
            "paper: 24 → 6, dev": printed("table3.csv", "dev", name),
        }


def test_the_published_folders() -> None:
    rows = {row["folder"].strip("`/"): row for row in table("results/reference/README.md", "| folder | benchmark |")}
    assert rows.keys() == {path.name for path in REFERENCE.iterdir() if path.is_dir()}
    for name, row in rows.items():
        if (REFERENCE / name / "runs").is_dir():
            students, teachers = records(name), records(name, "teachers")
            assert row["runs"].startswith(
                f"{len(students)} students and {len(teachers)} teacher{'s' * (len(teachers) > 1)}, "
            )
            assert {run["provenance"]["commit"][:7] for run in students} == set(row["commit"].split(" and "))
    costs = [run["cost"] for run in records("mini")]
    trained, evaluated = (sum(cost[key] for cost in costs) for key in ("train_seconds", "eval_seconds"))
    share = f"{100 * trained / (trained + evaluated):.0f} % are training steps"
    assert share in page("results/reference/README.md")
    speed = json.loads((REFERENCE / "paper" / "speed.json").read_text())
    assert rows["paper"]["benchmark"] == f"`{speed['command']}`"
    assert speed["environment"]["commit"].startswith(rows["paper"]["commit"])


def test_the_grids() -> None:
    said = re.findall(
        r"`benchmarks/(\w+)\.yaml`(?: \(default\))? \|.*: ([\d,]+) students", (ROOT / "docs/benchmarks.md").read_text()
    )
    assert {"ablation", "layer_maps", "minilm", "minilm_ablation", "base"} < {name for name, _ in said}
    for name, students in said:
        if (REFERENCE / name).is_dir():  # else it has not been run, and its page says so
            assert students == f"{len(records(name)):,}", name
        spec = yaml.safe_load((ROOT / "benchmarks" / f"{name}.yaml").read_text())
        if not any("package" in model for model in spec["models"].values()):  # a package need not be installed
            benchmark = load(ROOT / "benchmarks" / f"{name}.yaml")
            assert students == f"{len(list(benchmark.cells())) * len(benchmark.seeds):,}", name


def test_the_papers_own_numbers() -> None:
    audit = (REFERENCE / "ablation" / "audit.md").read_text()
    counts = re.search(r"(\d+) averages and statements were recomputed .*; (\d+) do not add up", audit)
    assert counts
    text = page("docs/results.md")
    assert (
        f"recomputes {counts[1]} averages and statements from the tables that the paper prints; {counts[2]} of" in text
    )


def test_the_cost_of_a_step() -> None:
    groups = {"12 → 6": "bert12-distilbert6", "24 → 6": "roberta24-distilroberta6"}
    for row in table("docs/cost.md", "| step / step without KD |"):
        name, _, negatives = row.pop("step / step without KD").replace(",", "").partition(" K = ")
        key = f"{ROWS[name]}-{negatives}" if negatives else ROWS[name]
        for column, shown in row.items():
            depth, _, regime = column.partition(", ")
            assert shown == ratios(groups[depth], regime)[key], (name, column)
    at_48 = ratios("bert12-distilbert6, n = 48", "cached")
    assert f"CKD grows with the teacher once signals are cached ({at_48['ckd']} at 48 layers)" in page("docs/cost.md")
    assert max(float(ratio) for method, ratio in at_48.items() if method != "ckd") < 1.1


def test_the_other_tools() -> None:
    peers = json.loads((REFERENCE / "minilm" / "peers.json").read_text())["rows"]
    ours, documented, best = peers
    text = page("docs/cost.md")
    assert f"({ours['seconds']:.1f} s for {ours['steps']} steps, of which" in text
    assert f"of which the cache takes {ours['cache_seconds']:.1f} s)" in text
    first, second = table("docs/cost.md", "| tool | documented |")
    assert list(first.values()) == ["this suite", "", "", "1.00", f"{100 * ours['dev']:.1f}"]
    expected = [f"`transformers.Trainer` {documented['version'].rpartition('.')[0]}"]
    for row in (documented, best):
        expected += [f"{row['seconds'] / ours['seconds']:.2f}", f"{100 * row['dev']:.1f}"]
    assert list(second.values()) == expected


def test_every_method_has_its_row() -> None:
    files = {path.stem for path in (ROOT / "railkd" / "methods").glob("*.py")} - {"__init__", "base", "mistakes"}
    rows = table("docs/methods.md", "| method | what it does |")
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row["method"])} == files


def test_every_benchmark_has_its_row() -> None:
    files = {path.name for path in (ROOT / "benchmarks").glob("*.yaml")} - {"claims.yaml"}
    rows = table("docs/benchmarks.md", "| file | data |")
    assert {Path(row["file"].split("`")[1]).name for row in rows} == files
