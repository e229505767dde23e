"""The progress line: counts, an estimate that a person can check, and no way to end a run."""

import logging
from typing import Any

import pytest

from railkd.progress import Progress, spell


def event(name: str, **attributes: Any) -> logging.LogRecord:
    record = logging.LogRecord("engine", logging.INFO, "", 0, "", (), None)
    vars(record).update(event=name, **attributes)
    return record


def test_lines_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    clock = [0.0]
    progress.now = lambda: clock[0]
    progress.emit(event("run_info", stats={"distil": 3, "report": 1, "total": 4}))
    progress.emit(event("job_info", jobid=1, rule_name="distil"))
    progress.emit(event("shellcmd"))
    clock[0] = 100.0
    progress.emit(event("job_finished", job_id=1))
    progress.emit(event("job_finished", job_id=99))  # one it never heard of
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["railkd: 4 jobs to do", "railkd: 1 jobs done, 3 left, about 5 min to go: distil"]
    progress.emit(event("job_info", jobid=2, rule_name="distil"))
    progress.emit(event("job_info", jobid=3, rule_name="distil"))
    clock[0] = 200.0
    progress.emit(event("job_finished", job_id=2))
    progress.emit(event("job_error", jobid=3, log=["d.log"]))
    progress.emit(event("job_error", jobid=42))
    lines = capsys.readouterr().err.splitlines()
    # 2 jobs left x 100 s, of which one has run for 100 s
    assert lines[0] == "railkd: 2 jobs done, 2 left, about 100 s to go: distil".replace("100 s", spell(100))
    assert lines[1:] == [
        "railkd: failed: distil, the other jobs go on; log: d.log",
        "railkd: failed: a job, the other jobs go on",
    ]


def test_two_jobs_at_a_time_halve_the_estimate() -> None:
    progress = Progress()
    clock = [0.0]
    progress.now = lambda: clock[0]
    progress.line(event("run_info", stats={"distil": 10}))
    for job in (1, 2):
        progress.line(event("job_info", jobid=job, rule_name="distil"))
    clock[0] = 10.0
    for job in (1, 2):
        progress.line(event("job_finished", job_id=job))
    assert progress.estimate() == pytest.approx(8 * 10 / 2)


@pytest.mark.parametrize(
    "broken",
    [event("job_info"), event("job_finished"), event("run_info", stats=3), event("job_error"), event("run_info"),
     logging.LogRecord("engine", logging.INFO, "", 0, "no event", (), None)],
)  # fmt: skip
def test_never_raises(broken: logging.LogRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    Progress().emit(broken)


def test_spell() -> None:
    assert [spell(s) for s in (0, 89, 600, 5400)] == ["0 s", "89 s", "10 min", "1.5 h"]


def test_a_quiet_engine_names_the_rule_only_at_the_end() -> None:
    progress = Progress()
    progress.line(event("run_info", stats={"distil": 2}))
    progress.line(event("job_started", jobs=[7, 8]))
    finished = event("job_finished", job_id=7)
    finished.msg = "Finished jobid: 7 (Rule: distil)"
    line = progress.line(finished)
    assert line is not None and line.startswith("railkd: 1 jobs done, 1 left, about") and line.endswith(": distil")
