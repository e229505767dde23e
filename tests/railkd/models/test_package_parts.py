"""A checkpoint whose archive comes in parts, each in an installed package of its own."""

import hashlib
import json
import os
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from part_packages import archive, install

from railkd.benchmark.paths import Layout
from railkd.commands.checking import check
from railkd.errors import UserError
from railkd.models import package_parts
from railkd.models.checkpoints import locate
from railkd.records import files

ENTRY = {
    "package": ["tiny-part-001", "tiny-part-002", "tiny-part-003"],
    "files": "*/input/tiny.zip.*",
    "folder": "tiny",
}


@pytest.fixture
def site(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Installs the parts into a folder of packages; the cache is in another."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv(package_parts.VARIABLE, str(tmp_path / "cache"))

    def make(versions: tuple[str, ...] = ("1.0", "1.0", "1.0"), recorded: bool = True) -> list[Path]:
        content = archive(checkpoints / "bert4", "tiny")
        third = len(content) // 3
        cuts = [content[:third], content[third : 2 * third], content[2 * third :]]
        return [
            install(place, f"tiny-part-{i:03}", version, f"tiny.zip.{i:03}", part, recorded)
            for i, (version, part) in enumerate(zip(versions, cuts, strict=False), 1)
        ]

    return make


def test_the_parts_make_one_checkpoint_once(site: Any, checkpoints: Path, tmp_path: Path, monkeypatch: Any) -> None:
    parts = site()
    folder = package_parts.assembled(ENTRY, "models.m")
    assert folder.is_relative_to(tmp_path / "cache")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == (checkpoints / "bert4" / name).read_bytes()
    assert not {"pytorch_model.bin", "modeling.py", "onnx"} & {file.name for file in folder.iterdir()}
    monkeypatch.setattr(package_parts, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert package_parts.assembled(ENTRY, "models.m") == folder
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    monkeypatch.undo()
    monkeypatch.setenv(package_parts.VARIABLE, str(tmp_path / "cache2"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert package_parts.assembled({**ENTRY, "sha256": digest, "version": "1.0"}, "models.m").is_dir()
    with pytest.raises(UserError, match=f"^models.m.sha256: the archive of the 3 parts is {digest}, expected 0000"):
        package_parts.assembled({**ENTRY, "sha256": "0" * 64}, "models.m")


def test_a_benchmark_reads_it_like_any_other_checkpoint(site: Any, make_benchmark: Any, tmp_path: Path) -> None:
    site()
    benchmark, layout = make_benchmark({"models.bert4": ENTRY}), Layout(tmp_path / "results")
    check(benchmark, layout)
    assert locate(benchmark, layout, "bert4").place.startswith(str(tmp_path / "cache"))
    assert benchmark.initialisation("bert4") == "checkpoint tiny-part-001 and 2 more packages"


@pytest.mark.parametrize(
    ("versions", "change", "message"),
    [
        (("1.0", "1.0"), {}, r"^models.m.package: the Python package 'tiny-part-003' is not installed, expected all 3"),
        (("1.0", "1.1", "1.0"), {}, r"'tiny-part-002' is version 1.1, expected 1.0, as 'tiny-part-001' is$"),
        (("1.0", "1.0", "1.0"), {"version": "2.0"}, "'tiny-part-001' is version 1.0, expected 2.0$"),
        (("1.0", "1.0", "1.0"), {"files": "*.tar"}, r"files: '\*.tar' matches 0 files .*has tiny-part-001_x/input/"),
        (("1.0", "1.0", "1.0"), {"files": "*_x/*"}, "matches 2 files of the Python package 'tiny-part-001', exp"),
        (("1.0", "1.0", "1.0"), {"folder": "."}, r"folder: the archive has no config.json in '.'.*one in other, tiny$"),
        (("1.0", "1.0", "1.0"), {"package": ENTRY["package"][::-1]}, "do not make a zip archive .*in the order of"),
    ],
)  # fmt: skip
def test_what_makes_no_checkpoint_is_refused(
    site: Any, versions: Any, change: Any, message: str, tmp_path: Path
) -> None:
    site(versions)
    with pytest.raises(UserError, match=message):
        package_parts.assembled({**ENTRY, **change}, "models.m")
    assert not [file for file in tmp_path.glob("cache/checkpoints/*") if file.is_dir()]


def test_parts_in_another_order_or_too_few_are_refused(site: Any, tmp_path: Path) -> None:
    site()
    right = ENTRY["package"]
    orders = [list(order) for count in (1, 2, 3) for order in permutations(right, count) if list(order) != right]
    for order in orders:
        with pytest.raises(UserError, match=r"^models\.m\.package: the \d parts do not make a zip archive"):
            package_parts.assembled({**ENTRY, "package": order}, "models.m")
    assert not [file for file in tmp_path.glob("cache/checkpoints/*") if file.is_dir()]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_part_is_refused(site: Any, recorded: bool) -> None:
    part = site(recorded=recorded)[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    message = "not what was installed .*reinstall 'tiny-part-002'" if recorded else "do not make a zip archive"
    with pytest.raises(UserError, match=message):
        package_parts.assembled(ENTRY, "models.m")


def test_an_interrupted_assembly_leaves_nothing_half_done(site: Any, tmp_path: Path, monkeypatch: Any) -> None:
    site()
    whole = package_parts.seal

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package_parts, "seal", stop)
    with pytest.raises(KeyboardInterrupt):
        package_parts.assembled(ENTRY, "models.m")
    assert not [file for file in tmp_path.glob("cache/checkpoints/*") if file.is_dir()]
    monkeypatch.setattr(package_parts, "seal", whole)
    assert (package_parts.assembled(ENTRY, "models.m") / "config.json").is_file()


def test_a_cache_that_cannot_be_written_is_named(site: Any, tmp_path: Path, monkeypatch: Any) -> None:
    site()
    (tmp_path / "file").touch()
    monkeypatch.setenv(package_parts.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match="^models.m.package: .*a file has that name.*set RAILKD_CACHE to a folder"):
        package_parts.assembled(ENTRY, "models.m")


def test_processes_that_ask_at_once_unpack_once(site: Any, monkeypatch: Any) -> None:
    site()
    folder = package_parts.assembled(ENTRY, "models.m")
    for file in folder.iterdir():
        file.unlink()
    original = files.exclusive_lock

    def other_process(path: Path) -> Any:
        package_parts._unpack(package_parts.parts(ENTRY, "m"), "tiny", folder, "m")  # while this one waited
        monkeypatch.setattr(package_parts, "_unpack", lambda *_: pytest.fail("unpacked twice"))
        return original(path)

    monkeypatch.setattr(package_parts, "exclusive_lock", other_process)
    assert package_parts.assembled(ENTRY, "models.m") == folder and json.loads((folder / "config.json").read_text())


def test_the_cache_is_in_the_users_cache_folder(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv(package_parts.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert package_parts.cache_folder() == tmp_path / "railkd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert package_parts.cache_folder() == Path(os.path.expanduser("~")) / ".cache" / "railkd"
