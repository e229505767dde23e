"""Verdicts on made-up records whose truth is known, and what the ledger and the files say."""

import copy
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_records import BERT, LARGE, PAPER_METHODS, Folder, spec, write_speed

from analysis import load
from analysis.__main__ import main
from analysis.claims import evaluation, ledger
from analysis.reported_benchmark import read
from railkd.errors import UserError
from railkd.records.hashes import canonical, sha256_text

TASKS = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli"]
ENTRIES = yaml.safe_load(ledger.LEDGER.read_text(encoding="utf-8"))


def evaluate(folder: Folder, path: Path = ledger.LEDGER) -> dict[str, dict[str, Any]]:
    benchmark = read(folder.file)
    data = evaluation.evaluate(benchmark, load.read(benchmark, folder.results), folder.results, path)
    json.dumps(data, allow_nan=False)
    return {claim["id"]: claim for claim in data["claims"]}


def made(root: Path, skill: Callable[[str, str], float]) -> Folder:
    """One pair, six tasks, with predictions."""
    root.mkdir(exist_ok=True)
    content = spec()
    content["data"]["tasks"] = TASKS
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": PAPER_METHODS[:6]}}
    return Folder(root, content).fill().predict(skill)


def rail(method: str, split: str, high: float = 0.85, low: float = 0.6) -> float:
    return high if method.startswith("rail") else low


@pytest.fixture(scope="module")
def effect(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, dict[str, dict[str, Any]]]:
    folder = made(tmp_path_factory.mktemp("effect"), rail)
    return folder, evaluate(folder)


def test_a_real_effect_is_reproduced(effect: tuple[Folder, dict[str, dict[str, Any]]]) -> None:
    folder, found = effect
    for name in ("above-ild-12-dev", "above-ild-12-test", "ood-above-all-12"):
        claim = found[name]
        assert claim["verdict"] == "reproduced" and claim["low"] > 0 and claim["seeds_needed"] is None
        assert all(part["se_examples"] > 0 and part["n"] == 3 for part in claim["parts"])
        assert claim["estimate"] == min(claim["parts"], key=lambda p: p["p_against"] - p["p"])["estimate"]
    assert len(found["ood-above-all-12"]["parts"]) == 8
    assert found["ood-ild-below-vanilla-12"]["verdict"] == "undecided"
    assert found["l-and-c-alike-dev"]["verdict"] != "reproduced"  # .5 points cannot be seen with 300 examples


def test_an_estimate_is_the_mean_over_tasks_of_the_mean_over_seeds(
    effect: tuple[Folder, dict[str, dict[str, Any]]],
) -> None:
    folder, found = effect
    part = next(p for p in found["above-ild-12-dev"]["parts"] if p["methods"] == [["rail_kd_c"], ["pkd"]])
    differences = []
    for task in TASKS:
        runs = {m: [folder.read(BERT, m, task, s) for s in (1, 2, 3)] for m in ("rail_kd_c", "pkd")}
        scores = {m: [100 * r["scores"]["dev"][r["shown"]] for r in rs] for m, rs in runs.items()}
        differences.append([a - b for a, b in zip(scores["rail_kd_c"], scores["pkd"], strict=True)])
    assert part["estimate"] == pytest.approx(statistics.mean(map(statistics.mean, differences)))
    variance = sum(statistics.variance(d) / 3 for d in differences) / len(TASKS) ** 2
    assert part["se_seeds"] == pytest.approx(math.sqrt(variance))
    assert part["paper"] is None  # not over the paper's eight columns, so its average says nothing about these
    assert part["paper_columns"] == pytest.approx((57.2 + 91.9 + 90.8 + 87.9 + 91.4 + 83.5 - 56.1 - 91.3 - 90.7 - 87.4
                                                   - 91.2 - 83.3) / 6)  # fmt: skip
    width = {k: high - low for k, (low, high) in part["bootstrap"].items()}
    assert width["both"] > width["examples"] > 0 and part["improvement"] > 0.9


def test_the_opposite_is_contradicted_and_no_difference_is_neither(tmp_path: Path) -> None:
    found = evaluate(made(tmp_path / "opposite", lambda m, s: rail(m, s, 0.6, 0.85)))
    assert found["above-ild-12-dev"]["verdict"] == "contradicted" and found["above-ild-12-dev"]["high"] < 0
    found = evaluate(made(tmp_path / "null", lambda m, s: 0.75))
    for name in ("above-ild-12-dev", "ood-above-all-12", "ood-c-better-12"):
        assert found[name]["verdict"] == "undecided", name
        assert found[name]["low"] < 0 < found[name]["high"] or len(found[name]["parts"]) > 1


