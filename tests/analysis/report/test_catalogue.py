"""Whatever a benchmark file may name among its tables and figures has a title and can be built."""

import json
from pathlib import Path

from analysis.report.catalogue import DRAWINGS
from analysis.reported_benchmark import FIGURES, TABLES
from analysis.tables.cells import TITLES, title_of_table
from railkd.benchmark import config


def test_tables_and_figures_are_those_that_a_benchmark_file_may_name() -> None:
    schema = json.loads(Path(config.__file__).with_name("schema.json").read_text(encoding="utf-8"))
    pairs = schema["properties"]["pairs"]["additionalProperties"]["properties"]
    assert pairs["tables"]["items"]["enum"] == [*TABLES, *FIGURES]
    assert tuple(TITLES) == TABLES and tuple(DRAWINGS) == FIGURES
    titles = [title_of_table(number) for number in TABLES] + [drawing.title for drawing in DRAWINGS.values()]
    assert len(set(titles)) == len(titles) and titles[1] == "Table 2: Scores by task"
