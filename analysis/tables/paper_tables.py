"""Builds Tables 2, 3, 5 and 6 of the paper, and the scores of Table 4, from run records."""

import math
from collections.abc import Collection
from dataclasses import replace

from analysis.load import Runs, paper_table
from analysis.reported_benchmark import PAPER_ORDER, Pair, ReportedBenchmark
from analysis.statistics import summaries
from analysis.tables import captions
from analysis.tables.cells import (
    BASELINE,
    NAN,
    Section,
    Table,
    TableCell,
    absent,
    baseline_cells,
    column_title,
    mark_best,
    row_title,
    score_cells,
)
from railkd.tasks import OUT_OF_DOMAIN

Missing = list[tuple[str, list[str]]]


def paper_values(
    number: int, block: str = "", teacher: str = "", sets: Collection[str] = ()
) -> dict[tuple[str, str], float]:
    """(method, column) -> the paper's number, in percent; its PAWS under the name of the one among ``sets``."""
    table = paper_table(number)
    for key, value in (("split", block), ("teacher_model", teacher)):
        if key in table:
            table = table[table[key] == value].drop(columns=key)
    values = {(row["method"], c): float(row[c]) for _, row in table.iterrows() for c in table.columns if c != "method"}
    for name in OUT_OF_DOMAIN:
        if name.partition("_")[0] != name and name in sets:
            values = {(m, name if c == name.partition("_")[0] else c): v for (m, c), v in values.items()}
    return values


def with_paper(rows: list[list[TableCell]], values: dict[tuple[str, str], float]) -> list[list[TableCell]]:
    """The rows with the paper's numbers beside ours; its average only beside one over the same columns."""
    printed = {column for _, column in values} - {"avg", "speedup"}

    def value(cell: TableCell, row: list[TableCell]) -> float:
        own = {c.column for c in row if c.status != "absent"} - {"avg"}
        return NAN if cell.column == "avg" and own != printed else values.get((cell.row, cell.column), NAN)

    return [[replace(c, paper=value(c, row)) for c in row] for row in rows]


def score_rows(
    benchmark: ReportedBenchmark,
    runs: Runs,
    pair: Pair,
    block: str,
    columns: list[str],
    methods: list[str],
    paper: dict[tuple[str, str], float],
) -> tuple[list[tuple[str, list[TableCell]]], Missing]:
    """Baselines, teacher, then the methods; the best student of each column marked."""
    missing: Missing = []
    rows = []
    for method in ["teacher", *methods]:
        row, lacking = score_cells(benchmark, runs, pair, block, method, columns)
        rows.append(row)
        missing.append((benchmark.title_of(method), lacking))
    teacher, *students = with_paper(rows, paper)
    students = mark_best(students)
    cells = [baseline_cells(benchmark, runs, pair, block, columns), teacher, *students]
    titles = [row_title(benchmark, row) for row in (BASELINE, "teacher", *methods)]
    return list(zip(titles, cells, strict=True)), missing


class _Titles(dict[str, str]):
    """Row key -> row title, looked up when asked for: a method without a run costs the import of its class."""

    def __init__(self, benchmark: ReportedBenchmark) -> None:
        super().__init__()
        self.benchmark = benchmark

    def __missing__(self, method: str) -> str:
        return self.setdefault(method, row_title(self.benchmark, method))


def titles_of(benchmark: ReportedBenchmark) -> dict[str, str]:
    """Row key -> row title, for notes."""
    return _Titles(benchmark)


def caption(*sentences: str) -> str:
    """Sentences joined, the empty ones dropped."""
    return " ".join(s for s in sentences if s)


def prefix(pairs: list[Pair], pair: Pair) -> str:
    """The pair's name where a table shows several."""
    return f"{pair.title}: " if len(pairs) > 1 else ""


def compares(sections: list[Section]) -> bool:
    """Whether the paper's number stands beside any cell."""
    return any(not math.isnan(cell.paper) for section in sections for _, row in section.rows for cell in row)


def paper_setting(benchmark: ReportedBenchmark, runs: Runs, sections: list[Section], models: str) -> str:
    """What the numbers in parentheses are, and how far they compare; empty where there are none."""
    if not compares(sections):
        return ""
    text = f"In parentheses the paper's value ({models}, full English data)"
    return text + ("; compare orderings, not levels." if captions.synthetic(benchmark, runs) else ".")


