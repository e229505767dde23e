"""The paper as a DAG. `snakemake --cores all` runs benchmarks/mini.yaml; another benchmark: --config benchmark=FILE.

data → pre-train (miniatures only) → prepare → fine-tune teachers → signals → [search] → distil → tables and figures.
Each rule is one `railkd` step that can be run by hand; every method is a rule of its own: distil_<method>.
"""

import logging
import os
import re
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(workflow.basedir), str(Path(workflow.basedir) / "workflow")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))  # of every job

import engine
from analysis import made_of
from railkd import config as benchmarks
from railkd import files, warm
from railkd.config import Cell, Layout
from railkd.errors import UserError
from railkd.cli import check
from railkd.progress import Progress

BENCHMARK = str(config.pop("benchmark", Path(workflow.basedir) / "benchmarks" / "mini.yaml"))
RESULTS = config.pop("results", None)
DEVICE = str(config.pop("device", "auto"))
GRES = config.pop("gres", None)

try:
    for _key, _path in (("benchmark", BENCHMARK), ("results", str(RESULTS))):
        if set("{}\n") & set(_path) or _path.startswith("-"):
            raise UserError(f"--config: {_key}={_path!r}: a path here begins with no dash and has no brace or line break")
    if {"name", "models", "pairs"} & set(config):
        raise UserError("--configfile: a benchmark file is no configuration of Snakemake; expected --config benchmark=FILE")
    benchmarks.check_device(DEVICE)
    if config:
        raise UserError(f"--config: unknown key '{next(iter(config))}'; available: benchmark, device, gres, results")
    B = benchmarks.load(BENCHMARK)
    L = Layout(benchmarks.results_folder(B, RESULTS))
    SURVEY = None  # what is there and as asked; jobs on a cluster, which read this file again, need not know
    if workflow.is_main_process:
        files.check_folder(L.root)
        check(B, L, reach=False)
        from railkd.survey import Survey

        SURVEY = Survey(B, L, made_of.digests(B, L), made_of.files(B, L))
        SURVEY.align_times()
        for line in SURVEY.lines():
            print(f"railkd: {line}", file=sys.stderr)
        logging.getLogger("snakemake.logging").addHandler(Progress())
except UserError as error:
    sys.exit(f"railkd: error: {error}")

# What is typed differently on another day must not be in a job's text, or Snakemake would take it for other code: it
# goes through the environment. PYTHON: this environment's, unless Snakemake is asked to make environments itself.
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
TEACHER_RECORDS = [str(L.teacher(teacher, task) / "record.json") for teacher, task in TEACHERS]
DRAWN = list(dict.fromkeys(drawn for pair in B.pairs.values() for drawn in pair.get("tables", [])))
TABLES = [L.root / "tables" / f"table{n}.{kind}" for n in range(1, 7) if n in DRAWN for kind in ("csv", "md", "tex")]
FIGURES = [L.root / "figures" / f"{n}.{kind}" for n in DRAWN if isinstance(n, str) for kind in ("csv", "pdf", "png")]
CLAIMS, AUDIT = ([L.root / f"{name}.{kind}" for kind in ("json", "md")] for name in ("claims", "audit"))
# what `snakemake --report FILE.html` shows besides rules and run times
SHOWN = [report(str(path), category="Figures") if path.suffix == ".png" else path for path in FIGURES]
PAGE = report(str(L.root / "report.html"), category="Report")


def keep_what_is_right():
    """Snakemake deletes a job's outputs before it runs: finished runs among them that are as asked are kept for the job
    to put back, unless the job was forced. Records of runs that the file no longer names are set aside."""
    from railkd import runs

    for outputs, forced in engine.jobs_to_run(workflow):
        for path in (Path(output) for output in outputs if output.endswith(".json")):
            if forced:
                L.kept(path).unlink(missing_ok=True)
            elif SURVEY.valid(path):
                runs.keep(L, path)
    strays = SURVEY.strays()
    for path in strays:
        runs.set_aside(L, path)
    if strays:
        print(f"railkd: {len(strays)} records that {BENCHMARK} does not name are set aside in {L.kept(L.root)}", file=sys.stderr)


onstart:
    try:
        engine.check_arrays(workflow, bool(ON_GPU["gpu"]))
        if workflow.local_exec and DEVICE.startswith("cuda"):  # a cluster's login node has none
            from railkd.train import device_for

            device_for(DEVICE)
        files.make_folder(L.root)
        check(B, L)  # now with the hub's checkpoints: a dry run needs no network
        # A lock that goes with this process, even when it is killed; Snakemake's own (off in profiles/default) would stay.
        HELD.append(files.try_lock(L.root / ".lock"))
        if HELD[0] is None:
            raise UserError(f"{L.root}: another run is writing these results; wait for it, or end it")
    except UserError as error:
        sys.exit(f"railkd: error: {error}")
    # Local jobs fork from one process that has imported the libraries; it ends with this one. A cluster's must not find
    # it, even on this very machine: what it forks is outside their allocation.
    if workflow.local_exec:
        warm.start()
    engine.without_rate_limit(workflow)
    keep_what_is_right()


onerror:
    shell(f"{ANALYSIS} all {COMMON} || true")  # what there is, its holes and why


wildcard_constraints:
    model="|".join(map(re.escape, B.models)),
    teacher="|".join(map(re.escape, B.teachers)),
    pair="|".join(map(re.escape, B.pairs)),
    task="|".join(B.tasks),


