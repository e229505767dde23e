"""report.html: every number in it recomputed from the records."""

import base64
import csv
import gzip
import io
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import BERT, GLUE, LARGE, OOD, Folder, cells, scores
from scipy import stats as scipy_stats

from analysis import load
from analysis.figures import inline_svg, report_plots, style
from analysis.report import contents, html_page, provenance
from analysis.reported_benchmark import read
from analysis.statistics import summaries
from analysis.tables.costs import over_tasks
from railkd.errors import UserError


def composed(folder: Folder) -> str:
    """The page of a folder, made anew."""
    benchmark = read(folder.file)
    return html_page.compose(contents.gather(benchmark, load.read(benchmark, folder.results), folder.results))


def test_nothing_in_the_file_points_outside(text: str) -> None:
    outside = re.findall(r"""(?:src|href|action|url|import)\s*[=(]\s*["']?((?:https?:)?//[^"'\s>]+)""", text)
    assert outside == []
    assert "default-src 'none'" in text
    assert {u.rstrip('"') for u in re.findall(r"https?://[^\s<]+", text)} <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # fmt: skip
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_every_link_within_a_page_has_its_place(text: str, small: Folder) -> None:
    for page in (text, composed(small)):  # with verdicts, and before they are written
        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'\bid="([^"]+)"', page))


def test_every_number_of_the_tables_is_that_of_the_records(opened: Any, made: Folder) -> None:
    script = (
        "return [...document.querySelectorAll('#tables td[data-key]')].map((d) => [d.closest('figure').id,"
        " d.dataset.key, d.dataset.sort ?? d.textContent.trim(), d.innerText, d.dataset.tip || ''])"
    )
    found = {(table, key): rest for table, key, *rest in opened.execute_script(script)}
    wanted = {(f"table{n}", "|".join(key)): row for n in range(1, 7) for key, row in cells(made, n).items()}
    assert {k for k, row in wanted.items() if row["value"]} <= set(found)
    for place, (sort, shown, _) in found.items():
        if place in wanted and wanted[place]["value"]:
            assert float(sort) == pytest.approx(float(wanted[place]["value"]), abs=1e-9), place
            assert float(re.match(r"-?[\d.]+", shown)[0]) == pytest.approx(float(sort), abs=0.051), place
    checked = 0
    for pair, number in ((BERT, 2), (LARGE, 3)):  # from the JSON files alone
        for block in ("dev", "test"):
            for method in ("teacher", *made.spec["pairs"][pair]["methods"]):
                for task in [t for t in GLUE if (method, t) != ("codir", "stsb")]:
                    values = scores(made, pair, method, task, block)
                    sort, shown, tip = found[f"table{number}", f"{pair}|{block}|{method}|{task}"]
                    assert float(sort) == pytest.approx(statistics.mean(values))
                    assert shown.startswith(f"{statistics.mean(values):.1f}")
                    if len(values) > 1:
                        assert f"± {statistics.stdev(values):.1f}" in shown and "n = 3 runs" in tip
                        half = scipy_stats.t.ppf(0.975, 2) * statistics.stdev(values) / math.sqrt(3)
                        low, high = statistics.mean(values) - half, statistics.mean(values) + half
                        assert f"95 % interval of the mean over seeds: {low:.2f} % to {high:.2f} %" in tip
                    checked += 1
    for column, task in OOD.items():
        sort = found["table6", f"{BERT}|ood|pkd|{column}"][0]
        assert float(sort) == pytest.approx(statistics.mean(scores(made, BERT, "pkd", task, column)))
    assert checked > 200
    assert "(61.3)" in found["table2", f"{BERT}|dev|teacher|cola"][1]  # benchmarks/reference/table2.csv


def test_the_table_of_runs_and_its_file_hold_every_record(opened: Any, made: Folder) -> None:
    cells_of = "(r) => [...r.cells].map((c) => c.textContent.trim())"
    rows = opened.execute_script(f"return [...document.querySelectorAll('#runs tbody tr')].map({cells_of})")
    assert len(rows) == 420 + 23
    record = made.read(BERT, "pkd", "cola", 2)
    (row,) = [r for r in rows if r[:4] == [BERT, "PKD", "cola", "2"]]
    assert row[4] == f"{100 * record['scores']['dev']['matthews']:.1f}"
    assert row[7] == f"{record['cost']['train_seconds']:.1f}"
    assert row[8] == f"{1000 * record['cost']['step_seconds']:.2f}"
    assert row[12] == record["fingerprints"]["data"][:12] and row[15] == record["config_hash"][:12]
    link = opened.find_element("css selector", "#runs a[download]").get_attribute("href")
    file = gzip.decompress(base64.b64decode(link.partition("base64,")[2])).decode()
    kept = list(csv.DictReader(io.StringIO(file)))
    assert len(kept) == 443
    (line,) = [r for r in kept if (r["pair"], r["method"], r["task"], r["seed"]) == (BERT, "pkd", "cola", "2")]
    assert float(line["scores.dev.matthews"]) == record["scores"]["dev"]["matthews"]
    assert line["fingerprints.teacher"] == record["fingerprints"]["teacher"]
    assert line["provenance.versions.torch"] == "2.5.0" and line["provenance.commit"] == "0123456789abcdef0123"
    assert "Some_CPU <2>, 2 cores" in opened.find_element("id", "machine").text
    differing = opened.execute_script(
        "return [...document.querySelectorAll('#made-on tr')].map((r) => r.innerText.split('\\t'))"
    )
    assert [line[0] for line in differing[1:]] == sorted({r[11] for r in rows}) and len(differing) > 2


