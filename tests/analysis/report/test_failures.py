"""The report says why a run is missing: what the log of its job, or of one it needs, ends with."""

import pytest
from made_records import Folder

from analysis import load
from analysis.__main__ import main
from analysis.report import contents, failures, html_page, markdown
from analysis.reported_benchmark import read

PAIR = "bert12-distilbert6"
OWN = "distil_pkd/bert12-distilbert6/cola-1.log"


def log(folder: Folder, name: str, text: str) -> None:
    path = folder.results / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def why(folder: Folder, seed: int = 2) -> str:
    return failures.reason(read(folder.file), folder.results, (PAIR, "pkd", "cola", seed))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (OWN, "", "not run yet"),
        (OWN, "[ 1.0 s] done\n", "not run yet"),
        (OWN, "[ 1.0 s] x\nrailkd: error: teachers/x: no such file\n", f"teachers/x: no such file (logs/{OWN})"),
        (
            OWN,
            "[ 1.0 s] x\n[ 9.0 s] y: epoch 1/3\n",
            "its job was stopped, or still runs, after: [ 9.0 s] y: epoch 1/3",
        ),
        (OWN, 'Traceback (most recent call last):\n  File "x"\nKeyError: 3\n', "crashed: KeyError: 3"),
        (
            "teacher/bert12/cola.log",
            "railkd: error: teacher bert12 cola seed 1: loss is not finite\n",
            "teacher bert12",
        ),
        ("data.log", "railkd: error: data: cannot be written\n", "data: cannot be written (logs/data.log)"),
    ],
)
def test_a_log_says_why(small: Folder, name: str, text: str, said: str) -> None:
    log(small, OWN, "[ 1.0 s] done\n")
    log(small, name, text)
    assert why(small).startswith(said)


def test_a_run_is_missing_for_a_point_of_the_search_that_decides_for_it(small: Folder) -> None:
    """Also where the point is of another task, which search.tasks names; no point of an earlier, longer search."""
    small.spec["search"] = {"seed": 0, "tasks": ["mnli"], "grid": {"learning_rate": [1e-3, 2e-3]}}
    small.save()
    for name, said in (
        (f"search_pkd/{PAIR}/mnli-2.log", "not run yet"),
        (f"search_pkd/{PAIR}/mnli-1.log", f"no space left (logs/search_pkd/{PAIR}/mnli-1.log)"),
        ("teacher/bert12/mnli.log", "no space left (logs/teacher/bert12/mnli.log)"),
    ):
        log(small, name, "railkd: error: no space left\n")
        assert why(small) == said


def test_each_run_of_a_job_has_its_own_reason(small: Folder) -> None:
    own = [
        f"{PAIR} pkd cola seed {seed}: loss is not finite at step {seed}; last finite values: none" for seed in (1, 2)
    ]
    log(small, OWN, f"railkd: error: {'; '.join(own)}\n")
    assert [why(small, seed) for seed in (1, 2)] == [f"{line.partition(': ')[2]} (logs/{OWN})" for line in own]


def test_runs_that_fail_alike_share_a_reason(small: Folder) -> None:
    log(small, OWN, f"railkd: error: {PAIR} pkd cola seed 1, 3: my_kd.py:7: no; such; {PAIR} pkd cola seed 2: other\n")
    assert [why(small, seed).partition(" (logs")[0] for seed in (1, 2, 3)] == [
        "my_kd.py:7: no; such", "other", "my_kd.py:7: no; such"
    ]  # fmt: skip


def test_the_report_shows_the_hole_and_the_reason(small: Folder) -> None:
    for seed in (1, 2):
        small.path(PAIR, "pkd", "cola", seed).unlink()
    own = [f"{PAIR} pkd cola seed {seed}: loss <b> is not finite at step 7" for seed in (1, 2)]
    log(small, OWN, f"railkd: error: {'; '.join(own)}\n")
    for step in ("tables", "claims", "audit", "report"):
        assert main([step, str(small.file), "--results", str(small.results)]) == 0
    benchmark = read(small.file)
    runs = load.read(benchmark, small.results)
    gathered = contents.gather(benchmark, runs, small.results)
    text, html = markdown.compose(gathered), html_page.compose(gathered)
    assert "PKD: cola (seed 1, 2): " in text and "is not finite at step 7" in text
    assert "loss &lt;b&gt; is not finite at step 7" in html


def test_a_table_changed_by_hand_is_not_put_into_the_report(small: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("tables", "claims", "audit"):
        assert main([step, str(small.file), "--results", str(small.results)]) == 0
    table = small.results / "tables" / "table2.md"
    table.write_text(table.read_text().replace("1", "2", 1))
    assert main(["report", str(small.file), "--results", str(small.results)]) == 1
    assert "table2.md: missing or not what was written (checksum)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tables/table2.md", "claims.json", "checksums/claims.json"])
def test_what_the_analysis_wrote_is_written_again_and_no_folder_of_runs_is_to_be_deleted(
    small: Folder, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """claims.json lies in the results folder itself: to delete the folder of a damaged file would lose the runs."""
    for step in ("tables", "claims", "audit"):
        assert main([step, str(small.file), "--results", str(small.results)]) == 0
    path = small.results / name
    path.write_text(path.read_text().replace("1", "2", 1))
    capsys.readouterr()
    assert main(["report", str(small.file), "--results", str(small.results)]) == 1
    said = capsys.readouterr().err
    assert f"{path}: " in said and f"write it again with 'railkd report {small.results}'" in said
    assert "delete" not in said
    assert main(["all", str(small.file), "--results", str(small.results)]) == 0
