"""Reads from Snakemake's log records how a run goes: jobs done and left, what runs now, what failed, the time left.

Reads the attributes of the records (``event``, ``jobid``, ``rule_name`` …), never their text; terminal.py shows it.
"""

import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KNOWN = 0.05  # of the jobs: before so many are done, nothing is said of the time left


def spell(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def last_line(log: Path | None, since: float = 0.0) -> str:
    """The last line of a job's log that is not empty, without the time it begins with; "" where there is none.

    ``since``: seconds since the epoch; a log that was written before is of an earlier run.
    """
    try:
        if log is None or log.stat().st_mtime < since:
            return ""
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
    except OSError:
        return ""
    lines = ["".join(c for c in line if c.isprintable()).strip() for line in lines]
    return re.sub(r"^\[ *[\d.]+ s\] ", "", next((line for line in reversed(lines) if line), ""))


@dataclass(frozen=True)
class Job:
    """One job that Snakemake has started."""

    name: str  # its rule and the values of its wildcards: teacher bert4 sst2
    rule: str
    log: Path | None
    started: float  # on the clock of Progress
    began: float  # seconds since the epoch, less the resolution of a file's time

    @classmethod
    def of(cls, record: logging.LogRecord, now: float) -> "Job":
        """The job that a record of JOB_INFO or JOB_ERROR is of."""
        rule = str(getattr(record, "rule_name", "a job"))
        values = getattr(record, "wildcards", None) or {}
        logs = getattr(record, "log", None) or [None]
        log = logs[0] and Path(str(logs[0]))
        return cls(" ".join([rule, *map(str, values.values())]), rule, log, now, time.time() - 2)

    def message(self) -> str:
        """What it last wrote to its log."""
        return last_line(self.log, self.began)


@dataclass(frozen=True)
class Failure:
    """A job that failed: what it was, the last line of its log, and where the log is."""

    job: str
    error: str
    log: Path | None

    def lines(self) -> list[str]:
        """Three lines at most."""
        lines = [f"failed: {self.job}", f"  {self.error}" if self.error else "  It ended without a message."]
        return [*lines, f"  log: {self.log}"] if self.log else lines


class Progress:
    """Takes each record of a run, and knows how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self.begun = clock()
        self.total: int | None = None  # jobs; None before Snakemake knows them
        self.rules: frozenset[str] = frozenset()
        self.left: Counter[str] = Counter()  # rule -> jobs
        self.done = 0
        self.running: dict[int, Job] = {}
        self.failures: dict[int, Failure] = {}
        self.raised: list[str] = []  # what Snakemake says was raised, of jobs whose failure it has not recorded yet
        self.spent: dict[str, list[float]] = defaultdict(list)  # rule -> seconds of each job

    def take(self, record: logging.LogRecord) -> None:
        """Counts what a record says; raises nothing for a record that lacks an attribute."""
        event = getattr(record, "event", None)
        job = getattr(record, "jobid", getattr(record, "job_id", None))
        if event == "run_info" and self.total is None:
            stats: dict[str, int] = getattr(record, "stats", {})
            self.left = Counter({rule: n for rule, n in stats.items() if rule != "total"})
            self.total, self.rules, self.begun = self.left.total(), frozenset(self.left), self.now()
        elif job is None:
            return
        elif event == "job_info":
            self.running[job] = known = Job.of(record, self.now())
            if self.failures.pop(job, None):  # it is tried again
                self.left[known.rule] += 1
        elif event == "job_error" and job not in self.failures:
            known = self.running.pop(job) if job in self.running else Job.of(record, self.now())
            self.left[known.rule] -= 1
            raised = self.raised.pop(0) if self.raised else ""
            error = last_line(known.log) or raised.rstrip().rpartition("\n")[2]
            self.failures[job] = Failure(known.name, error.removeprefix("railkd: "), known.log)
        elif event == "job_finished" and job in self.running:
            known = self.running.pop(job)
            self.spent[known.rule].append(self.now() - known.started)
            self.left[known.rule] -= 1
            self.done += 1

    def counts(self) -> str:
        """The run in one line, such as "12 of 21 jobs done, 1 failed, about 40 s left"."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{self.done} of {self.total} jobs done{failed}, {self._time_left()}"

    def _time_left(self) -> str:
        # the first jobs are of rules that say nothing about the others
        known = self.done and self.done >= KNOWN * (self.total or 0)
        return f"about {spell(self.estimate())} left" if known else "time left not known yet"

    def estimate(self) -> float:
        """Seconds left: jobs left × the mean time of their rule (else of all), over the parallelism so far."""
        spent, left, running = dict(self.spent), dict(self.left), list(self.running.values())  # read by another thread
        times = [seconds for each in spent.values() for seconds in each]
        if not times:
            return 0.0
        overall = sum(times) / len(times)
        means = {rule: sum(each) / len(each) for rule, each in spent.items() if each}
        work = sum(n * means.get(rule, overall) for rule, n in left.items() if n > 0)
        underway = sum(min(self.now() - job.started, means.get(job.rule, overall)) for job in running)
        parallel = max(1.0, sum(times) / max(self.now() - self.begun, 1e-9))
        return max(0.0, work - underway) / parallel
