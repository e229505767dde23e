"""Writes numbers and tables as text: CSV, Markdown, LaTeX, HTML. It escapes everything that comes from data."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis.tables.captions import DAGGER, DOUBLE
from analysis.tables.cells import Table, TableCell, frame
from analysis.tables.numbers import number

if TYPE_CHECKING:
    from markupsafe import Markup

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "–": "--", "’": "'", "\xa0": "~",
    DAGGER: r"$^{\dagger}$", DOUBLE: r"$^{\ddagger}$",
}  # fmt: skip


def _superscripts(text: str) -> list[tuple[str, str]]:
    """``RAIL-KD^l`` -> [("RAIL-KD", "l")]: text and the superscript after it."""
    parts = re.split(r"\^(\w)(?!\w)", " ".join(text.split()))
    return list(zip(parts[::2], [*parts[1::2], ""], strict=True))


def md(text: str) -> str:
    """Text escaped for Markdown, also inside a table cell."""

    def plain(part: str) -> str:
        part = part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", part)

    return "".join(plain(a) + (f"<sup>{plain(b)}</sup>" if b else "") for a, b in _superscripts(text))


def md_table(columns: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> str:
    """A table of GitHub's Markdown, whose cells are Markdown already; ``sides`` has l or r for each column."""
    return _tabulated(columns, rows, sides, "pipe")


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> str:
    """A table for a terminal; ``sides`` has l or r for each column."""
    return _tabulated(columns, rows, sides, "simple")


def _tabulated(columns: Sequence[str], rows: Iterable[Sequence[str]], sides: str, kind: str) -> str:
    from tabulate import tabulate

    align = [{"l": "left", "r": "right"}[side] for side in sides]
    return tabulate(list(rows), columns, tablefmt=kind, disable_numparse=True, colalign=align)


def tex(text: str) -> str:
    """Text escaped for LaTeX."""

    def plain(part: str) -> str:
        return "".join(_TEX.get(c, c) for c in part)

    return "".join(plain(a) + (f"$^{{{plain(b)}}}$" if b else "") for a, b in _superscripts(text))


def html(text: str) -> "Markup":
    """Text escaped for HTML."""
    from markupsafe import Markup, escape

    parts = [escape(a) + (Markup("<sup>{}</sup>").format(b) if b else "") for a, b in _superscripts(text)]
    return Markup("").join(parts)


def cell_parts(cell: TableCell) -> tuple[str, str, str]:
    """The text of a cell: its value with marks, what follows it in the same unit, and the paper's value."""
    paper = "" if math.isnan(cell.paper) else f"({number(cell.paper, cell.decimals)}{_suffix(cell)})"
    if cell.status in ("undefined", "absent"):
        return "–", "", ""
    if cell.status == "empty":
        return "", "", ""
    if cell.status == "text":
        return cell.text, "", ""
    if cell.status == "missing":
        return "missing", "", paper
    after = ""
    if cell.spread and not math.isnan(cell.sd):
        after = f"± {number(cell.sd, cell.decimals)}"
    elif cell.statistic == "median":
        after = f"[{number(cell.low, cell.decimals)}, {number(cell.high, cell.decimals)}]"
    marks = (DAGGER if cell.clears_baseline is False else "") + (DOUBLE if cell.status == "partial" else "")
    return number(cell.value, cell.decimals) + _suffix(cell), after + marks, paper


def _suffix(cell: TableCell) -> str:
    return "×" if cell.unit == "ratio" else ""


def _md_cell(cell: TableCell) -> str:
    value, after, paper = (md(part) for part in cell_parts(cell))
    value = f"**{value}**" if cell.best else value
    # no break within "58.8 ± 0.5", so that a narrow column breaks before the paper's value
    gap = "\xa0" if after and after[0] not in DAGGER + DOUBLE else ""
    joined = value + gap + after.replace(" ", "\xa0")
    return " ".join(part for part in (joined, paper) if part)


def _tex_cell(cell: TableCell) -> str:
    value, after, paper = (tex(part) for part in cell_parts(cell))
    value = rf"\textbf{{{value}}}" if cell.best else value
    parts = [value, rf"{{\scriptsize {after}}}" if after else "", rf"{{\scriptsize {paper}}}" if paper else ""]
    return "~".join(part for part in parts if part)


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: ``{"cost": {"steps": 3}}`` -> ``{"cost.steps": 3}``; lists as JSON."""
    flattened: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, dict) and part:
            flattened.update(flat(part, f"{prefix}{key}."))
        else:
            flattened[prefix + str(key)] = (
                json.dumps(part, ensure_ascii=False) if isinstance(part, list | dict) else part
            )
    return flattened


def csv_of(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV with every key that occurs as a column, in order of first appearance."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_csv(table: Table) -> str:
    """The table in long form, full precision, one row a cell."""
    return str(frame(table.number, table.cells).to_csv(index=False, lineterminator="\n"))


def to_markdown(table: Table) -> str:
    """The table with caption and notes as GitHub-flavoured Markdown."""
    width = len(table.columns)
    lines: list[list[str]] = []
    columns = [md(table.head), *(md(c) for c in table.columns)]
    if table.groups:
        group_row = [""]
        for title, span in table.groups:
            group_row += [md(title), *[""] * (span - 1)]
        lines.append(group_row)
        lines.append([f"**{c}**" for c in columns])
    else:
        lines.append(columns)
    for section in table.sections:
        if section.title:
            lines.append([f"**{md(section.title)}**", *[""] * width])
        lines += [[md(title), *(_md_cell(c) for c in row)] for title, row in section.rows]
    numeric = [any(r[i].status != "text" for s in table.sections for _, r in s.rows) for i in range(width)]
    body = md_table(lines[0], lines[1:], "l" + "".join("r" if n else "l" for n in numeric))
    notes = "".join(f"- {md(note)}\n" for note in table.notes)
    return f"**Table {table.number}.** {md(table.caption)}\n\n{body}\n" + (f"\n{notes}" if notes else "")


def to_latex(table: Table) -> str:
    """The table with caption and notes as LaTeX; needs the packages booktabs and graphicx."""
    width = len(table.columns)
    text_columns = [all(r[i].status == "text" for s in table.sections for _, r in s.rows) for i in range(width)]
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        r"\begin{table*}[t]",
        r"\centering",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{''.join('l' if t else 'r' for t in text_columns)}}}",
        r"\toprule",
    ]
    if table.groups:
        spans = [rf"\multicolumn{{{n}}}{{c}}{{{tex(title)}}}" for title, n in table.groups]
        lines.append(" & ".join(["", *spans]) + r" \\")
        column = 2
        for _, n in table.groups:
            lines.append(rf"\cmidrule(lr){{{column}-{column + n - 1}}}")
            column += n
    lines.append(" & ".join([tex(table.head), *(tex(c) for c in table.columns)]) + r" \\")
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines += [rf"\multicolumn{{{width + 1}}}{{l}}{{\textit{{{tex(section.title)}}}}} \\", r"\midrule"]
        lines += [" & ".join([tex(title), *(_tex_cell(c) for c in row)]) + r" \\" for title, row in section.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        lines += [r"\par\smallskip", r"{\raggedright\footnotesize", *(tex(note) + r"\par" for note in table.notes), "}"]
    lines += [rf"\caption{{{tex(table.caption)}}}", rf"\label{{tab:table{table.number}}}", r"\end{table*}", ""]
    return "\n".join(lines)
