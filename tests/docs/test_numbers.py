"""Every number of the README and docs/ that a published file holds is the file's number."""

import json
import re
from pathlib import Path
from statistics import mean, median, stdev

import pytest
import yaml
from said_and_published import (
    REFERENCE,
    ROOT,
    ROWS,
    against,
    at_their_end,
    cell,
    claims,
    differences,
    page,
    part,
    printed,
    ratios,
    real_text,
    records,
    table,
)

from analysis.claims import errors_of_intervals, oriented
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
    below = [oriented(real_text(), form, "vanilla_kd") for form in ("rail_kd_l", "rail_kd_c")]
    assert "On real text RAIL-KD is 6 points below vanilla KD with MiniLM; with MPNet nothing is decided." in text
    assert not {d["verdict"] for d in real_text("base")["differences"]} & {"higher", "lower"}
    assert all(found["verdict"] == "lower" and -6.5 <= round(found["estimate"], 1) <= -6 for found in below)


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


def test_the_budgets() -> None:
    text, report = page("docs/results.md"), (REFERENCE / "budget" / "report.md").read_text()
    spreads = re.search(
        r"lowest method: ([\d.]+) at 80 .*?; ([\d.]+) at 320 .*?; ([\d.]+) at 1,280 steps \(highest: ALP-KD", report
    )
    assert (
        spreads
        and "{} points between the highest and the lowest at 80 steps, {} at 320 and {} at".format(*spreads.groups())
        in text
    )
    tau = r"\+([\d.]+) at {} steps \(an order that does not change: \+([\d.]+) to \+([\d.]+) in"
    agreement = [re.search(tau.format(steps), report) for steps in (80, 320)]
    (at_80, *first), (at_320, *second) = (found.groups() for found in agreement if found)
    assert f"is {at_80} at 80 steps and {at_320} at 320." in text
    assert "would give {} to {} and {} to {}.".format(*first, *second) in text
    for value, (low, high) in ((at_80, first), (at_320, second)):
        assert float(low) <= float(value) <= float(high) and "That shows no change either" in text
    largest = next(
        panel
        for panel in json.loads((REFERENCE / "budget" / "claims.json").read_text())["differences"]
        if (panel["pair"], panel["block"]) == ("epochs-48", "test")
    )
    (decided,) = (d["methods"] for d in largest["differences"] if d["verdict"] in ("higher", "lower"))
    assert set(decided) == {"alp_kd", "no_kd"} and "one of the 21 differences between two methods is decided" in text
    assert f"At 1,280 steps, the largest budget, 1 of {largest['tests']} differences are decided" in report
    assert "At 80 steps 1 of 1 are decided the same way" in report and "At 320 steps 1 of 1 are decided the" in report


def test_the_projections_collapse() -> None:
    """Median effective rank and loss in the first and the last epoch, and the number of runs."""
    text = page("docs/results.md")
    facts = []
    for method in ("rail_kd_l", "rail_kd_c"):
        runs = [r for r in records("mini") if r["method"] == method]
        ranks = [r["method_record"]["effective_rank"] for r in runs]
        losses = [[epoch["loss"]["rail"] for epoch in r["epochs"]] for r in runs]
        ends = [f"{median(rank[i] for rank in ranks):.1f}" for i in (0, -1)]
        facts += [*ends, len(runs), *(f"{median(loss[i] for loss in losses):.2g}" for i in (0, -1))]
    first, last, count, loss, little, first_c, last_c, count_c, loss_c, little_c = facts
    assert (
        f"from {first} in the first epoch to {last} in the last over {count} layer-wise runs, and from {first_c} to "
        f"{last_c} over {count_c} concatenated ones; the median loss falls from {loss} to {little} and from {loss_c} "
        f"to {little_c}"
    ) in text
    assert f"11 wide, end with a median effective rank of {last}" in page("README.md") and last == last_c
    assert max(float(little) / float(loss), float(little_c) / float(loss_c)) < 1 / 50  # "at less than a fiftieth"


