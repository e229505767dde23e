"""Decides which jobs of the workflow have to run, from what the results hold (see ``products``)."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.outdated import MISSING
from railkd.products import Products


class JobsToRun:
    """What the workflow asks before its first job: what is outdated, what stays, and why.

    ``analysis`` and ``read`` are those of ``Products``.
    """

    def __init__(
        self, benchmark: Benchmark, layout: Layout, analysis: Mapping[str, str] = {}, read: Iterable[Path] = ()
    ) -> None:
        self.benchmark, self.layout, self.analysis = benchmark, layout, analysis
        judged = Products(benchmark, layout, analysis, read)
        self.products, self._renewed, self._runs = judged.judged, judged.renewed, judged.runs

    @property
    def outdated(self) -> dict[str, str]:
        """Present results that have to be made again, as paths, and why."""
        changed = (p for p in self.products if p.why is not None)
        return {str(path): str(p.why) for p in changed for path in p.outputs if os.path.lexists(path)}

    def complete(self, cell: Cell, point: str | None, seeds: Iterable[str]) -> bool:
        """Whether these runs of a cell, or this point of its search, are present and stay as they are."""
        layout = self.layout
        places = [layout.run(cell, int(seed)) for seed in seeds] if point is None else [layout.point(cell, int(point))]
        return self._renewed.isdisjoint(places)

    def valid(self, path: Path) -> bool:
        """Whether this run record is present and up to date."""
        return self._runs.get(path, MISSING) is None

    def lines(self) -> Iterator[str]:
        """One line for each kind of job that has something to compute again, with how many and why."""
        whys: dict[str, Counter[str]] = {}
        for product in self.products:
            computes = product.job not in ("release", *self.analysis)
            if computes and product.why is not None and any(map(os.path.lexists, product.outputs)):
                whys.setdefault(product.job, Counter())[product.why] += 1
        for job, found in whys.items():
            first = ", ".join(f"{why} ({n})" for why, n in found.most_common(3))
            yield f"{found.total()} × {job}, made again: {first}"

    def align_times(self) -> None:
        """Makes no result older than what it was made of: a copy of a folder may have any times.

        Only of results that are up to date; content is not touched.
        """
        for product in self.products:
            if product.why is None:
                newest = max((_time(path) for path in product.inputs), default=0)
                for path in product.outputs:
                    if 0 <= _time(path) < newest:
                        with suppress(OSError):  # a folder that cannot be written to: the workflow will say so
                            os.utime(path, ns=(newest, newest))

    def strays(self) -> list[Path]:
        """Records of runs and of teachers that the benchmark file does not name."""
        known = {path for product in self.products for path in product.outputs}
        known |= {self.layout.run(c, seed) for c in self.benchmark.cells() for seed in self.benchmark.seeds}
        return [path for path in self.layout.present() if path not in known]


def _time(path: Path) -> int:
    """A file's time of last change in nanoseconds; -1 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
