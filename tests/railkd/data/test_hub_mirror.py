"""`railkd mirror`: from a hub on this machine, once; then a benchmark runs from it without network."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from railkd import cli
from railkd.benchmark import config
from railkd.benchmark.paths import Layout
from railkd.data import reading
from railkd.models.checkpoints import commit, locate
from railkd.records import sealed_files

ROOT = Path(__file__).parents[3]
COMMIT, OTHER = "a" * 40, "b" * 40
MODELS = {"bert4": "made/bert4", "distilbert2": "made/distilbert2"}


class Hub:
    """The hub's answers to those who look up a model and download its files; ``asked`` counts downloads."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(False)

            def do_GET(self) -> None:
                self.answer(True)

            def answer(self, whole: bool) -> None:
                path = self.path.partition("?")[0]
                listed = re.fullmatch(r"/api/models/(made/\w+)/revision/(\w+)", path)
                if listed:
                    files = sorted(
                        p.relative_to(root / listed[1]) for p in (root / listed[1]).rglob("*") if p.is_file()
                    )
                    said = {"id": listed[1], "sha": listed[2], "siblings": [{"rfilename": str(f)} for f in files]}
                    return self.send(json.dumps(said).encode(), {"Content-Type": "application/json"}, True)
                wanted = re.fullmatch(r"/(made/\w+)/resolve/(\w+)/(.+)", path)
                if not wanted or not (root / wanted[1] / wanted[3]).is_file():
                    return self.send_error(404)
                if whole:
                    hub.asked.append(f"{wanted[1]}/{wanted[3]}")
                content = (root / wanted[1] / wanted[3]).read_bytes()
                self.send(
                    content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": wanted[2]}, whole
                )

            def send(self, content: bytes, headers: dict[str, str], whole: bool) -> None:
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if whole:
                    self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub(checkpoints: Path, tmp_path: Path) -> Iterator[Hub]:
    """Two checkpoints with what else a repository may hold: pickled weights, code, other formats in folders."""
    for name, repository in MODELS.items():
        folder = Path(shutil.copytree(checkpoints / name, tmp_path / "hub" / repository))
        for extra in ("pytorch_model.bin", "modeling.py", "onnx/model.safetensors", "README.md"):
            (folder / extra).parent.mkdir(exist_ok=True)
            (folder / extra).write_text("not wanted")
    made = Hub(tmp_path / "hub")
    yield made
    made.server.shutdown()


@pytest.fixture
def benchmark(make_spec: Any, tmp_path: Path) -> Path:
    """A benchmark whose models and data are on the hub."""
    spec = make_spec({"data.root": None})
    spec["models"] = {name: {"hub": repository, "revision": COMMIT} for name, repository in MODELS.items()}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


# `datasets` finds its files through a dozen calls of its own; here it reads the test's parquet files instead.
DRIVER = """
import sys
from pathlib import Path
import datasets
import pandas as pd
class Loaded:
    def __init__(self, path): self.path = path
    def to_pandas(self): return pd.read_parquet(self.path)
def load_dataset(repo, config, split, revision, cache_dir):
    if len(revision) != 40: raise ValueError(revision)
    print("data:", config, split, file=sys.stderr)
    return Loaded(Path(sys.argv[1]) / config / f"{split}.parquet")
datasets.load_dataset = load_dataset
from railkd.cli import main
for call in sys.argv[2].split(","):
    if call != "mirror": Path(call).write_text("damaged")
    else: print("status", main(["mirror", *sys.argv[3:]]), flush=True)
"""


@pytest.mark.trust
def test_what_is_on_the_hub_is_fetched_once_and_read_without_network(
    hub: Hub, benchmark: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    to = tmp_path / "mine"
    weights, table = to / "models" / MODELS["bert4"] / "model.safetensors", to / "data" / "mrpc" / "train.parquet"
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "RAILKD_DATA": str(to / "data")}
    calls = f"mirror,mirror,{weights},{table},mirror"
    command = [sys.executable, "-c", DRIVER, str(mirror), calls, str(to), str(benchmark)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=500)
    first, second, third, rest = done.stdout.split("status 0\n")
    assert rest == "" and done.returncode == 0, done.stdout + done.stderr
    assert first.count(": fetched") == 6 and second.count(": there") == 6 and "fetched" not in second
    assert third.count(": fetched") == 2 and third.count(": there") == 4
    for said in (first, second, third):
        assert said.endswith(f"export RAILKD_DATA={to / 'data'}\nexport RAILKD_MODELS={to / 'models'}\n")
    assert done.stderr.count("data: mrpc train") == 2 and done.stderr.count("data: sst2") == 2
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    for repository in MODELS.values():
        there = {p.name for p in (to / "models" / repository).iterdir()}
        assert there <= wanted and there >= {"config.json", "model.safetensors", "tokenizer.json"}
        assert sealed_files.mirrored(to / "models")[repository]["revision"] == COMMIT
    assert not any(name.endswith((".py", ".bin", ".md")) or "onnx" in name for name in hub.asked)
    assert not list(to.rglob(".partial")) and weights.read_bytes()[:7] != b"damaged"

    # A machine without network: the check, the data and the commits that a record will name.
    monkeypatch.setenv("RAILKD_DATA", str(to / "data"))
    monkeypatch.setenv("RAILKD_MODELS", str(to / "models"))
    assert cli.main(["check", str(benchmark)]) == 0 and "valid" in capsys.readouterr().out
    loaded = config.load(benchmark)
    place = locate(loaded, Layout(tmp_path / "results"), "bert4")
    assert commit(place, "models.bert4") == COMMIT
    frame, where = reading.read_split("mrpc", "train", ("sentence1", "sentence2"), to / "data", None)
    assert len(frame) and where.endswith(f"mrpc/train.parquet at {reading.GLUE_REVISION[:12]}")
    spec = yaml.safe_load(benchmark.read_text())
    spec["models"]["bert4"]["revision"] = OTHER
    benchmark.write_text(yaml.safe_dump(spec))
    assert cli.main(["check", str(benchmark)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and COMMIT in error and OTHER in error


def test_without_network_it_is_one_line(benchmark: Path, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["mirror", str(tmp_path / "mine"), str(benchmark)]) == 1
    said = capsys.readouterr()
    assert (
        said.err.count("\n") == 1
        and "models.bert4.hub: made/bert4 cannot be fetched from the Hugging Face hub" in said.err
    )
    assert not list((tmp_path / "mine").rglob("*.safetensors"))


def test_what_someone_else_put_there_is_left_alone(
    benchmark: Path, checkpoints: Path, mirror: Path, tmp_path: Path, capsys: Any
) -> None:
    for name, repository in MODELS.items():
        shutil.copytree(checkpoints / name, tmp_path / "mine" / "models" / repository)
    shutil.copytree(mirror, tmp_path / "mine" / "data")
    before = {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()}
    assert cli.main(["mirror", str(tmp_path / "mine"), str(benchmark)]) == 0
    assert capsys.readouterr().out.count("left alone") == 6
    assert {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()} == before