def has_test(benchmark: ReportedBenchmark, runs: Runs) -> bool:
    """Whether tables have a TEST block: not before the server has returned a score, where GLUE hides the labels."""
    return benchmark.test in ("labels", "heldout") or (
        benchmark.test == "hidden" and any(block == "test" for block, _ in runs.column)
    )


def partial_test(benchmark: ReportedBenchmark, runs: Runs) -> bool:
    """Whether the GLUE server has scored some methods, but not every method on each task that it has dev scores on."""
    if benchmark.test != "hidden" or not has_test(benchmark, runs):
        return False
    dev = {(pair, method, task) for pair, method, block, task in runs.by_cell if block == "dev" and method != "teacher"}
    return any((pair, method, "test", task) not in runs.by_cell for pair, method, task in dev)


def compared_block(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """The split that methods are compared on, the same for every pair of the benchmark.

    It is test where tables have a TEST block, because dev chose the epoch of each run. Where GLUE hides the labels, it
    is dev until the server has scored every method on each task that it has dev scores on: a few test scores would put
    the few differences between them in the place of all the others.
    """
    return "test" if has_test(benchmark, runs) and not partial_test(benchmark, runs) else "dev"


def glue(benchmark: ReportedBenchmark, runs: Runs, number: int) -> Table:
    """Tables 2 and 3: every task, dev and test."""
    pairs = benchmark.drawn_from(number)
    blocks = ["dev", "test"] if has_test(benchmark, runs) else ["dev"]
    columns = [t for t in benchmark.tasks if any(t in pair.tasks for pair in pairs)]
    sections, missing = [], []
    for pair in pairs:
        missing_by_block: list[Missing] = []
        for block in blocks:
            paper = paper_values(number, block)
            rows, lacking = score_rows(benchmark, runs, pair, block, columns, pair.rows(), paper)
            sections.append(Section(prefix(pairs, pair) + block.upper(), rows))
            missing_by_block.append(lacking)
        # where whole runs are missing, and not one split of them
        same = all(lacking == missing_by_block[0] for lacking in missing_by_block)
        for block, lacking in zip(blocks[:1] if same else blocks, missing_by_block, strict=False):
            where = prefix(pairs, pair) + ("" if same else f"{block.upper()} ")
            missing += [(where + title, tasks) for title, tasks in lacking]
    models = {2: "BERT-base → DistilBERT", 3: "RoBERTa-large → DistilRoBERTa"}[number]
    table = Table(
        number,
        caption(
            f"{' and '.join(b.upper() for b in blocks)} scores on {benchmark.title}, in percent,"
            f" {captions.backbones(pairs)}: {captions.over_runs(benchmark)}.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            "Bold: the best student of a column.",
            paper_setting(benchmark, runs, sections, models),
            captions.metrics(benchmark, runs, "dev", columns),
            captions.splits(benchmark, blocks),
            captions.training_sizes(benchmark, runs, columns),
        ),
        [column_title("dev", c) for c in [*columns, "avg"]],
        sections,
        [],
    )
    notes = captions.notes(benchmark, table.cells, missing, titles_of(benchmark))
    return replace(table, notes=[*notes, *captions.partial_test(partial_test(benchmark, runs))])


def spread(benchmark: ReportedBenchmark, runs: Runs) -> Table:
    """Table 5: the standard deviation over seeds on the three smallest tasks."""
    pairs = benchmark.drawn_from(5)
    present = [t for t in benchmark.tasks if any(t in pair.tasks for pair in pairs)]
    tasks: list[str] = [t for t in ("cola", "rte", "mrpc") if t in present] or present
    first = ("pkd", "alp_kd", "rail_kd_l", "rail_kd_c")
    values, n = paper_values(5), len(benchmark.seeds)
    sections, missing = [], []
    for pair in pairs:
        rows = []
        for method in pair.rows(first):
            scored, lacking = score_cells(benchmark, runs, pair, "dev", method, tasks)
            missing.append((prefix(pairs, pair) + benchmark.title_of(method), lacking))
            cells = [_spread_cell(c) for c in scored[:-1]]
            known = [c.value for c in cells if c.status == "complete" and not math.isnan(c.value)]
            average = TableCell(pair.name, "dev", method, "avg", "missing", "mean of sd", n_expected=n, spread=False)
            if known and len(known) == sum(c.status != "absent" for c in cells):
                average = replace(average, status="complete", value=sum(known) / len(known), n=n)
            elif scored[-1].status in ("undefined", "absent"):
                average = replace(average, status=scored[-1].status, text=scored[-1].text)
            row = [replace(c, decimals=2, unit="percentage points") for c in (*cells, average)]
            rows.append((benchmark.title_of(method), with_paper([row], values)[0]))
        sections.append(Section(prefix(pairs, pair).removesuffix(": "), rows))
    interval = "One run has no standard deviation."
    if n > 1:
        low, high = summaries.sd_factors(n)
        interval = (
            f"A standard deviation of {n} runs is itself uncertain: its 95% interval (chi-square, normal runs) reaches "
            f"from {low:.2f} to {high:.2f} times the value, see columns low and high of the CSV."
        )
    paper_low, paper_high = summaries.sd_factors(5)
    table = Table(
        5,
        caption(
            f"Standard deviation of the dev score over n = {n} runs, in percentage points, {benchmark.title}, "
            f"{captions.backbones(pairs)}; Avg. is the mean of the row.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            interval,
            f"In parentheses the paper's value (BERT-base → DistilBERT, 5 runs: from {paper_low:.2f} to "
            f"{paper_high:.2f} times)."
            if compares(sections)
            else "",
            captions.metrics(benchmark, runs, "dev", tasks),
            captions.training_sizes(benchmark, runs, tasks),
        ),
        [column_title("dev", c) for c in [*tasks, "avg"]],
        sections,
        [],
    )
    return replace(table, notes=captions.notes(benchmark, table.cells, missing, titles_of(benchmark)))


def _spread_cell(cell: TableCell) -> TableCell:
    """A score cell's standard deviation as the number shown, with its chi-square interval."""
    cell = replace(cell, statistic="sd", spread=False, value=cell.sd)
    if cell.n < 2:
        return replace(cell, status=cell.status if cell.status in ("undefined", "absent") else "missing")
    low, high = summaries.sd_factors(cell.n)
    return replace(cell, low=low * cell.sd, high=high * cell.sd)


def out_of_domain(benchmark: ReportedBenchmark, runs: Runs) -> Table:
    """Table 6: models of MNLI, QQP and SST-2 on SciTail, PAWS and IMDb, one group of columns for each pair."""
    pairs = benchmark.drawn_from(6)
    groups, columns, sets, missing = [], [], [], []
    order = list(dict.fromkeys(method for pair in pairs for method in pair.rows()))
    order = [m for m in PAPER_ORDER if m in order] + [m for m in order if m not in PAPER_ORDER]
    titles = {key: row_title(benchmark, key) for key in (BASELINE, "teacher", *order)}
    merged: dict[str, list[TableCell]] = {key: [] for key in titles}
    for pair in pairs:
        own = [o for o in benchmark.out_of_domain if benchmark.source_task("ood", o) in pair.tasks]
        paper = paper_values(6, teacher=_column_of_paper(pair), sets=own)
        rows, lacking = score_rows(benchmark, runs, pair, "ood", own, [m for m in order if m in pair.methods], paper)
        filled = {cells[0].row: cells for _, cells in rows}
        for key, cells in merged.items():
            missing_row = [absent(pair, "ood", key, c, titles[key]) for c in [*own, "avg"]]
            cells += filled.get(key, missing_row)
        missing += [(prefix(pairs, pair) + title, absent_sets) for title, absent_sets in lacking]
        groups.append((pair.title, len(own) + 1))
        columns += [column_title("ood", c) for c in [*own, "avg"]]
        sets += [o for o in own if o not in sets]
    sources = [t for t in benchmark.tasks if t in {benchmark.source_task("ood", o) for o in sets}]
    sections = [Section("", [(titles[key], cells) for key, cells in merged.items()])]
    table = Table(
        6,
        caption(
            f"Out-of-domain scores on {benchmark.title}, in percent: {captions.over_runs(benchmark)}.",
            captions.foreign_sets(benchmark, sets),
            captions.scored(benchmark, runs, sets),
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            "Bold: the best student of a column.",
            paper_setting(benchmark, runs, sections, "BERT-base → DistilBERT, RoBERTa-large → DistilRoBERTa"),
            captions.metrics(benchmark, runs, "ood", sets),
            captions.training_sizes(benchmark, runs, sources),
        ),
        columns,
        sections,
        [],
        groups,
    )
    return replace(table, notes=captions.notes(benchmark, table.cells, missing, titles_of(benchmark)))


def _column_of_paper(pair: Pair) -> str:
    """Which of the two printed values of Table 6 belongs to a pair: Table 2's backbone, or Table 3's."""
    if pair.teacher in ("bert12", "roberta24"):
        return pair.teacher
    return "bert12" if 2 in pair.draws else "roberta24" if 3 in pair.draws else ""
