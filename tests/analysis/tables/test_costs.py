"""Tables 1 and 4: costs, recomputed from the JSON files with plain Python."""

import json
import math
import statistics
from typing import Any

import pytest
from made_records import BERT, GLUE, LARGE, ROBERTA, Folder, cells, markdown, run_all


def test_speedup_is_the_geometric_mean_of_codirs_time_over_the_rows(full: Folder) -> None:
    found = cells(full, 4)
    tasks = [t for t in GLUE if t != "stsb"]

    def seconds(method: str, task: str) -> float:
        seeds = [1] if method == "teacher" else [1, 2, 3]
        return statistics.mean(full.read(ROBERTA, method, task, s)["cost"]["train_seconds"] for s in seeds)

    for method in ("teacher", "codir", "rail_kd_c", "no_kd"):
        logs = [math.log(seconds("codir", t) / seconds(method, t)) for t in tasks]
        value = math.exp(sum(logs) / len(logs))
        assert float(found[ROBERTA, "cost", method, "speedup"]["value"]) == pytest.approx(value)
    assert "1.00× (1.00×)" in markdown(full, 4) and "teacher signals cached" in markdown(full, 4)


def test_step_cost_is_relative_to_no_kd(full: Folder) -> None:
    found = cells(full, 1)

    def step(method: str, task: str) -> float:
        return statistics.median(full.read(BERT, method, task, s)["cost"]["step_seconds"] for s in (1, 2, 3))

    for method in ("pkd", "ckd", "alp_kd", "codir", "rail_kd_l", "rail_kd_c", "vanilla_kd", "my_kd"):
        tasks = [t for t in GLUE if (method, t) != ("codir", "stsb")]
        ratios = [step(method, t) / step("no_kd", t) for t in tasks]
        row = found[BERT, "cost", method, "step_seconds"]
        wanted = (statistics.median(ratios), min(ratios), max(ratios))
        assert tuple(float(row[k]) for k in ("value", "low", "high")) == pytest.approx(wanted)
    assert found["", "facts", "alp_kd", "complexity"]["text"] == "O(m × n)"
    assert found["", "facts", "pkd", "limitation"]["text"] == "Extensive search"


def test_what_holds_a_drawn_map_fixed_is_no_random_selection(folder: Folder) -> None:
    varied = {"held": {"mapping": "skip"}, "listed": {"mapping": [1, 2, 3, 4, 5]}, "plain": {"projection": "none"}}
    for name, options in varied.items():
        folder.spec["methods"][name] = {"method": "rail_kd_l", "title": name, **options}
        folder.spec["pairs"][BERT]["methods"].append(name)
    folder.save()
    run_all(folder, 1)
    found = {name: cells(folder, 1)["", "facts", name, "layer_mapping"]["text"] for name in (*varied, "rail_kd_l")}
    assert found == {
        "held": "Fixed map: skip", "listed": "Fixed map: 1-2-3-4-5", "plain": "Random selection",
        "rail_kd_l": "Random selection",
    }  # fmt: skip


def test_step_cost_is_relative_to_the_method_without_kd_whatever_its_name(folder: Folder) -> None:
    folder.spec["methods"]["plain"] = {"method": "no_kd", "title": "Plain"}
    for pair in (BERT, ROBERTA):
        methods = folder.spec["pairs"][pair]["methods"]
        methods[methods.index("no_kd")] = "plain"
    folder.spec["pairs"][BERT]["tasks"] = ["cola", "rte"]
    folder.fill()
    timed(folder)
    run_all(folder, 1, 4)

    def step(method: str, task: str) -> float:
        return statistics.median(folder.read(BERT, method, task, s)["cost"]["step_seconds"] for s in (1, 2, 3))

    found = cells(folder, 1)
    wanted = statistics.median(step("pkd", t) / step("plain", t) for t in ("cola", "rte"))
    assert float(found[BERT, "cost", "pkd", "step_seconds"]["value"]) == pytest.approx(wanted)
    assert (BERT, "cost", "plain", "step_seconds") not in found  # the unit
    assert "a training step relative to Plain on MiniGLUE" in markdown(folder, 1)
    assert "Missing" not in markdown(folder, 1)
    # benchmarks.speed times it under the name of its class
    assert float(cells(folder, 4)[ROBERTA, "cost", "plain", "speedup_cached"]["value"]) == pytest.approx(1.5)


def test_a_step_cost_that_no_run_could_give_is_a_dash_with_its_reason(folder: Folder) -> None:
    folder.spec["pairs"][BERT].update(methods=["vanilla_kd", "pkd"], tasks=["cola"])
    folder.spec["pairs"][LARGE].update(methods=["no_kd", "codir"], tasks=["stsb"], tables=[1])
    folder.fill()
    run_all(folder, 1)
    found, text = cells(folder, 1), markdown(folder, 1)
    assert {found[BERT, "cost", m, "step_seconds"]["status"] for m in ("vanilla_kd", "pkd")} == {"undefined"}
    assert found[LARGE, "cost", "codir", "step_seconds"]["status"] == "undefined"
    assert text.count("- – bert12 → distilbert6 has no method without KD that a cost could be relative to.") == 1
    assert "- – CoDIR is undefined for every task of roberta24 → distilroberta6." in text
    assert "missing" not in text.lower() and "relative to w/o KD on" in text


