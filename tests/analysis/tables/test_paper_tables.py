"""Every number of the tables, recomputed from the JSON files with plain Python."""

import csv
import math
import re
import shutil
import statistics

import pytest
from made_records import BERT, GLUE, LARGE, OOD, REFERENCE, ROBERTA, Folder, cells, markdown, run_all, scores

from analysis.load import read as load
from analysis.reported_benchmark import read
from analysis.tables.cells import baseline_cells, score_cells
from railkd.tasks import TASKS


def check_scores(folder: Folder, number: int, pair: str, block: str, columns: dict[str, str]) -> None:
    """Each cell of a pair and block; ``columns``: column -> task."""
    found = cells(folder, number)
    methods = ["teacher", *folder.spec["pairs"][pair]["methods"]]
    for method in methods:
        per_task = []
        for column, task in columns.items():
            row = found[pair, block, method, column]
            if (method, task) == ("codir", "stsb"):
                assert row["status"] == "undefined" and row["mean"] == ""
                continue
            values = scores(folder, pair, method, task, column if block == "ood" else block)
            per_task.append(values)
            assert float(row["mean"]) == pytest.approx(statistics.mean(values), abs=1e-9)
            assert row["n"] == str(len(values)) and row["status"] == "complete"
            if len(values) > 1:
                assert float(row["sd"]) == pytest.approx(statistics.stdev(values), abs=1e-9)
            else:
                assert row["sd"] == ""
        average = found[pair, block, method, "avg"]
        if len(per_task) < len(columns):
            assert average["status"] == "undefined"
            continue
        per_seed = [statistics.mean(run) for run in zip(*per_task, strict=True)]
        assert float(average["mean"]) == pytest.approx(statistics.mean(per_seed), abs=1e-9)
        if len(per_seed) > 1:
            assert float(average["sd"]) == pytest.approx(statistics.stdev(per_seed), abs=1e-9)
    students = methods[1:]
    for column in [*columns, "avg"]:
        printed = {m: found[pair, block, m, column]["mean"] for m in students}
        rounded = {m: f"{float(v):.1f}" for m, v in printed.items() if v}
        top = max(rounded.values(), key=float)
        best = {m for m in students if found[pair, block, m, column]["best"] == "True"}
        assert best == {m for m, v in rounded.items() if v == top}
    assert found[pair, block, "teacher", "avg"]["best"] == found[pair, block, "constant", "avg"]["best"] == ""


@pytest.mark.parametrize("block", ["dev", "test"])
@pytest.mark.parametrize(("number", "pair"), [(2, BERT), (3, LARGE)])
def test_glue_cells(full: Folder, number: int, pair: str, block: str) -> None:
    check_scores(full, number, pair, block, {t: t for t in GLUE})


def test_codir_scores(full: Folder) -> None:
    check_scores(full, 4, ROBERTA, "test", {t: t for t in GLUE if t != "stsb"})


@pytest.mark.parametrize("pair", [BERT, LARGE])
def test_out_of_domain_cells(full: Folder, pair: str) -> None:
    check_scores(full, 6, pair, "ood", OOD)


def test_spread_with_its_interval(full: Folder) -> None:
    found = cells(full, 5)
    for method in ("pkd", "alp_kd", "rail_kd_l", "rail_kd_c", "my_kd"):
        sds = []
        for task in ("cola", "rte", "mrpc"):
            row = found[BERT, "dev", method, task]
            sd = statistics.stdev(scores(full, BERT, method, task, "dev"))
            sds.append(sd)
            assert float(row["value"]) == pytest.approx(sd)
            # quantiles of chi-square with two degrees of freedom are -2 log(1 - p)
            assert float(row["low"]) == pytest.approx(sd * math.sqrt(2 / (-2 * math.log(0.025))))
            assert float(row["high"]) == pytest.approx(sd * math.sqrt(2 / (-2 * math.log(0.975))))
        assert float(found[BERT, "dev", method, "avg"]["value"]) == pytest.approx(statistics.mean(sds))
    assert "from 0.52 to 6.28 times" in markdown(full, 5)
    rows = [line.split("|")[1].strip() for line in markdown(full, 5).splitlines() if line.startswith("|")]
    assert rows[2:6] == ["PKD", "ALP-KD", "RAIL-KD<sup>l</sup>", "RAIL-KD<sup>c</sup>"]


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_the_papers_numbers_stand_beside_ours(full: Folder, number: int) -> None:
    found, compared = cells(full, number), 0
    with open(REFERENCE / f"table{number}.csv", encoding="utf-8") as file:
        for printed in csv.DictReader(file):
            pair = {2: BERT, 3: LARGE, 4: ROBERTA, 5: BERT, 6: BERT}[number]
            pair = LARGE if printed.get("teacher_model") == "roberta24" else pair
            block = {5: "dev", 6: "ood"}.get(number) or printed["split"]
            for column, value in printed.items():
                if column not in ("split", "method", "teacher_model"):
                    name = {"paws": "paws_wiki"}.get(column, column)
                    where = "cost" if column == "speedup" else block
                    assert float(found[pair, where, printed["method"], name]["paper"]) == float(value)
                    compared += 1
    assert compared == sum(1 for row in found.values() if row["paper"])


