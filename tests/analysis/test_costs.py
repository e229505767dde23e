"""Tables 1 and 4: costs, recomputed from the JSON files with plain Python."""

import math
import statistics

import pytest
from made_records import BERT, GLUE, ROBERTA, Folder, cells, markdown, run_all


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
