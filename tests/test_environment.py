"""The environment: pyproject.toml, requirements.lock and environment.yml agree, and setting up is done once."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = ["requirements.lock", "requirements-realtext.lock", "requirements-base.lock"]
MIB = 1 << 20

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(line) for line in PROJECT["dependencies"] + GROUPS["workflow"] + GROUPS["test"]]
PYTHONS = ["3.11", "3.12", "3.13"]  # as the lock's first lines say


def pins(lines: list[str]) -> dict[str, Version]:
    """`name==version` lines → {canonical name: version}; anything else in them is an error."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        assert match, f"not of the form name==version: {line!r}"
        name = canonicalize_name(match[1])
        assert name not in found, f"{name} is pinned twice"
        found[name] = Version(match[2])
    return found


def entries(file: str) -> list[list[str]]:
    """A lock's entries, each `name==version` and its `--hash=…`."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    return [entry.split() for entry in "\n".join(lines).replace("\\\n", " ").splitlines() if entry.strip()]


def lock(file: str = "requirements.lock") -> dict[str, Version]:
    return pins([pin for pin, *_ in entries(file)])


def conda() -> tuple[list[str], list[str]]:
    """environment.yml's conda packages and its pip section."""
    *packages, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return packages, last["pip"]


@pytest.mark.parametrize("wanted", DIRECT, ids=lambda r: r.name)
def test_lock_pins_each_direct_dependency_within_its_range(wanted: Requirement) -> None:
    pinned = lock().get(canonicalize_name(wanted.name))
    assert pinned is not None, f"pyproject.toml asks for {wanted.name}, requirements.lock has no pin for it"
    assert wanted.specifier.contains(pinned), f"requirements.lock: {wanted.name} {pinned}; pyproject.toml: {wanted}"


def test_lock_admits_every_build_of_torch() -> None:
    assert lock()["torch"].local is None


def test_lock_has_what_installing_the_project_itself_needs() -> None:
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(lock()[canonicalize_name(wanted.name)])


@pytest.mark.parametrize("group", ["realtext", "base"])
def test_a_trained_encoders_packages_are_pinned_beside_the_lock(group: str) -> None:
    extra = lock(f"requirements-{group}.lock")
    assert not extra.keys() & lock().keys() and len(extra) == len(GROUPS[group])
    for line in GROUPS[group]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(extra[canonicalize_name(wanted.name)])


@pytest.mark.parametrize("file", LOCKS)
def test_every_pin_has_the_digests_of_its_files(file: str) -> None:
    for pin, *digests in entries(file):
        assert digests and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", d) for d in digests), pin
        assert digests == sorted(set(digests)), pin


def test_setup_installs_nothing_that_has_no_digest() -> None:
    """Every installation from a lock requires its digests; only the project itself comes without one."""
    installs = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP) install" in line]
    assert len(installs) == 5
    assert [line for line in installs if "$(LOCKED)" not in line] == [
        "$(PIP) install --no-compile --no-build-isolation --editable ."
    ]
    (locked,) = re.findall(r"^LOCKED := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"--require-hashes", "--no-deps", "--no-build-isolation"} <= set(locked.split())


def test_lock_is_closed() -> None:
    """What a pin asks for is pinned, but for the libraries that torch's build brings: nothing else comes unchecked."""
    locked, gone = lock(), set()
    for name in locked.keys() - {"torch"}:
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted = [Requirement(line) for line in asked]
        needed = {canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})}
        gone |= {f"{name} needs {other}" for other in needed - locked.keys()}
    assert not gone


def test_conda_users_get_the_same_pins() -> None:
    _, section = conda()
    assert section[-1] == "--editable ."
    assert pins(section[:-1]) == lock()


def test_python_versions_agree() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert all(version in supported for version in PYTHONS)
    (python,) = [p.partition("=")[2] for p in conda()[0] if p.startswith("python=")]
    assert python in PYTHONS
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    oldest = min(PYTHONS, key=Version)
    assert settings["mypy"]["python_version"] == oldest
    assert settings["ruff"]["target-version"] == "py" + oldest.replace(".", "")


@pytest.mark.parametrize("file", [*LOCKS, "environment.yml"])
def test_no_address_is_fixed(file: str) -> None:
    assert "://" not in (ROOT / file).read_text()


def test_installed_versions_are_the_locked_ones() -> None:
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip(f"runs in {sys.prefix}, not in .venv: `make test` uses the locked versions")
    locked = lock()
    installed = {n: Version(importlib.metadata.version(n)).public for n in locked}
    assert installed == {n: v.public for n, v in locked.items()}


def make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "-C", str(directory), *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that setting up reads, all of one age, in a directory where it has not been done."""
    for file in ("Makefile", "pyproject.toml", *LOCKS):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
        os.utime(tmp_path / file, (1_000_000, 1_000_000))
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_a_second_setup_does_nothing(checkout: Path) -> None:
    assert make(checkout, "--question", "setup").returncode == 1
    (checkout / ".venv" / ".ready").touch()
    assert make(checkout, "--question", "setup").returncode == 0
    planned = make(checkout, "--dry-run", "all").stdout
    assert "snakemake --cores all" in planned
    assert "pip" not in planned
    assert "venv .venv" not in planned


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml"])
def test_a_changed_pin_is_installed(checkout: Path, file: str) -> None:
    (checkout / ".venv" / ".ready").touch()
    os.utime(checkout / file, (4_000_000_000, 4_000_000_000))
    assert make(checkout, "--question", "setup").returncode == 1


def test_an_old_python_is_refused_in_one_line(checkout: Path) -> None:
    old = checkout / "python3.10"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10, 4); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    result = make(checkout, "setup", f"PYTHON={old}")
    assert result.returncode != 0
    said = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"railkd needs Python 3.11 or newer, and {old} is 3.10: try make PYTHON=python3.12"]
    assert not (checkout / ".venv" / ".ready").exists()


def test_ci_first_runs_the_readmes_command_with_nothing_more() -> None:
    """No data and no extra before it; those come after, in an environment that is not .venv."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    told = [line for line in lines if line.startswith(("make ", "unset ", "export ", ".ci/"))]
    first = told.index("make test")
    assert "    make test   # the tests" in (ROOT / "README.md").read_text().splitlines()
    assert any({"RAILKD_DATA", "RAILKD_MODELS"} <= set(line.split()) for line in told[:first] if "unset" in line)
    assert not [line for line in told[:first] if line.startswith(("make ", ".ci/"))]
    extras = [line for line in told if "realtext" in line]
    assert extras and all(told.index(line) > first and "VENV=.venv-realtext" in line for line in extras)


def test_no_tracked_file_is_large() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    sizes = {f: f.stat().st_size for f in files if f.is_file()}  # a reference's page has all that its tables have
    large = {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > (1.5 if f.name == "report.html" else 1) * MIB}
    assert not large


def test_nothing_that_is_loaded_can_run_code() -> None:
    unsafe = re.compile(
        r"^\s*(import|from)\s+(c?pickle|dill|joblib|cloudpickle)\b|trust_remote_code(?!=False)|allow_pickle=True|weights_only=False",
        re.MULTILINE,
    )
    sources = [f for package in ("railkd", "analysis") for f in (ROOT / package).rglob("*.py")]
    assert sources
    found = {str(f.relative_to(ROOT)): m[0].strip() for f in sources if (m := unsafe.search(f.read_text()))}
    assert not found
