"""What a run shows, from Snakemake's records: on a terminal, in a file, quiet, as a dry run, and at its end."""

import io
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from workflow import terminal
from workflow.terminal import Terminal


class Own(logging.StreamHandler):  # type: ignore[type-arg]
    """Snakemake's handler: here a line for each record."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("snakemake: %(message)s"))


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def shown(ending: str = "VERDICTS", **settings: Any) -> Terminal:
    common = MockOutputSettings()
    vars(common).update(settings)
    return Terminal(common, Own(), lambda: ending)


def say(handler: Terminal, text: str = "", level: int = logging.INFO, **attributes: Any) -> None:
    record = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    vars(record).update(attributes)
    handler.handle(record)


def run(handler: Terminal, jobs: int = 40, failing: int = 0) -> None:
    """A run of so many jobs, the last ``failing`` of which fail."""
    say(handler, "a remark before the run")
    say(handler, "SNAKEMAKE", event="workflow_started")
    say(handler, "Building DAG of jobs...")
    say(handler, "the table", event="run_info", stats={"distil": jobs - 1, "all": 1, "total": jobs})
    for job in range(jobs):
        say(handler, event="job_info", jobid=job, rule_name="distil", wildcards={"task": f"t{job}"})
        if job < jobs - failing:
            say(handler, "Finished", event="job_finished", job_id=job)
        else:
            say(handler, "RuleException:\nboom", logging.ERROR, event="error", exception="RuleException")
            say(handler, "Error in rule", logging.ERROR, event="job_error", jobid=job, rule_name="distil", log=[])
    if failing:
        say(handler, "Exiting because a job execution failed.", logging.ERROR)
        say(handler, "At least one job failed.", logging.ERROR, event="error", exception="WorkflowError")
    handler.close()


class TestOnTheInterface(TestLogHandlerBase):
    """Snakemake's own tests of a logger plugin."""

    __test__ = True

    def get_log_handler_cls(self) -> type[Terminal]:
        return Terminal

    def get_log_handler_settings(self) -> Any:
        return None

    def _create_handler(self) -> Terminal:
        return shown()


def test_in_a_file_a_line_for_each_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    run(shown())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "railkd: 40 jobs to do" and lines[-2:] == ["railkd: 40 of 40 jobs done in 0 s", "VERDICTS"]
    assert [line.split(" jobs")[0] for line in lines[1:-2]] == [f"railkd: {n} of 40" for n in range(2, 40, 2)]
    assert lines[1].endswith("; running: distil t2")


def test_silence_is_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SILENCE", 0.01)
    handler = shown()
    say(handler, event="workflow_started")
    say(handler, event="run_info", stats={"teacher": 1})
    say(handler, event="job_info", jobid=1, rule_name="teacher", wildcards={"teacher": "bert4", "task": "rte"})
    handler.alarm.join(10)
    handler.alarm.join(10)
    handler.close()
    assert "railkd: 0 of 1 jobs done, time left not known yet; running: teacher bert4 rte\n" in capsys.readouterr().err
    assert not handler.alarm.is_alive() or handler.alarm.finished.is_set()


def test_failures_are_said_at_once_and_last(capsys: pytest.CaptureFixture[str]) -> None:
    run(shown(), failing=2)
    lines = capsys.readouterr().err.splitlines()
    failures = ["railkd: failed: distil t38", "  boom", "railkd: failed: distil t39", "  boom"]
    assert lines[-7:] == [
        "railkd: 38 of 40 jobs done in 0 s, 2 failed",
        "VERDICTS",
        *failures,
        "railkd: the same command goes on where this run ended",
    ]
    assert lines[-11:-7] == failures and not any("snakemake:" in line for line in lines)


