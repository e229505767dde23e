"""A progress line for a workflow: jobs done, left, and the time that is left at the pace of jobs of each rule so far.

A `logging.Handler` for the workflow engine's event records (attributes ``event``, ``stats``, ``jobid``, ``rule_name``,
``job_id``, ``done``, ``total``); it prints to standard error and never fails a run.
"""

import logging
import re
import sys
import time
from collections import Counter, defaultdict


def spell(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Progress(logging.Handler):
    """Attach to the engine's logger; ``total`` jobs per rule come with the first event."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.now = time.monotonic
        self.left: Counter[str] = Counter()
        self.done = 0
        self.busy: dict[int, tuple[str, float]] = {}  # job -> rule, start
        self.spent: dict[str, list[float]] = defaultdict(list)
        self.begun = self.now()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.line(record)
            if line:
                print(line, file=sys.stderr, flush=True)
        except Exception:  # a progress line must not end a run
            self.handleError(record)

    def line(self, record: logging.LogRecord) -> str | None:
        """The line to print after this event, if any."""
        event = getattr(record, "event", None)
        if event == "run_info":
            stats: dict[str, int] = getattr(record, "stats", {})
            self.left = Counter({rule: n for rule, n in stats.items() if rule != "total"})
            self.begun = self.now()
            return f"railkd: {self.left.total()} jobs to do"
        if event == "job_started":  # a quiet engine says no more than this before a job
            for job in getattr(record, "jobs", []):
                self.busy.setdefault(job, ("", self.now()))
        elif event == "job_info":
            self.busy[record.jobid] = (record.rule_name, self.now())  # type: ignore[attr-defined]
        elif event == "job_error":
            rule, _ = self.busy.pop(getattr(record, "jobid", -1), ("", 0.0))
            rule = rule or getattr(record, "rule_name", "a job")
            logs = [str(log) for log in getattr(record, "log", None) or []]
            return f"railkd: failed: {rule}, the other jobs go on{'; log: ' if logs else ''}{', '.join(logs)}"
        elif event == "job_finished" and record.job_id in self.busy:  # type: ignore[attr-defined]
            rule, started = self.busy.pop(record.job_id)  # type: ignore[attr-defined]
            if not rule:  # "Finished jobid: 7 (Rule: distil_pkd)"
                named = re.search(r"Rule: ([^)]+)", record.getMessage())
                rule = named[1] if named else "a job"
            self.spent[rule].append(self.now() - started)
            self.left[rule] -= 1
            self.done += 1
            remaining = max(self.left.total(), 0)
            # the first jobs are of rules that say nothing about the others
            known = self.done >= 0.05 * (self.done + remaining)
            left = f"about {spell(self.estimate())} to go" if known else "time to go not known yet"
            return f"railkd: {self.done} jobs done, {remaining} left, {left}: {rule}"
        return None

    def estimate(self) -> float:
        """Seconds to go: jobs left × the mean time of their rule (else of all), over the parallelism so far."""
        times = [t for spent in self.spent.values() for t in spent]
        if not times:
            return 0.0
        overall = sum(times) / len(times)
        work = sum(
            n * (sum(self.spent[r]) / len(self.spent[r]) if self.spent[r] else overall)
            for r, n in self.left.items()
            if n > 0
        )
        running = sum(min(self.now() - start, overall) for _, start in self.busy.values())
        parallel = max(1.0, sum(times) / max(self.now() - self.begun, 1e-9))
        return max(0.0, work - running) / parallel
