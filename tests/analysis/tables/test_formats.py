"""What comes from data and configuration is text in every output: it makes no element, no command, no column."""

import re
import shutil
from html.parser import HTMLParser
from typing import Any

import pytest
from made_records import Folder

from analysis.__main__ import main

MARKUP = (
    "</script><script>x()</script> <img src=x onerror=y> 5% A&B a_b ~^# {c} \\input{d} $e$ \"f\" 'g' |h| `i` [j](k)"
)
PAIR = "bert12-distilbert6"


class Elements(HTMLParser):
    """The names of a page's elements and attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(page: str) -> str:
    """The text of a page in which nothing but its own script runs."""
    seen = Elements()
    seen.feed(page)
    assert seen.tags.count("script") == 1 and "img" not in seen.tags
    assert not [a for a in seen.attributes if a.startswith("on")]
    return " ".join(seen.text.split())


def bare(latex: str) -> str:
    """LaTeX without what is escaped and without the commands that the suite itself writes."""
    own = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|pm|times|to|dagger|ddagger)\b"
    return re.sub(r"\\[\\&%$#_{}]", "", re.sub(own, "", latex))


@pytest.fixture
def hostile(small: Folder) -> Folder:
    """Free text in the benchmark file and in the records is markup; every step of the analysis has run."""
    small.spec["title"] = MARKUP
    small.spec["methods"]["pkd"] = {"title": f"PKD {MARKUP}"}
    small.spec["models"]["distilbert6"] = {"path": MARKUP}
    (small.root / MARKUP.replace("/", "")).mkdir()
    small.spec["models"]["distilbert6"]["path"] = MARKUP.replace("/", "")
    (small.root / MARKUP.replace("/", "") / "config.json").write_text("{}")
    small.save()

    def spoil(record: dict[str, Any]) -> None:
        record["provenance"].update(processor=MARKUP, platform=MARKUP, commit=MARKUP, started=MARKUP, finished=MARKUP)
        record["provenance"]["versions"] = {"torch": MARKUP}
        record["provenance"]["initialisation"] = record["cost"]["device"] = record["cost"]["regime"] = MARKUP
        record["fingerprints"] = {key: MARKUP for key in ("data", "teacher", "student")}

    for method, task, seed in [("teacher", "cola", 1), ("pkd", "cola", 1), ("pkd", "mnli", 2)]:
        small.edit(spoil, PAIR, method, task, seed)
    assert main(["all", str(small.file), "--results", str(small.results)]) == 0
    return small


def test_nothing_from_data_is_markup(hostile: Folder) -> None:
    page = (hostile.results / "report.html").read_text(encoding="utf-8")
    said = text_of(page)
    assert said.count("</script><script>x()</script>") > 5 and "\\input{d}" in said
    for file in sorted(hostile.results.rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        assert "<script" not in text and "<img" not in text, file
        if file.name != "audit.md":
            assert "[j](k)" not in text and not re.search(r"(?<!\\)`i", text), file
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            counts = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
            assert len(counts) == 1, (file, block[:400])
    tables = sorted(hostile.results.rglob("*.tex"))
    assert len(tables) == 2
    for file in tables:
        latex = file.read_text(encoding="utf-8")
        assert "\\input" not in latex
        left = bare(latex)
        assert left.count("{") == left.count("}") and left.count("$") % 2 == 0
        assert not re.search(
            r"[#_~^](?!\{\\?(dagger|ddagger|[a-z]\}))", left.replace("tab:table", "").replace("~{", "")
        ), file


def test_a_comparison_with_a_strangers_tables(hostile: Folder) -> None:
    """The other folder's tables are someone else's file: what they say is text too, and stays in its column."""
    theirs = hostile.root / "theirs"
    shutil.copytree(hostile.results / "tables", theirs / "tables")
    path = theirs / "tables" / "table2.csv"
    path.write_text(
        path.read_text().replace("pkd", "<script>alert(1)</script>").replace(",cola,", ',"a,b<img src=x>",')
    )
    out = hostile.root / "comparison.html"
    assert (
        main(
            [
                "compare",
                str(hostile.file),
                "--results",
                str(hostile.results),
                "--against",
                str(theirs),
                "--out",
                str(out),
            ]
        )
        == 2
    )
    page = out.read_text(encoding="utf-8")
    assert "<script>alert(1)</script>" in text_of(page)
    import base64
    import csv

    (encoded,) = re.findall(r'download="[^"]*comparison.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    rows = list(csv.reader(base64.b64decode(encoded).decode().splitlines()))
    assert len({len(row) for row in rows}) == 1 and any("a,b<img src=x>" in row for row in rows)
