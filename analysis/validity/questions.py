"""Asks the five questions that runs have to pass before they decide a claim, and answers each in a sentence."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.reported_benchmark import WITHOUT_KD, Pair
from analysis.tables.cells import column_title
from analysis.tables.numbers import signed
from analysis.validity import budget_keys, cells, choices
from analysis.validity.convergence import Convergence
from analysis.validity.evidence import Evidence
from analysis.validity.gap import Gap
from analysis.validity.thresholds import BASELINE_SHARE, COLLAPSED_SHARE, GAP_ERRORS, GROUP_ERRORS, MOST_TASKS
from railkd.benchmark.specification import Cell

MOST_NAMES = 8  # of methods in one sentence
MOST_GROWTH = 10  # no advice to take more than so many times the examples


@dataclass(frozen=True)
class Compared:
    """The runs of one pair that a claim, or a pair's part of the report, rests on."""

    pair: Pair
    block: str  # dev | test | ood
    methods: tuple[str, ...]
    columns: tuple[str, ...]  # tasks or out-of-domain sets
    trained_on: Mapping[str, str]  # column -> the task whose models fill it

    @property
    def tasks(self) -> list[str]:
        """The tasks that the students were trained on."""
        return list(dict.fromkeys(self.trained_on[column] for column in self.columns))

    def names(self, columns: Sequence[str]) -> str:
        """Columns in words."""
        return ", ".join(column_title(self.block, column) for column in columns)


@dataclass(frozen=True)
class Answer:
    """The answer to one question: whether it holds (None: nothing to ask it of), why, and what would help."""

    question: str  # a key of QUESTIONS
    holds: bool | None
    reason: str  # whole sentences with the numbers
    remedy: str = ""  # a whole sentence; empty where it holds


def did_converge(evidence: Evidence, of: Compared) -> Answer:
    """Whether the teacher, the student without KD and the compared students were trained to the end."""
    without = evidence.without_kd(of.pair)
    names = dict.fromkeys(["teacher", *([without] if without else []), *of.methods])
    found = {m: c for m in names if (c := evidence.convergence(of.pair, m, of.tasks)) is not None}
    if not found:
        return Answer("converged", None, "No record of these runs is present.")
    failing = {m: c for m, c in found.items() if not c.holds}
    students = [c for m, c in found.items() if m != "teacher"]
    ended = [
        f"{sum(c.at_last for c in group)} of {sum(c.runs for c in group)} {what}"
        for what, group in (("teachers", [c for m, c in found.items() if m == "teacher"]), ("student runs", students))
        if group
    ]
    patience = sum(c.patience for c in found.values())
    sentences = [
        f"The best epoch is the last in {' and in '.join(ended)}"
        + (f"; patience ended {patience} others." if patience else ".")
    ]
    rising = {m: c for m, c in failing.items() if c.rises(GROUP_ERRORS)}
    if rising:
        sentences.append(
            f"Over the last quarter of the epochs, dev still rose by {_range(list(rising.values()))}: "
            f"{_names(evidence, rising)}."
        )
    sentences += [_failing_tasks(evidence, m, c) for m, c in failing.items() if m not in rising]
    if not failing:
        sentences.append("Dev does not rise beyond its noise at the end.")
        return Answer("converged", True, " ".join(sentences))
    keys: list[str] = []
    outside = [m for m in failing if m != "teacher" and evidence.benchmark.file.external(m)]
    for method, c in failing.items():
        if method in outside:
            continue
        role: budget_keys.Role = "teacher" if method == "teacher" else "student"
        keys += budget_keys.more_epochs(
            evidence.benchmark, of.pair, role, of.tasks if method in rising else list(c.failing)
        )
    remedies = [f"Raise {', '.join(dict.fromkeys(keys))}."] if keys else []
    if outside:
        remedies.append(
            f"Train {_names(evidence, outside)} for longer where its rule does, with the dev score of every epoch in "
            "the records."
        )
    return Answer("converged", False, " ".join(sentences), " ".join(remedies))


def _range(groups: list[Convergence]) -> str:
    """The rises of several groups, each over the tasks, with their standard errors."""
    rises, errors = (
        [f"{v:.1f}" for v in sorted(values)] for values in zip(*((c.rise, c.se) for c in groups), strict=True)
    )
    spans = [v[0] if v[0] == v[-1] else f"{v[0]} to {v[-1]}" for v in (rises, errors)]
    return f"{spans[0]} points (standard error {spans[1]})"


