"""Finished runs where the workflow, which deletes a job's outputs before it runs, does not look."""

import os
import shutil
from pathlib import Path
from typing import Any

from railkd.benchmark.paths import Layout
from railkd.errors import UserError
from railkd.records import files, hashes, run_record, sealed_files


def keep(layout: Layout, path: Path) -> None:
    """Links a finished run to where the workflow, which deletes a job's outputs before it reruns it, does not look."""
    _link(path, layout.kept(path))


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


def put_teacher_back(layout: Layout, teacher: str, task: str, config: dict[str, Any], inputs: dict[str, Any]) -> bool:
    """Puts a teacher back that was set aside, if it is exactly the one asked for."""
    folder, kept = layout.teacher(teacher, task), layout.kept(layout.teacher(teacher, task))
    try:
        record = run_record.read(kept / "record.json")
        run_record.predictions(kept / "record.json", record)
        sealed_files.require(kept)
    except (UserError, OSError):
        return False
    known = {"data": record["fingerprints"].get("data"), "backbone": record["fingerprints"].get("backbone")}
    if record["config_hash"] != hashes.sha256_text(hashes.canonical(config)) or known != inputs:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(kept, folder)
    return True


def _link(record: Path, target: Path) -> None:
    """Links a record's predictions and then the record itself to another place."""
    for source, link in ((record.with_suffix(".safetensors"), target.with_suffix(".safetensors")), (record, target)):
        files.link_or_copy(source, link)


def restore(
    layout: Layout, path: Path, identity: dict[str, Any], config: dict[str, Any], fingerprints: dict[str, Any]
) -> bool:
    """Puts a finished run back when it is exactly the one asked for: same identity, configuration and inputs."""
    kept = layout.kept(path)
    try:
        record = run_record.read(kept)
        intact = hashes.sha256_file(kept.with_suffix(".safetensors")) == record["predictions"].get("sha256")
    except (UserError, OSError):
        return False
    same = all(record[key] == value for key, value in identity.items())
    hashed = record["config_hash"] == hashes.sha256_text(hashes.canonical(config))
    if not (intact and same and hashed and record["fingerprints"] == fingerprints):
        return False
    _link(kept, path)
    return True
