"""Every number that docs/ say of the benchmarks on real text is that of a published file."""

import json
from collections.abc import Sequence
from datetime import datetime
from statistics import mean, median

from said_and_published import (
    REFERENCE,
    ROWS,
    against,
    cell,
    claims,
    differences,
    page,
    read_csv,
    real_text,
    records,
    table,
)

from analysis.claims import oriented
from analysis.tables.numbers import signed


def assert_table2(benchmark: str, first_line: str, tasks: Sequence[str]) -> None:
    """The table of docs/results.md that begins so holds the test scores of a benchmark's Table 2."""
    columns = {title: title.lower().replace("-", "") for title in tasks} | {"average": "avg"}
    for row in table("docs/results.md", first_line):
        name = row["test"]
        undefined = ("STS-B", "average") if name == "CoDIR" else ()
        assert row == {
            "test": name,
            **{
                title: "" if title in undefined else cell(f"{benchmark}/tables/table2.csv", "test", name, column)
                for title, column in columns.items()
            },
        }


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
    for row in table("docs/results.md", "| | dev, CoLA |"):
        name = row.pop("")
        entry = forms.get(name, entry)
        method = entry + variants[name] if name in variants else ROWS[name]
        for block in ("dev", "test"):
            for task in ("CoLA", "QNLI"):
                at = scores[block, method, task.lower()]
                spread = f" ± {float(at['sd']):.1f}" if at["sd"] else ""
                assert row[f"{block}, {task}"] == f"{float(at['value']):.1f}{spread}"
        shown = [signed(float(effects[method][key])) for key in ("mean", "low", "high")] if method in effects else []
        assert row["test average, less vanilla KD"] == ("{} ({} to {})".format(*shown) if shown else ""), method
    l_form, c_form = (differences(form, "minilm_ablation") for form in forms)
    drawn = [form["its mean map held fixed"] for form in (l_form, c_form)]
    assert (
        "is {} points ({} to {}, {}) layer-wise and {} ({} to {}, {}) concatenated. On".format(*drawn[0], *drawn[1])
        in text
    )
    mean, low, high, verdict = (value.lstrip("−") for value in l_form["no projection"])
    assert verdict == "decided" and f"is {mean} points ({high} to {low}, decided) below itself without any" in text
    assert f"on real text, at 1e-4, {mean} ({high} to {low}, decided)" in readme
    mean, low, high, verdict = l_form["a projection learned for the student alone"]
    assert f"the paper's choice is {mean} points ({low} to {high}, {verdict}) from it" in text and verdict == "decided"
    mean, low, high, verdict = c_form["no projection"]
    assert f"it is {mean.lstrip('−')} ({high.lstrip('−')} to {low.lstrip('−')}, {verdict})" in text
    report = (folder / "report.md").read_text()
    assert "dev still rose by 0.8 points (standard error 0.5): RAIL-KD<sup>c</sup>" in report
    assert "dev of RAIL-KD<sup>c</sup> still rose by 0.8 points (standard error 0.5)" in text
    value, low, high, verdict = against(real_text("minilm_ablation"), "RAIL-KD<sup>l</sup>", "without KD")
    plain = [number.removeprefix("−") for number in (value, high, low)]
    assert verdict == "lower" and "without KD, too, by {} points ({} to {}, decided)".format(*plain) in text
    runs = records("minilm_ablation")
    assert f"{len(runs)} students, five seeds" in text
    sizes = {r["task"]: (r["examples"]["dev"], r["examples"]["test"]) for r in runs}
    assert sizes == {"cola": (1043, 855), "qnli": (5463, 400)}
    for student, expected in ((True, "4.5 to 10.8"), (False, "1.1 to 1.2")):
        ends = [
            r["method_record"]["effective_rank"][-1]
            for r in runs
            if r["method"] in [f"{form}{'.learned_student' * student}" for form in forms.values()]
        ]
        assert f"{min(ends):.1f} to {max(ends):.1f}" == expected


