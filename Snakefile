"""The paper as a DAG. `snakemake --cores all` runs benchmarks/mini.yaml; another benchmark: --config benchmark=FILE.

data → pre-train (miniatures only) → prepare → fine-tune teachers → signals → [search] → distil → tables and figures.
Each rule is one `railkd` step that can be run by hand; every method is a rule of its own: distil_<method>.
"""

import fcntl
import logging
import os
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))

from railkd import config as benchmarks
from railkd import records, warm
from railkd.config import Cell, Layout
from railkd.errors import UserError
from railkd.cli import check
from railkd.progress import Progress
from railkd.registry import source_files

BENCHMARK = str(config.pop("benchmark", Path(workflow.basedir) / "benchmarks" / "mini.yaml"))
RESULTS = config.pop("results", None)
DEVICE = str(config.pop("device", "auto"))
GRES = config.pop("gres", None)

try:
    for _key, _path in (("benchmark", BENCHMARK), ("results", str(RESULTS))):
        if set("{}\n") & set(_path) or _path.startswith("-"):
            raise UserError(f"--config: {_key}={_path!r}: a path here begins with no dash and has no brace or line break")
    if config:
        raise UserError(f"--config: unknown key '{next(iter(config))}'; available: benchmark, device, gres, results")
    B = benchmarks.load(BENCHMARK)
    L = Layout(RESULTS or Path("results") / B.name)
    if workflow.is_main_process:  # jobs on a cluster read this file again
        check(B, L, reach=False)
        logging.getLogger("snakemake.logging").addHandler(Progress())
except UserError as error:
    sys.exit(f"railkd: error: {error}")

# this environment's Python, unless Snakemake is asked to make environments itself
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
RAILKD = f"OMP_NUM_THREADS={{threads}} {PYTHON} -m railkd"
COMMON = f"{shlex.quote(BENCHMARK)} --results={shlex.quote(str(L.root))}"
COMPUTE = f"--device {shlex.quote(DEVICE)} --threads {{threads}}"
LOG = "> {log:q} 2>&1 || {{ tail -n 3 {log:q} >&2; exit 1; }}"
# How many of the machine's `gpu` a job takes; auto: this machine's, so on a cluster, whose login node has none, say
# --config device=cuda. With gres=gpu:1 or gres=shard:1 a job asks SLURM for that instead, and nothing of Snakemake's.
GPU = int(DEVICE.startswith("cuda") or (DEVICE == "auto" and benchmarks.has_gpu()))
ON_GPU = {"gpu": 0, "gres": str(GRES)} if GRES else {"gpu": GPU}
HELD = []  # open for as long as the workflow lives
KEEP = workflow.storage_settings.notemp  # --notemp: signals stay
CELLS = [cell for cell in B.cells() if not B.external(cell.method)]
RUNS = [str(L.run(cell, seed)) for cell in B.cells() for seed in B.seeds]
TEACHERS = [(teacher, task) for teacher in B.teachers for task in B.teacher_tasks(teacher)]
DRAWN = list(dict.fromkeys(drawn for pair in B.pairs.values() for drawn in pair.get("tables", [])))
TABLES = [L.root / "tables" / f"table{n}.{kind}" for n in range(1, 7) if n in DRAWN for kind in ("csv", "md", "tex")]
FIGURES = [L.root / "figures" / f"{n}.{kind}" for n in DRAWN if isinstance(n, str) for kind in ("csv", "pdf", "png")]
CLAIMS, AUDIT = ([L.root / f"{name}.{kind}" for kind in ("json", "md")] for name in ("claims", "audit"))
# what `snakemake --report FILE.html` shows besides rules and run times
SHOWN = [report(str(path), category="Figures") if path.suffix == ".png" else path for path in FIGURES]
PAGE = report(str(L.root / "report.html"), category="Report")
TEACHER_RECORDS = [str(L.teacher(teacher, task) / "record.json") for teacher, task in TEACHERS]


