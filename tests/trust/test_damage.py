"""A cut or flipped file of any kind the suite writes is refused by name or made again, never read."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from conftest import Undisturbed

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.cli import main
from railkd.data import preparation, reading
from railkd.errors import UserError
from railkd.export import export
from railkd.jobs import fine_tuning, finished_runs, run_spec
from railkd.models import checkpoints
from railkd.pretraining import masked_lm
from railkd.records import hashes, run_record, sealed_files
from railkd.tasks import TASKS
from railkd.teacher.cache import SignalStore
from railkd.training.run_state import State

pytestmark = pytest.mark.trust
CPU = torch.device("cpu")
FLIPS = 60  # of one bit each, at seeded places of every file; and a cut at four places
CELL = Cell("pair", "rail_kd_l", "sst2")


def restored(benchmark: Benchmark, layout: Layout) -> bool:
    """Whether a killed job that starts again takes its finished run from where it was kept."""
    prepared = preparation.load(layout.prepared("bert4", "sst2"))
    (spec,) = run_spec.of_cell(benchmark, layout, CELL, [1], prepared)
    return finished_runs.restore(spec)


def readers(benchmark: Benchmark, layout: Layout) -> dict[str, Callable[[], Any]]:
    """Files, as a pattern below the results -> how the suite reads them: what it gets, None where it begins anew."""
    at, teacher = layout.root, layout.teacher("bert4", "sst2")
    columns = TASKS["sst2"].columns

    def checkpoint(folder: Path) -> Callable[[], Any]:
        return lambda: bool(checkpoints.load_tokenizer(checkpoints.Checkpoint(str(folder)), "models") and folder)

    def child() -> Any:  # a student of the damaged parent, up to where it would be trained
        spec = {**benchmark.models["distilbert2"]["pretrain"], "layers": 64, "first_layers": 64}
        corpus = layout.data() / "corpus" / "corpus.parquet"
        try:
            masked_lm.pretrain(spec, corpus, at / "never", 1, layout.model("bert4"), lambda line: None)
        except UserError as error:
            if "a student of 64 layers" not in str(error):
                raise
        return "read"

    def written(step: str) -> Callable[[], Any]:
        def check() -> Any:
            for line in sealed_files.broken(layout.root, file=layout.checksums(step)):
                raise UserError(line)
            return "read"

        return check

    def taken() -> Any:
        folder = at.parent / "taken"
        shutil.rmtree(folder, ignore_errors=True)
        return export(at, CELL, folder)["scores"]

    return {
        "data/sst2/*": lambda: [
            reading.read_split("sst2", s, columns, layout.data(), None)[0].to_dict()
            for s in ("train", "validation", "test")
        ],
        "data/imdb/*": lambda: reading.read_split("imdb", "test", ("text",), layout.data(), None)[0].to_dict(),
        "data/corpus/*": child,
        "data/checksums.json": child,
        "models/bert4/*": child,
        "models/distilbert2/*": checkpoint(layout.model("distilbert2")),
        "prepared/bert4/*": lambda: preparation.load(layout.prepared("bert4", "sst2")).facts,
        "teachers/bert4/sst2/record.safetensors": lambda: sorted(
            run_record.predictions(teacher / "record.json", run_record.read(teacher / "record.json"))
        ),
        "teachers/bert4/sst2/*": lambda: fine_tuning.fine_tuned(layout, "bert4", "sst2", 2)[1],
        "signals/bert4/sst2/*": lambda: SignalStore(layout.signals("bert4", "sst2"), CPU).facts,
        "runs/pair/rail_kd_l/sst2/seed-1.*": lambda: sorted(
            run_record.predictions(layout.run(CELL, 1), run_record.read(layout.run(CELL, 1)))
        ),
        "runs/pair/rail_kd_l/sst2/seed-?/[!R]*": taken,  # not the card, which is written anew
        ".kept/runs/**/seed-1.[js]*": lambda: restored(benchmark, layout) or None,
        ".kept/runs/**/seed-2.state*": lambda: _state(layout).load() and "read",
        "search/pair/rail_kd_l/sst2/point-*.json": lambda: [
            run_record.read(layout.point(CELL, k))["scores"] for k in (0, 1)
        ],
        "search/pair/rail_kd_l/sst2/best.json": lambda: sealed_files.read_sealed(layout.best(CELL)),
        **{f"{folder}/*": written(folder) for folder in ("tables", "figures")},
        **{f"{name}.*": written(name) for name in ("claims", "audit", "report")},
        "checksums/tables.json": written("tables"),
        "checksums/report.json": written("report"),
    }


def _state(layout: Layout) -> State:
    return State(layout.kept(layout.run(CELL, 2)).with_suffix(".state"), {"seed": 2}, 0.0)


def damaged(content: bytes, rng: Random) -> list[bytes]:
    """A file's content with one bit flipped, at seeded places, and cut short."""
    found = [content[:cut] for cut in sorted({0, 1, len(content) // 2, len(content) - 1}) if cut < len(content)]
    for _ in range(FLIPS if content else 0):
        place = rng.randrange(len(content))
        found.append(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
    return found


def test_every_flip_and_every_cut_is_found(undisturbed: Undisturbed, copy: Layout) -> None:
    benchmark, rng = undisturbed.benchmark, Random(11)
    finished_runs.keep(copy, copy.run(CELL, 1))
    state = _state(copy)
    state.save(1, {"epochs": [1], "best_score": 0.5}, {"model/a": torch.arange(64.0)})
    reading = readers(benchmark, copy)
    tried = found = anew = harmless = 0
    missed, silent, seen = [], [], set()
    for pattern, read in reading.items():
        files = [path for path in sorted(copy.root.glob(pattern)) if path.is_file() and path not in seen]
        assert files, pattern
        seen.update(files)
        before = read()
        assert before is not None
        for path in files:
            content = path.read_bytes()
            for bad in damaged(content, rng):
                path.unlink()  # not through a hard link
                path.write_bytes(bad)
                tried += 1
                try:
                    after = read()
                except UserError as error:
                    found += 1
                    if str(copy.root) not in str(error) or "\n" in str(error):
                        silent.append((path.name, str(error)))
                else:
                    anew += after is None
                    harmless += after == before
                    if after is not None and (after != before or not _means_the_same(path, content, bad)):
                        missed.append(path.name)
            path.unlink()
            path.write_bytes(content)
            if path.parent == copy.kept(copy.run(CELL, 1)).parent and path.name.startswith("seed-1"):
                finished_runs.keep(copy, copy.run(CELL, 1))
        assert read() == before, pattern
    left = {p for p in copy.root.rglob("*") if p.is_file() and p.stat().st_size} - seen
    kinds = {re.sub(r"(?<=[-_/.])\d+", "N", str(p.relative_to(copy.root))) for p in left}
    print(f"damaged {tried} ({len(seen)} files), refused {found}, made again {anew}, same content {harmless}")
    assert not missed and not silent, (missed, silent[:3])
    assert found + anew + harmless == tried and found > 0.9 * tried - anew
    # the others are of a kind that is in the list, or a lock
    same = ("data/", "runs/", "search/", "checksums/", "teachers/", ".kept/", "signals/bert4/.sst2.lock")
    assert all(kind.startswith(same) for kind in kinds), kinds


def _means_the_same(path: Path, content: bytes, bad: bytes) -> bool:
    """A blank of JSON's that became another; or the note that spares a second look, without which there was one."""
    if path.name == "seen.json":
        return True
    try:
        return path.suffix == ".json" and sealed_files.sealed(hashes.json.loads(bad)) == sealed_files.sealed(
            hashes.json.loads(content)
        )
    except ValueError:
        return False


COMMANDS = {  # file -> the step that reads it, by its command line
    "prepared/bert4/sst2.safetensors": "teacher",
    "data/sst2/train.parquet": "prepare",
    "models/bert4/model.safetensors": "teacher",
    "teachers/bert4/sst2/model.safetensors": "signals",
    "teachers/bert4/sst2/config.json": "signals",
    "teachers/bert4/sst2/record.safetensors": "distil",
    "search/pair/no_kd/sst2/point-1.json": "select",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_refuses_by_name(
    undisturbed: Undisturbed, copy: Layout, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit status 1, and nothing written."""
    path = copy.root / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in copy.root.rglob("*") if p.is_file()}
    named = {"teacher": ["--teacher", "bert4", "--task", "sst2"], "distil": ["--seeds", "1"]}
    cell = ["--pair", "pair", "--method", "no_kd", "--task", "sst2"]
    step = COMMANDS[name]
    options = named["teacher"] if step in ("teacher", "prepare", "signals") else [*cell, *named.get(step, [])]
    assert main([step, str(undisturbed.benchmark.path), "--results", str(copy.root), *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path.parent) in error and ("checksum" in error or "JSON" in error)
    after = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in copy.root.rglob("*") if p.is_file()}
    assert {
        p: look for p, look in after.items() if p.name != "seen.json" and os.path.getsize(p)
    }.items() <= before.items()
