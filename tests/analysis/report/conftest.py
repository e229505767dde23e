"""A report with everything in it, and a browser that has it open."""

from collections.abc import Iterator
from typing import Any

import browsing
import made_answers
import pytest
from made_records import Folder, spec

from analysis import load
from analysis.__main__ import main
from analysis.report import contents, html_page
from analysis.reported_benchmark import read


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A full folder with verdicts, audit and report."""
    folder = Folder(tmp_path_factory.mktemp("page"), spec()).fill()
    made_answers.write(folder.results)
    assert main(["tables", str(folder.file), "--results", str(folder.results)]) == 0
    benchmark = read(folder.file)
    gathered = contents.gather(benchmark, load.read(benchmark, folder.results), folder.results)
    (folder.results / "report.html").write_text(html_page.compose(gathered), encoding="utf-8")
    return folder


@pytest.fixture(scope="package")
def text(made: Folder) -> str:
    return (made.results / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    opened = browsing.start()
    yield opened
    opened.quit()


@pytest.fixture
def opened(browser: Any, made: Folder) -> Any:
    """The report, freshly loaded at desktop width."""
    browsing.size(browser, "desktop")
    browsing.visit(browser, made)
    return browser