def test_the_live_methods_on_real_text() -> None:
    text, folder = page("docs/results.md"), REFERENCE / "minilm_methods"
    scores = {(r["block"], r["row"], r["column"]): r for r in read_csv(folder / "tables" / "table2.csv")}
    panel, value = real_text("minilm_methods"), lambda *at: float(scores[at]["value"])
    rows = table("docs/results.md", "| method | dev, CoLA |")
    assert len(rows) == 8
    for row in rows:
        name = row["method"]
        for block in ("dev", "test"):
            for task in ("CoLA", "QNLI"):
                at = scores[block, ROWS[name], task.lower()]
                spread = f" ± {float(at['sd']):.1f}" if at["sd"] else ""
                assert row[f"{block}, {task}"] == f"{float(at['value']):.1f}{spread}"
        compared = name not in ("teacher", "vanilla KD")
        shown = "{} ({} to {})".format(*against(panel, name, "vanilla KD")[:3]) if compared else ""
        assert row["test average, less vanilla KD"] == shown
    decided = [d["methods"] for d in panel["differences"] if d["verdict"] in ("higher", "lower")]
    assert {frozenset(pair) for pair in decided} == {
        frozenset(("tinybert", other)) for other in ("minilm_v2", "distilbert_cos", "cr_ild")
    }
    assert f"{len(decided)} of the {len(panel['differences'])} differences are decided: TinyBERT is below" in text
    below = value("dev", "no_kd", "qnli") - value("dev", "tinybert", "qnli")
    assert f"on QNLI's dev set it is {below:.1f} points below the student without KD" in text
    above = [
        value(block, method, "qnli") - value(block, "vanilla_kd", "qnli")
        for block in ("dev", "test")
        for method in ("minilm_v2", "cr_ild")
    ]
    assert (
        "{:.1f} and {:.1f} points above vanilla KD on its 5,463 dev examples, {:.1f} and {:.1f} on".format(*above)
        in text
    )
    assert "dev still rose by 2.1 points (standard error 0.6): MixKD" in (folder / "report.md").read_text()
    assert "its dev score still rose by 2.1 points (standard error 0.6)" in text
    costs = {r["row"]: r["value"] for r in read_csv(folder / "tables" / "table1.csv") if r["block"] == "cost"}
    assert "took {:.1f} and {:.1f} times as long".format(*(float(costs[m]) for m in ("minilm_v2", "cr_ild"))) in text
    runs = records("minilm_methods")
    assert f"and three of its seeds: {len(runs)} students" in text
    for method, task, seed in (
        (r["method"], r["task"], r["seed"]) for r in runs if r["method"] in ("no_kd", "vanilla_kd")
    ):
        same = f"runs/minilm6-minilm3/{method}/{task}/seed-{seed}.safetensors"
        assert (folder / same).read_bytes() == (REFERENCE / "minilm_ablation" / same).read_bytes()


def test_what_a_step_took_on_the_gpu() -> None:
    """The median over the seeds of a run's median step, by task, of runs that one run of the benchmark trained."""
    steps: dict[tuple[str, str], list[float]] = {}
    commits: dict[str, set[str]] = {}
    for run in records("minilm"):
        if run["cost"]["device"] != "cpu":
            steps.setdefault((run["method"], run["task"]), []).append(run["cost"]["step_seconds"])
            if run["method"].startswith(("no_kd", "vanilla", "rail")):
                commits.setdefault(run["task"], set()).add(run["provenance"]["commit"])
    together = {task for task, of in commits.items() if len(of) == 1}
    assert together == {"mrpc", "mnli", "qnli"}
    ratios = {at: median(seconds) / median(steps["no_kd", at[1]]) for at, seconds in steps.items() if at[1] in together}
    rail = [ratio for (method, _), ratio in ratios.items() if method.startswith("rail_kd")]
    vanilla = [ratio for (method, _), ratio in ratios.items() if method == "vanilla_kd"]
    text = " ".join(page("docs/results.md").split())
    assert f"took {min(rail):.2f} to {max(rail):.2f} times as long as one without KD, by task" in text
    assert f"and one of vanilla KD {min(vanilla):.2f} to {max(vanilla):.2f} (ratios" in text
    assert f"(MiniLM, H200: to {max(ratios.values()):.2f})" in page("README.md")


