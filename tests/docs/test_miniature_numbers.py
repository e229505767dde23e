"""Every number of docs/ on the miniatures beside mini is that of the published file."""

import json
import re
from statistics import mean, median, stdev

import pytest
from said_and_published import (
    REFERENCE,
    ROWS,
    against,
    cell,
    differences,
    page,
    records,
    table,
)


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
        rf"a map drawn anew in each epoch, scores .*?: {number} points from the mean of the fixed maps "
        rf"\\\[{number}, {number}\\\], "
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


def test_what_the_search_of_the_miniature_chose() -> None:
    made = json.loads((REFERENCE / "mini" / "claims.json").read_text())["choices"]
    noise, beyond = ([choice for choice in made if choice[key]] for key in ("noise", "beyond"))
    text = page("docs/results.md")
    assert f"{len(noise)} of the {len(made)} choices of `mini` lead the next point by no more than the noise" in text
    assert f"and {len(beyond)} lie at an end of the grid by more: the least rate on MNLI and RTE" in text
    ends = {(*choice["decided_on"], *choice["ends"].values()) for choice in beyond}
    assert ends == {("mnli", "lowest"), ("rte", "lowest"), ("cola", "highest")}
