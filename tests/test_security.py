"""What is let in and what is not: no code from data, no name that leaves its folder, no word for a shell to read."""

import ast
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from railkd.benchmark import config
from railkd.errors import UserError
from railkd.records import hashes, run_record, sealed_files

ROOT = Path(__file__).parent.parent
MICRO = ROOT / "tests" / "micro.yaml"

# --- the source ----------------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "pd.read_pickle", "pandas.read_pickle"}
CALLS |= {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load", "tarfile.open", "np.fromregex"}
NEVER = {
    "shell": False,
    "trust_remote_code": False,
    "allow_pickle": False,
    "weights_only": True,
    "use_safetensors": True,
}
SAFE_YAML = {"_Loader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def unsafe(source: str) -> list[str]:
    """What in a Python source can run code that data brings, a line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
            if name in CALLS or name.endswith(".load_module"):
                found.append(f"calls {name}")
            if name == "yaml.load" and given.get("Loader") not in SAFE_YAML:
                found.append("calls yaml.load without a safe loader")
            if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                found.append("calls np.load without allow_pickle=False")
            if name.endswith("from_pretrained") and given.get("trust_remote_code") != "False":
                found.append(f"calls {name} without trust_remote_code=False")
            found += [f"{k}={given[k]}" for k, safe in NEVER.items() if given.get(k, str(safe)) != str(safe)]
    return found


def sources() -> list[Path]:
    listed = [f for folder in ("railkd", "analysis", "benchmarks", ".ci") for f in (ROOT / folder).rglob("*.py")]
    return [*listed, ROOT / ".ci" / "audit"]


def test_no_source_runs_what_data_brings() -> None:
    assert len(sources()) > 60
    found = {str(f.relative_to(ROOT)): lines for f in sources() if (lines := unsafe(f.read_text(encoding="utf-8")))}
    peers = found.pop("benchmarks/speed/tools.py", [])  # other tools' training, timed as they come
    assert not found and not [line for line in peers if "trust_remote_code" not in line], (found, peers)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "import torch; torch.load('f')",
        "torch.load('f', weights_only=False)",
        "np.load('f', mmap_mode='r')",
        "np.load('f', allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval('1')",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "AutoModel.from_pretrained('m')",
        "AutoModel.from_pretrained('m', trust_remote_code=True)",
        "evaluate.load('m', trust_remote_code=trusted)",
        "M.from_pretrained('m', trust_remote_code=False, use_safetensors=False)",
    ],
)
def test_the_scan_finds(line: str) -> None:
    assert unsafe(line)


# --- names ---------------------------------------------------------------------------------------------------------

HOSTILE = [
    "..", "../x", "a/b", "/x", "a\\b/..", ".x", "-x", "", "a\0b", "a\n", "a b", "a;b", "a$(b)", "a`b`", "a'b", 'a"b',
    "a{b}", "a*b", "é", "x" * 65,
]  # fmt: skip


def rename(spec: dict[str, Any], kind: str, name: str) -> None:
    """Gives the benchmark, or its first model, method, pair or task, another name wherever it is said."""
    pair = spec["pairs"]["bert4-distilbert2"]
    if kind == "name":
        spec["name"] = name
    elif kind == "task":
        spec["data"]["tasks"][0] = name
    elif kind == "pair":
        spec["pairs"] = {name: pair}
    elif kind == "model":
        spec["models"][name] = spec["models"].pop("bert4")
        spec["models"]["distilbert2"]["from"] = pair["teacher"] = name
    else:
        spec["methods"][name] = {"method": "no_kd", **spec["methods"].pop("no_kd")}
        pair["methods"][0] = name


@pytest.mark.parametrize("kind", ["name", "task", "pair", "model", "method"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_folder(tmp_path: Path, kind: str, name: str) -> None:
    spec = yaml.safe_load(MICRO.read_text())
    rename(spec, kind, name)
    file = tmp_path / "b.yaml"
    file.write_text(yaml.safe_dump(spec, allow_unicode=False), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        config.load(file)
    assert str(caught.value).startswith(str(file)) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rules", ["../nowhere.smk"], "rules: no such file"),
        ("rules", ["a\0b"], "rules[0]"),
        ("rules", [""], "rules[0]"),
        ("data.root", "a\0b", "data.root"),
        ("data.model_root", "", "data.model_root"),
        ("models.bert4", {"path": "a\0b"}, "models.bert4"),
        ("models.bert4", {"package": "os\n"}, "models.bert4"),
        ("models.bert4", {"package": "json", "folder": "a/../../x"}, "models.bert4"),
        ("models.bert4", {"hub": "a/../../x"}, "models.bert4"),
        ("models.bert4", {"hub": "a/b", "revision": "f" * 40 + "\n"}, "models.bert4"),
    ],
)
def test_paths_of_a_benchmark_file(tmp_path: Path, key: str, value: Any, said: str) -> None:
    spec = yaml.safe_load(MICRO.read_text())
    *parents, last = key.split(".")
    place = spec
    for parent in parents:
        place = place[parent]
    place[last] = value
    file = tmp_path / "b.yaml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        config.load(file)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_record_names_no_file_elsewhere(tmp_path: Path) -> None:
    """Its predictions lie beside it, whatever it says."""
    for name in ("../../secret.safetensors", "/etc/passwd", "..", "", "a\0b"):
        with pytest.raises(UserError, match="checksum") as caught:
            run_record.predictions(tmp_path / "seed-1.json", {"predictions": {"file": name, "sha256": "0"}})
        assert str(caught.value).startswith(str(tmp_path))


# --- what is loaded ------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def one_line(action: Any, *expected: str) -> None:
    with pytest.raises(UserError) as caught:
        action()
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and all(part in text for part in expected), text


def test_no_checkpoint_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are a pickle, under any name, and code beside the configuration: each is refused by one line."""
    from transformers import BertConfig

    from railkd.models import checkpoints, classifier

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    mark, folder = tmp_path / "ran", tmp_path / "checkpoint"
    small = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    small.save_pretrained(folder)
    at = checkpoints.Checkpoint(str(folder))

    def load() -> None:
        classifier.load_classifier(at, 2, 1, "models.m")

    bomb = pickle.dumps(Bomb(mark))
    (folder / "pytorch_model.bin").write_bytes(bomb)
    one_line(load, "models.m: cannot load the checkpoint folder", str(folder))
    (folder / "model.safetensors").write_bytes(bomb)
    one_line(load, "models.m: cannot load", str(folder))
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    (folder / "evil.py").write_text(code + "class C: pass\n")
    known = json.loads((folder / "config.json").read_text())
    maps = {"AutoConfig": "evil.C", "AutoModel": "evil.C", "AutoModelForSequenceClassification": "evil.C"}
    for changes in ({"auto_map": maps}, {"auto_map": maps, "model_type": "evil"}):
        (folder / "config.json").write_text(json.dumps({**known, **changes}))
        one_line(load, "models.m: cannot load", str(folder))
        one_line(lambda: checkpoints.read_config(at, "models.m"), "models.m: cannot load", str(folder))
    assert not mark.exists()


def test_no_signals_run_code(tmp_path: Path) -> None:
    """An array of objects is a pickle; with a right checksum, so that nothing else refuses it."""
    import torch

    from railkd.teacher.cache import SignalStore

    mark = tmp_path / "ran"
    np.save(tmp_path / "logits.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    facts = {"fingerprints": {}, "poolings": [], "sha256": {"logits.npy": hashes.sha256_file(tmp_path / "logits.npy")}}
    sealed_files.write_json(tmp_path / "signals.json", facts)
    store = SignalStore(tmp_path, torch.device("cpu"))
    one_line(lambda: store.array("logits"), "logits.npy", "delete")
    assert not mark.exists()


# --- shell ---------------------------------------------------------------------------------------------------------

LEGAL = 'it\'s a $HOME; `x` & "y" *'


def snakemake(folder: Path, *flags: str, benchmark: Path, results: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "1", *flags]
    command += ["--config", f"benchmark={benchmark}", f"results={results}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.trust
def test_paths_with_spaces_and_quotes_reach_every_step(tmp_path: Path) -> None:
    """Benchmark file, results and working directory have names that a shell would read: no step does."""
    folder = tmp_path / LEGAL
    folder.mkdir()
    benchmark = Path(shutil.copy(MICRO, folder / f"{LEGAL}.yaml"))
    results = folder / f"results {LEGAL}"
    target = results / "data" / "corpus" / "corpus.parquet"
    done = snakemake(folder, str(target), str(results / "audit.md"), benchmark=benchmark, results=str(results))
    assert done.returncode == 0, done.stderr[-2000:]
    assert target.is_file() and (results / "audit.md").is_file()
    assert {p.name for p in folder.iterdir()} == {benchmark.name, results.name, ".snakemake"}
    assert [p.name for p in tmp_path.iterdir()] == [LEGAL]
    for odd in ("-x", "a{b}"):
        done = snakemake(folder, "-n", benchmark=benchmark, results=odd)
        said = [line for line in done.stderr.splitlines() if line.startswith("railkd: error: ")]
        assert done.returncode != 0 and len(said) == 1 and "--config: results" in said[0], done.stderr[-2000:]