def test_verdicts_and_audit(opened: Any) -> None:
    content = opened.find_element("id", "verdicts").text
    assert "1 reproduced" in content and "1 not run" in content
    assert "“RAIL-KD <i>outperforms</i> PKD & ALP-KD”" in content
    faster = opened.find_element("id", "faster")
    assert "Section 4.3, Table 2" in faster.text and "1.42× [1.30×, 1.55×]" in faster.text
    assert faster.find_element("css selector", "td").text == "contradicted"
    label = faster.find_element("css selector", "svg.interval").get_attribute("aria-label")
    assert "1.42×; 95 % interval 1.30× to 1.55×" in label
    opened.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    spread = opened.find_element("id", "spread").text
    assert "−1.23 points, 95 % interval −2.50 to 0.03 points; the paper: +0.70 points" in spread
    assert "About 11 seeds would decide it" in spread
    assert "Needs CoDIR." in opened.find_element("id", "absent").text
    x = [
        float(opened.find_element("css selector", f"#faster svg {part}").get_attribute(name))
        for part, name in ((".range", "x1"), (".estimate", "cx"), (".range", "x2"))
    ]
    assert x[0] < x[1] < x[2]
    low, high = x[0] - x[1], x[2] - x[1]
    assert low / high == pytest.approx(math.log(1.3 / 1.42) / math.log(1.55 / 1.42), rel=0.02)  # ratios: log scale
    audit = opened.find_element("id", "audit").text
    assert "2 averages and statements recomputed" in audit
    (row,) = opened.find_elements("css selector", "#findings tbody.rows tr")
    assert row.text.split("\n")[0].startswith("TEST, PKD row average 77.7 78.1 −0.40")
    assert opened.find_element("css selector", "#findings tbody.heading").text == "Table 2"


def test_without_verdicts_the_sections_are_left_out(small: Folder) -> None:
    text = composed(small)
    assert 'id="verdicts"' not in text and 'id="audit"' not in text and 'id="draws"' not in text
    assert 'id="table2"' in text and 'id="table3"' not in text
    small.results.joinpath("claims.json").write_text("{")
    with pytest.raises(UserError, match="claims.json: cannot be read as JSON"):
        composed(small)


def test_data_is_escaped_and_missing_runs_are_named(small: Folder) -> None:
    small.spec["title"] = "<script>alert(1)</script> & co"
    small.spec["methods"]["pkd"] = {"title": "<img src=x onerror=alert(1)>\"'"}
    small.save()
    small.path(BERT, "no_kd", "mnli", 2).unlink()

    def hostile(record: dict[str, Any]) -> None:
        record["provenance"]["processor"] = "</script><b>CPU"

    small.edit(hostile, BERT, "pkd", "cola", 1)
    text = composed(small)
    assert "<script>alert" not in text and "<img" not in text and "<b>CPU" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in text
    assert "bert12-distilbert6, w/o KD: mnli (seed 2)" in text
    assert "11 of 12 student runs" in text


def test_a_method_has_the_mark_of_the_figures_in_every_table(small: Folder) -> None:
    page = composed(small)
    marked = re.findall(r'<th scope="row" data-sort="(.*?)">(<svg class="mark.*?</svg> )?', page)
    named = {"w/o KD": "no_kd", "PKD": "pkd", "Teacher": "teacher"}
    assert {title for title, drawn in marked if drawn} == set(named)
    for title, drawn in marked:
        if title in named:
            mark = style.MARKS[named[title]]
            assert drawn == inline_svg.symbol(mark)
            assert f'fill="{"currentColor" if mark.colour == style.INK else mark.colour}"' in drawn
    assert len({inline_svg.symbol(style.MARKS[m]) for m in style.MARKS}) == len(style.MARKS)


def test_interval_of_the_mean_is_students() -> None:
    low, high = summaries.mean_interval(10.0, 2.0, 4)
    expected = scipy_stats.t.interval(0.95, 3, loc=10, scale=1)
    assert (low, high) == pytest.approx(expected)


