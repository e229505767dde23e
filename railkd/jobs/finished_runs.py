"""Keeps finished runs where the workflow, which deletes a job's outputs before it runs, does not look."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError
from railkd.jobs.run_spec import RunSpec
from railkd.outdated import misplaced
from railkd.records import files, hashes, run_record, sealed_files


def keep(layout: Layout, path: Path) -> None:
    """Links a finished run to where the workflow, which deletes a job's outputs before it reruns it, does not look."""
    _link(path, layout.kept(path))


def renumber(benchmark: Benchmark, layout: Layout, cell: Cell, numbers: Sequence[int]) -> None:
    """Copies the finished points of a cell's search that have other numbers now to where their jobs find them.

    A point's number is its place in the grid, so a value before the others, another order or one value less moves it.
    """
    grid, seed = benchmark.points(cell), (benchmark.search or {}).get("seed")
    configs = (benchmark.run_config(*cell, grid[number]) for number in numbers)
    wanted = dict(zip((hashes.sha256_text(hashes.canonical(config)) for config in configs), numbers, strict=True))
    for path in sorted(layout.best(cell).parent.glob("point-*.json")) if wanted else []:
        with suppress(UserError, OSError):  # a damaged one: its point is trained again
            record = run_record.read_point(path)
            number = wanted.get(record["config_hash"])
            if number is not None and (record["stage"], record["seed"]) == ("search", seed):
                target = layout.kept(layout.point(cell, number))
                predictions = target.with_suffix(".safetensors")
                if run_record.diverged(record) is None:
                    files.link_or_copy(path.with_suffix(".safetensors"), predictions)
                    record["predictions"] = {**record["predictions"], "file": predictions.name}
                sealed_files.write_json(target, sealed_files.sealed(record))


def set_aside(layout: Layout, path: Path) -> None:
    """Moves the record of a run, or a teacher, that the benchmark file no longer names to where a job that is asked for
    it again finds it."""
    if path.name == "record.json":  # a teacher: its whole folder
        source, target = path.parent, layout.kept(path.parent)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        return
    keep(layout, path)
    for file in (path, path.with_suffix(".safetensors")):
        file.unlink(missing_ok=True)


def put_external_back(benchmark: Benchmark, layout: Layout) -> None:
    """Moves the records of external methods back that were set aside and are named again: their rules know of none."""
    cells = [cell for cell in benchmark.cells() if benchmark.external(cell.method)]
    for record in (layout.run(cell, seed) for cell in cells for seed in benchmark.seeds):
        for path in (record.with_suffix(".safetensors"), record):
            if layout.kept(path).is_file() and not path.exists():
                with suppress(OSError):  # a folder that cannot be written to: the workflow will say so
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(layout.kept(path), path)


def put_teacher_back(spec: RunSpec) -> bool:
    """Puts a teacher back that was set aside, if it is exactly the one asked for."""
    folder, kept = spec.record.parent, spec.kept.parent
    try:
        record = run_record.read(spec.kept)
        run_record.predictions(spec.kept, record)
        sealed_files.require(kept)
    except (UserError, OSError):
        return False
    known = {key: record["fingerprints"].get(key) for key in spec.inputs}
    if record["config_hash"] != spec.config_hash or known != spec.inputs:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(kept, folder)
    return True


def _link(record: Path, target: Path) -> None:
    """Links a record's predictions, where it has some, and then the record itself to another place."""
    predictions = record.with_suffix(".safetensors")
    if predictions.is_file():
        files.link_or_copy(predictions, target.with_suffix(".safetensors"))
    files.link_or_copy(record, target)


def restore(spec: RunSpec) -> bool:
    """Puts a finished run back when it is exactly the one asked for: same identity, configuration and inputs."""
    try:
        record = run_record.read_point(spec.kept)
        intact = run_record.diverged(record) is not None or (
            hashes.sha256_file(spec.kept.with_suffix(".safetensors")) == record["predictions"].get("sha256")
        )
    except (UserError, OSError):
        return False
    same = next(misplaced(record, spec.identity), None) is None and record["config_hash"] == spec.config_hash
    if not (intact and same and record["fingerprints"] == spec.inputs):
        return False
    _link(spec.kept, spec.record)
    return True


def forget(layout: Layout, path: Path) -> None:
    """Deletes the copy of a finished run that was kept from the workflow."""
    kept = layout.kept(path)
    kept.unlink(missing_ok=True)
    kept.with_suffix(".safetensors").unlink(missing_ok=True)
