"""Settings, what the rules share, and what happens before the first job and after a failure."""

import os
import re
import sys
from functools import partial
from pathlib import Path

BASE = Path(workflow.basedir)  # of the root Snakefile
sys.path.insert(0, str(BASE))
sys.path.append("")  # module:Class of the folder one works in

from analysis import made_of
from analysis.report import summary
from railkd import fork_client, gpu_choice
from railkd.benchmark import config as benchmarks
from railkd.benchmark.specification import Cell
from railkd.benchmark.paths import Layout, results_folder
from railkd.benchmark.unused_entries import unused
from railkd.commands.checking import check
from railkd.errors import UserError, warn
from railkd.records import files
from workflow import engine

BENCHMARK = str(config.pop("benchmark", BASE / "benchmarks" / "mini.yaml"))
RESULTS = config.pop("results", None)
DEVICE = str(config.pop("device", "auto"))
GRES = config.pop("gres", None)

try:
    if not isinstance(RESULTS, (str, type(None))):  # Snakemake reads 2024, 007 and true as other than text
        raise UserError(f"--config: results={RESULTS} is read as no text; expected a path such as results=./{RESULTS}")
    for _key, _path in (("benchmark", BENCHMARK), ("results", str(RESULTS))):
        if set("{}\n") & set(_path) or _path.startswith("-"):
            raise UserError(f"--config: {_key}={_path!r}: a path here begins with no dash and has no brace or line break")
    if {"name", "models", "pairs"} & set(config):
        raise UserError("--configfile: a benchmark file is no configuration of Snakemake; expected --config benchmark=FILE")
    benchmarks.check_device(DEVICE)
    if config:
        raise UserError(f"--config: unknown key '{next(iter(config))}'; available: benchmark, device, gres, results")
    B = benchmarks.load(BENCHMARK)
    L = Layout(results_folder(B, RESULTS))
    JOBS_TO_RUN = None  # which results are present and as expected; a cluster's jobs read this file too, without it
    if workflow.is_main_process:
        files.check_folder(Path(RESULTS or L.root))  # as it was typed
        check(B, L, reach=False)
        from railkd.jobs import finished_runs
        from railkd.jobs_to_run import JobsToRun

        finished_runs.put_external_back(B, L)
        JOBS_TO_RUN = JobsToRun(B, L, made_of.digests(B, L), made_of.files(B, L))
        if L.root.is_dir() and not os.access(L.root, os.W_OK) and any(product.why for product in JOBS_TO_RUN.products):
            raise UserError(f"{L.root}: the folder cannot be written to, and there is something to run")
        JOBS_TO_RUN.align_times()
        NOT_TRAINED = [f"{BENCHMARK}: {line}" for line in unused(B)]
        for line in NOT_TRAINED:
            warn(line)
        for line in JOBS_TO_RUN.lines():
            print(f"railkd: {line}", file=sys.stderr)
        engine.show_run(workflow, partial(summary.summary, L.root, NOT_TRAINED))
except UserError as error:
    sys.exit(f"railkd: error: {error}")

engine.find_packages_of_jobs(BASE)
# What is typed differently on another day must not be in a job's text, or Snakemake would take it for other code: it
# goes through the environment. PYTHON: this environment's, unless Snakemake makes environments itself.
PYTHON = "python" if workflow.deployment_settings.deployment_method else sys.executable
os.environ |= {
    "RAILKD_PYTHON": PYTHON,
    "RAILKD_BENCHMARK": BENCHMARK,
    "RAILKD_RESULTS": str(L.root),
    "RAILKD_DEVICE": DEVICE,
}
COMMON = '"$RAILKD_BENCHMARK" --results="$RAILKD_RESULTS"'
RAILKD = 'OMP_NUM_THREADS={threads} "$RAILKD_PYTHON" -m railkd'
ANALYSIS = '"$RAILKD_PYTHON" -m analysis'
COMPUTE = '--device "$RAILKD_DEVICE" --threads {threads}'
LOG = "> {log:q} 2>&1"  # the terminal shows the last line of what failed
# How many of the machine's `gpu` a job takes; auto: this machine's, so on a cluster, whose login node has none, say
# --config device=cuda. With gres=gpu:1 or gres=shard:1 a job asks SLURM for that instead, and nothing of Snakemake's.
GPU = int(DEVICE.startswith("cuda") or (DEVICE == "auto" and benchmarks.has_gpu()))
ON_GPU = {"gpu": 0, "gres": str(GRES)} if GRES else {"gpu": GPU}
HELD = []  # open for as long as the workflow lives
KEEP = workflow.storage_settings.notemp  # --notemp: signals stay