def test_curves_trade_off_and_draws_come_from_the_records(made: Folder) -> None:
    benchmark = read(made.file)
    runs = load.read(benchmark, made.results)
    pair = benchmark.pairs[0]
    curve = report_plots.curve_data(benchmark, runs, pair, "pkd", "cola")
    expected = [[100 * e["dev"]["matthews"] for e in made.read(BERT, "pkd", "cola", s)["epochs"]] for s in (1, 2, 3)]
    assert curve is not None and curve == pytest.approx(np.array(expected))
    large = report_plots.curve_data(benchmark, runs, benchmark.pairs[1], "pkd", "cola")
    assert large is not None and large.shape == (3, 2)  # one run stopped after two epochs

    points = {p["method"]: p for p in report_plots.trade_off(benchmark, runs, pair, "test")}
    assert "codir" not in points  # no STS-B, so its average would not compare
    seconds = [made.read(BERT, "pkd", t, s)["cost"]["train_seconds"] for t in GLUE for s in (1, 2, 3)]
    assert points["pkd"]["seconds"] == pytest.approx(sum(seconds) / 3)
    totals = [sum(seconds[seed::3]) for seed in range(3)]
    assert points["pkd"]["seconds_sd"] == pytest.approx(statistics.stdev(totals)) and statistics.stdev(totals) > 0
    assert points["pkd"]["mean"] == pytest.approx(
        statistics.mean(v for t in GLUE for v in scores(made, BERT, "pkd", t, "test"))
    )
    for p in points.values():
        beaten = any(o["seconds"] < p["seconds"] and o["mean"] > p["mean"] for o in points.values())
        assert p["front"] is not beaten

    drawn = report_plots.drawn_layers(benchmark, runs, pair, "rail_kd_l")
    assert drawn is not None and drawn[1] == 8 * 3 * 3  # tasks, seeds, epochs
    counts = drawn[0] * 0
    for task in GLUE:
        for seed in (1, 2, 3):
            for layers in made.read(BERT, "rail_kd_l", task, seed)["method_record"]["layers"]:
                for i, layer in enumerate(layers):
                    counts[i, layer - 1] += 1
    assert (drawn[0] == counts).all()
    assert report_plots.drawn_layers(benchmark, runs, pair, "pkd") is None


def test_what_training_cost_has_its_spread_over_seeds(made: Folder) -> None:
    benchmark = read(made.file)
    table = provenance.cost_table(benchmark, load.read(benchmark, made.results))
    (rows,) = [rows for _, rows in table.sections]
    pair = next(p for p in benchmark.pairs if p.name == BERT)
    (shown,) = [cells for head, cells in rows if head == benchmark.title_of("pkd") and cells[0].text == pair.title]
    by_title = dict(zip(table.columns, shown, strict=True))
    for title, key, scale in (("Training, s", "train_seconds", 1.0), ("Step, ms", "step_seconds", 1000 / len(GLUE))):
        found = [scale * sum(made.read(BERT, "pkd", t, seed)["cost"][key] for t in GLUE) for seed in (1, 2, 3)]
        decimals = 0 if title == "Training, s" else 1
        assert float(by_title[title].sort) == pytest.approx(statistics.mean(found), rel=1e-6)
        assert by_title[title].after == f"± {statistics.stdev(found):.{decimals}f}"


def test_runs_on_different_devices_have_a_row_of_costs_for_each(made: Folder, folder: Folder) -> None:
    """One seed of CoLA on a GPU: its row is of that run alone, and the CPU's rows and means have nothing of it."""
    folder.edit(lambda r: r["cost"].update(device="gpu", step_seconds=1e-6), BERT, "pkd", "cola", 1)
    benchmark = read(folder.file)
    table = provenance.cost_table(benchmark, load.read(benchmark, folder.results))
    pair = next(p for p in benchmark.pairs if p.name == BERT)
    rows = [[c.text for c in cells] for name, cells in table.sections[0][1] if name == benchmark.title_of("pkd")]
    rows = [row for row in rows if row[0] == pair.title]
    assert [(row[1], row[2], row[-1]) for row in rows] == [("23", "8", "cpu"), ("1", "1", "gpu")]
    steps = [
        statistics.mean(
            made.read(BERT, "pkd", t, seed)["cost"]["step_seconds"] for seed in (1, 2, 3) if (t, seed) != ("cola", 1)
        )
        for t in GLUE
    ]
    assert rows[0][4] == f"{1000 * statistics.mean(steps):.1f}" and rows[1][4] == "0.0"
    assert "on the same device only" in table.caption


def test_the_order_of_tasks_changes_no_digit_of_a_cost(made: Folder) -> None:
    benchmark = read(made.file)
    runs = load.read(benchmark, made.results)
    for method in ("pkd", "rail_kd_l"):
        first, last = (over_tasks(runs, BERT, method, tasks, "train_seconds") for tasks in (GLUE, GLUE[::-1]))
        assert first == last


def test_costs_on_different_devices_are_not_placed_together(made: Folder, folder: Folder) -> None:
    folder.edit(lambda r: r["cost"].update(device="gpu"), BERT, "pkd", "cola", 1)
    benchmark = read(folder.file)
    runs = load.read(benchmark, folder.results)
    assert report_plots.trade_off(benchmark, runs, benchmark.pairs[0], "test") == []


def test_equal_records_give_an_equal_page(small: Folder) -> None:
    first, second = (composed(small) for _ in range(2))
    assert first == second
    assert str(Path.home()) not in first and str(small.root) not in first
