"""Writes report.md: the report as Markdown, for reading beside the files that it refers to."""

from collections import Counter

from analysis.claims import verdicts
from analysis.load import Runs
from analysis.report import failures
from analysis.report.catalogue import Drawing
from analysis.report.contents import SECTIONS, SOURCES, Contents
from analysis.report.provenance import origin
from analysis.tables import formats, html_tables
from analysis.tables.formats import md, md_table
from analysis.validity import section as validity


def compose(contents: Contents) -> str:
    """The report as Markdown; a verdict or an audit that has not been written is left out."""
    benchmark, runs = contents.benchmark, contents.runs
    parts = [f"# {md(contents.title)}\n"]
    if contents.warning:
        warning, _, rest = contents.warning.partition(". ")
        parts.append(f"> **{md(warning)}.** {md(rest)}\n")
    parts.append(_completeness(contents))
    if contents.claims is not None:
        parts.append(validity.markdown(contents.claims))
    if contents.claims is not None and benchmark.of_paper:
        parts.append(_section("verdicts", verdicts.claims_summary(contents.claims) + _in_full("claims")))
    if contents.claims is not None and (found := verdicts.differences(contents.claims)):
        parts.append(_section("differences", found))
    if contents.tables:
        parts.append(_section("reading", _reading(contents)))
    for table in contents.tables:
        parts.append(f"## {table.title}\n\n{formats.to_markdown(table)}")
    parts += [_drawing(contents, name, drawing) for name, drawing in contents.drawings.items()]
    if contents.audit is not None:
        parts.append(_section("audit", verdicts.audit_summary(contents.audit) + _in_full("audit")))
    parts.append(_section("provenance", _provenance(runs)))
    return "\n".join(parts)


def _drawing(contents: Contents, name: str, drawing: Drawing) -> str:
    """A figure with the text below it, what it decides, and its numbers."""
    benchmark, runs = contents.benchmark, contents.runs
    text = (
        f"## {drawing.title}\n\n![{drawing.title}](figures/{name}.png)\n\n"
        f"**{drawing.label}.** {md(drawing.about(benchmark, runs))} [PDF](figures/{name}.pdf), "
        f"[data](figures/{name}.csv)\n\n"
    )
    text += "".join(f"- {md(sentence)}\n" for sentence in drawing.findings(benchmark, runs))
    for table in drawing.page_tables(benchmark, runs):
        text += f"\n**{md(table.title)}.** {md(table.caption)}\n\n{html_tables.to_markdown(table)}\n"
    return text


def _section(name: str, text: str) -> str:
    return f"## {SECTIONS[name]}\n\n{text}"


def _in_full(name: str) -> str:
    return f"\nIn full: [{name}.md]({name}.md).\n"


def _reading(contents: Contents) -> str:
    lines = [f"- **{md(term)}** {md(text)}\n" for term, text in contents.reading()]
    files = "`tables/*.csv` holds every cell at full precision, with number of runs, baseline and interval; `*.tex`"
    return "".join(lines) + f"- {files} is for papers.\n"


def _completeness(contents: Contents) -> str:
    benchmark, state = contents.benchmark, contents.completeness
    lines = [state.sentence + "\n"]
    if state.missing_teachers:
        absent = [f"{md(teacher)}: {md(task)}" for teacher, task in state.missing_teachers]
        lines.append(f"Missing teachers: {'; '.join(absent)}.\n")
    if state.missing:
        rows = [
            (md(pair), md(benchmark.title_of(method)), str(count), md(", ".join(tasks)))
            for (pair, method), (count, tasks) in state.counts().items()
        ]
        lines.append(md_table(("pair", "method", "missing runs", "tasks"), rows, "llrl") + "\n")
        lines += [f"- {md(failures.listed(benchmark, keys))}: {md(why)}" for why, keys in state.reasons.items()]
        lines.append("")
    return "\n".join(lines)


def _provenance(runs: Runs) -> str:
    records = runs.everything
    if not records:
        return "No run yet.\n"
    counted: dict[str, Counter[str]] = {}
    for record in records:
        for key, value in origin(record).items():
            counted.setdefault(key, Counter())[value] += 1
    rows = []
    for key, counts in counted.items():
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            rows.append((key, md(value), str(count)))
    seconds = sum(float(r["cost"].get("train_seconds") or 0) for r in records)
    spent = f"{seconds / 3600:.1f} h" if seconds > 7200 else f"{seconds / 60:.1f} min"
    started = sorted(str(r["provenance"]["started"]) for r in records if r["provenance"].get("started"))
    finished = sorted(str(r["provenance"]["finished"]) for r in records if r["provenance"].get("finished"))
    rows.append(("Training time, summed", spent, str(len(records))))
    if started and finished:
        rows.append(("Run between", f"{md(started[0])} and {md(finished[-1])}", str(len(records))))
    return f"{md_table(('', '', 'records'), rows, 'llr')}\n\n{md(SOURCES)}\n"