def test_markdown_prints_the_csv(full: Folder) -> None:
    found = cells(full, 2)[BERT, "dev", "pkd", "cola"]
    line = next(line for line in markdown(full, 2).splitlines() if line.startswith("| PKD"))
    first = line.split("|")[2].strip().replace("**", "").replace("†", "")
    assert first == f"{float(found['mean']):.1f} ± {float(found['sd']):.1f} (56.1)"
    lines = [line for line in markdown(full, 2).splitlines() if line.startswith("|")][2:]
    rows = [re.split(r"(?<!\\)\|", line)[1].strip() for line in lines]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {12}
    sup = "RAIL-KD<sup>{}</sup>".format
    names = ["w/o KD", "Vanilla KD", "PKD", "ALP-KD", sup("l"), sup("c"), "CKD", "CoDIR", r"My\|KD\_1"]
    assert rows == [x for b in ("DEV", "TEST") for x in (f"**{b}**", "Majority-class baseline", "Teacher", *names)]


def test_caption_names_what_a_reader_must_know(full: Folder) -> None:
    text = markdown(full, 2)
    for part in ("says nothing about English", "n = 3 runs (seeds 1, 2, 3", "MRPC F1", "CoLA Matthews", "CoLA 1,000"):
        assert part in text
    assert "bert12 → distilbert6 (student: checkpoint made-up/distilbert6)" in text
    assert "PAWS is PAWS-Wiki" in markdown(full, 6)
    assert all("says nothing about English" in markdown(full, n) for n in range(1, 7))


def test_a_caption_speaks_of_this_benchmark_only(folder: Folder) -> None:
    """Of the paper's numbers where some stand in the table, of GLUE's hidden labels where the data are GLUE's."""
    folder.spec["data"].update(source="miniglue", test="heldout")
    folder.spec["pairs"][BERT]["tasks"] = ["qnli"]  # in the paper's Table 2, not in its Table 5
    run_all(folder, 2, 5)
    assert "In parentheses the paper's value" in markdown(folder, 2) and "(91.5)" in markdown(folder, 2)
    assert "paper" not in markdown(folder, 5)
    assert "GLUE's test labels" not in markdown(folder, 2) and "held out of the training set." in markdown(folder, 2)
    folder.spec["data"]["source"] = "glue"
    folder.spec["data"].setdefault("root", str(folder.root))
    run_all(folder, 2)
    assert "because GLUE's test labels are not public" in markdown(folder, 2)


def test_a_tie_on_the_printed_value_is_bold_twice_and_a_near_miss_is_not(folder: Folder) -> None:
    for method, value in (("pkd", 0.9504), ("ckd", 0.9496), ("alp_kd", 0.9494)):
        for seed in (1, 2, 3):
            folder.edit(lambda r, v=value: r["scores"]["dev"].update(accuracy=v), BERT, method, "qnli", seed)
    run_all(folder, 2)
    found = cells(folder, 2)
    bold = {m for m in folder.spec["pairs"][BERT]["methods"] if found[BERT, "dev", m, "qnli"]["best"] == "True"}
    assert bold == {"pkd", "ckd"}
    assert markdown(folder, 2).count("**95.0** ± 0.0") == 2


