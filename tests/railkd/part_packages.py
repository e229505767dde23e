"""Packages made for tests, each with one part of the archive of a checkpoint, as an installer leaves them."""

import base64
import hashlib
import io
import zipfile
from pathlib import Path


def archive(folder: Path, name: str) -> bytes:
    """A zip of a checkpoint in the folder ``name``, beside files that nobody may want to have unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(folder.iterdir()):
            made.write(file, f"{name}/{file.name}")
        made.writestr(f"{name}/pytorch_model.bin", b"pickle")
        made.writestr(f"{name}/modeling.py", b"raise SystemExit")
        made.writestr(f"{name}/onnx/model.onnx", b"onnx")
        made.writestr("other/config.json", b"{}")
    return buffer.getvalue()


def install(site: Path, name: str, version: str, file: str, part: bytes, recorded: bool = True) -> Path:
    """One part as pip leaves it: its folder, which is no importable name, and its RECORD with the file's digest."""
    path = site / f"{name}_x" / "input" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part)
    (site / f"{name}_x" / "__init__.py").touch()  # Python 3.12 leaves out what a RECORD names and no one has
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(part).digest()).decode().rstrip("=")
    place = path.relative_to(site).as_posix()
    line = f"{place},sha256={digest},{len(part)}" if recorded else f"{place},,"
    (info / "RECORD").write_text(f"{line}\n{name}_x/__init__.py,,\n{info.name}/METADATA,,\n")
    return path