def test_on_a_terminal_one_bar_and_little_that_scrolls(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    run(shown(), failing=1)
    first, *drawn, last = screen.getvalue().split("\x1b[2K")  # which wipes a line, to write it anew
    assert first.startswith("railkd: 40 jobs to do\n") and any("━" in frame for frame in [first, *drawn])
    assert last.splitlines() == [
        "railkd: 39 of 40 jobs done in 0 s, 1 failed",
        "VERDICTS",
        "railkd: failed: distil t39",
        "  boom",
        "railkd: the same command goes on where this run ended",
    ]
    assert sys.stderr is screen


def test_the_bar_names_what_runs_what_failed_and_what_a_job_wrote(tmp_path: Path) -> None:
    from rich.console import Console

    handler, log = shown(), tmp_path / "log"
    log.write_text("[  3.0 s] step 300/1000: mlm loss 2.500\n")
    take = handler.progress.take
    for record in [
        {"event": "run_info", "stats": {"pretrain": 20}},
        {"event": "job_info", "jobid": 0, "rule_name": "pretrain", "wildcards": {"model": "m"}, "log": [str(log)]},
        {"event": "job_error", "jobid": 99, "rule_name": "teacher"},
        *({"event": "job_info", "jobid": n, "rule_name": f"r{n}", "wildcards": {}} for n in range(1, 12)),
    ]:
        take(logging.makeLogRecord(record))
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(handler._frame())
    lines = capture.get().splitlines()
    assert "0 of 20 jobs done, 1 failed, time left not known yet" in lines[0]
    assert lines[1].startswith("  failed: teacher") and lines[2] == "  pretrain m, 0 s  step 300/1000: mlm loss 2.500"
    assert lines[-1] == "  and 4 more" and len(lines) == 11


@pytest.mark.parametrize(
    ("quiet", "ends"),
    [({Quietness.PROGRESS, Quietness.RULES}, ["railkd: failed: distil t39", "  boom"]),
     ({Quietness.ALL}, ["railkd: failed: distil t39", "  boom"])],
)  # fmt: skip
def test_quiet_says_what_failed_and_nothing_else(
    quiet: set[Quietness], ends: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(shown(quiet=quiet), failing=1)
    assert capsys.readouterr().err.splitlines() == ends


def test_a_warning_is_snakemakes(capsys: pytest.CaptureFixture[str]) -> None:
    handler = shown()
    say(handler, event="workflow_started")
    say(handler, "a cache is stale", logging.WARNING)
    say(handler, "Job 3 lacks its output", logging.ERROR, event="error", exception="MissingOutputException")
    handler.close()
    assert capsys.readouterr().err.splitlines() == ["snakemake: a cache is stale", "snakemake: Job 3 lacks its output"]


def test_nothing_to_do_shows_the_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    handler = shown()
    say(handler, event="workflow_started")
    say(handler, "Nothing to be done")
    handler.close()
    handler.close()  # as the logging module does when Python ends
    assert capsys.readouterr().err.splitlines() == [
        "railkd: nothing to do: every result is present and as expected",
        "VERDICTS",
    ]


def test_what_is_no_run_is_left_to_snakemake(capsys: pytest.CaptureFixture[str]) -> None:
    """--lint, --summary and a Snakefile that cannot be read."""
    handler = shown()
    say(handler, "Congratulations, your workflow is in a good condition!")
    handler.close()
    handler = shown()
    say(handler, "a remark")
    say(handler, "SyntaxError", logging.ERROR, event="error", exception="SyntaxError")
    handler.close()
    said = ["Congratulations, your workflow is in a good condition!", "a remark", "SyntaxError"]
    assert capsys.readouterr().err.splitlines() == [f"snakemake: {line}" for line in said]


def test_a_refusal_before_the_first_job_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    handler = shown()
    say(handler, event="workflow_started")
    say(handler, event="run_info", stats={"all": 1})
    handler.close()
    assert capsys.readouterr().err.splitlines() == ["railkd: 1 jobs to do"]


@pytest.mark.parametrize("quiet", [set(), {Quietness.PROGRESS, Quietness.RULES}])
def test_a_dry_run_has_a_line_for_each_job(quiet: set[Quietness], capsys: pytest.CaptureFixture[str]) -> None:
    handler = shown(dryrun=True, quiet=quiet)
    say(handler, event="workflow_started")
    say(handler, "the table", event="run_info", stats={"teacher": 2, "total": 2})
    for job in range(0 if quiet else 2):  # a quiet one ends here
        say(handler, event="job_info", jobid=job, rule_name="teacher", wildcards={"task": f"t{job}"}, reason="long")
    if not quiet:
        say(handler, "the table", event="run_info", stats={"teacher": 2, "total": 2})
    handler.close()
    said = capsys.readouterr()
    assert said.out.splitlines() == ([] if quiet else ["teacher t0", "teacher t1"]) + ["the table"]
    assert len(said.err.splitlines()) == 1 and said.err.startswith("railkd: 2 jobs to do")


@pytest.mark.parametrize(
    "broken",
    [{"event": "job_info"}, {"event": "job_finished"}, {"event": "run_info", "stats": 3}, {"event": "job_error"},
     {"event": "job_error", "jobid": 1, "log": 3}, {"event": "run_info"}, {}],
)  # fmt: skip
def test_a_record_never_ends_a_run(broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = shown()
    say(handler, event="workflow_started")
    say(handler, **broken)
    handler.close()
