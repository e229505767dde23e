"""The README and docs/ as a reader walks through them: links, anchors, contents lists, file names, length."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *DOCS,
    ROOT / "results" / "reference" / "README.md",
    ROOT / "benchmarks" / "reference" / "README.md",
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FOLDERS = "railkd|analysis|benchmarks|workflow|tests|docs|profiles"


def without_code(text: str) -> str:
    """The page without its blocks of code and without code in a line, which hold no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def headings(page: Path) -> list[tuple[int, str]]:
    """A page's headings: how deep each is, and its anchor as GitHub makes it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^(#+) (.*)$", text, re.MULTILINE)
    return [(len(marks), re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")) for marks, title in titles]


def broken(page: Path) -> list[str]:
    """The links of a page to files of this repository, and to their headings, that lead nowhere."""
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))
    found = []
    for link in (link for link in links if not re.match(r"https?:|mailto:", link)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in [name for _, name in headings(target)]):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title, with a comma\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#a-title-with-a-comma) [b](other.md#no) [c](none.md) [d](#no) `[e](code.md)`\n")
    assert broken(page) == ["other.md#no", "none.md", "#no"]


@pytest.mark.parametrize("page", PAGES[:-1], ids=NAMES[:-1])
def test_a_contents_line_names_every_section_in_order(page: Path) -> None:
    text = page.read_text()
    line = re.search(r"^\*\*Contents:\*\* (.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert line, "expected a line that begins with **Contents:**"
    sections = [anchor for level, anchor in headings(page) if level == 2]
    assert re.findall(r"\]\(#([^)]*)\)", line[1]) == sections
    assert text.index("**Contents:**") < text.index("\n## ")


def test_the_readme_links_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", PAGES[0].read_text()))
    missing = {f"docs/{page.name}" for page in DOCS} - linked
    assert not missing, "expected a link to each under the README's heading Documentation"


def test_the_readme_is_short_and_begins_with_what_was_found() -> None:
    text = PAGES[0].read_text()
    assert len(text.split()) <= 900
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections[:3] == ["What was found", "Run it", "Add a method"]
    assert len(text[: text.index("## What was found")].split()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("package", ["railkd", "analysis"])
def test_every_module_and_package_has_its_room_and_every_room_exists(package: str) -> None:
    """The tables of architecture.md name what the contracts of pyproject.toml hold apart."""
    rooms = (ROOT / "docs" / "architecture.md").read_text().split("## Rooms")[1].split(f"| {package}/ |")[1]
    rows = re.findall(r"^\| (.*?) \|", rooms.partition("\n\n")[0], re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    modules = {path.name for path in (ROOT / package).glob("*.py") if not path.name.startswith("__")}
    packages = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert modules | packages == {name for name in named if "/" not in name}