# --- the files to make ---

CELLS = [cell for cell in B.cells() if not B.external(cell.method)]
RUNS = [str(L.run(cell, seed)) for cell in B.cells() for seed in B.seeds]
TEACHERS = [(teacher, task) for teacher in B.teachers for task in B.teacher_tasks(teacher)]
TEACHER_RECORDS = [str(L.teacher(teacher, task) / "record.json") for teacher, task in TEACHERS]
DRAWN = list(dict.fromkeys(drawn for pair in B.pairs.values() for drawn in pair.get("tables", [])))
TABLES = [L.table(n, kind) for n in range(1, 7) if n in DRAWN for kind in L.table_kinds]
DRAWINGS = [n for n in DRAWN if isinstance(n, str)] + ["averages"] * (2 in DRAWN or 3 in DRAWN)
FIGURES = [L.figure(name, kind) for name in DRAWINGS for kind in L.figure_kinds]
CLAIMS, AUDIT = ([L.document(name, kind) for kind in ("json", "md")] for name in ("claims", "audit"))
# what `snakemake --report FILE.html` shows besides rules and run times
SHOWN = [report(str(path), category="Figures") if path.suffix == ".png" else path for path in FIGURES]
PAGE = report(str(L.document("report", "html")), category="Report")


def pretrained_models():
    """The models that the workflow pre-trains."""
    return [L.model(name) / "model.safetensors" for name in B.models if B.pretrained_here(name)]


def prepared_data():
    """The tokenised tasks, and what is known of each."""
    tensors = [L.prepared(teacher, task) for teacher, task in TEACHERS]
    return [place for path in tensors for place in (path, path.with_suffix(".json"))]


def search_results():
    """Every point of the hyper-parameter search, and the choices."""
    points = [L.point(cell, number) for cell in CELLS for number in range(len(B.points(cell)))]
    return [*points, *(L.best(cell) for cell in CELLS if B.search)]


def released_signals():
    """The stamps of deleted signals; with --notemp they stay."""
    return [] if KEEP else [L.released(teacher, task) for teacher, task in TEACHERS]


# --- for rules of your own: these two functions, and the constraints of the wildcards below ---


def run_record(pair, method, task, seed):
    """The path of a run's record; each part may be a wildcard such as "{seed}"."""
    return str(L.run(Cell(pair, method, task), seed))


def teacher_record(teacher, task):
    """The path of a fine-tuned teacher's record; each part may be a wildcard."""
    return str(L.teacher(teacher, task) / "record.json")


# --- inputs of rules, as functions of the wildcards ---


def teacher_weights(wildcards):
    """The pre-trained weights that a teacher begins with; none of a published checkpoint."""
    return L.weights(B, wildcards.teacher)


def parent_weights(wildcards):
    """The weights, pre-trained here too, that a model is pre-trained as a student of, if any."""
    return L.weights(B, B.pretraining_teacher(wildcards.model))


def pretraining_resource(key, wildcards):
    """What pre-training asks of ON_GPU: a miniature is trained on the CPU."""
    on_gpu = "general_distillation" in B.models[wildcards.model]
    return ON_GPU[key] if on_gpu else type(ON_GPU[key])()


def cell_inputs(pair, method, seeds):
    """What the runs of a pair's cell read besides their method."""
    teacher, student = B.pairs[pair]["teacher"], B.pairs[pair]["student"]

    def inputs(wildcards):
        signals, task = L.signals(teacher, wildcards.task), wildcards.task
        expected = [wildcards.get("seed", seed) for seed in seeds]
        if JOBS_TO_RUN and JOBS_TO_RUN.complete(Cell(pair, method, task), wildcards.get("point"), expected):
            # The signals follow from the other inputs: computing them again, for another method, is no reason to train
            # again. A run that is to be trained must not have this: a job whose input is ancient() is not considered
            # when that input is made again (snakemake/snakemake#4166).
            signals = ancient(signals)
        return [
            L.prepared(teacher, task).with_suffix(".json"),
            L.teacher(teacher, task) / "record.json",
            signals,
            *L.weights(B, student),
        ]

    return inputs


def deciding_points(pair, method):
    """The points of the search that decide for the cells of a pair and method."""

    def inputs(wildcards):
        searched = B.searched(Cell(pair, method, wildcards.task))
        return [L.point(cell, number) for cell in searched for number in range(len(B.grid(method)))]

    return inputs