def simulated(benchmark: Any, generator: np.random.Generator, effects: dict[str, float]) -> load.Runs:
    """Dev scores of every run, normal around 70 plus the method's effect, with a spread of 1 point; teachers at 85."""

    def row(method: str, task: str, seed: int, score: float) -> dict[str, Any]:
        return {"pair": BERT, "method": method, "block": "dev", "column": task, "task": task, "seed": seed,
                "metric": "accuracy", "score": score, "accuracy": score, "baseline": 0.5, "examples": 300,
                "sampling_error": None}  # fmt: skip

    rows = [
        row(m, t, s, generator.normal(70 + effects.get(m, 0), 1) / 100)
        for m in PAPER_METHODS[:6] for t in TASKS for s in (1, 2, 3)
    ]  # fmt: skip
    rows += [row("teacher", t, 1, 0.85) for t in TASKS]
    return load.Runs({}, {}, pd.DataFrame(rows, columns=load.COLUMNS))


@pytest.mark.parametrize(
    ("effects", "verdict", "least", "most"),
    [
        ({}, ("reproduced", "contradicted"), 0.0, 0.05),  # of either claim; in truth neither is decided
        ({"rail_kd_l": 2.0, "rail_kd_c": 2.0}, ("reproduced",), 0.8, 1.0),
        ({"rail_kd_l": -2.0, "rail_kd_c": -2.0}, ("contradicted",), 0.8, 1.0),
        ({"pkd": 2.0}, ("contradicted",), 0.8, 1.0),  # one of four comparisons is enough against a claim
    ],
)
def test_verdicts_over_repeated_draws(
    tmp_path: Path, effects: dict[str, float], verdict: tuple[str, ...], least: float, most: float
) -> None:
    """The whole way from scores to verdicts, 200 times, with Holm over both claims of one table."""
    folder = Folder(tmp_path, spec())
    folder.spec["data"]["tasks"] = TASKS
    folder.spec["pairs"] = {BERT: {**folder.spec["pairs"][BERT], "methods": PAPER_METHODS[:6]}}
    folder.save()
    wanted = ("above-ild-12-dev", "l-and-c-alike-dev")
    book = tmp_path / "claims.yaml"
    book.write_text(yaml.safe_dump({"claims": [c for c in ENTRIES["claims"] if c["id"] in wanted], "printed": []}))
    benchmark, generator = read(folder.file), np.random.default_rng(1)
    counts: Counter[str] = Counter()
    for _ in range(200):
        data = evaluation.evaluate(benchmark, simulated(benchmark, generator, effects), tmp_path, book)
        counts[data["claims"][0]["verdict"]] += 1
        assert all(p["se_examples"] is None for p in data["claims"][0]["parts"])
    assert least <= sum(counts[v] for v in verdict) / 200 <= most
    assert counts["not run"] == 0


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path, rail)
    for seed in (1, 2, 3):
        folder.path(BERT, "pkd", "cola", seed).unlink()
    folder.path(BERT, "rail_kd_c", "mnli", 2).unlink()
    found = evaluate(folder)
    assert found["above-ild-12-dev"]["verdict"] == "not run"
    assert found["above-ild-12-dev"]["missing"] == ["PKD with bert12 → distilbert6: CoLA"]
    assert found["above-ild-24-dev"]["missing"] == ["a pair that draws Table 3"]
    assert "rail_weight" in found["insensitive-to-weights"]["why"]
    ood = found["ood-c-better-12"]
    assert ood["parts"][0]["n"] == 2 and "Some runs are missing" in ood["why"]
    folder.spec["data"]["test"] = "none"
    folder.save()
    assert evaluate(folder)["above-ild-12-test"]["missing"] == ["a labelled test set"]


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path, rail)
    folder.spec["seeds"] = [1]
    folder.save()
    claim = evaluate(folder)["above-ild-12-dev"]
    assert claim["verdict"] == "undecided" and claim["low"] is None and "two or more" in claim["why"]
    assert claim["estimate"] > 5


