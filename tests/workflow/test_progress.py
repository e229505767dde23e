"""The progress of a run: counts, an estimate that a person can check, and failures with what a job last wrote."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from workflow.progress import Progress, last_line, spell


def event(name: str, **attributes: Any) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    vars(record).update(event=name, **attributes)
    return record


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_counts_of_a_run(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "d.log"
    progress = Progress(clock)
    progress.take(event("run_info", stats={"distil": 3, "report": 1, "total": 4}))
    progress.take(event("job_info", jobid=1, rule_name="distil", wildcards={"pair": "a-b", "task": "rte"}))
    progress.take(event("shellcmd"))
    assert progress.counts() == "0 of 4 jobs done, time left not known yet"
    assert [job.name for job in progress.running.values()] == ["distil a-b rte"]
    clock.time = 100.0
    progress.take(event("job_finished", job_id=1))
    progress.take(event("job_finished", job_id=99))  # one it never heard of
    assert progress.counts() == "1 of 4 jobs done, about 5 min left"
    progress.take(event("job_info", jobid=2, rule_name="distil", wildcards={}, log=[str(log)]))
    progress.take(event("job_info", jobid=3, rule_name="distil", wildcards={}))
    clock.time = 200.0
    progress.take(event("job_finished", job_id=3))
    assert progress.estimate() == pytest.approx(100)  # 2 jobs left x 100 s, of which one has run for 100 s
    log.write_text("[    1.2 s] libraries loaded\nrailkd: error: task 'rte': no such file\n\n")
    progress.raised.append("RuleException:\nCommand returned 1")
    progress.take(event("job_error", jobid=2, rule_name="distil", log=[str(log)]))
    progress.take(event("job_error", jobid=42))
    assert progress.counts() == "2 of 4 jobs done, 2 failed, about 100 s left".replace("100 s", spell(100))
    assert [failure.lines() for failure in progress.failures.values()] == [
        ["failed: distil", "  error: task 'rte': no such file", f"  log: {log}"],
        ["failed: a job", "  It ended without a message."],
    ]


def test_a_job_without_a_log_fails_with_what_was_raised() -> None:
    progress = Progress()
    progress.take(event("job_info", jobid=1, rule_name="mine", wildcards={}))
    progress.raised.append("RuleException:\nOSError: no such folder\n")
    progress.take(event("job_error", jobid=1, rule_name="mine"))
    progress.take(event("job_error", jobid=1, rule_name="mine"))  # as Snakemake repeats those of a group
    assert progress.failures[1].lines() == ["failed: mine", "  OSError: no such folder"] and not progress.raised


def test_a_job_that_is_tried_again_has_not_failed() -> None:
    progress = Progress()
    progress.take(event("run_info", stats={"distil": 2}))
    for event_name in ("job_info", "job_error", "job_info"):
        progress.take(event(event_name, jobid=1, rule_name="distil", wildcards={}))
    assert not progress.failures and progress.left["distil"] == 2
    progress.take(event("job_finished", job_id=1))
    assert progress.done == 1 and progress.left["distil"] == 1 and not progress.running


def test_two_jobs_at_a_time_halve_the_estimate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.take(event("run_info", stats={"distil": 10}))
    for job in (1, 2):
        progress.take(event("job_info", jobid=job, rule_name="distil", wildcards={}))
    clock.time = 10.0
    for job in (1, 2):
        progress.take(event("job_finished", job_id=job))
    assert progress.estimate() == pytest.approx(8 * 10 / 2)


def test_the_jobs_are_counted_once() -> None:
    """A dry run counts them again at its end, when some are taken as done."""
    progress = Progress()
    progress.take(event("run_info", stats={"distil": 10, "all": 1, "total": 11}))
    progress.take(event("run_info", stats={"distil": 1, "total": 1}))
    assert progress.total == 11 and progress.rules == {"distil", "all"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"[   12.3 s] epoch 1/2 loss 0.5\n", "epoch 1/2 loss 0.5"),
        (b"10%\r20%\r", "20%"),
        (b"a \x1b[2Jred\x07\n", "a [2Jred"),  # nothing that moves a terminal's cursor
        (b"\xff\xfe broken\n", "\ufffd\ufffd broken"),
        (b"x" * 9000 + b"\nlast", "last"),
    ],
)
def test_last_line_of_a_log(tmp_path: Path, content: bytes, line: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    assert last_line(log) == line


def test_a_log_of_an_earlier_run_says_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old")
    os.utime(log, (1000, 1000))
    assert last_line(log, since=2000) == "" and last_line(log, since=500) == "old"
    assert last_line(tmp_path / "none") == last_line(None) == last_line(tmp_path) == ""


def test_spell() -> None:
    assert [spell(s) for s in (0, 89, 600, 5400)] == ["0 s", "89 s", "10 min", "1.5 h"]
