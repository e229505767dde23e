"""What the workflow runs after an edit: a table of edits, each with the jobs that should run, by name.

``jobs`` asks Snakemake itself, which decides in milliseconds without running anything.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import yaml

from railkd import products

ROOT = Path(__file__).parent.parent
PAIR = "bert4-distilbert2"
SHOWN = dict.fromkeys(("tables", "figures", "claims", "report"), 1)
PER_TASK = {name: 2 for name in ("signals", "release")}  # micro has two tasks
METHODS = {name: 2 for name in ("distil_no_kd", "distil_rail_kd_l")}
BOTH = {**PER_TASK, **METHODS}


def jobs(benchmark: Path | str, results: Path | str, folder: Path, cores: int = 1, **given: str) -> dict[str, int]:
    """Rule -> jobs that ``snakemake`` would run in a working folder, with its metadata of the runs before there."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    before, environment = Path.cwd(), dict(os.environ)
    given = {"benchmark": str(benchmark), "results": str(results), **given}
    try:
        with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as api:
            workflow = api.workflow(
                ResourceSettings(cores=cores),
                config_settings=ConfigSettings(config=given),
                snakefile=ROOT / "Snakefile",
                workdir=folder,
            )
            built = workflow.dag(DAGSettings(force_incomplete=True)).workflow_api._workflow
            built._prepare_dag(forceall=False, ignore_incomplete=False, lock_warn_only=True)
            built._build_dag()
            needed = Counter(job.rule.name for job in built.dag.needrun_jobs())
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
    del needed["all"]
    return dict(needed)


@dataclass
class Folder:
    """A working folder with a finished benchmark, which an edit may change."""

    place: Path
    spec: dict[str, Any]
    results: Path = Path("results")  # as typed
    file: str = "micro.yaml"
    given: dict[str, str] = field(default_factory=dict)  # further --config keys
    cores: int = 1
    python: str = sys.executable  # of the environment
    edited: str = ""  # a method whose source is another now
    working: Path | None = None  # the working folder, if not the place

    def at(self, name: str) -> Path:
        """A file of the results."""
        return self.place / "results" / name

    def needed(self) -> dict[str, int]:
        """The jobs that would run now."""
        path = self.place / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# edited\n{yaml.safe_dump(self.spec, sort_keys=False)}")
        benchmark = self.file if self.working is None else path
        known = products.source_files

        def source_files(name: str) -> list[Path]:
            return [path] if name == self.edited else known(name)

        with patch.object(sys, "executable", self.python), patch.object(products, "source_files", source_files):
            return self._jobs(benchmark)

    def _jobs(self, benchmark: Path | str) -> dict[str, int]:
        return jobs(benchmark, self.results, self.working or self.place, self.cores, **self.given)


Edit = Callable[[Folder], Any]


def _put(dotted: str, value: Any) -> Edit:
    def edit(at: Folder) -> None:
        *parents, last = dotted.split(".")
        place = at.spec
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value

    return edit


