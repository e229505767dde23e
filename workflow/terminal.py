"""Shows a run of the workflow: one bar with what runs now on a terminal, a line now and then in a file.

It is a log handler on Snakemake's interface for logger plugins. engine.py puts it in the place of Snakemake's own
lines; it cannot be chosen with ``--logger``, because Snakemake finds no plugin in a package that is installed in
editable mode.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase

from workflow.progress import Progress, spell

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 8  # jobs, or failures, that are named under the bar
STRIDE = 0.05  # in a file there is a line each time that so much of the jobs is done,
SILENCE = 300.0  # and one at the latest after so many seconds
Ending = Callable[[], str]  # the verdicts and where the report is


class Terminal(LogHandlerBase):
    """Shows the progress of a run on standard error and, when Snakemake closes it, how the run ended.

    ``own`` is Snakemake's handler for the terminal: it shows what comes before a run, warnings and errors. Everything
    that Snakemake says is in its log, in ``.snakemake/log``.
    """

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __init__(self, common_settings: Any, own: "logging.StreamHandler[TextIO]", ending: Ending) -> None:
        super().__init__(common_settings, None)
        self.own, self.ending = own, ending
        quiet = set(common_settings.quiet or ())
        self.quiet = bool(quiet & {Quietness.PROGRESS, Quietness.ALL})  # nothing but what went wrong
        self.progress = Progress()
        self.early: list[logging.LogRecord] = []  # remarks that Snakemake makes before it says what it does
        self.started = self.closed = self.wrong = False
        self.bar: Any = None  # rich.live.Live, on a terminal
        self.shown, self.alarm = 0, threading.Timer(SILENCE, self._tick)

    # --- records ---

    def emit(self, record: logging.LogRecord) -> None:
        """Shows what a record changes; never ends a run."""
        try:
            self._take(record)
        except Exception:
            self.handleError(record)

    def _take(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == "workflow_started":
            self.started, self.early = True, []
        elif not self.started:
            self._before(record)
        elif record.levelno >= logging.WARNING and event not in ("job_error", "group_error"):
            self.wrong = self.wrong or record.levelno >= logging.ERROR
            if not self._told(record):
                self.own.handle(record)
        else:
            self._advance(record, event)

    def _told(self, record: logging.LogRecord) -> bool:
        """Whether an error is told as a job's failure: what a job raised, which comes before the record of its failure,
        and Snakemake's last words, that some job failed."""
        if self.progress.running and getattr(record, "exception", "") == "RuleException":
            self.progress.raised.append(record.getMessage())
            return True
        last = record.levelno >= logging.ERROR and getattr(record, "exception", "WorkflowError") == "WorkflowError"
        return last and bool(self.progress.failures)

    def _before(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO and not hasattr(record, "event"):
            self.early.append(record)
            return
        self._release()
        self.own.handle(record)

    def _release(self) -> None:
        """Shows the remarks that were held back."""
        for record in self.early:
            self.own.handle(record)
        self.early = []

    def _advance(self, record: logging.LogRecord, event: str | None) -> None:
        first, failed = self.progress.total is None, len(self.progress.failures)
        self.progress.take(record)
        if self.common_settings.dryrun:
            self._plan(record, event, first)
        elif event == "run_info" and first:
            self._begin()
        elif len(self.progress.failures) > failed:
            self._failed(list(self.progress.failures.values())[-1].lines())
        elif event == "job_info" and not self.bar:  # not when one ends: on one core nothing would run then
            self._step()

    def _plan(self, record: logging.LogRecord, event: str | None, first: bool) -> None:
        """A dry run: a line for each job, then Snakemake's table of how many there are of each rule."""
        if event == "job_info" and not self.quiet:
            print(list(self.progress.running.values())[-1].name)
        elif event == "run_info" and first == self.quiet:  # Snakemake makes it twice, and once where it is quiet
            print(record.getMessage(), flush=True)

    # --- a run ---

    def _begin(self) -> None:
        self._say(f"{self.progress.total} jobs to do")
        if self.quiet:
            return
        if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI"):
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, force_terminal=True, no_color=self.common_settings.nocolor or None)
            self.bar = Live(console=console, get_renderable=self._frame, refresh_per_second=2, transient=True)
            self.bar.start(refresh=True)
            self.own.setStream(sys.stderr)  # which prints above the bar now
        else:
            self._wait()

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(f"railkd: {line}", file=sys.stderr, flush=True)

    def _failed(self, lines: list[str]) -> None:
        """On a terminal the bar shows failures, and the end lists them."""
        if not self.bar:
            print(f"railkd: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr, flush=True)

    def _step(self) -> None:
        if self.progress.done - self.shown >= STRIDE * (self.progress.total or 0):
            self._line()

    def _line(self) -> None:
        """A line for a file: how far the run is, and what runs now."""
        self.shown = self.progress.done
        names = [job.name for job in list(self.progress.running.values())]
        more = [f"{len(names) - 3} more"] if len(names) > 3 else []
        running = f"; running: {', '.join([*names[:3], *more])}" if names else ""
        self._say(f"{self.progress.counts()}{running}")
        self._wait()

    def _tick(self) -> None:
        if not self.closed:
            self._line()

    def _wait(self) -> None:
        """Says where the run is after some silence: what watches over a file may take silence for a hang."""
        self.alarm.cancel()
        if not (self.quiet or self.closed):
            self.alarm = threading.Timer(SILENCE, self._tick)
            self.alarm.daemon = True
            self.alarm.start()

    # --- the bar ---

    def _frame(self) -> "RenderableType":
        """The bar, the latest failures and the jobs that run, each with the last line of its log."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = self.progress
        ended = progress.done + len(progress.failures)
        head = Table.grid(padding=(0, 1))
        counts = Text(progress.counts(), no_wrap=True, overflow="ellipsis")
        head.add_row(ProgressBar(total=progress.total or 1, completed=ended, width=24, complete_style="cyan"), counts)
        rows = [*self._failures(), *self._running()]
        return Group(head, *(Text(text, style, no_wrap=True, overflow="ellipsis") for text, style in rows))

    def _failures(self) -> Iterator[tuple[str, str]]:
        for failure in list(self.progress.failures.values())[-3:]:
            yield f"  failed: {failure.job}: {failure.error}", "red"

    def _running(self) -> Iterator[tuple[str, str]]:
        jobs = list(self.progress.running.values())
        for job in jobs[:SHOWN]:
            yield f"  {job.name}, {spell(self.progress.now() - job.started)}  {job.message()}", ""
        if len(jobs) > SHOWN:
            yield f"  and {len(jobs) - SHOWN} more", ""

    # --- the end ---

    def close(self) -> None:
        """How the run ended: the verdicts, the report's path, and last what failed."""
        if not self.closed:
            self.closed = True
            self.alarm.cancel()
            if self.bar:
                self.bar.stop()
                self.bar = None
                self.own.setStream(sys.stderr)
            self._release()
            if self.started:
                self._end()
        super().close()

    def _end(self) -> None:
        progress = self.progress
        if self.common_settings.dryrun:
            self._planned()
        elif progress.total is None:
            if not self.wrong:  # else Snakemake has said why there is nothing to run
                self._say("nothing to do: every result is present and as expected")
                self._results()
        elif progress.done or progress.failures or progress.running:
            took = spell(progress.now() - progress.begun)
            failed, left = len(progress.failures), (progress.total or 0) - progress.done - len(progress.failures)
            rest = [f"{failed} failed"] * bool(failed) + [f"{left} not run"] * bool(left)
            self._say(", ".join([f"{progress.done} of {progress.total} jobs done in {took}", *rest]))
            if "all" in progress.rules:
                self._results()
            for failure in progress.failures.values() if not self.quiet else ():  # said when they came
                print(*[f"railkd: {failure.lines()[0]}", *failure.lines()[1:]], sep="\n", file=sys.stderr)
            if rest:
                self._say("the same command goes on where this run ended")

    def _planned(self) -> None:
        total = self.progress.total
        if total is None:
            self._say("nothing to do: every result is present and as expected" if not self.wrong else "nothing planned")
        elif Quietness.ALL not in (self.common_settings.quiet or ()):
            more = "; this was a dry run. --printshellcmds shows each job's reason, files and command"
            print(f"railkd: {total} jobs to do{'' if self.quiet else more}", file=sys.stderr, flush=True)

    def _results(self) -> None:
        text = "" if self.quiet else self.ending()
        if text:
            print(text, file=sys.stderr, flush=True)
