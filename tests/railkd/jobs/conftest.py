"""A benchmark and its results that a test of the jobs may change."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from railkd.benchmark import config
from railkd.benchmark.paths import Layout


@pytest.fixture
def bench(pipeline: Any, tmp_path: Path) -> Callable[..., tuple[config.Benchmark, Layout]]:
    """The pipeline's benchmark with changes to its content, and a copy of its results that a test may change."""
    shutil.copytree(pipeline.layout.root, tmp_path / "results")

    def make(edit: Callable[[dict[str, Any]], Any] = lambda spec: None) -> tuple[config.Benchmark, Layout]:
        spec = yaml.safe_load(pipeline.benchmark.path.read_text())
        edit(spec)
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return config.load(path), Layout(tmp_path / "results")

    return make