localrules:
    all,
    release,
    tables,
    figures,
    claims,
    audit,
    report,


rule all:
    input: # by name, all that `railkd verify` would miss: what was deleted is made again even if the report is there
        L.generated(B),
        [L.model(model) / "model.safetensors" for model in B.models if "pretrain" in B.models[model]],
        [place for t, task in TEACHERS for place in (L.prepared(t, task), L.prepared(t, task).with_suffix(".json"))],
        [path for teacher, task in TEACHERS for path in L.teacher_files(teacher, task)],
        [path for cell in CELLS for k in range(len(B.grid())) for path in (L.point(cell, k), L.best(cell))],
        RUNS,
        [] if KEEP else [L.released(teacher, task) for teacher, task in TEACHERS],
        TABLES,
        FIGURES,
        CLAIMS,
        AUDIT,
        L.root / "report.md",
        L.root / "report.html",


if B.synthetic:

    rule data:
        output:
            L.generated(B),
        conda:
            "environment.yml"
        log:
            L.root / "logs" / "data.log",
        shell:
            f"{RAILKD} data {COMMON} {LOG}"


rule pretrain:
    input:
        L.generated(B),
        lambda w: L.weights(B, B.models[w.model].get("from")),
    output:
        L.model("{model}") / "model.safetensors",
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
        L.generated(B),
        lambda w: L.weights(B, w.teacher),
    output:
        L.prepared("{teacher}", "{task}"),
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
    priority: 10  # a broken data file is found before the first hour of training, not after it
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "prepare" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} prepare {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"


rule teacher:
    input:
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
        lambda w: L.weights(B, w.teacher),
    output:
        L.teacher_files("{teacher}", "{task}"),
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
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
        L.teacher("{teacher}", "{task}") / "record.json",
        L.teacher("{teacher}", "{task}") / "model.safetensors",
    output:
        directory(L.signals("{teacher}", "{task}")),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "signals" / "{teacher}" / "{task}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} signals {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {COMPUTE} {LOG}"


def cell_inputs(pair, method, seeds):
    """What the runs of a pair's cell read besides their method, as a function of the wildcards."""
    teacher, student = B.pairs[pair]["teacher"], B.pairs[pair]["student"]

    def inputs(w):
        signals = L.signals(teacher, w.task)
        if SURVEY and SURVEY.complete(Cell(pair, method, w.task), w.get("point"), [w.get("seed", s) for s in seeds]):
            # the signals follow from the other inputs: computing them again, for another method, is no reason to train
            # again. Not for a run that is to be trained: jobs behind an input that is ancient() are not looked at when
            # that is made again (snakemake/snakemake#4166).
            signals = ancient(signals)
        record = L.teacher(teacher, w.task) / "record.json"
        return [L.prepared(teacher, w.task).with_suffix(".json"), record, signals, *L.weights(B, student)]

    return inputs


def readers(w):
    """Every run that reads a teacher's signals on a task."""
    return [L.run(c, s) for c in CELLS for s in B.seeds if (B.pairs[c.pair]["teacher"], c.task) == (w.teacher, w.task)]


# The seeds of each job, which has paid for importing the libraries. Where every job trains one, a wildcard stands for it.
SHARDS = [[str(seed) for seed in seeds] for seeds in dict.fromkeys(shard.seeds for shard in B.shards())]
SHARDS = [["{seed}"]] if all(len(seeds) == 1 for seeds in SHARDS) else SHARDS
ROWS = list(dict.fromkeys((cell.pair, cell.method) for cell in CELLS))
PAIRS_OF = Counter(method for _, method in ROWS)

# A method is a rule. Where several pairs have it, each has a rule of its own:
# Snakemake finds the rule of a file by what the file's name begins with, so pair and method may be no wildcards, or it
# would try every method on every file: 222 s instead of 85 s of CPU for a dry run of 20,098 jobs.
for _pair, _method in ROWS:
    _cell = Cell(_pair, _method, "{task}")
    _name = _method if PAIRS_OF[_method] == 1 else f"{_method}.{_pair}"

    if B.search:

        rule:
            name:
                f"search_{_name}"
            input:
                cell_inputs(_pair, _method, []),
            output:
                L.point(_cell, "{point}"),
            params:
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
                cell_inputs(_pair, _method, _seeds),
                [L.best(_cell)] if B.search else [],
            output:
                [L.run(_cell, seed) for seed in _seeds],
                [L.run(_cell, seed).with_suffix(".safetensors") for seed in _seeds],
            params:
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
# then train every other method again too. Their folder stays, and is filled again for a run that has to be trained.
rule release:
    input:
        readers,
    output:
        touch(L.released("{teacher}", "{task}")),
    conda:
        "environment.yml"
    log:
        L.root / "logs" / "release" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} release {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"


USER_RULES = {rule.name for rule in workflow.rules}

# Rules of your own, such as one that runs a method of another repository and writes its run records.
for _rules in B.spec.get("rules", []):

    include: str((Path(BENCHMARK).parent / _rules).resolve())


USER_RULES = {rule.name for rule in workflow.rules} - USER_RULES


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


if SURVEY:
    engine.decide_by_content(workflow, SURVEY.outdated, {rule.name for rule in workflow.rules} - USER_RULES)
