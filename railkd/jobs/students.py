"""Decides which trained students keep their weights, beside their records: ``save_students: best | all | none``.

A student's folder is ``runs/<pair>/<method>/<task>/seed-<seed>/``. Its seal names the predictions of the run whose
weights it holds, so that weights of another run are never taken for those of a record. ``best`` keeps one folder for
each cell: whichever job finishes a seed that is better on dev than all finished ones of the cell saves it and deletes
the others, under a lock, so no last step is needed and jobs of one cell may run at once.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from railkd import model_card
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError
from railkd.records import files, run_record, sealed_files

DEFAULT = "best"
Record = Mapping[str, Any]
Save = Callable[[Path, str, Any], None]  # folder, text of the card, what the seal says of its content


def mode(benchmark: Benchmark) -> str:
    """Which students keep their weights: best, all or none."""
    return str(benchmark.spec.get("save_students", DEFAULT))


def count(benchmark: Benchmark) -> int:
    """How many students of a cell keep their weights in the end."""
    return {"none": 0, "best": 1, "all": len(benchmark.seeds)}[mode(benchmark)]


def folder_of(path: Path) -> Path:
    """Where the weights of a run's student are, if they are kept."""
    return path.with_suffix("")


def kept(path: Path, record: Record) -> bool:
    """Whether the weights of this very run are present, by the names of the folder's files."""
    folder = folder_of(path)
    try:
        seal = sealed_files.read_sealed(folder / sealed_files.SEAL)
        same = seal["made_of"]["predictions"] == record["predictions"]["sha256"]
        return bool(same) and all((folder / name).is_file() for name in seal["files"])
    except (UserError, KeyError, TypeError):
        return False


def finished(layout: Layout, cell: Cell, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Seed -> record of the runs of a cell that are present and valid."""
    found = {}
    for seed in seeds:
        try:
            found[seed] = run_record.read(layout.run(cell, seed))
        except UserError:  # missing, or not yet whole
            continue
    return found


def best(records: Mapping[int, Record]) -> int:
    """The seed with the best dev score, by the metric that a table shows; the first of equals."""
    return max(sorted(records), key=lambda seed: records[seed]["scores"]["dev"][records[seed]["shown"]])


def lacking(benchmark: Benchmark, layout: Layout, cell: Cell) -> dict[int, str]:
    """Seeds of finished runs whose weights the file asks for in so many words and that are missing, and why.

    Without the key the weights of finished runs are not asked for: another default trains nothing again. ``best`` asks
    for those of one seed, once every seed of the cell has finished.
    """
    stated = benchmark.spec.get("save_students", "none")
    records = finished(layout, cell, benchmark.seeds) if stated != "none" else {}
    wanted = list(records)
    if stated == "best":
        wanted = [best(records)] if len(records) == len(benchmark.seeds) else []
    why = f"its weights were not kept, save_students: {stated} asks for them"
    return {seed: why for seed in wanted if not kept(layout.run(cell, seed), records[seed])}


def finish(benchmark: Benchmark, layout: Layout, cell: Cell, record: dict[str, Any], licence: str, save: Save) -> str:
    """Writes the record of a run that has ended, and before it the student's weights where they are to be kept.

    Returns one line that says why weights that were to be kept are not, such as a full disk; else nothing. The record
    is written all the same.
    """
    path = layout.run(cell, record["seed"])
    folder, keeps = folder_of(path), mode(benchmark)
    problem = ""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.exclusive_lock(path.with_name(".students.lock")):
        runs = {**alike(finished(layout, cell, benchmark.seeds), record), record["seed"]: record}
        shutil.rmtree(folder, ignore_errors=True)  # weights of an earlier run of this seed
        saves = keeps == "all" or (keeps == "best" and best(runs) == record["seed"])
        if saves:
            text = model_card.card(record, runs, licence, _teacher(layout, record))
            try:
                save(folder, text, {"predictions": record["predictions"]["sha256"]})
            except UserError as error:
                problem = f"the student's weights are not kept ({error}); its record is"
        run_record.write(path, record)
        if saves and not problem and keeps == "best":
            for seed in benchmark.seeds:
                if seed != record["seed"]:
                    shutil.rmtree(folder_of(layout.run(cell, seed)), ignore_errors=True)
        _refresh_cards(layout, cell, runs, licence)
    return problem


def alike(records: Mapping[int, dict[str, Any]], record: Record) -> dict[int, dict[str, Any]]:
    """The runs of the same configuration and inputs: those of another will be trained again."""
    same = ("config_hash", "fingerprints")
    return {seed: other for seed, other in records.items() if all(other[key] == record[key] for key in same)}


def _teacher(layout: Layout, record: Record) -> dict[str, Any] | None:
    try:
        return run_record.read(layout.teacher(record["teacher"], record["task"]) / "record.json")
    except UserError:
        return None


def _refresh_cards(layout: Layout, cell: Cell, runs: Mapping[int, Record], licence: str) -> None:
    """Lets every kept student's card show the scores of all seeds that have finished."""
    for seed, run in runs.items():
        path = layout.run(cell, seed)
        if kept(path, run):
            file = folder_of(path) / model_card.FILE
            text = model_card.card(run, runs, licence, _teacher(layout, run))
            with suppress(UserError):  # a full disk: the card of before stays
                files.write_bytes(file, text.encode())
                file.chmod(file.stat().st_mode | 0o040)
