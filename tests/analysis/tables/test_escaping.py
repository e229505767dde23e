"""Text from data breaks no table, in Markdown and in LaTeX, and no figure."""

import io
import re

from made_records import Folder

from analysis import load
from analysis.__main__ import main
from analysis.figures import paper_figures
from analysis.reported_benchmark import read
from analysis.tables import formats, numbers


def test_escaping() -> None:
    assert formats.md("RAIL-KD^l") == "RAIL-KD<sup>l</sup>"
    assert formats.md("a|b*_<i>`\n[x]$") == r"a\|b\*\_&lt;i&gt;\`" + r" \[x\]\$"
    assert formats.tex("RAIL-KD^c 5%") == r"RAIL-KD$^{c}$ 5\%"
    assert formats.tex("a_b&{c}\\ ±†") == r"a\_b\&\{c\}\textbackslash{} $\pm$$^{\dagger}$"
    assert numbers.number(-0.01, 1) == "0.0"


def test_hostile_titles_break_no_table(folder: Folder) -> None:
    folder.spec["title"] = "100% <b>GLUE</b> | _x_ $y$"
    folder.spec["methods"]["my_kd"]["title"] = "A|B & C_1 \\ {x} <script> $5"
    folder.save()
    assert main(["tables", str(folder.file), "--results", str(folder.results)]) == 0
    benchmark = read(folder.file)
    figure = paper_figures.similarity(benchmark, load.read(benchmark, folder.results))
    figure.savefig(io.BytesIO(), format="png", dpi=30)  # "$" is no mathematics
    for number in range(1, 7):
        text = (folder.results / "tables" / f"table{number}.md").read_text(encoding="utf-8")
        assert "<script>" not in text and "<b>" not in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        latex = (folder.results / "tables" / f"table{number}.tex").read_text(encoding="utf-8")
        bare = re.sub(r"\\[\\&%$#_{}]", "", latex)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
        assert not [line for line in latex.splitlines() if re.search(r"(?<!\\)%", line.lstrip("% "))][1:]
        assert all(ord(c) < 128 for c in latex.replace("√", ""))