def test_the_real_texts_tables() -> None:
    tasks, sets = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE"), ("SciTail", "PAWS", "IMDb")
    assert_table2("minilm", "| test | CoLA | SST-2 |", tasks)
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
    for other, said in (
        ("vanilla KD", "{} is {} points ({} to {}, {}), {} {} points ({} to {}, {}, because"),
        ("PKD", "{1} points ({2} to {3}, {4}) and {6} points ({7} to {8}, {9})."),
    ):
        found = [(form, *against(panel, form, other)) for form in (c_form, l_form)]
        assert said.format(*found[0], *found[1]) in text
        assert [of[4] for of in found] == ["undecided", "not decided"]
    least = [f"{oriented(panel, ROWS[form], 'vanilla_kd')['detectable']:.1f}" for form in (c_form, l_form)]
    assert "would have found is {} and {}.".format(*least) in text
    decided = {frozenset(d["methods"]) for d in panel["differences"] if d["verdict"] in ("higher", "lower")}
    assert decided == {frozenset((method, "no_kd")) for method in ("pkd", "alp_kd", "codir")}
    assert f"{len(decided)} of the {len(panel['differences'])} differences are decided" in text
    gains = [against(panel, name, "without KD") for name in ("PKD", "ALP-KD", "CoDIR")]
    assert {found[3] for found in gains} == {"higher"}
    said = "PKD ({}, {} to {}), ALP-KD ({}, {} to {}) and CoDIR ({}, {} to {}) are above the student without KD."
    assert said.format(*(number for found in gains for number in found[:3])) in text
    value, low, high, verdict = against(panel, c_form, "without KD")
    plain = [number.removeprefix("+") for number in (value, low, high)]
    assert verdict == "undecided" and "is so, too, by {} points ({} to {}), but".format(*plain) in text
    cost = {part["label"]: part for part in claims("minilm")["no-added-cost"]["parts"]}
    ratio = [
        "{estimate:.2f} ({low:.2f} to {high:.2f})".format_map(cost[f"RAIL-KD^{form} / Vanilla KD"]) for form in "lc"
    ]
    assert "takes {} times as long as one of vanilla KD layer-wise, {} concatenated: undecided".format(*ratio) in text
    (pair,) = json.loads((REFERENCE / "minilm" / "claims.json").read_text())["validity"]["pairs"]
    reasons = {answer["question"]: answer["reason"] for answer in pair["answers"]}
    assert "RAIL-KD^l: dev still rose by 0.7 ± 0.2 points on MNLI." in reasons["converged"]
    assert "on MNLI, where dev still rose by 0.7 points (standard error 0.2)" in text
    assert {d["verdict"] for d in panel["differences"] if "rail_kd_l" in d["methods"]} == {"not decided"}
    scores = {
        (r["row"], r["column"]): r for r in read_csv(REFERENCE / "minilm/tables/table2.csv") if r["block"] == "test"
    }
    for task in ("cola", "qnli"):
        assert float(scores["rail_kd_l", task]["value"]) < float(scores["no_kd", task]["value"])


def test_what_chose_the_learning_rates_on_real_text() -> None:
    text, folder = page("docs/results.md"), REFERENCE / "minilm" / "search" / "minilm6-minilm3"
    chosen = {
        (path.parent.parent.name, path.parent.name): json.loads(path.read_text())
        for path in folder.glob("*/*/best.json")
    }
    made = json.loads((REFERENCE / "minilm" / "claims.json").read_text())["choices"]
    noise, beyond = ([choice for choice in made if choice[key]] for key in ("noise", "beyond"))
    assert f"{len(noise)} of its {len(made)} choices lead the next point by no more than the noise" in text
    assert f"The other {len(beyond)} are all 5e-5" in text and len(noise) + len(beyond) == len(made)
    assert {choice["point"]["learning_rate"] for choice in beyond} == {5e-5}
    decided: dict[tuple[str, ...], set[str]] = {}
    for choice in beyond:
        decided.setdefault(tuple(choice["decided_on"]), set()).add(choice["method"])
    assert len(decided["mnli",]) == 5 and decided["qnli",] == {"codir", "rail_kd_l", "rail_kd_c"}
    assert decided["sst2", "mnli", "qnli"] == {"codir", "rail_kd_l"} and len(decided) == 3
    rail, vanilla = (
        [f"{100 * s:.1f}" for s in chosen[method, "qnli"]["scores"]] for method in ("rail_kd_l", "vanilla_kd")
    )
    said = "RAIL-KD had {} at 5e-5, {} at 1e-4 and {} at 2e-4, those of vanilla KD {}, {} and {} (one seed)"
    assert said.format(*rail, *vanilla) in text
    assert f"of the 6.5 points {against(real_text(), 'RAIL-KD<sup>c</sup>', 'vanilla KD')[0][1:]} are left" in text