def test_the_ablation() -> None:
    methods = ("RAIL-KD<sup>l</sup>", "RAIL-KD<sup>c</sup>")
    found = {method: differences(method) for method in methods}
    rows = {row.pop("the paper's choice less"): row for row in table("docs/results.md", "| the paper's choice less |")}
    for method in methods:
        shown = {place: row[method] for place, row in rows.items()}
        assert shown == {
            place: f"{mean} ({low} to {high})" + " decided" * (verdict == "decided")
            for place, (mean, low, high, verdict) in found[method].items()
        }
    report = (REFERENCE / "ablation" / "report.md").read_text()
    least = [float(value) for value in re.findall(r"detectable: ([\d.]+)\)", report)]
    text = page("docs/results.md")
    assert f"found one of {min(least)} to {max(least)} points" in text
    assert f"{len(records('ablation')):,} runs" in text and len({r["seed"] for r in records("ablation")}) == 5
    readme = page("README.md")
    (l_form, c_form), plain = (
        (found[method]["its mean map held fixed"] for method in methods),
        str.maketrans("", "", "+"),
    )
    sentence = "is {} ({} to {}, {}) layer-wise and {} ({} to {}, {}) concatenated"
    numbers = [value.translate(plain) for value in (*l_form, *c_form)]
    assert sentence.format(numbers[0] + " points", *numbers[1:]) in readme
    mean, low, high, verdict = found[methods[0]]["no projection"]
    assert (
        "without projections is {} points ({} to {}, {}) better".format(
            *(value.removeprefix("−") for value in (mean, high, low, verdict))
        )
        in readme
    )


def test_the_layer_maps() -> None:
    text, report = page("docs/results.md"), (REFERENCE / "layer_maps" / "report.md").read_text()
    number = r"([−+]?[\d.]+)"
    found = re.search(
        rf"a map drawn anew in each epoch, scores .*?: {number} points from the mean map \\\[{number}, {number}\\\], "
        rf"no difference is decided\. Of the (\d+) fixed maps (\d+)% score lower .*standard deviation of {number} "
        rf"points; the noise of a mean of 3 runs alone gives {number}\..* which may be nothing: undecided",
        report,
    )
    assert found
    mean, low, high, maps, lower, spread, noise = found.groups()
    middle = f"{mean} points from the mean of the fixed ones (95 % interval over seeds {low} to {high}, undecided)"
    assert f"is in the middle: {middle}" in text
    assert f"{lower} % of them score lower" in text and f"trains {maps} of the 462 sorted layer maps" in text
    assert f"of the {maps} maps spread with a standard deviation of {spread} points, where the noise of three" in text
    assert f"alone gives {noise}." in text and f"{len(records('layer_maps'))} runs, layer-wise" in text


def test_the_grids() -> None:
    said = re.findall(
        r"`benchmarks/(\w+)\.yaml`(?: \(default\))? \|.*: ([\d,]+) students", (ROOT / "docs/benchmarks.md").read_text()
    )
    assert {"ablation", "layer_maps", "minilm", "minilm_ablation", "base"} < {name for name, _ in said}
    for name, students in said:
        assert students == f"{len(records(name)):,}", name
        spec = yaml.safe_load((ROOT / "benchmarks" / f"{name}.yaml").read_text())
        if not any("package" in model for model in spec["models"].values()):  # a package need not be installed
            benchmark = load(ROOT / "benchmarks" / f"{name}.yaml")
            assert students == f"{len(list(benchmark.cells())) * len(benchmark.seeds):,}", name