def readers(wildcards):
    """Every run that reads a teacher's signals on a task."""
    place = (wildcards.teacher, wildcards.task)
    cells = [cell for cell in CELLS if (B.pairs[cell.pair]["teacher"], cell.task) == place]
    return [L.run(cell, seed) for cell in cells for seed in B.seeds]


# --- before the first job, and after a failure ---


def keep_what_is_right():
    """Snakemake deletes a job's outputs before it runs: finished runs among them that are as expected are kept for the
    job to put back, unless the job was forced. Records of runs that the file no longer names are set aside."""
    for cell in CELLS:
        points = range(len(B.points(cell)))
        finished_runs.renumber(B, L, cell, [n for n in points if not JOBS_TO_RUN.valid(L.point(cell, n))])
    for outputs, forced in engine.jobs_to_run(workflow):
        for path in (Path(output) for output in outputs if output.endswith(".json")):
            if forced:
                finished_runs.forget(L, path)
            elif JOBS_TO_RUN.valid(path):
                finished_runs.keep(L, path)
    strays = JOBS_TO_RUN.strays()
    for path in strays:
        finished_runs.set_aside(L, path)
    if strays:
        print(f"railkd: {len(strays)} records that {BENCHMARK} does not name are set aside in {L.kept(L.root)}", file=sys.stderr)


onstart:
    try:
        engine.refuse_arrays(workflow)
        if workflow.local_exec and DEVICE.startswith("cuda"):  # a cluster's login node has none
            from railkd.devices import device_for

            device_for(DEVICE)
        if workflow.local_exec and B.compiles:
            from railkd.devices import device_for
            from railkd.models.compiled import require_compiler

            require_compiler(device_for(DEVICE))
        files.make_folder(L.root)
        check(B, L)  # now with the hub's checkpoints: a dry run needs no network
        # A lock that goes with this process, even when it is killed; Snakemake's own (off in profiles/default) would stay.
        HELD.append(files.try_lock(L.root / ".lock"))
        if HELD[0] is None:
            raise UserError(f"{L.root}: another run is writing these results; wait for it, or end it")
        engine.enter_queue(workflow, L.queued())
        keep_what_is_right()
    except UserError as error:
        sys.exit(f"railkd: error: {error}")
    # Local jobs fork from one process that has imported the libraries; it ends with this one. A cluster's must not find
    # it, even on this very machine: what it forks is outside their allocation.
    if workflow.local_exec:
        on_gpus = engine.jobs_at_once(workflow) if ON_GPU["gpu"] else 0
        gpu_choice.share_out(on_gpus, DEVICE)
        if on_gpus == 1 < (workflow.cores or 1):
            print("railkd: one job at a time on the GPU; small ones leave most of it idle: --resources gpu=N", file=sys.stderr)
        fork_client.start()
    engine.without_rate_limit(workflow)


def forget_what_is_done():
    """Copies that were kept of runs which are in their place now: no job that could delete them is left."""
    for path in map(Path, [*RUNS, *search_results()]):
        if path.is_file():
            finished_runs.forget(L, path)


def require_what_is_asked():
    """Each job reads the benchmark file when it starts, so an edit in a run holds for the rest of it: raises UserError
    where, after the last job, a result is not the one that the file asks for now."""
    again = benchmarks.load(BENCHMARK)
    judged = JobsToRun(again, L, made_of.digests(again, L), made_of.files(again, L)).products
    left = [product for product in judged if product.why is not None and product.job not in ("signals", "release")]
    if left:
        raise UserError(
            f"{BENCHMARK}, or what it names, was edited during the run: {len(left)} results are missing or not as it asks"
            f" now, the first of them a {left[0].job} ({left[0].why}); give the same command again"
        )


onsuccess:
    try:
        engine.leave_queue(L.queued())
        forget_what_is_done()
        if engine.ran_to(workflow, "all"):
            require_what_is_asked()
    except UserError as error:
        sys.exit(f"railkd: error: {error}")


onerror:
    forget_what_is_done()
    # the report of what is present, with what is missing and why
    shell(f'{ANALYSIS} all {COMMON} > "$RAILKD_RESULTS/logs/unfinished.log" 2>&1 || true')


wildcard_constraints:
    model="|".join(map(re.escape, B.models)),
    teacher="|".join(map(re.escape, B.teachers)),
    pair="|".join(map(re.escape, B.pairs)),
    task="|".join(map(re.escape, B.tasks)),