def test_costs_attention_and_similarity(folder: Folder) -> None:
    for path in folder.results.glob("runs/**/*.json"):
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["similarity"]:
            level = {"alp_kd": 0.3}.get(run["method"], 0.8) + 0.001 * run["seed"] * len(run["method"])
            run["similarity"]["mean"] = (np.zeros_like(run["similarity"]["mean"]) + level).tolist()
        if run["method_record"]:
            share = np.array([1] * 7 + [5 + 0.1 * run["seed"]] * 4)  # layers 8 to 11: the upper third of 11
            run["method_record"]["attention"] = [(share / share.sum()).tolist()] * 5
        path.write_text(json.dumps(run), encoding="utf-8")
    needs = ["steps that were timed in turn: python -m benchmarks.speed with this benchmark's file"]
    for name in ("twice-as-fast-as-codir", "no-added-cost", "alp-slower", "alp-slower-with-depth"):
        assert evaluate(folder)[name]["missing"] == needs  # the records' own times serve no comparison
    times = {"codir": 20.0, "alp_kd": 15.0}
    seconds = {(pair, method): s for pair in folder.spec["pairs"] for method, s in times.items()}
    write_speed(folder, {**seconds, (LARGE, "alp_kd"): 30.0})
    found = evaluate(folder)
    for name in ("twice-as-fast-as-codir", "no-added-cost", "alp-slower", "alp-slower-with-depth", "cosine-like-pkd",
                 "cosine-above-alp", "attention-on-top"):  # fmt: skip
        assert found[name]["verdict"] == "reproduced", (name, found[name]["why"])
    assert found["twice-as-fast-as-codir"]["estimate"] == pytest.approx(2, abs=0.01)
    assert found["twice-as-fast-as-codir"]["paper"] == pytest.approx(1.96)
    assert found["alp-slower-with-depth"]["estimate"] == pytest.approx(2, abs=0.01)
    assert "teacher's signals cached, on cpu (P, 2 threads)" in found["alp-slower"]["why"]
    assert "with the teacher running, " in found["twice-as-fast-as-codir"]["why"]
    assert {part["n"] for part in found["alp-slower"]["parts"]} == {5}  # rounds
    assert found["attention-on-top"]["estimate"] == pytest.approx(20.8 / 27.8, abs=0.01)
    assert found["twice-as-fast-as-codir-24"]["missing"] == ["CoDIR with roberta24 → distilroberta6"]


def test_the_spread_is_compared_as_a_ratio(folder: Folder) -> None:
    for method in PAPER_METHODS[:6]:
        for task in ("cola", "rte", "mrpc"):
            for seed, step in ((1, -1), (2, 0), (3, 1)):
                wide = 0.0004 if method.startswith("rail") else 0.02
                folder.edit(
                    lambda r, s=step, w=wide: r["scores"]["dev"].update({r["shown"]: 0.7 + w * s}),
                    BERT, method, task, seed,
                )  # fmt: skip
    claim = evaluate(folder)["spread-no-larger"]
    assert claim["verdict"] == "reproduced" and claim["estimate"] == pytest.approx(0.02)
    geometric = (0.49 / 0.95 * 0.40 / 1.30 * 0.25 / 0.70) ** (1 / 3)
    part = next(p for p in claim["parts"] if p["methods"] == [["rail_kd_l"], ["alp_kd"]])
    assert part["paper_columns"] == pytest.approx(geometric) and part["paper"] == pytest.approx(0.38 / 0.98)


def test_variants_of_the_loss_weights_are_found_and_compared(tmp_path: Path) -> None:
    content = spec()
    content["data"] |= {"tasks": ["sst2", "qnli", "rte"], "out_of_domain": ["imdb"]}
    content["methods"] |= {
        "heavy": {"method": "rail_kd_l", "rail_weight": 0.6},
        "other": {"method": "rail_kd_l", "rail_weight": 0.6, "projection": "none"},
        "flat": {"method": "rail_kd_c", "kd_weight": 0.1, "title": "Flat"},
    }
    names = [*PAPER_METHODS[:6], "heavy", "other", "flat"]
    content["pairs"] = {BERT: {**content["pairs"][BERT], "methods": names}}
    folder = Folder(tmp_path, content).fill()
    claim = evaluate(folder)["insensitive-to-weights"]
    assert [p["methods"] for p in claim["parts"]] == [[["heavy"], ["rail_kd_l"]], [["flat"], ["rail_kd_c"]]]
    assert claim["upper"] == 0.5 and claim["lower"] is None