def test_without_a_test_set_table_4_shows_dev_and_no_test_number_of_the_paper(folder: Folder) -> None:
    folder.spec["data"]["test"] = "none"
    run_all(folder, 2, 4)
    assert "**TEST**" not in markdown(folder, 2)
    found = cells(folder, 4)
    assert not found[ROBERTA, "dev", "codir", "cola"]["paper"]
    assert found[ROBERTA, "cost", "rail_kd_c", "speedup"]["paper"] == "1.96"
    assert "no labelled test set" in markdown(folder, 4)


def test_times_of_different_devices_are_not_compared(folder: Folder) -> None:
    folder.edit(lambda r: r["cost"].update(device="NVIDIA V100"), ROBERTA, "rail_kd_c", "rte", 2)
    folder.edit(lambda r: r["cost"].update(device="NVIDIA V100"), BERT, "pkd", "rte", 2)
    run_all(folder, 1, 4)
    assert cells(folder, 4)[ROBERTA, "cost", "rail_kd_c", "speedup"]["status"] == "missing"
    assert "different devices: RAIL-KD<sup>c</sup>: RTE" in markdown(folder, 4)
    assert cells(folder, 1)[BERT, "cost", "pkd", "step_seconds"]["n"] == "7"
    assert "different devices: PKD: RTE" in markdown(folder, 1)


def test_table_1_names_the_costs_of_another_commit_than_their_units(folder: Folder) -> None:
    run_all(folder, 1)
    assert "another commit" not in markdown(folder, 1)
    folder.edit(lambda r: r["provenance"].update(commit="0" * 40), BERT, "pkd", "rte", 2)
    folder.edit(lambda r: r["provenance"].update(commit="0" * 40), BERT, "pkd", "cola", 2)
    run_all(folder, 1)
    note = "- Trained at another commit than w/o KD, so perhaps on another day and under another load: PKD: CoLA, RTE."
    assert note in markdown(folder, 1).splitlines()


def timed(folder: Folder, **changes: Any) -> dict[str, Any]:
    """A ``speed.json`` of made-up times, three rounds."""
    seconds = {
        ("no_kd", "none"): [1.0, 2.0, 4.0],
        ("codir", "cached"): [1.5, 3.0, 8.0],
        ("codir", "live"): [4.0, 8.0, 8.0],
        ("rail_kd_c", "cached"): [1.0, 2.0, 2.0],
        ("rail_kd_c", "live"): [2.0, 4.0, 8.0],
    }
    jobs = [{"method": m, "regime": r, "own": True, "seconds": s} for (m, r), s in seconds.items()]
    jobs.append({"method": "codir", "regime": "cached", "own": False, "seconds": [99.0] * 3})  # another K
    content = {
        "schema": 1,
        "benchmark": "tiny",
        "shapes": "own",
        "environment": {"device": "cpu", "processor": "P", "threads": 2, "versions": {"torch": "2"}},
        "settings": {"rounds": 3, "steps": 5, "batch_size": 8},
        "groups": [
            {"pair": ROBERTA, "kind": "pair", "jobs": jobs},
            {"pair": ROBERTA, "kind": "depth", "jobs": [{**jobs[0], "seconds": [77.0] * 3}]},
        ],
        **changes,
    }
    (folder.results / "speed.json").write_text(json.dumps(content))
    return content


def test_a_measured_speedup_fills_table_4_in_both_regimes(folder: Folder) -> None:
    timed(folder)
    run_all(folder, 4)
    found = cells(folder, 4)
    wanted = {
        ("rail_kd_c", "cached"): (1.5, 1.5, 2.75),
        ("rail_kd_c", "live"): (2.0, 1.5, 2.0),
        ("no_kd", "cached"): (1.5, 1.5, 1.75),
        ("codir", "live"): (1.0, 1.0, 1.0),
    }
    for (method, regime), numbers in wanted.items():
        row = found[ROBERTA, "cost", method, f"speedup_{regime}"]
        assert tuple(float(row[k]) for k in ("value", "low", "high")) == pytest.approx(numbers)
        assert row["statistic"] == "median" and row["n"] == "3"
    assert found[ROBERTA, "cost", "rail_kd_c", "speedup_live"]["paper"] == "1.96"
    assert not found[ROBERTA, "cost", "rail_kd_c", "speedup_cached"]["paper"]
    text = markdown(folder, 4)
    assert "Speedup, cached" in text and r"2.00× \[1.50, 2.00\] (1.96×)" in text and "3 rounds of 5 steps" in text
    assert (ROBERTA, "cost", "rail_kd_c", "speedup") not in found


@pytest.mark.parametrize("changes", [{"shapes": "mini"}, {"benchmark": "other"}])
def test_times_of_another_benchmark_or_shape_are_left_out(folder: Folder, changes: dict[str, Any]) -> None:
    timed(folder, **changes)
    run_all(folder, 4)
    assert (ROBERTA, "cost", "rail_kd_c", "speedup") in cells(folder, 4)


def test_a_foreign_speed_file_is_one_line(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    from analysis.__main__ import main

    timed(folder, groups=[{}])
    folder.save()
    assert main(["tables", str(folder.file), "--results", str(folder.results)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder.results / 'speed.json'}: not what `python -m benchmarks.speed` writes")
