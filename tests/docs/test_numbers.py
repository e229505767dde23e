"""Every number of the README and docs/ that a published file holds is the file's number."""

import csv
import json
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import pytest

from analysis.claims import errors_of_intervals, oriented
from analysis.tables.numbers import signed
from railkd.benchmark.config import load

ROOT = Path(__file__).parents[2]
REFERENCE, PAPER = ROOT / "results" / "reference", ROOT / "benchmarks" / "reference"
ROWS = {
    "majority-class baseline": "constant",
    "teacher": "teacher",
    "without KD": "no_kd",
    "vanilla KD": "vanilla_kd",
    "PKD": "pkd",
    "CKD": "ckd",
    "ALP-KD": "alp_kd",
    "CoDIR": "codir",
    "RAIL-KD<sup>l</sup>": "rail_kd_l",
    "RAIL-KD<sup>c</sup>": "rail_kd_c",
    "DistilBERT-cos": "distilbert_cos",
    "MiniLMv2": "minilm_v2",
    "MixKD": "mixkd",
    "TinyBERT": "tinybert",
    "CR-ILD": "cr_ild",
}
Row = dict[str, str]


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text().split())


def table(name: str, first_line: str) -> list[Row]:
    """The Markdown table of a page whose first line begins so: row by row, column title -> text."""
    lines = (ROOT / name).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(first_line))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([text.strip() for text in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def read_csv(path: Path) -> list[Row]:
    with path.open() as file:
        return list(csv.DictReader(file))


def cell(file: str, block: str, row: str, column: str) -> str:
    """A cell of a published table, as the pages write it: mean ± standard deviation, and † under the baseline."""
    (at,) = [r for r in read_csv(REFERENCE / file) if (r["block"], r["row"], r["column"]) == (block, ROWS[row], column)]
    spread = f" ± {float(at['sd']):.1f}" if at["sd"] else ""
    dagger = "†" if at["clears_baseline"] == "False" and column != "avg" else ""
    return f"{float(at['value']):.1f}{spread}{dagger}"


def printed(file: str, split: str, row: str) -> str:
    """The average that the paper prints; empty where it prints none."""
    found = [r["avg"] for r in read_csv(PAPER / file) if (r["split"], r["method"]) == (split, ROWS[row])]
    return found[0] if found else ""


@cache
def records(benchmark: str, kind: str = "runs") -> list[dict[str, Any]]:
    """The published records of a benchmark."""
    pattern = {"runs": "*/*/*/seed-*.json", "teachers": "*/*/record.json"}[kind]
    return [json.loads(path.read_text()) for path in (REFERENCE / benchmark / kind).glob(pattern)]


def at_their_end(some: Iterable[dict[str, Any]]) -> str:
    """How many of these runs have their last epoch as the best one."""
    last = [record["best_epoch"] == len(record["epochs"]) for record in some]
    return f"{sum(last)} of {len(last)}"


def ratios(group: str, regime: str) -> dict[str, str]:
    """The cost of a step relative to one without KD, by method; CoDIR's by its negatives too."""
    rows = read_csv(REFERENCE / "paper" / "speed.csv")
    rows = [r for r in rows if (r["group"], r["regime"]) == (group, regime)]
    return {r["method"] + (r["negatives"] and f"-{r['negatives']}"): f"{float(r['ratio']):.2f}" for r in rows}


def claims(benchmark: str) -> dict[str, dict[str, Any]]:
    """The verdicts of a published benchmark, by the claim's id."""
    return {c["id"]: c for c in json.loads((REFERENCE / benchmark / "claims.json").read_text())["claims"]}


def part(claim: dict[str, Any], label: str) -> tuple[str, str, str]:
    """A comparison's estimate and interval, as pages write numbers; it has to have decided against the claim."""
    (found,) = [part for part in claim["parts"] if part["label"] == label]
    assert found["verdict"] == "contradicted"
    low, value, high = (f"{found[key]:.1f}".replace("-", "−") for key in ("low", "estimate", "high"))
    return low, value, high


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
    assert sentence.format(*plain) in pages[0] and "On the five tasks of eight" in pages[0]
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
    assert "on real text both forms are 6 points below vanilla KD." in text
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
    tau = r"\+([\d.]+) \\\[\+([\d.]+), \+([\d.]+)\\\]"
    agreement = re.search(rf"{tau} at 80 steps, {tau} at 320 steps", report)
    assert agreement and (
        "is {} (95 % interval {} to {}) at 80 steps and {} ({} to {}) at 320".format(*agreement.groups()) in text
    )
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


def differences(method: str, benchmark: str = "ablation") -> dict[str, tuple[str, str, str, str]]:
    """What an ablation's report says of a method: what stands in its place -> mean, low, high, whether decided."""
    number = r"([−+][\d.]+)"
    cells = rf"{number} \\\[{number}, {number}\\\] \((decided|undecided|not decided)[:;].*\)"
    rows = table(f"results/reference/{benchmark}/report.md", "| Less itself with")
    matches = {row["Less itself with"]: re.fullmatch(cells, row[method]) for row in rows if row[method]}
    return {place: match.groups() for place, match in matches.items() if match}


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
    benchmarks = page("docs/benchmarks.md")
    for name in ("ablation", "layer_maps"):
        benchmark = load(ROOT / "benchmarks" / f"{name}.yaml")
        assert f"{len(list(benchmark.cells())) * len(benchmark.seeds):,} students" in benchmarks


def against(panel: dict[str, Any], first: str, second: str) -> tuple[str, str, str, str]:
    """A difference of a panel of claims.json as pages write it: estimate, low, high, verdict."""
    found = oriented(panel, ROWS[first], ROWS[second])
    assert found is not None
    return signed(found["estimate"]), signed(found["low"]), signed(found["high"]), found["verdict"]


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


def test_what_the_projections_do_on_real_text() -> None:
    text, readme, folder = page("docs/results.md"), page("README.md"), REFERENCE / "minilm_ablation"
    forms = {"RAIL-KD<sup>l</sup>": "rail_kd_l", "RAIL-KD<sup>c</sup>": "rail_kd_c"}
    variants = {
        "its mean map held fixed": ".skip",
        "a projection learned for the student alone": ".learned_student",
        "no projection": ".none",
    }
    scores = {(r["block"], r["row"], r["column"]): r for r in read_csv(folder / "tables" / "table2.csv")}
    effects = {r["method"]: r for r in read_csv(folder / "figures" / "ablation.csv")}
    entry = ""
    for row in table("docs/results.md", "| | dev | test | test, less vanilla KD |"):
        name = row.pop("")
        entry = forms.get(name, entry)
        method = entry + variants[name] if name in variants else ROWS[name]
        for block in ("dev", "test"):
            at = scores[block, method, "qnli"]
            assert row[block] == f"{float(at['value']):.1f}" + (f" ± {float(at['sd']):.1f}" if at["sd"] else "")
        shown = [signed(float(effects[method][key])) for key in ("mean", "low", "high")] if method in effects else []
        assert row["test, less vanilla KD"] == ("{} ({} to {})".format(*shown) if shown else ""), method
    l_form, c_form = (differences(form, "minilm_ablation") for form in forms)
    drawn = [form["its mean map held fixed"] for form in (l_form, c_form)]
    assert (
        "is {} points ({} to {}, {}) layer-wise and {} ({} to {}, {}) concatenated. On".format(*drawn[0], *drawn[1])
        in text
    )
    mean, low, high, verdict = (value.lstrip("−") for value in l_form["no projection"])
    assert verdict == "decided" and f"is {mean} points ({high} to {low}, decided) below itself without any" in text
    assert f"on real QNLI {mean} ({high} to {low}, decided)" in readme
    mean, low, high, verdict = l_form["a projection learned for the student alone"]
    assert f"{mean} points ({low} to {high}, {verdict}) layer-wise from it" in text
    mean, low, high, verdict = c_form["no projection"]
    assert f"it is {mean.lstrip('−')} (−{high.lstrip('+')} to {low.lstrip('−')}, {verdict})" in text
    report = (folder / "report.md").read_text()
    assert "dev still rose by 0.4 to 0.5 points (standard error 0.3)" in report and "by 0.4 to 0.5 points" in text
    runs = records("minilm_ablation")
    assert f"{len(runs)} students, three seeds" in text and {r["examples"]["test"] for r in runs} == {400}
    for student, expected in ((True, "4.5 to 6.7"), (False, "1.1 to 1.2")):
        ends = [
            r["method_record"]["effective_rank"][-1]
            for r in runs
            if r["method"] in [f"{form}{'.learned_student' * student}" for form in forms.values()]
        ]
        assert f"{min(ends):.1f} to {max(ends):.1f}" == expected


def scores_of(benchmark: str, method: str) -> str:
    """The mean dev score on QNLI."""
    rows = read_csv(REFERENCE / benchmark / "tables" / "table2.csv")
    (found,) = (r["value"] for r in rows if (r["block"], r["row"], r["column"]) == ("dev", method, "qnli"))
    return f"{float(found):.1f}"


def real_text(benchmark: str = "minilm") -> dict[str, Any]:
    """The differences between methods on the test sets of a benchmark of real text."""
    panels = json.loads((REFERENCE / benchmark / "claims.json").read_text())["differences"]
    (panel,) = (panel for panel in panels if panel["block"] == "test")
    return panel


def test_the_real_texts_tables() -> None:
    tasks, sets = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE"), ("SciTail", "PAWS", "IMDb")
    for row in table("docs/results.md", "| test | CoLA | SST-2 |"):
        name = row["test"]
        columns = {title: title.lower().replace("-", "") for title in tasks} | {"average": "avg"}
        undefined = ("STS-B", "average") if name == "CoDIR" else ()
        assert row == {
            "test": name,
            **{
                title: "" if title in undefined else cell("minilm/tables/table2.csv", "test", name, column)
                for title, column in columns.items()
            },
        }
    rows = table("docs/results.md", "| out of domain |")
    for row in rows:
        name = row["out of domain"]
        found = [cell("minilm/tables/table6.csv", "ood", name, column) for column in ("scitail", "paws_wiki", "imdb")]
        assert row == {"out of domain": name, **dict(zip(sets, found, strict=True))}
    assert all("†" in row[column] for row in rows[2:] for column in ("SciTail", "PAWS"))
    imdb = [float(row["IMDb"].split()[0]) for row in rows[2:]]
    assert f"lie within {max(imdb) - min(imdb):.1f} points" in page("docs/results.md")
    students = [r for r in read_csv(REFERENCE / "minilm" / "tables" / "table2.csv") if r["sd"] and r["block"] == "test"]
    assert {r["clears_baseline"] for r in students if r["column"] in ("mrpc", "rte")} == {"False"}


def test_the_answers_on_real_text() -> None:
    panel, text = real_text(), page("docs/results.md")
    assert panel["not_counted"] == ["sst2", "mrpc", "qqp"] and "(all but SST-2, MRPC and QQP)" in text
    assert f"with three seeds: {len(records('minilm'))} students" in text
    c_form, l_form = "RAIL-KD<sup>c</sup>", "RAIL-KD<sup>l</sup>"
    below = {}
    for form in (c_form, l_form):
        for other, expected in (("vanilla KD", "lower"), ("PKD", "undecided")):
            estimate, low, high, verdict = against(panel, form, other)
            turned = [high.replace("+", "−") if high[0] == "+" else high.removeprefix("−"), low.removeprefix("−")]
            below[form, other] = f"{estimate.removeprefix('−')} points ({turned[0]} to {turned[1]})"
            assert verdict == expected
    assert f"{c_form} by {below[c_form, 'vanilla KD']}, {l_form} by {below[l_form, 'vanilla KD']};" in text
    assert f"it is {below[c_form, 'PKD']} and {below[l_form, 'PKD']} below" in text
    least = [f"{oriented(panel, ROWS[form], 'vanilla_kd')['detectable']:.1f}" for form in (c_form, l_form)]
    assert "would have found is {} and {}.".format(*least) in text
    lower = [against(panel, form, "without KD") for form in (c_form, l_form)]
    assert {found[3] for found in lower} == {"undecided"}
    plain = [found[0].removeprefix("−") for found in lower]
    assert "even the student without KD, by {} and {} points (undecided)".format(*plain) in text
    decided = {frozenset(d["methods"]) for d in panel["differences"] if d["verdict"] in ("higher", "lower")}
    rails = {"rail_kd_l", "rail_kd_c"}
    others = {frozenset((rail, other)) for rail in rails for other in ("vanilla_kd", "alp_kd")}
    assert decided == others | {frozenset(("codir", "alp_kd"))}
    assert f"{len(decided)} of the {len(panel['differences'])} differences are decided" in text
    alp = ["{}, {} to {}".format(*against(panel, form, "ALP-KD")[:3]) for form in (c_form, l_form)]
    assert "({} concatenated and {} layer-wise)".format(*alp) in text
    gains = [against(panel, name, "without KD") for name in ("vanilla KD", "ALP-KD")]
    assert {found[3] for found in gains} == {"undecided"}
    assert "vanilla KD ({}, {} to {}) and ALP-KD ({}, {} to {}) on the".format(*gains[0][:3], *gains[1][:3]) in text
    assert claims("minilm")["above-ild-12-test"]["verdict"] == "contradicted"
    cost = {part["label"]: part for part in claims("minilm")["no-added-cost"]["parts"]}
    ratio = [
        "{estimate:.2f} ({low:.2f} to {high:.2f})".format_map(cost[f"RAIL-KD^{form} / Vanilla KD"]) for form in "lc"
    ]
    assert "takes {} times as long as one of vanilla KD layer-wise, {} concatenated: undecided".format(*ratio) in text
    (pair,) = json.loads((REFERENCE / "minilm" / "claims.json").read_text())["validity"]["pairs"]
    reasons = {answer["question"]: answer["reason"] for answer in pair["answers"]}
    assert "CKD: dev still rose by 4.1 ± 1.1 points on CoLA." in reasons["converged"]
    assert "CKD on CoLA, where dev still rose by 4.1 points (standard error 1.1)" in text
    assert {d["verdict"] for d in panel["differences"] if "ckd" in d["methods"]} == {"not decided"}


def test_what_chose_the_learning_rates_on_real_text() -> None:
    text, folder = page("docs/results.md"), REFERENCE / "minilm" / "search" / "minilm6-minilm3"
    chosen = {path.name: json.loads((path / "qnli" / "best.json").read_text()) for path in folder.iterdir()}
    rates = {name: best["point"]["learning_rate"] for name, best in chosen.items()}
    assert {name for name, rate in rates.items() if rate == 2e-4} == {"pkd", "codir", "rail_kd_c"}
    assert set(rates.values()) == {1e-4, 2e-4}
    first, second = (f"{100 * score:.1f}" for score in chosen["pkd"]["scores"][:2])
    assert first == second and f"that mean is {first} at 1e-4 and at 2e-4" in text
    first, second = (100 * score for score in chosen["rail_kd_c"]["scores"][:2])
    assert f"took 2e-4 by {second - first:.1f} points" in text
    seeds = sorted(
        100 * r["scores"]["test"]["pearson_spearman"]
        for r in records("minilm")
        if (r["method"], r["task"]) == ("pkd", "stsb")
    )
    assert "at {:.1f} and the others at {:.1f} and {:.1f}".format(*seeds) in text
    scores = {b: {m: scores_of(b, m) for m in ("rail_kd_c", "no_kd")} for b in ("minilm_ablation", "minilm")}
    assert f"is {scores['minilm_ablation']['rail_kd_c']} instead of {scores['minilm']['rail_kd_c']}" in text
    assert f"below the {scores['minilm']['no_kd']} of the student without KD" in text


def test_the_claim_that_is_reproduced() -> None:
    held = {name: claims(name)["attention-on-top"] for name in ("minilm", "mini", "methods", "quick", "base")}
    shares = ["{:.2f}".format(held[name]["estimate"]) for name in ("minilm", "mini", "base")]
    assert "(a share of {}; {} in `mini`, {} in `base`)".format(*shares) in page("docs/results.md")
    assert [name for name, claim in held.items() if claim["verdict"] == "reproduced"] == ["minilm"]
    for folder in REFERENCE.iterdir():
        if (folder / "claims.json").is_file() and folder.name != "minilm":
            assert "reproduced" not in {claim["verdict"] for claim in claims(folder.name).values()}, folder.name


def test_the_papers_depth_and_width() -> None:
    columns = {"CoLA": "cola", "MRPC": "mrpc", "STS-B": "stsb", "RTE": "rte", "average": "avg"}
    for row in table("docs/results.md", "| test | CoLA | MRPC | STS-B | RTE |"):
        name = row["test"]
        undefined = ("STS-B", "average") if name == "CoDIR" else ()
        assert row == {
            "test": name,
            **{
                title: "" if title in undefined else cell("base/tables/table2.csv", "test", name, column)
                for title, column in columns.items()
            },
        }
    held = json.loads((REFERENCE / "base" / "claims.json").read_text())
    panel, text = real_text("base"), page("docs/results.md")
    assert f"none of the {len(panel['differences'])} differences is decided" in text
    assert {d["verdict"] for d in panel["differences"]} == {"undecided", "not decided"}
    estimates = ["{} ({} to {})".format(*against(panel, n, "vanilla KD")[:3]) for n in ("RAIL-KD<sup>c</sup>", "PKD")]
    assert "RAIL-KD<sup>c</sup> is {}, PKD {}.".format(*estimates) in text
    students = records("base")
    for task, score in (("cola", "matthews"), ("rte", "accuracy")):
        runs = [r for r in students if (r["method"], r["task"]) == ("rail_kd_l", task)]
        after = {epoch["dev"][score] for r in runs for epoch in r["epochs"]}
        assert len(runs) == 2 and after == {runs[0]["baselines"]["dev"][score]}  # the majority class's
    (first,) = (r for r in students if (r["method"], r["task"], r["seed"]) == ("rail_kd_l", "cola", 1))
    losses = [epoch["loss"] for epoch in first["epochs"]]
    assert f"{losses[0]['rail']:.1f} and the cross-entropy {losses[0]['ce']:.2f} (seed 1)" in text
    assert {f"{epoch['ce']:.2f}" for epoch in losses[1:]} == {"0.61"}
    reasons = {a["question"]: a["reason"] for a in held["validity"]["pairs"][0]["answers"]}
    assert "is +10.2 points on average (test)" in reasons["gain"] and "is 10.2 points above the student" in text
    gpu = page("docs/cluster.md")
    started, finished = (
        [datetime.fromisoformat(r["provenance"][key]) for r in students] for key in ("started", "finished")
    )
    steps, seconds = sum(r["cost"]["steps"] for r in students), (max(finished) - min(started)).total_seconds()
    assert f"and {len(students)} students" in gpu
    assert f"{steps:,} steps took {seconds:.0f} seconds: {steps / seconds:.0f} a second" in gpu
    memory = [r["cost"]["peak_memory_bytes"] / 2**30 for r in students]
    assert f"{min(memory):.1f} to {max(memory):.1f} GiB" in gpu


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