def test_missing_runs_are_named_and_not_averaged_over(folder: Folder) -> None:
    folder.path(BERT, "pkd", "cola", 3).unlink()
    for seed in (1, 2, 3):
        folder.path(BERT, "ckd", "rte", seed).unlink()
    folder.path(BERT, "teacher", "mnli").unlink()
    run_all(folder, 2, 5, 6)
    found, text = cells(folder, 2), markdown(folder, 2)
    partial = found[BERT, "dev", "pkd", "cola"]
    two = [100 * folder.read(BERT, "pkd", "cola", s)["scores"]["dev"]["matthews"] for s in (1, 2)]
    assert (partial["status"], partial["n"], partial["n_expected"]) == ("partial", "2", "3")
    assert float(partial["mean"]) == pytest.approx(statistics.mean(two))
    assert f"{statistics.mean(two):.1f} ± {statistics.stdev(two):.1f}‡ (56.1)" in text.replace("**", "")
    for row, column in (("pkd", "avg"), ("ckd", "rte"), ("ckd", "avg"), ("teacher", "mnli"), ("teacher", "avg")):
        cell = found[BERT, "dev", row, column]
        assert (cell["status"], cell["mean"], cell["value"]) == ("missing", "", "")
    assert "- Missing: Teacher: MNLI; PKD: CoLA (seed 3); CKD: RTE." in text
    assert "- ‡ fewer runs than planned" in text
    assert cells(folder, 6)[BERT, "ood", "teacher", "scitail"]["status"] == "missing"
    assert cells(folder, 5)[BERT, "dev", "ckd", "avg"]["status"] == "missing"


def test_teachers_of_several_seeds_are_one_row(small: Folder) -> None:
    """As after a change of ``teacher_seed``, when some teachers are trained again and some are not yet."""
    small.edit(lambda r: r.update(seed=2), BERT, "teacher", "mnli")
    run_all(small, 2)
    average = cells(small, 2)[BERT, "dev", "teacher", "avg"]
    both = [value for task in ("cola", "mnli") for value in scores(small, BERT, "teacher", task, "dev")]
    assert float(average["value"]) == pytest.approx(statistics.mean(both))
    assert (average["n"], average["sd"]) == ("1", "")


def test_an_average_is_not_taken_over_half_a_run(small: Folder) -> None:
    benchmark = read(small.file)
    runs = load(benchmark, small.results)
    runs.scores.loc[(runs.scores["method"] == "pkd") & (runs.scores["column"] == "mnli"), "seed"] += 1
    row, _ = score_cells(benchmark, runs, benchmark.pairs[0], "dev", "pkd", ["cola", "mnli"])
    assert [cell.status for cell in row] == ["complete", "complete", "missing"]


def test_no_runs_at_all_still_gives_every_table(folder: Folder) -> None:
    shutil.rmtree(folder.results)
    folder.results.mkdir()
    run_all(folder)
    assert "missing (56.1)" in markdown(folder, 2)
    assert all(c["status"] != "complete" for n in range(2, 7) for c in cells(folder, n).values())


def test_dash_with_footnote_where_a_method_is_undefined(full: Folder) -> None:
    assert "- – CoDIR is undefined for STS-B" in markdown(full, 2)
    assert "undefined" not in markdown(full, 4)
    line = next(line for line in markdown(full, 2).splitlines() if line.startswith("| CoDIR"))
    assert [c.strip() for c in line.split("|")][5] == "–" and line.rstrip(" |").endswith("–")
    assert "not part of this benchmark: CKD, CoDIR, My\\|KD\\_1 with roberta24 → distilroberta6" in markdown(full, 6)


def sampling(metric: str, score: float, n: int, accuracy: float) -> float:
    if metric == "accuracy":
        return math.sqrt(score * (1 - score) / n)
    if metric == "f1":  # from the counts: 2TP/(2TP + E), E = n(1 - accuracy), var = 4·TP·E·(TP + E)/(2TP + E)^4
        errors = n * (1 - accuracy)
        hits = errors * score / (2 * (1 - score))
        return math.sqrt(4 * hits * errors * (hits + errors) / (2 * hits + errors) ** 4)
    return math.sqrt((1 - score**2) / (n - 2))


