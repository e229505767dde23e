"""``claims.json`` and ``audit.json`` for reading: claims.md, audit.md, and their short tables in the report."""

from typing import Any

from analysis.tables.formats import md, md_table, number
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
- *Detectable* is the power: the least true difference from the claim's bound that these runs find in 4 of 5
  repetitions.
- The row of a claim shows the comparison with the least evidence for it; all are below.
- Bootstrap intervals over few seeds are too narrow; they are shown beside the others, and decide nothing.
"""


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{number(value, 2)}×" if unit == "ratio" else number(value, 3 if unit in ("cosine", "share") else 2)


def _interval(entry: dict[str, Any], unit: str) -> str:
    if entry["estimate"] is None:
        return "–"
    text = _value(entry["estimate"], unit)
    return text if entry["low"] is None else f"{text} [{_value(entry['low'], unit)}, {_value(entry['high'], unit)}]"


def claims_summary(data: dict[str, Any]) -> str:
    """One row a claim: the paper's words, the verdict, the estimate with its interval, the power, the paper's."""
    rows = []
    for claim in data["claims"]:
        verdict = MARKS[claim["verdict"]]
        if claim["verdict"] == "undecided" and claim["seeds_needed"]:
            verdict += f" ({claim['seeds_needed']} seeds)"
        where = f"Table {claim['table']}" if claim.get("table") else f"Figure {claim['figure']}"
        estimate = f"{_interval(claim, claim['unit'])} {md(claim['label'])}".strip()
        numbers = [_value(claim[key], claim["unit"]) for key in ("detectable", "paper")]
        rows.append([md(claim["words"]), where, verdict, estimate, *numbers])
    counts = ", ".join(f"{n} {verdict}" for verdict, n in data["counts"].items())
    head = ["The paper says", "Where", "Verdict", "Estimate [95 %]", "Detectable", "Paper"]
    table = md_table(head, rows, "lllrrr")
    return f"{len(data['claims'])} claims: {counts}.\n\n{table}\n"


def claims_terminal(data: dict[str, Any]) -> str:
    """Whether these runs can decide, and how many claims have which verdict, as plain lines for a terminal."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in data["counts"].items())
    return f"{section.terminal(data)}\n\n{len(data['claims'])} claims: {counts}."


def claims_markdown(data: dict[str, Any]) -> str:
    """claims.md."""
    parts = [
        f"# {md(data['title'])}: the paper's claims, decided from the records of benchmark {md(data['benchmark'])}\n"
    ]
    if data["warning"]:
        parts.append(f"> **{md(data['warning'])}** A verdict here is one on this text, not on the paper's.\n")
    parts += [
        section.markdown(data),
        "## The verdicts\n",
        claims_summary(data),
        "## How a claim is decided\n\n" + METHOD,
        "## Each claim\n",
    ]
    for claim in data["claims"]:
        parts.append(_claim(claim))
    parts += [section.details(data), _errors(data), _selection(data), _budget(data)]
    return "\n".join(part for part in parts if part)


def _claim(claim: dict[str, Any]) -> str:
    unit = claim["unit"]
    lines = [
        f"### {claim['id']}: {claim['verdict']}\n",
        f"“{md(claim['words'])}” (section {claim['section']}). Read as: {md(claim['reading'])}. {md(claim['why'])}\n",
    ]
    if claim["parts"]:
        head = [
            "Comparison",
            f"Estimate [95 %], {unit}",
            "Paper",
            "SE seeds",
            "SE examples",
            "p (Holm)",
            "p against (Holm)",
        ]
        rows = []
        for part in claim["parts"]:
            errors = [_plain(part[key], 3) for key in ("se_seeds", "se_examples", "p_holm", "p_against_holm")]
            paper = part["paper"] if part["paper"] is not None else part["paper_columns"]
            cells = [md(part["label"]), _interval(part, unit), _value(paper, unit), *errors]
            rows.append([*cells, _value(part["detectable"], unit), part["verdict"]])
        lines += [md_table([*head, "Detectable", "Verdict"], rows, "lrrrrrrrl"), ""]
    return "\n".join(lines)


def _plain(value: float | None, decimals: int) -> str:
    return "–" if value is None else number(value, decimals)


def _errors(data: dict[str, Any]) -> str:
    """Median over methods, so that the two errors stand side by side on a screen."""
    if not data["errors"]:
        return ""
    lines = [
        "## Two errors of a cell\n",
        "Standard error of a cell's mean in percentage points, median over methods: of having run these seeds, and of "
        "having scored these examples. Differences between methods, which share the examples, suffer less from it.\n",
    ]
    rows = []
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in data["errors"]:
        groups.setdefault((entry["pair"], entry["block"], entry["column"]), []).append(entry)
    for (pair, block, column), entries in groups.items():
        medians = []
        for key in ("se_seeds", "se_examples"):
            values = sorted(e[key] for e in entries if e[key] is not None)
            medians.append(_plain(values[len(values) // 2] if values else None, 2))
        rows.append([md(pair), block.upper(), md(column), *medians])
    table = md_table(["Pair", "Block", "Column", "SE seeds", "SE examples"], rows, "lllrr")
    return "\n".join([*lines, table, ""])


def _selection(data: dict[str, Any]) -> str:
    if not data["selection"]:
        return ""
    lines = [
        "## What choosing the epoch on dev flatters\n",
        "Percentage points, mean over tasks [95 % over seeds]. Dev less test also holds the difference of the two "
        "sets, the same for all methods. Optimism is between two halves of dev: chosen on one, scored on both.\n",
    ]
    rows = []
    for entry in data["selection"]:
        gap = _interval({"estimate": entry["dev_minus_test"], **{k: entry[k] for k in ("low", "high")}}, "points")
        halves = {"estimate": entry["optimism"], "low": entry["optimism_low"], "high": entry["optimism_high"]}
        rows.append([md(entry["pair"]), md(entry["method"]), gap, _interval(halves, "points")])
    table = md_table(["Pair", "Method", "Dev less test", "Optimism"], rows, "llrr")
    return "\n".join([*lines, table, ""])


def _budget(data: dict[str, Any]) -> str:
    if not data["budget"]:
        return ""
    most = max(entry["points"] for entry in data["budget"])
    lines = [
        "## Tuning budget\n",
        "Expected best dev score, in percent, of so many points of the search (Dodge et al., 2019), mean over tasks.\n",
    ]
    rows = []
    for entry in data["budget"]:
        shown = [number(v, 1) for v in entry["expected"]] + ["–"] * (most - entry["points"])
        rows.append([md(entry["pair"]), md(entry["method"]), *shown])
    table = md_table(["Pair", "Method", *map(str, range(1, most + 1))], rows, "ll" + "r" * most)
    return "\n".join([*lines, table, ""])


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
