"""Writes ``claims.json`` and ``audit.json`` out for reading: claims.md, audit.md, and short tables for the report."""

from typing import Any

from analysis.claims import claim_tables, counted, difference_tables, errors_of_intervals
from analysis.tables import html_tables
from analysis.tables.formats import md, md_table
from analysis.tables.measures import COST_REGIMES
from analysis.tables.numbers import interval, quantity
from analysis.validity import section

MARKS = {
    "reproduced": "✓ reproduced",
    "contradicted": "✗ contradicted",
    "undecided": "? undecided",
    "not decided": "⊘ not decided",
    "not run": "– not run",
}
AUDITED = ("Where", "Printed", "Recomputed", "What")
METHOD = """\
- An **estimate** is paired: differences within a seed, averaged over tasks. Its 95 % interval is Student's
  (Welch–Satterthwaite degrees of freedom, tasks as strata) of the error of seeds and, where predictions are kept, of
  the error of examples (paired bootstrap). The two overlap a little: rather too wide than too narrow.
- A claim is **reproduced** when every comparison that it needs holds, **contradicted** when one is refuted; each
  one-sided at 2.5 %, Holm-corrected over all comparisons of the same table or figure. "The same" and "no more than" are
  equivalence tests (TOST) against the margin named with the claim; a large p is never read as sameness.
- **not decided**: the runs behind the claim fail one of the questions above, such as whether they were trained to the
  end. Whatever their p, they decide nothing; the claim says which question fails, and what budget would help.
- **undecided**: the runs are fit to decide the claim, but too few or too noisy. *Seeds needed* is planned for power
  0.8, should the estimate be right.
- *Detectable* is the power: the least true difference from the claim's bound that these runs decide in 4 of 5
  repetitions after that correction, should it be the only one.
- The row of a claim shows the comparison with the least evidence for it, with its interval by itself: because of the
  correction it can be undecided although the interval lies on one side of the bound. All comparisons are below.
- *Paper* is the paper's number for the same comparison on the same tasks, which the average that it prints need not be.
- Bootstrap intervals over few seeds are too narrow; they are shown beside the others, and decide nothing.
"""


def claims_summary(data: dict[str, Any]) -> str:
    """One row a claim that was run: the paper's words, the verdict, the estimate, the power, the paper's number."""
    asked = [claim for claim in data["claims"] if claim["verdict"] != "not run"]
    if not asked:
        return f"{counted(data)}\n"
    errors = errors_of_intervals(data)
    rows = []
    for claim in asked:
        verdict = MARKS[claim["verdict"]]
        if claim["verdict"] == "undecided" and claim["seeds_needed"]:
            verdict += f" ({claim['seeds_needed']} {'rounds' if claim['measure'] in COST_REGIMES else 'seeds'})"
        where = f"Table {claim['table']}" if claim.get("table") else f"Figure {claim['figure']}"
        estimate = f"{interval(claim, claim['unit'])} {md(claim['label'])}".strip()
        power = quantity(claim["detectable"], claim["unit"])
        paper = quantity(claim["paper"], claim["unit"], signed=True)
        rows.append([md(claim["words"]), where, verdict, estimate, power, paper])
    head = ["The paper says", "Where", "Verdict", "Estimate [95 %]", "Detectable", "Paper"]
    return f"{counted(data)} {errors}".strip() + f"\n\n{md_table(head, rows, 'lllrrr')}\n"


def differences(data: dict[str, Any]) -> str:
    """Which methods differ: a row each, and a sentence for each pair; empty where no two have scores."""
    table = difference_tables.table(data)
    if table is None:
        return ""
    notes = "".join(f"- {md(note)}\n" for note in table.notes)
    return (
        f"{notes}\n{html_tables.to_markdown(table)}\n\n{md(table.caption)} {errors_of_intervals(data)}".strip() + "\n"
    )


def claims_terminal(data: dict[str, Any]) -> str:
    """Whether these runs can decide, and how many claims have which verdict, as plain lines for a terminal."""
    return f"{section.terminal(data)}\n\n{counted(data)}"


def claims_markdown(data: dict[str, Any]) -> str:
    """claims.md."""
    what = "the paper's claims, decided from" if data["claims"] else "what can be decided from"
    parts = [f"# {md(data['title'])}: {what} the records of benchmark {md(data['benchmark'])}\n"]
    if data["warning"]:
        parts.append(f"> **{md(data['warning'])}** A verdict here is one on this text, not on the paper's.\n")
    parts += [section.markdown(data), "## The verdicts\n", claims_summary(data)]
    if found := differences(data):
        parts += ["## Which methods differ?\n", found]
    if data["claims"]:
        parts += ["## How a claim is decided\n\n" + METHOD, "## Each claim\n", *map(_claim, data["claims"])]
    parts += [section.details(data), *_statistics(data)]
    return "\n".join(part for part in parts if part)


def _claim(claim: dict[str, Any]) -> str:
    lines = [
        f"### {claim['id']}: {claim['verdict']}\n",
        f"“{md(claim['words'])}” (section {claim['section']}). Read as: {md(claim['reading'])}. {md(claim['why'])}\n",
    ]
    if claim["parts"]:
        lines += [html_tables.to_markdown(claim_tables.comparisons(claim)), ""]
    return "\n".join(lines)


def _statistics(data: dict[str, Any]) -> list[str]:
    """The tables on single cells, each with its heading and caption."""
    return [
        f"## {md(table.title)}\n\n{md(table.caption)}\n\n{html_tables.to_markdown(table)}\n"
        for table in claim_tables.statistics(data)
    ]


def audit_summary(data: dict[str, Any]) -> str:
    """One row a finding; averages of one block together."""
    counts = data["counts"]
    lines = [
        f"{counts['checks']} averages and statements were recomputed from the paper's printed tables; "
        f"{counts['findings']} do not add up:\n",
    ]
    rows = []
    for check in data["checks"]:
        if not check["holds"]:
            what = (f"“{check['words']}” " if check["words"] else "") + check["detail"]
            rows.append([md(check["where"]), md(check["printed"]), md(check["recomputed"]), md(what)])
    return "\n".join([*lines, md_table(AUDITED, rows, "lrrl")]) + "\n"


def audit_markdown(data: dict[str, Any]) -> str:
    """audit.md."""
    rows = [
        [md(cell) for cell in (c["where"], c["printed"], c["recomputed"], c["words"] or c["detail"])]
        for c in data["checks"]
        if c["holds"]
    ]
    parts = [f"# The paper's own numbers\n\n{md(data['source'])}.\n", audit_summary(data), "## What adds up\n"]
    return "\n".join([*parts, md_table(AUDITED, rows, "lrrl")]) + "\n"