def test_the_claim_that_is_reproduced() -> None:
    held = {name: claims(name)["attention-on-top"] for name in ("minilm", "mini", "methods", "quick", "base")}
    shares = ["{:.2f}".format(held[name]["estimate"]) for name in ("minilm", "mini", "base")]
    assert "(a share of {}; {} in `mini`, {} in `base`)".format(*shares) in page("docs/results.md")
    assert [name for name, claim in held.items() if claim["verdict"] == "reproduced"] == ["minilm"]
    for folder in REFERENCE.iterdir():
        if (folder / "claims.json").is_file() and folder.name != "minilm":
            assert "reproduced" not in {claim["verdict"] for claim in claims(folder.name).values()}, folder.name


def test_the_papers_depth_and_width() -> None:
    assert_table2("base", "| test | CoLA | MRPC | STS-B | RTE |", ("CoLA", "MRPC", "STS-B", "RTE"))
    held = json.loads((REFERENCE / "base" / "claims.json").read_text())
    panel, text = real_text("base"), page("docs/results.md")
    assert f"none of the {len(panel['differences'])} differences." in text and panel["not_counted"] == ["mrpc"]
    assert {d["verdict"] for d in panel["differences"]} == {"undecided", "not decided"}
    estimates = ["{} ({} to {})".format(*against(panel, n, "vanilla KD")[:3]) for n in ("RAIL-KD<sup>c</sup>", "PKD")]
    assert "RAIL-KD<sup>c</sup> is {}, PKD {}: the seeds".format(*estimates) in text
    assert min(oriented(panel, method, "vanilla_kd")["detectable"] for method in ("rail_kd_c", "pkd")) > 10
    students = records("base")
    assert f"{len(students)} students of three seeds" in text
    for task, score in (("cola", "matthews"), ("rte", "accuracy")):
        runs = [r for r in students if (r["method"], r["task"]) == ("rail_kd_l", task)]
        after = {round(epoch["dev"][score], 6) for r in runs for epoch in r["epochs"]}
        majority = runs[0]["baselines"]["dev"][score]
        one_class = (majority, 1 - majority if task == "rte" else 0.0)
        assert len(runs) == 3 and after <= {round(value, 6) for value in one_class}
    choice = json.loads((REFERENCE / "base/search/mpnet12-mpnet6/rail_kd_l/cola/best.json").read_text())
    assert choice["scores"] == [0.0] * 3 and choice["grid"] == [{"learning_rate": r} for r in (2e-5, 5e-5, 1e-4)]
    (first,) = (r for r in students if (r["method"], r["task"], r["seed"]) == ("rail_kd_l", "cola", 1))
    (start, *_, end) = (epoch["loss"] for epoch in first["epochs"])
    assert f"is {start['rail']:.1f} and the cross-entropy {start['ce']:.2f} (seed 1)." in text
    assert f"In the last it is {end['rail']:.2f}, and the cross-entropy {end['ce']:.2f}." in text
    aligned = {
        method: mean(
            r["diagnostics"]["cka"]["mean"][4][10] for r in students if (r["method"], r["task"]) == (method, "cola")
        )
        for method in ("rail_kd_l", "no_kd")
    }
    assert "is {rail_kd_l:.2f}, that of the student without KD {no_kd:.2f}.".format_map(aligned) in text
    reasons = {a["question"]: a["reason"] for a in held["validity"]["pairs"][0]["answers"]}
    assert "is +10.6 points on average (test)" in reasons["gain"] and "is 10.6 points above the student" in text
    scores = {
        r["row"]: float(r["value"])
        for r in read_csv(REFERENCE / "base/tables/table2.csv")
        if (r["block"], r["column"]) == ("test", "cola")
    }
    assert f"student without KD, {scores['teacher'] - scores['no_kd']:.1f} on CoLA." in text
    assert "dev still rose by 0.4 points (standard error 0.3): PKD" in reasons["converged"]
    gpu = page("docs/cluster.md")
    started, finished = (
        [datetime.fromisoformat(r["provenance"][key]) for r in students] for key in ("started", "finished")
    )
    steps, seconds = sum(r["cost"]["steps"] for r in students), (max(finished) - min(started)).total_seconds()
    assert f"and {len(students)} students" in gpu
    assert f"{steps:,} steps took {seconds:.0f} seconds: {steps / seconds:.0f} a second" in gpu
    memory = [r["cost"]["peak_memory_bytes"] / 2**30 for r in students]
    assert f"{min(memory):.1f} to {max(memory):.1f} GiB" in gpu