def _names(evidence: Evidence, methods: Sequence[str] | dict[str, Convergence]) -> str:
    titles = [evidence.benchmark.title_of(method) for method in methods]
    more = len(titles) - MOST_NAMES
    return ", ".join(titles[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _failing_tasks(evidence: Evidence, method: str, found: Convergence) -> str:
    """The tasks on which a group that has otherwise converged has not, in a sentence."""
    rising = [(t, c) for t, c in found.failing.items() if not c.unknown]
    parts = [f"dev still rose by {c.rise:.1f} ± {c.se:.1f} points on {column_title('dev', t)}" for t, c in rising]
    blind = [column_title("dev", t) for t, c in found.failing.items() if c.unknown]
    if blind:
        parts.append(f"fewer than two epochs are recorded, which show no course, on {', '.join(blind)}")
    return f"{evidence.benchmark.title_of(method)}: {'; '.join(parts)}."


def is_there_a_gain(evidence: Evidence, of: Compared) -> Answer:
    """Whether the teacher lies above the student without KD, on most tasks, by more than noise."""
    if evidence.without_kd(of.pair) is None:
        return Answer(
            "gain",
            None,
            "No student of this pair is trained without KD, so that nothing shows what there is to gain.",
            f"Add {WITHOUT_KD} to pairs.{of.pair.name}.methods.",
        )
    found = evidence.gaps(of.pair, of.block, of.columns)
    if not found:
        return Answer("gain", None, "The teacher or the student without KD has no scores.", "Train what is missing.")
    clear = sum(g.clears for g in found)
    lacking = ", ".join(
        f"{column_title(g.block, g.column)} {signed(g.value)} ± {g.se:.1f}" for g in found if not g.clears
    )
    mean, share = sum(g.value for g in found) / len(found), f"{clear} of {len(of.columns)}"
    reason = (
        f"The teacher's score less that of the student without KD is {signed(mean)} points on average ({of.block}). "
        f"The teacher is above by more than {GAP_ERRORS:g} standard errors on {share} "
        f"{'out-of-domain sets' if of.block == 'ood' else 'tasks'}."
    )
    if lacking:
        reason += f" Not so, and not counted for claims about gains: {lacking} (standard error)."
    holds = clear > MOST_TASKS * len(of.columns)
    return Answer("gain", holds, reason, "" if holds else _more_gap(evidence, of, found))


def _more_gap(evidence: Evidence, of: Compared, found: list[Gap]) -> str:
    """How many examples would show gaps of these sizes, where that is ours to choose; else what to change."""
    growth = sorted((GAP_ERRORS * g.se / g.value) ** 2 for g in found if not g.clears and g.value > 0)
    needed = math.floor(MOST_TASKS * len(of.columns)) + 1 - sum(g.clears for g in found)
    if evidence.benchmark.source != "miniglue" or needed > len(growth) or growth[needed - 1] > MOST_GROWTH:
        return "Take a better teacher or a smaller student: no number of epochs or seeds makes a gap that is not there."
    now = max(g.examples for g in found)
    more = 100 * math.ceil(now * growth[needed - 1] / 100)
    return f"Raise data.sizes.{of.block}: {now} -> {more}, which shows the gaps if they are as large as they look."


def is_above_baseline(evidence: Evidence, of: Compared) -> Answer:
    """Whether the compared students clear the majority-class baseline, by the rule behind the † of the tables."""
    found = {
        m: cells.baselines(evidence.runs, of.pair.name, m, of.block, of.columns) for m in dict.fromkeys(of.methods)
    }
    answers = [clears for by_column in found.values() for clears in by_column.values()]
    unknown, total = answers.count(None), len(answers) - answers.count(None)
    if not answers:
        return Answer("baseline", None, "No score of these runs is present.")
    if not total:
        return Answer("baseline", None, f"The majority-class baseline of these scores is not known ({of.block}).")
    rest = f" Of {unknown} others no baseline is known." if unknown else ""
    below = {m: lost for m, by_column in found.items() if (lost := [c for c, v in by_column.items() if v is False])}
    if not below:
        return Answer("baseline", True, f"All {total} cells do ({of.block}).{rest}")
    listed = [f"{evidence.benchmark.title_of(m)} on {of.names(columns)}" for m, columns in below.items()]
    more = f"; and {len(listed) - MOST_NAMES} methods more" if len(listed) > MOST_NAMES else ""
    reason = (
        f"{sum(map(len, below.values()))} of {total} cells do not, by two standard errors ({of.block}): "
        f"{'; '.join(listed[:MOST_NAMES])}{more}.{rest}"
    )
    if all(len(columns) <= BASELINE_SHARE * len(of.columns) for columns in below.values()):
        return Answer("baseline", True, reason)
    failed = [Cell(of.pair.name, m, column) for m, columns in below.items() for column in columns]
    remedy = budget_keys.to_learn(evidence.benchmark, evidence.runs, of.pair, of.block, failed)
    return Answer("baseline", False, reason, remedy)


def is_spread_out(evidence: Evidence, of: Compared) -> Answer:
    """Whether the trained projections of the compared methods still tell examples apart."""
    ranks = {
        m: {t: r for t in of.tasks if (r := cells.ranks(evidence.runs, of.pair.name, m, t))}
        for m in dict.fromkeys(of.methods)
    }
    known = [rank for by_task in ranks.values() for found in by_task.values() for rank in found]
    if not known:
        return Answer("collapse", None, "No compared method records the rank of a projection.")
    collapsed = {m: [t for t, r in by_task.items() if cells.collapsed(r)] for m, by_task in ranks.items()}
    listed = [
        f"{evidence.benchmark.title_of(m)} on {', '.join(column_title('dev', t) for t in tasks)}"
        for m, tasks in collapsed.items()
        if tasks
    ]
    reason = f"The effective rank of the projected vectors is {min(known):.2f} to {max(known):.2f} (1: one direction)."
    if listed:
        reason += f" Collapsed: {'; '.join(listed[:MOST_NAMES])}."
    if all(len(tasks) <= COLLAPSED_SHARE * len(ranks[m]) for m, tasks in collapsed.items()):
        return Answer("collapse", True, reason)
    return Answer(
        "collapse",
        False,
        f"{reason} Its loss then falls to zero and teaches nothing more: where the projections of both sides are "
        "trained, one direction for all examples is a minimum. This is noted beside a verdict and keeps no claim open.",
        "Compare with projections that are not trained, or with none (options projection: frozen_random, none).",
    )


ALIKE = "Set search.points to the least of these numbers."


def is_tuned_alike(evidence: Evidence, of: Compared) -> Answer:
    """Whether each compared method was tuned on the same number of points of the search, on each task."""
    benchmark = evidence.benchmark
    own = [m for m in dict.fromkeys(of.methods) if not benchmark.file.external(m)]
    counts = {
        m: {
            t: cells.points(benchmark, evidence.results, Cell(of.pair.name, m, t))
            for t in of.tasks
            if not benchmark.undefined(m, t)
        }
        for m in own
    }
    asked = {m: len(benchmark.file.grid(m)) for m in own}
    by_task = [{c[t] for c in counts.values() if t in c} for t in of.tasks]
    if any(len(numbers) > 1 for numbers in by_task):
        listed = "; ".join(
            f"{benchmark.title_of(m)} {min(c.values())}" + (f" to {max(c.values())}" * (len(set(c.values())) > 1))
            for m, c in counts.items()
            if c
        )
        return Answer(
            "tuning",
            False,
            f"The number of points of the search for a task differs between methods: {listed}.",
            "Train the missing points of the search." if len(set(asked.values())) == 1 else ALIKE,
        )
    outside = [benchmark.title_of(m) for m in dict.fromkeys(of.methods) if benchmark.file.external(m)]
    if outside and any(set().union(*by_task)):
        return Answer(
            "tuning", None, f"How {', '.join(outside)} was tuned is not known here: another repository trained it."
        )
    searched = sorted(set().union(*by_task))
    if not any(searched):
        return _without_points({benchmark.title_of(m): points for m, points in asked.items()})
    each = [number for number in searched if number]
    several = f"{each[0]} to {each[-1]}" if len(each) > 1 else str(each[0])
    tuned = [task for task, numbers in zip(of.tasks, by_task, strict=True) if any(numbers)]
    titles = ", ".join(column_title("dev", task) for task in tuned)
    where = f"{titles} (the other tasks take the best of these)" if 0 in searched else "a task"
    counted = "1 point" if several == "1" else f"{several} points"
    reason = f"Equal: {counted} of the search for each method on {where}, chosen on dev."
    untrained = [m for m, c in counts.items() if any(0 < number < asked[m] for number in c.values())]
    if untrained:
        fewest, most = (least(asked[m] for m in untrained) for least in (min, max))
        wanted = f"{fewest}" + (f" to {most}" if most > fewest else "")
        reason += f" The file now asks for {wanted}, so not every point that is to decide is trained."
    if 0 in searched:
        reason += _decided_on_fewer(evidence, counts, tuned)
    chosen = choices.of_pair(benchmark, evidence.runs, evidence.results, of.pair, own, of.tasks)
    remedies = ["Train the missing points of the search."] if untrained else []
    remedy = " ".join([*remedies, *choices.wider(benchmark, chosen)])
    reason += choices.by_noise(chosen) + choices.at_ends(benchmark, chosen)
    return Answer("tuning", True, reason + _told_nothing(evidence, of, own, tuned), remedy)


def _without_points(asked: Mapping[str, int]) -> Answer:
    """The answer where no point of a search is recorded. ``asked``: title of a method -> points that the file names."""
    if len(set(asked.values())) > 1:
        listed = ", ".join(f"{title} {points}" for title, points in asked.items())
        reason = f"The number of points that the file asks for differs between methods: {listed}."
        return Answer("tuning", False, reason, ALIKE)
    if points := max(asked.values(), default=0):
        return Answer("tuning", True, f"The file has {points} points for each method; their records are not kept here.")
    return Answer("tuning", True, "Equal but untuned: every method ran one setting, and none was searched on dev.")


def _decided_on_fewer(evidence: Evidence, counts: Mapping[str, Mapping[str, int]], tuned: Sequence[str]) -> str:
    """Names the methods that are not defined on some task of the search: for their other tasks fewer tasks decide."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for method, by_task in counts.items():
        own = tuple(task for task in tuned if task not in by_task)
        if own and len(own) < len(tuned):
            lacking.setdefault(own, []).append(evidence.benchmark.title_of(method))
    sentences = []
    for own, titles in lacking.items():
        left = [column_title("dev", task) for task in tuned if task not in own]
        several, more = len(titles) > 1, len(left) > 1
        sentences.append(
            f" {', '.join(titles)} {'are' if several else 'is'} not defined on "
            f"{', '.join(column_title('dev', task) for task in own)}: for {'them' if several else 'it'} "
            f"{', '.join(left)} alone {'decide' if more else 'decides'} for the other tasks."
        )
    return "".join(sentences)


def _told_nothing(evidence: Evidence, of: Compared, methods: Sequence[str], tuned: Sequence[str]) -> str:
    """Names the tasks of the search on which no student learned anything: what is chosen by their scores is noise."""
    clears = [cells.baselines(evidence.runs, of.pair.name, method, "dev", tuned) for method in methods]
    nothing = [column_title("dev", task) for task in tuned if {c.get(task) for c in clears} - {None} == {False}]
    if not nothing:
        return ""
    return (
        f" On {', '.join(nothing)} none of these students clears the majority-class baseline, so what was chosen there "
        "was chosen by noise; search.tasks had better name tasks that students learn."
    )


Ask = Callable[[Evidence, Compared], Answer]
QUESTIONS: dict[str, tuple[str, Ask]] = {
    "converged": ("Did teacher and students converge?", did_converge),
    "gain": ("Is there something to gain?", is_there_a_gain),
    "baseline": ("Do the students clear the majority-class baseline?", is_above_baseline),
    "collapse": ("Do the projections tell examples apart?", is_spread_out),
    "tuning": ("Were all methods tuned alike?", is_tuned_alike),
}
# What is asked of a claim follows from what it measures. How long a step takes does not depend on what was learned.
ASKED: dict[str, tuple[str, ...]] = {
    "score": ("converged", "gain", "baseline", "tuning"),
    "sd": ("converged", "baseline"),
    "similarity": ("converged",),
    "top_attention": ("converged",),
    "train_seconds": (),
    "step_seconds": (),
}
# Noted beside the verdict of a claim on these measures. A projection that collapses is no fault of the runs: it is what
# the method does as published, and more budget does not change it.
NOTED = {"score": "collapse", "similarity": "collapse"}