@pytest.mark.parametrize("block", ["dev", "test"])
def test_daggers(full: Folder, block: str) -> None:
    found, marked = cells(full, 2), 0
    for method in ["teacher", *full.spec["pairs"][BERT]["methods"]]:
        for task in GLUE:
            if (method, task) == ("codir", "stsb"):
                continue
            values = [v / 100 for v in scores(full, BERT, method, task, block)]
            seeds = [1] if method == "teacher" else [1, 2, 3]
            records = [full.read(BERT, method, task, s) for s in seeds]
            accuracy = statistics.mean(r["scores"][block].get("accuracy", 0) for r in records)
            metric, mean = TASKS[task].shown, statistics.mean(values)
            spread = statistics.variance(values) / len(values) if len(values) > 1 else 0.0
            error = math.sqrt(sampling(metric, mean, 400, accuracy) ** 2 + spread)
            baseline = records[0]["baselines"][block][metric]
            row = found[BERT, block, method, task]
            assert row["clears_baseline"] == str(mean - baseline > 2 * error)
            assert float(row["baseline"]) == pytest.approx(100 * baseline)
            assert float(found[BERT, block, "constant", task]["value"]) == pytest.approx(100 * baseline)
            marked += row["clears_baseline"] == "False"
    text = markdown(full, 2)
    table = text[text.index(f"**{block.upper()}**") :]
    table = table[: table.find("**TEST**", 10) if block == "dev" else table.index("\n\n")]
    assert table.count("†") == marked > 0
    assert "† does not exceed the majority-class baseline by two standard errors" in text


def test_a_constant_classifier_is_marked(folder: Folder) -> None:
    for seed in (1, 2, 3):
        folder.edit(lambda r: r["scores"]["dev"].update(f1=0.7, accuracy=0.54), BERT, "no_kd", "mrpc", seed)
    run_all(folder, 2, 5)
    assert "70.0 ± 0.0† (90.0)" in markdown(folder, 2)
    assert "0.00†" in markdown(folder, 5)


def test_one_seed_has_no_standard_deviation(folder: Folder) -> None:
    folder.spec["seeds"] = [1]
    run_all(folder, 2, 5)
    found = cells(folder, 2)[BERT, "dev", "pkd", "cola"]
    assert (found["n"], found["sd"], found["status"]) == ("1", "", "complete")
    assert "n = 1 run (seed 1), so no standard deviation" in markdown(folder, 2)
    assert "±" not in markdown(folder, 2).replace("mean ±", "")
    assert cells(folder, 5)[BERT, "dev", "pkd", "cola"]["status"] == "missing"


def test_a_pair_with_few_tasks_has_few_columns(folder: Folder) -> None:
    for pair, tasks in ((BERT, ["rte", "cola"]), (LARGE, ["rte", "cola", "mrpc"])):
        folder.spec["pairs"][pair].update(tasks=tasks, tables=[2, 3, 5])
    run_all(folder)
    header = next(line for line in markdown(folder, 2).splitlines() if line.startswith("| Model"))
    assert [c.strip() for c in header.strip("| ").split("|")] == ["Model", "CoLA", "MRPC", "RTE", "Avg."]
    assert "bert12 → distilbert6: DEV" in markdown(folder, 2)
    found = cells(folder, 2)
    assert found[BERT, "dev", "pkd", "cola"]["paper"] == "56.1"
    assert not found[BERT, "dev", "pkd", "avg"]["paper"]  # the paper's is over eight tasks
    found = cells(folder, 5)
    assert found[BERT, "dev", "pkd", "mrpc"]["status"] == "absent"
    both = [statistics.stdev(scores(folder, BERT, "pkd", t, "dev")) for t in ("cola", "rte")]
    assert float(found[BERT, "dev", "pkd", "avg"]["value"]) == pytest.approx(statistics.mean(both))
    assert "not part of this benchmark: MRPC with bert12 → distilbert6" in markdown(folder, 5)
    assert not (folder.results / "tables" / "table6.csv").exists()


def test_a_pair_with_no_column_of_a_table_has_dashes(folder: Folder) -> None:
    """Table 5 shows the three smallest tasks that any pair has; a pair may have none of them."""
    for pair, tasks in ((BERT, ["rte"]), (LARGE, ["sst2"])):
        folder.spec["pairs"][pair].update(tasks=tasks, tables=[5])
    run_all(folder, 5)
    found = cells(folder, 5)
    assert {found[LARGE, "dev", "pkd", c]["status"] for c in ("rte", "avg")} == {"absent"}
    assert found[BERT, "dev", "pkd", "avg"]["status"] == "complete"
    assert "- – not part of this benchmark: RTE, Avg. with roberta24 → distilroberta6." in markdown(folder, 5)
    benchmark = read(folder.file)
    runs, large = load(benchmark, folder.results), benchmark.pairs[1]
    baselines = baseline_cells(benchmark, runs, large, "dev", ["rte"])
    assert [cell.status for cell in baselines] == ["absent", "absent"]