def check_arrays():
    """Jobs in SLURM arrays: what a limit keeps from being submitted with the other ready jobs of its rule, the executor
    plugin (2.8, its issue 473) never submits, and the workflow waits for ever."""
    arrays = getattr(workflow.executor_settings, "array_jobs", None)
    if arrays in (None, "", "none"):
        return
    left = sum(1 for _ in workflow.dag.needrun_jobs())
    limits = {"_nodes": "--jobs", "_cores": "--cores"} | ({"gpu": "--resources gpu"} if ON_GPU["gpu"] else {})
    for name, resource in workflow.global_resources.items():
        if name in limits and resource.value is not None and resource.value < left:
            raise UserError(
                f"--slurm-array-jobs {arrays}: jobs beyond {limits[name]} {resource.value} would never be submitted;"
                f" expected no limit, or one of at least the {left} jobs to do, or --slurm-array-jobs none"
            )


onstart:
    try:
        check_arrays()
        check(B, L)  # now with the hub's checkpoints: a dry run needs no network
    except UserError as error:
        sys.exit(f"railkd: error: {error}")
    # A lock that goes with this process, even when it is killed; Snakemake's own (off in profiles/default) would stay.
    L.root.mkdir(parents=True, exist_ok=True)
    HELD.append(open(L.root / ".lock", "w"))
    try:
        fcntl.flock(HELD[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"railkd: error: {L.root}: another run is writing these results; wait for it, or end it")
    # Local jobs fork from one process that has imported the libraries; it ends with this one. A cluster's must not find
    # it, even on this very machine: what it forks is outside their allocation.
    if workflow.local_exec:
        warm.start()
    # The scheduler's rate limit, which these jobs never reach, makes it look for jobs once more every second for each job
    # that has finished: hundreds of times a second after hundreds of jobs (snakemake/snakemake#2967).
    workflow.scheduler.job_rate_limiter = None


onerror:
    # What there is, its holes and why: older than every input, so that the next run makes it anew.
    shell(f"{PYTHON} -m analysis all {COMMON} || true")
    for _path in [*TABLES, *FIGURES, *CLAIMS, *AUDIT, L.root / "report.md", L.root / "report.html"]:
        if _path.is_file():
            os.utime(_path, (0, 0))


wildcard_constraints:
    model="|".join(map(re.escape, B.models)),
    teacher="|".join(map(re.escape, B.teachers)),
    pair="|".join(map(re.escape, B.pairs)),
    task="|".join(B.tasks),


def digest(value):
    """A short hash of what a rule depends on in the benchmark file: a change of it reruns the rule's jobs."""
    return records.sha256_text(records.canonical(value))[:16]


def checkpoint_of(model):
    """The files of the pre-trained miniatures that a model is made of; none for a published checkpoint."""
    entry = B.models[model]
    if "layers_of" in entry:
        return checkpoint_of(entry["layers_of"])
    return [str(L.model(model) / "model.safetensors")] if "pretrain" in entry else []


def generated():
    """MiniGLUE, where the benchmark is made of it."""
    return [str(L.data() / "corpus" / "corpus.parquet")] if B.synthetic else []


localrules:
    all,
    release,
    tables,
    figures,
    claims,
    audit,
    report,


rule all:
    input:
        RUNS,  # by name: a record that was deleted is made again even if the report is there
        [] if KEEP else [L.root / "logs" / "release" / teacher / f"{task}.done" for teacher, task in TEACHERS],
        TEACHER_RECORDS,
        L.root / "report.md",
        L.root / "report.html",


if B.synthetic:

    rule data:
        output:
            *generated(),
        params:
            settings=digest([B.data["seed"], B.data.get("sizes")]),
        conda:
            "environment.yml"
        log:
            L.root / "logs" / "data.log",
        shell:
            f"{RAILKD} data {COMMON} {LOG}"


rule pretrain:
    input:
        generated(),
        lambda w: checkpoint_of(B.models[w.model]["from"]) if "from" in B.models[w.model] else [],
    output:
        L.model("{model}") / "model.safetensors",
    params:
        settings=lambda w: digest([B.model_config(w.model), B.data["seed"]]),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "pretrain" / "{model}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} pretrain {COMMON} --model {{wildcards.model}} {COMPUTE} {LOG}"


rule prepare:
    input:
        generated(),
        lambda w: [
            f
            for pair in B.pairs.values()
            if pair["teacher"] == w.teacher
            for role in ("teacher", "student")
            for f in checkpoint_of(pair[role])
        ],
    output:
        L.prepared("{teacher}", "{task}"),
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
    params:
        settings=lambda w: digest([B.data_config(w.task), B.model_config(w.teacher)]),
    priority: 10  # a broken data file is found before the first hour of training, not after it
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "prepare" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} prepare {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"


rule teacher:
    input:
        L.prepared("{teacher}", "{task}"),
        lambda w: checkpoint_of(w.teacher),
    output:
        L.teacher("{teacher}", "{task}") / "record.json",
        L.teacher("{teacher}", "{task}") / "record.safetensors",
        L.teacher("{teacher}", "{task}") / "model.safetensors",
    params:
        settings=lambda w: digest(B.teacher_config(w.teacher, w.task)),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "teacher" / "{teacher}" / "{task}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} teacher {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {COMPUTE} {LOG}"


rule signals:
    input:
        L.prepared("{teacher}", "{task}"),
        L.teacher("{teacher}", "{task}") / "record.json",
        L.teacher("{teacher}", "{task}") / "model.safetensors",
    output:
        directory(L.signals("{teacher}", "{task}")),
    params:
        settings=lambda w: digest(
            [[c.method, B.spec["methods"][c.method]] for c in CELLS if B.pairs[c.pair]["teacher"] == w.teacher]
        ),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "signals" / "{teacher}" / "{task}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} signals {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {COMPUTE} {LOG}"


def cell_inputs(pair):
    """What every run of a pair's cell reads besides its method, as a function of the wildcards."""
    teacher, student = B.pairs[pair]["teacher"], B.pairs[pair]["student"]

    def inputs(w):
        # the signals follow from these: computing them again, for another method, is no reason to train again
        said = [L.teacher(teacher, w.task) / name for name in ("record.json", "record.safetensors")]
        return [L.prepared(teacher, w.task), *said, ancient(L.signals(teacher, w.task)), *checkpoint_of(student)]

    return inputs


def readers(w):
    """Every run that reads a teacher's signals on a task."""
    return [L.run(c, s) for c in CELLS for s in B.seeds if (B.pairs[c.pair]["teacher"], c.task) == (w.teacher, w.task)]


# The seeds of each job, which has paid for importing the libraries. Where every job trains one, a wildcard stands for it.
SHARDS = [[str(seed) for seed in seeds] for seeds in dict.fromkeys(shard.seeds for shard in B.shards())]
SHARDS = [["{seed}"]] if all(len(seeds) == 1 for seeds in SHARDS) else SHARDS
ROWS = list(dict.fromkeys((cell.pair, cell.method) for cell in CELLS))
PAIRS_OF = Counter(method for _, method in ROWS)

# A method is a rule: an edit of its file reruns its runs alone. Where several pairs have it, each has a rule of its own:
# Snakemake finds the rule of a file by what the file's name begins with, so pair and method may be no wildcards, or it
# would try every method on every file: 222 s instead of 85 s of CPU for a dry run of 20,098 jobs.
for _pair, _method in ROWS:
    _source = [str(path) for path in source_files(B.method_class(_method))]
    _cell = Cell(_pair, _method, "{task}")
    _name = _method if PAIRS_OF[_method] == 1 else f"{_method}.{_pair}"

    if B.search:

        rule:
            name:
                f"search_{_name}"
            input:
                cell_inputs(_pair),
                method=_source,
            output:
                L.point(_cell, "{point}"),
            params:
                settings=lambda w, pair=_pair, method=_method: digest(
                    B.run_config(pair, method, w.task, B.grid()[int(w.point)])
                ),
                pair=_pair,
                method=_method,
                seed=B.search["seed"],
            wildcard_constraints:
                point=r"\d+",
            conda:
                "environment.yml"
            log:
                L.root / "logs" / f"search_{_method}" / _pair / "{task}-{point}.log",
            resources:
                **ON_GPU,
            shell:
                f"{RAILKD} distil {COMMON} --pair {{params.pair}} --method {{params.method}} --task {{wildcards.task}}"
                f" --seeds {{params.seed}} --point {{wildcards.point}} {COMPUTE} {LOG}"

        rule:
            name:
                f"select_{_name}"
            input:
                [L.point(_cell, point) for point in range(len(B.grid()))],
            output:
                L.best(_cell),
            params:
                pair=_pair,
                method=_method,
            conda:
                "environment.yml"
            log:
                L.root / "logs" / f"select_{_method}" / _pair / "{task}.log",
            shell:
                f"{RAILKD} select {COMMON} --pair {{params.pair}} --method {{params.method}}"
                f" --task {{wildcards.task}} {LOG}"

    for _seeds in SHARDS:

        rule:
            name:
                f"distil_{_name}" + (f"_seed{_seeds[0]}" if len(SHARDS) > 1 else "")
            input:
                cell_inputs(_pair),
                [L.best(_cell)] if B.search else [],
                method=_source,
            output:
                [L.run(_cell, seed) for seed in _seeds],
                [L.run(_cell, seed).with_suffix(".safetensors") for seed in _seeds],
            params:
                settings=lambda w, pair=_pair, method=_method: digest([B.run_config(pair, method, w.task), B.search]),
                pair=_pair,
                method=_method,
                seeds=" ".join(_seeds),
            wildcard_constraints:
                seed="|".join(map(str, B.seeds)),
            conda:
                "environment.yml"
            log:
                L.root / "logs" / f"distil_{_method}" / _pair / f"{{task}}-{_seeds[0]}.log",
            resources:
                **ON_GPU,
            shell:
                f"{RAILKD} distil {COMMON} --pair {{params.pair}} --method {{params.method}} --task {{wildcards.task}}"
                f" --seeds {{params.seeds}} {COMPUTE} {LOG}"


# Signals are large: they go after their last reader. Not by temp(): Snakemake would make them again for a new method and
# then train every other method again too. Their folder stays, and a job that finds it empty fills it.
rule release:
    input:
        readers,
    output:
        touch(L.root / "logs" / "release" / "{teacher}" / "{task}.done"),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "release" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} release {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"


# Rules of your own, such as one that runs a method of another repository and writes its run records.
for _rules in B.spec.get("rules", []):

    include: str((Path(BENCHMARK).parent / _rules).resolve())


ANALYSIS = f"{PYTHON} -m analysis"


# scores that the GLUE server returned, where there are any (analysis/leaderboard.py)
RETURNED = [str(path) for path in [L.root / "leaderboard.csv"] if path.is_file()]


rule tables:
    input:
        RUNS,
        TEACHER_RECORDS,
        [path for path in [L.root / "speed.json"] if path.exists()],  # benchmarks/speed, for Table 4
        RETURNED,
    output:
        TABLES,
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "tables.log",
    shell:
        f"{ANALYSIS} tables {COMMON} {LOG}"


rule figures:
    input:
        RUNS,
        TEACHER_RECORDS,
    output:
        SHOWN,
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "figures.log",
    shell:
        f"{ANALYSIS} figures {COMMON} {LOG}"


rule claims:
    input:
        RUNS,
        TEACHER_RECORDS,
        Path(workflow.basedir) / "benchmarks" / "claims.yaml",
    output:
        CLAIMS,
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "claims.log",
    shell:
        f"{ANALYSIS} claims {COMMON} {LOG}"


rule audit:
    input:
        Path(workflow.basedir) / "benchmarks" / "claims.yaml",
    output:
        AUDIT,
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "audit.log",
    shell:
        f"{ANALYSIS} audit {COMMON} {LOG}"


rule report:
    input:
        TABLES,
        FIGURES,
        CLAIMS,
        AUDIT,
    output:
        L.root / "report.md",
        PAGE,
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "report.log",
    shell:
        f"{ANALYSIS} report {COMMON} {LOG}"
