"""The points of a hyper-parameter search: for each method, and the tasks that decide for a cell."""

from typing import Any

import pytest

from railkd.benchmark import config
from railkd.benchmark.config import ROOT
from railkd.benchmark.specification import Cell
from railkd.errors import UserError
from railkd.records.hashes import canonical


def test_grid(make_benchmark: Any) -> None:
    assert make_benchmark().grid("pkd") == []
    grid = {"learning_rate": [0.1, 0.2], "batch_size": [8, 4]}
    points = make_benchmark({"search": {"seed": 0, "grid": grid}}).grid("pkd")
    pairs = [(p["learning_rate"], p["batch_size"]) for p in points]
    assert pairs == [(0.1, 8), (0.1, 4), (0.2, 8), (0.2, 4)]  # the last key turns fastest, values as given
    paper = config.load(ROOT / "benchmarks" / "paper.yaml").grid("pkd")
    assert len(paper) == 12 and len({canonical(p) for p in paper}) == 12


def test_a_method_searches_options_of_its_own(make_benchmark: Any) -> None:
    search = {"seed": 0, "grid": {"learning_rate": [0.1, 0.2]}}
    changes = {"search": search, "methods.pkd.search": {"beta": [10, 50, 100], "alpha": [0.2, 0.5]}}
    benchmark = make_benchmark(changes)
    points = benchmark.grid("pkd")
    assert len(points) == 12 and points[0] == {"learning_rate": 0.1, "beta": 10, "alpha": 0.2}
    assert benchmark.grid("no_kd") == [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    config = benchmark.run_config("p", "pkd", "mrpc", points[-1])
    assert (config["training"]["learning_rate"], config["method"]["beta"], config["method"]["alpha"]) == (0.2, 100, 0.5)
    assert "beta" not in config["training"] and "search" not in config["method"]
    assert len(benchmark.options_of_points("pkd")) == 6 and benchmark.options("pkd") == {}
    few, fewer = (make_benchmark({**changes, "search": {**search, "points": n}}) for n in (5, 2))
    assert [len(few.grid(m)) for m in ("pkd", "no_kd")] == [5, 2] and [len(fewer.grid("pkd"))] == [2]
    drawn = [points.index(point) for point in few.grid("pkd")]
    assert drawn == sorted(set(drawn)) and all(point in few.grid("pkd") for point in fewer.grid("pkd"))
    entry = {"mapping": "skip", "vary": {"mapping": ["last"]}, "search": {"beta": [1]}}
    varied = make_benchmark({"search": search, "methods.pkd": entry})
    assert varied.grid("pkd.last")[0] == {"learning_rate": 0.1, "beta": 1}  # a variant is tuned as its entry is


def test_a_search_is_decided_on_the_tasks_that_it_names(make_benchmark: Any) -> None:
    grid = {"learning_rate": [0.1, 0.2]}
    cell, other = Cell("p", "pkd", "mrpc"), Cell("p", "pkd", "sst2")
    every = make_benchmark({"search": {"seed": 0, "grid": grid}})
    assert every.searched(cell) == [cell] and every.points(other) == every.grid("pkd")
    one = make_benchmark({"search": {"seed": 0, "grid": grid, "tasks": ["mrpc"]}})
    assert one.searched(cell) == one.searched(other) == [cell]
    assert one.points(cell) == one.grid("pkd") and one.points(other) == []
    assert make_benchmark().searched(cell) == [] == make_benchmark().points(cell)
    with pytest.raises(UserError, match="search.tasks: unknown task 'mrcp'; did you mean 'mrpc'"):
        make_benchmark({"search": {"seed": 0, "grid": grid, "tasks": ["mrcp"]}})
    pairs = {"p": {"teacher": "bert4", "student": "distilbert2", "methods": ["no_kd"], "tasks": ["sst2"], "tables": []}}
    with pytest.raises(UserError, match=r"search.tasks: no_kd trains on none of mrpc in pairs.p; expected at least"):
        make_benchmark({"search": {"seed": 0, "grid": grid, "tasks": ["mrpc"]}, "pairs": pairs})


def test_a_value_is_tried_once(make_benchmark: Any) -> None:
    """A value that is written twice is a point more, which chooses among nothing."""
    with pytest.raises(UserError, match=r"search.grid.learning_rate: \[0.1, 0.1\] has non-unique elements"):
        make_benchmark({"search": {"seed": 0, "grid": {"learning_rate": [0.1, 1e-1]}}})
    twice = {"search": {"seed": 0, "grid": {"learning_rate": [0.1]}}, "methods.pkd.search": {"beta": [10, 10.0]}}
    with pytest.raises(UserError, match=r"methods.pkd.search.beta: \[10, 10.0\] has non-unique elements"):
        make_benchmark(twice)
