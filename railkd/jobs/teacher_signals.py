"""Gives the runs of a cell their teacher's signals: from the cache, or from the teacher run in each step."""

import torch

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data.batches import Prepared
from railkd.jobs.fine_tuning import fine_tuned, open_store
from railkd.jobs.recording import Log
from railkd.methods.base import Method, reads_teacher
from railkd.teacher.cache import SignalStore
from railkd.teacher.live import LiveTeacher
from railkd.training.steps import Teacher


class TeacherSignals:
    """Opens a teacher's cache, and loads the teacher, once a job: when the first run needs it."""

    def __init__(
        self, benchmark: Benchmark, layout: Layout, teacher: str, prepared: Prepared, device: torch.device, log: Log
    ) -> None:
        self.benchmark, self.layout, self.teacher = benchmark, layout, teacher
        self.prepared, self.device, self.log = prepared, device, log
        self._store: SignalStore | None = None
        self._live: LiveTeacher | None = None

    @property
    def store(self) -> SignalStore:
        """The cache; filled first where it is empty or of other inputs."""
        if self._store is None:
            name, task = self.teacher, self.prepared.task.name
            self._store = open_store(self.benchmark, self.layout, name, task, self.prepared, self.device, self.log)
        return self._store

    def source(self, method: Method, regime: str, precision: str) -> Teacher | None:
        """What a run's steps read; None for a method that reads nothing of its teacher."""
        if not reads_teacher(method):
            return None
        return self._loaded(method, precision) if regime == "live" else self.store

    def _loaded(self, method: Method, precision: str) -> LiveTeacher:
        if self._live is None:
            task = self.prepared.task
            whole = method.whole_last_layer
            model, _ = fine_tuned(self.layout, self.teacher, task.name, task.outputs, whole, self.device)
            self._live = LiveTeacher.for_method(method, model, self.prepared, self.device, precision)
            self._live.quicken()
        return self._live