def test_predictions_that_contradict_their_record_are_an_error(tmp_path: Path) -> None:
    folder = made(tmp_path, rail)
    folder.edit(lambda r: r["scores"]["dev"].update(accuracy=0.123), BERT, "pkd", "sst2", 2)
    with pytest.raises(
        UserError, match=r"pkd/sst2/seed-2\.safetensors: its dev predictions score 0\.\d+, but the record"
    ):
        evaluate(folder)
    folder.path(BERT, "pkd", "sst2", 2).with_suffix(".safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"pkd/sst2/seed-2\.safetensors: missing or not what was written"):
        evaluate(folder)
    folder.path(BERT, "pkd", "sst2", 2).with_suffix(".safetensors").unlink()
    assert evaluate(folder)["above-ild-12-dev"]["parts"][0]["se_examples"] is None  # of seeds alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relatoin": "above"}, "unknown key 'relatoin'; did you mean 'relation'"),
        ({"relation": "over"}, "unknown relation 'over'"),
        ({"measure": "scores"}, "unknown measure 'scores'; did you mean 'score'"),
        ({"relation": "same"}, "'margin' belongs to"),
        ({"relation": "same", "margin": -1}, "'margin' is -1, expected more than 0"),
        ({"setting": 9}, "unknown setting '9'"),
        ({"figure": 2}, "either 'table' or 'figure'"),
        ({"methods": "rail_kd_l"}, "'methods' is a list"),
        ({"words": None}, "missing key 'words'"),
        ({"id": "l-and-c-alike-dev"}, "id 'l-and-c-alike-dev' is given twice"),
    ],
)
def test_the_ledger_names_the_claim_and_the_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = copy.deepcopy(ENTRIES)
    content["claims"][0].update(change)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError, match="claims.yaml") as error:
        ledger.read(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_each_claim_of_the_ledger_is_in_the_files_and_the_report(full: Folder) -> None:
    data = json.loads((full.results / "claims.json").read_text(encoding="utf-8"))
    assert [c["id"] for c in data["claims"]] == [c["id"] for c in ENTRIES["claims"]]
    assert data["synthetic"] and sum(data["counts"].values()) == len(data["claims"])
    documented = evaluation.__doc__ or ""
    for key in {*data, *data["claims"][0], *data["claims"][0]["parts"][0], *data["errors"][0], *data["selection"][0]}:
        assert key in documented, key
    text = (full.results / "claims.md").read_text(encoding="utf-8")
    report = (full.results / "report.md").read_text(encoding="utf-8")
    assert "A verdict here is one on this text" in text and "## Verdicts: does the paper hold here?" in report
    for claim in data["claims"]:
        assert f"### {claim['id']}: {claim['verdict']}" in text and claim["why"].endswith(".")
        assert (claim["verdict"] == "not run") == bool(claim["missing"]) == (not claim["parts"])


def test_selection_errors_and_budget(folder: Folder) -> None:
    halves = [[0.70, 0.60], [0.65, 0.68]]  # chosen on the first half: .70, .60; on the second: .65, .68
    for task in spec()["data"]["tasks"]:
        for seed in (1, 2, 3):
            folder.edit(
                lambda r: r.update(epochs=[{**e, "halves": h} for e, h in zip(r["epochs"], halves, strict=False)]),
                BERT, "pkd", task, seed,
            )  # fmt: skip
    folder.spec["search"] = {"seed": 0, "tasks": ["rte"], "grid": {"learning_rate": [1e-3, 2e-3]}}
    folder.save()
    for point, score in enumerate((0.5, 0.7)):
        run = folder.read(BERT, "pkd", "rte")
        run["scores"]["dev"]["accuracy"] = score
        run["config"]["training"]["learning_rate"] = 1e-3 * (point + 1)
        run |= {"seed": 0, "config_hash": sha256_text(canonical(run["config"]))}
        path = folder.results / "search" / BERT / "pkd" / "rte" / f"point-{point}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run), encoding="utf-8")
    assert main(["claims", str(folder.file), "--results", str(folder.results)]) == 0
    data = json.loads((folder.results / "claims.json").read_text(encoding="utf-8"))
    chosen = {(e["pair"], e["method"]): e for e in data["selection"]}
    assert chosen[BERT, "pkd"]["optimism"] == pytest.approx(100 * (0.10 + 0.03) / 2)
    assert chosen[BERT, "pkd"]["halves"] == 24 and chosen[BERT, "no_kd"]["optimism"] is None
    gaps = [
        [100 * (r["scores"]["dev"][r["shown"]] - r["scores"]["test"][r["shown"]]) for r in runs]
        for runs in ([folder.read(BERT, "pkd", t, s) for s in (1, 2, 3)] for t in spec()["data"]["tasks"])
    ]
    assert chosen[BERT, "pkd"]["dev_minus_test"] == pytest.approx(statistics.mean(map(statistics.mean, gaps)))
    (entry,) = data["budget"]
    assert (entry["tasks"], entry["points"]) == (["rte"], 2) and entry["expected"] == pytest.approx([60, 65])
    cell = next(
        e for e in data["errors"] if (e["pair"], e["method"], e["block"], e["column"]) == (BERT, "pkd", "dev", "rte")
    )
    runs = [100 * folder.read(BERT, "pkd", "rte", s)["scores"]["dev"]["accuracy"] for s in (1, 2, 3)]
    assert cell["se_seeds"] == pytest.approx(statistics.stdev(runs) / math.sqrt(3)) and cell["how"] == "formula"
    p = statistics.mean(runs) / 100
    assert cell["se_examples"] == pytest.approx(100 * math.sqrt(p * (1 - p) / 400))