def test_every_method_on_equal_terms() -> None:
    panel = json.loads((REFERENCE / "methods" / "claims.json").read_text())["differences"][0]
    text, rows = page("docs/results.md"), table("docs/results.md", "| test | average | less vanilla KD |")
    assert {ROWS[row["test"]] for row in rows} == set(panel["methods"]) and len(panel["columns"]) == 5
    for row in rows:
        name, tested = row["test"], row["test"] != "vanilla KD"
        estimate, low, high, verdict = against(panel, name, "vanilla KD") if tested else ("",) * 4
        assert row == {
            "test": name,
            "average": "" if name == "CoDIR" else cell("methods/tables/table2.csv", "test", name, "avg"),
            "less vanilla KD": f"{estimate} ({low} to {high})" if tested else "",
            "verdict": verdict,
        }
    verdicts = [d["verdict"] for d in panel["differences"]]
    decided = sum(verdict in ("higher", "lower") for verdict in verdicts)
    assert f"{decided} of the {len(verdicts)} differences between two methods are decided" in text
    best = {
        name: against(panel, "CR-ILD", name) for name in ROWS if ROWS[name] in panel["methods"] and name != "CR-ILD"
    }
    above = [name for name, (*_, verdict) in best.items() if verdict == "higher"]
    rail = ("RAIL-KD<sup>l</sup>", "RAIL-KD<sup>c</sup>")
    assert len(above) == 7 and {"vanilla KD", *rail} < set(above) and "is above seven others" in text
    assert "vanilla KD and both forms of RAIL-KD ({} and {})".format(*(best[name][0] for name in rail)) in text
    open_ones = [best["ALP-KD"], best["PKD"], against(panel, "ALP-KD", "PKD")]
    assert {found[3] for found in open_ones} == {"undecided"} and "CR-ILD, PKD and ALP-KD nothing is decided" in text
    for other, words in (("without KD", "without KD ({} and {}, decided)"), ("ALP-KD", "ALP-KD ({} and {}, decided)")):
        forms = [against(panel, f"RAIL-KD<sup>{form}</sup>", other) for form in "lc"]
        assert words.format(*(form[0] for form in forms)) in text
        assert {form[3] for form in forms} <= {"higher", "lower"}
    mini = {(r["pair"], r["method"], r["task"], r["seed"]): r["scores"] for r in records("mini")}
    again = [(r, mini.get((r["pair"], r["method"], r["task"], r["seed"]))) for r in records("methods")]
    same = [r["scores"] == scores for r, scores in again if scores is not None]
    assert all(same) and f"The {len(same)} runs that are in `mini` too have the same scores" in text
    assert f"{len(again)} students" in text


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ("quick", "Its two seeds decide none of the differences between its methods"),
        ("initialisation", "on most tasks, and for three seeds, to decide anything about gains"),
    ],
)
def test_what_is_said_to_decide_nothing_decides_nothing(benchmark: str, said: str) -> None:
    panels = json.loads((REFERENCE / benchmark / "claims.json").read_text())["differences"]
    assert said in page("docs/results.md") and len(panels) > 1
    assert not [d for p in panels for d in p["differences"] if d["verdict"] in ("higher", "lower")]


def test_where_a_student_begins() -> None:
    starts = {
        "the first 6 layers of its teacher": "first6",
        "every other layer": "every_other6",
        "every other layer, then 50 steps of pre-training": "distilled6",
        "a BERT pre-trained on its own, 10,000 steps": "small6",
    }
    tasks = ("mrpc", "qqp", "mnli", "rte")

    def averages(benchmark: str, pair: str, method: str) -> list[float]:
        by_seed: dict[int, list[float]] = {}
        for r in records(benchmark):
            if (r["pair"], r["method"]) == (pair, method) and r["task"] in tasks:
                by_seed.setdefault(r["seed"], []).append(100 * r["scores"]["test"][r["shown"]])
        assert len(by_seed) == 3 and {len(scores) for scores in by_seed.values()} == {4}
        return [mean(scores) for scores in by_seed.values()]

    rows = table("docs/results.md", "| the student begins as |")
    below = []
    teachers = [r["scores"]["test"][r["shown"]] for r in records("initialisation", "teachers") if r["task"] in tasks]
    teacher = 100 * mean(teachers)
    text = page("docs/results.md")
    assert f"average over the four tasks; the teacher's is {teacher:.1f}." in text
    for row in rows:
        start = row.pop("the student begins as")
        place = (
            ("mini", "bert12-distilbert6")
            if start.startswith("`mini`")
            else ("initialisation", f"bert12-{starts[start]}")
        )
        for name, shown in row.items():
            found = averages(*place, ROWS[name])
            assert shown == f"{mean(found):.1f} ± {stdev(found):.1f}"
        below.append(teacher - mean(averages(*place, "no_kd")))
    *own, last = below
    assert f"and {min(own):.1f} to {max(own):.1f} below the teacher" in text and max(own) - min(own) < 0.35
    assert f"The student of `mini` is {last:.1f} points below" in text
    assert (
        f"is {own[2]:.1f} points below its teacher on MRPC, QQP, MNLI and RTE, where this one is {last:.1f} below"
        in page("docs/miniature.md")
    )
    assert f"{len(records('initialisation'))} students" in text


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