def _gone(*names: str) -> Edit:
    def edit(at: Folder) -> None:
        for name in names:
            path = at.at(name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return edit


def _students_gone(at: Folder) -> None:
    for folder in at.place.glob("results/runs/*/*/*/seed-*/"):
        shutil.rmtree(folder)


def _method_added(at: Folder) -> None:
    at.spec["methods"]["pkd"] = {}
    at.spec["pairs"][PAIR]["methods"].append("pkd")


def _pair_renamed(at: Folder) -> None:
    at.spec["pairs"]["renamed"] = at.spec["pairs"].pop(PAIR)


def _elsewhere(at: Folder) -> None:
    at.working = at.place / "elsewhere"
    at.working.mkdir()
    at.results = at.place / "results"


def _elsewhere_with_an_option(at: Folder) -> None:
    _elsewhere(at)
    _option(at)


def _any_times(at: Folder) -> None:
    """As a copy of the whole folder has: times in no order."""
    files = [path for path in at.place.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    for second, path in enumerate(Random(0).sample(files, len(files))):
        os.utime(path, (1.7e9 + second, 1.7e9 + second))


def _without_metadata(at: Folder) -> None:
    _any_times(at)
    shutil.rmtree(at.place / ".snakemake")


def _written(name: str, text: str) -> Edit:
    return lambda at: at.at(name).write_text(text)


def _typed(**changes: Any) -> Edit:
    return lambda at: vars(at).update(changes)


def _both(*edits: Edit) -> Edit:
    return lambda at: [edit(at) for edit in edits]


def _retrained(task: str, seed: int = 1) -> Edit:
    """A teacher of other weights lies there, as after a run that was stopped behind it."""

    def edit(at: Folder) -> None:
        from railkd.records import run_record

        path = at.at(f"teachers/bert4/{task}/record.json")
        record = run_record.read(path)
        record["fingerprints"]["teacher"] = "0" * 64
        run_record.write(path, record)

    return edit


_option = _put("methods.rail_kd_l.projection_dim", 4)
RAIL = {**PER_TASK, "distil_rail_kd_l": 2, **SHOWN}
ALL_RUNS = {**BOTH, **SHOWN}
FROM_TEACHERS = {"teacher": 2, **ALL_RUNS}
FROM_DATA = {"prepare": 2, **FROM_TEACHERS}
ONE_TASK = {"signals": 1, "release": 1, "distil_no_kd": 1, "distil_rail_kd_l": 1, **SHOWN}
NEW_TASK = {"prepare": 1, "teacher": 1, **ONE_TASK}
RUN = f"runs/{PAIR}/rail_kd_l/sst2/seed-1"
ONE_CELL = {"signals": 1, "release": 1, "distil_rail_kd_l": 1, **SHOWN}

# what is done to the finished micro benchmark -> the edit, and the jobs that it needs
EDITS: dict[str, tuple[Edit, dict[str, int]]] = {
    "nothing but a comment": (lambda at: None, {}),
    # the same thing, typed otherwise
    "the file under another name": (_typed(file="copy.yaml"), {}),
    "the file by another path": (_typed(file="./sub/../micro.yaml"), {}),
    "device=cpu for auto": (_typed(given={"device": "cpu"}), {}),
    "the environment at another path": (_typed(python="/opt/elsewhere/bin/python"), {}),
    "more threads": (_typed(cores=2), {}),
    "results spelt otherwise": (_typed(results=Path("./results/../results/")), {}),
    "another working folder": (_elsewhere, {}),
    "a copy with other times": (_any_times, {}),
    "a copy without Snakemake's metadata": (_without_metadata, {}),
    "seeds_per_job": (_put("seeds_per_job", 1), {}),
    # what is shown
    "the title": (_put("title", "Other"), SHOWN),
    "the name, in the same folder": (_put("name", "other"), SHOWN),
    "a method's title": (_put("methods.rail_kd_l.title", "Mine"), SHOWN),
    "other tables": (_put(f"pairs.{PAIR}.tables", [2, 6, "figure2"]), SHOWN),
    "a method removed": (_put(f"pairs.{PAIR}.methods", ["no_kd"]), SHOWN),
    "a seed removed": (_put("seeds", [1]), SHOWN),
    "a task removed": (_put("data.tasks", ["sst2"]), SHOWN),
    "leaderboard scores added": (_written("leaderboard.csv", "pair,method,seed,task,score\n"), SHOWN),
    "speed.json added": (_written("speed.json", "{}"), SHOWN),
    # runs
    "a method added": (_method_added, {**PER_TASK, "distil_pkd": 2, **SHOWN}),
    "an option of a method": (_option, RAIL),
    "a loss weight": (_put("methods.rail_kd_l.rail_weight", 0.5), RAIL),
    "an option with its default": (_put("methods.rail_kd_l.temperature", 1.0), SHOWN),
    "a method added and an option": (_both(_method_added, _option), {**RAIL, "distil_pkd": 2}),
    "a method's file edited": (_typed(edited="rail_kd_l"), RAIL),
    "a method's file edited and a method added": (
        _both(_method_added, _typed(edited="rail_kd_l")),
        {**RAIL, "distil_pkd": 2},
    ),
    "an option, in another working folder": (_elsewhere_with_an_option, RAIL),
    "a seed added": (
        _put("seeds", [1, 2, 3]),
        {**PER_TASK, "distil_no_kd_seed3": 2, "distil_rail_kd_l_seed3": 2, **SHOWN},
    ),
    "a task added": (_put("data.tasks", ["sst2", "mrpc", "rte"]), NEW_TASK),
    "a pair renamed": (_pair_renamed, ALL_RUNS),
    "the student's learning rate": (_put("training.student.learning_rate", 2e-3), ALL_RUNS),
    "regime": (_put("training.student.regime", "live"), ALL_RUNS),
    "precision": (_put("training.student.precision", "float32"), ALL_RUNS),
    "save_students: all": (_put("save_students", "all"), {**BOTH, **SHOWN}),
    "save_students: best": (_put("save_students", "best"), {}),
    "save_students: none": (_put("save_students", "none"), {}),
    "every kept student deleted": (_students_gone, {}),
    "every kept student deleted, save_students: best": (
        _both(_students_gone, _put("save_students", "best")),
        {**BOTH, **SHOWN},
    ),
    "a search added": (
        _put("search", {"seed": 5, "grid": {"learning_rate": [1e-3, 2e-3]}}),
        {**ALL_RUNS, "search_no_kd": 4, "search_rail_kd_l": 4, "select_no_kd": 2, "select_rail_kd_l": 2},
    ),
    "a search added, decided on one task": (
        _put("search", {"seed": 5, "grid": {"learning_rate": [1e-3, 2e-3]}, "tasks": ["sst2"]}),
        {**ALL_RUNS, "search_no_kd": 2, "search_rail_kd_l": 2, "select_no_kd": 2, "select_rail_kd_l": 2},
    ),
    # what is upstream of runs
    "the teacher's epochs": (_put("training.teacher.epochs", 2), FROM_TEACHERS),
    "the teacher's seed": (_put("teacher_seed", 2), FROM_TEACHERS),
    "an out-of-domain set removed": (
        _both(_put("data.out_of_domain", []), _put(f"pairs.{PAIR}.tables", [1, 2, "figure2"])),
        NEW_TASK,
    ),
    "max_length": (_put("data.max_length", 24), FROM_DATA),
    "the student's pre-training": (_put("models.distilbert2.pretrain.steps", 21), {"pretrain": 1, **ALL_RUNS}),
    "the teacher's pre-training": (_put("models.bert4.pretrain.steps", 21), {"pretrain": 2, **FROM_DATA}),
    "the data's seed": (_put("data.seed", 4), {"data": 1, "pretrain": 2, **FROM_DATA}),
    "sizes": (_put("data.sizes.train", 90), {"data": 1, "pretrain": 2, **FROM_DATA}),
    "another teacher": (_retrained("sst2"), ONE_TASK),
    # something deleted
    "half of a cell's records": (_gone(f"{RUN}.json"), ONE_CELL),
    "predictions": (_gone(f"{RUN}.safetensors"), ONE_CELL),
    "a teacher's weights": (_gone("teachers/bert4/sst2/model.safetensors"), {"teacher": 1, **ONE_TASK}),
    "a teacher's record": (_gone("teachers/bert4/sst2/record.json"), {"teacher": 1, **ONE_TASK}),
    "a teacher's predictions": (_gone("teachers/bert4/sst2/record.safetensors"), {"teacher": 1, **ONE_TASK}),
    "a teacher's config.json": (_gone("teachers/bert4/sst2/config.json"), {"teacher": 1, **ONE_TASK}),
    "a model's tokenizer": (_gone("models/distilbert2/tokenizer.json"), {"pretrain": 1, **ALL_RUNS}),
    "prepared data": (_gone("prepared/bert4/sst2.safetensors"), NEW_TASK),
    "signals": (_gone("signals"), {}),
    "a table": (_gone("tables/table2.tex"), {"tables": 1, "report": 1}),
    "a figure": (_gone("figures/figure2.png"), {"figures": 1, "report": 1}),
    "claims": (_gone("claims.md"), {"claims": 1, "report": 1}),
    "the report": (_gone("report.html"), {"report": 1}),
    "the logs": (_gone("logs"), {"release": 2}),
}
