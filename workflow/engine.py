"""Holds all that touches the inside of Snakemake: which jobs have to run, and what its plugins leave undone.

Written for Snakemake 9.27 and later 9.x; ``require`` refuses a version in which a part that is used here is missing.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from railkd.errors import UserError
from railkd.records.files import write_bytes

CONTENT = "railkd_content"  # attribute of a workflow: the arguments of decide_by_content
SNAKEMAKES_LINES = "DefaultStreamHandler"  # name of the log handler that writes to the terminal
# what Snakemake compares with the last run of a job, and the result where nothing differs
COMPARISONS: dict[str, Any] = {
    "params_changed": False,
    "input_changed": (),
    "code_changed": (),
    "software_stack_changed": (),
}


def require() -> None:
    """Raises UserError where this Snakemake has not the parts that this file uses."""
    import inspect

    import snakemake
    from snakemake.dag import DAG
    from snakemake.persistence import PersistenceBase

    uses = {DAG: ("update_needrun", "needrun_jobs", "reason"), PersistenceBase: tuple(COMPARISONS)}
    lacking = [f"{kind.__name__}.{name}" for kind, names in uses.items() for name in names if not hasattr(kind, name)]
    if "create_inventory" not in inspect.signature(DAG.update_needrun).parameters:
        lacking.append("DAG.update_needrun(create_inventory)")
    if lacking:
        raise UserError(f"Snakemake {snakemake.__version__} has no {lacking[0]}; expected 9.27 or a later 9.x")


def decide_by_content(workflow: Any, outdated: Iterable[str], rules: Iterable[str]) -> None:
    """Makes the jobs of these rules run when their output is missing, older than its input, or named in ``outdated``.

    Snakemake itself would also compare parameters, code and the set of input files with those of the last run in this
    working directory. For these rules the content of results decides instead, which needs no last run. Other rules, a
    user's own, keep all of Snakemake's triggers.
    """
    from snakemake.dag import DAG

    require()
    setattr(workflow, CONTENT, (frozenset(outdated), frozenset(rules)))
    if getattr(DAG.update_needrun, CONTENT, False):
        return
    original = DAG.update_needrun

    async def update_needrun(dag: Any, create_inventory: bool = False) -> None:
        changed, known = getattr(dag.workflow, CONTENT, (frozenset(), frozenset()))
        dag.forcefiles.update(changed)
        if known:
            _without_comparisons(dag.workflow.persistence, known)
        await original(dag, create_inventory=create_inventory)

    setattr(update_needrun, CONTENT, True)
    DAG.update_needrun = update_needrun


def _without_comparisons(persistence: Any, rules: frozenset[str]) -> None:
    """For jobs of these rules nothing of the last run differs, whatever it was."""
    if CONTENT in vars(persistence):
        return
    setattr(persistence, CONTENT, rules)
    for name, same in COMPARISONS.items():
        original = getattr(persistence, name)

        def compare(job: Any, file: Any = None, original: Any = original, same: Any = same) -> Any:
            return same if job.rule.name in rules else original(job, file=file)  # --summary asks of one file

        setattr(persistence, name, compare)


def show_run(workflow: Any, ending: Callable[[], str]) -> None:
    """Shows the run by ``terminal.Terminal`` instead of Snakemake's lines; ``ending`` is its last text.

    Not where the user asks for another logger (--logger), or for what Snakemake says of each job (--verbose,
    --printshellcmds, --debug-dag).
    """
    from workflow.terminal import Terminal

    logger, settings = logging.getLogger("snakemake.logging"), workflow.output_settings
    handlers = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    own = next((handler for handler in handlers if handler.name == SNAKEMAKES_LINES), None)
    if own and not (settings.verbose or settings.printshellcmds or settings.debug_dag):
        logger.removeHandler(own)
        logger.addHandler(Terminal(settings, own, ending))


def find_packages_of_jobs(checkout: Path) -> None:
    """Every job finds ``railkd`` and ``analysis`` in this checkout, whatever folder it runs in."""
    paths = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def jobs_to_run(workflow: Any) -> Iterator[tuple[list[str], bool]]:
    """The output files of each job that is to run, and whether it was forced on the command line."""
    settings = workflow.dag_settings
    for job in workflow.dag.needrun_jobs():
        outputs = [str(path) for path in job.output]
        named = job.rule.name in settings.forcerun or not settings.forcerun.isdisjoint(outputs)
        target = settings.forcetargets and (job in workflow.dag.targetjobs)
        yield outputs, bool(settings.forceall or named or target)


def refuse_arrays(workflow: Any) -> None:
    """The executor plugin for SLURM (2.8) looks for the outputs of an array's first job behind each of its jobs (its
    issue 447), so that jobs that are done count as failed, and may never submit what a limit holds back (473). Raises
    UserError where arrays are asked for."""
    arrays = getattr(workflow.executor_settings, "array_jobs", None)
    if arrays not in (None, "", "none"):
        raise UserError(
            f"--slurm-array-jobs {arrays}: the plugin would call jobs of an array failed that are done (its issue 447);"
            " expected --slurm-array-jobs none"
        )


def enter_queue(workflow: Any, note: Path) -> None:
    """Notes by which name SLURM has the jobs of this run.

    Raises UserError while jobs of the run that is noted there are in the queue: it has died and they have not, and
    Snakemake, which knows nothing of them, would submit them once more beside themselves.
    """
    if note.is_file():
        name = note.read_text(encoding="utf-8").strip()
        if jobs := _queued(name, note):
            raise UserError(
                f"{note.parent}: {len(jobs)} jobs of an earlier run are still in SLURM's queue ({jobs[0]}); let them"
                f" end, or end them with `scancel --name={name}`, and then give the same command again"
            )
    leave_queue(note)
    own = getattr(workflow.scheduler._executor, "run_uuid", None)  # of the plugin for SLURM
    if own:
        write_bytes(note, f"{own}\n".encode())


def leave_queue(note: Path) -> None:
    """Of a run that has come to its end no job is in the queue."""
    note.unlink(missing_ok=True)


def _queued(name: str, note: Path) -> list[str]:
    """The ids of the jobs with this name that wait or run; none where SLURM is not at hand, as on another machine."""
    command = ["squeue", "--noheader", "--format=%i", f"--name={name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2]
        raise UserError(
            f"{note.parent}: are jobs of an earlier run still queued? squeue does not say ({why}); try again"
        )
    return done.stdout.split()


def ran_to(workflow: Any, rule: str) -> bool:
    """Whether a run that has succeeded has made all that this rule asks for."""
    settings = workflow.dag_settings
    return not (workflow.touch or settings.batch) and any(job.rule.name == rule for job in workflow.dag.jobs)


def jobs_at_once(workflow: Any) -> int:
    """How many of the jobs that take a ``gpu`` run at once on this machine at most."""
    limits = (workflow.global_resources.get(name) for name in ("gpu", "_cores"))
    return min((limit.value for limit in limits if limit is not None and isinstance(limit.value, int)), default=1)


def share_resources(workflow: Any, asked: str, rule: str) -> None:
    """Gives a rule that is not yet defined what --set-resources asks for under another name, unless it has its own.

    Snakemake ignores a name that is no rule, so a method whose rules have the pair in their names would get nothing.
    """
    given = workflow.resource_settings._parsed_overwrite_resources
    if asked in given:
        given.setdefault(rule, given[asked])


def without_rate_limit(workflow: Any) -> None:
    """The scheduler's rate limit, which these jobs never reach, makes it look for jobs once more every second for each
    job that has finished: hundreds of times a second after hundreds of jobs (snakemake/snakemake#2967)."""
    workflow.scheduler.job_rate_limiter = None
