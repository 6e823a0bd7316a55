"""A small image as `docker save` writes one: programs of this machine, with the libraries that they load."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from emulab.lab.images.platforms import here


def build(name: str, *programs: str) -> bytes:
    """An archive of an image of that name, whose program is the first of these. Exits when one isn't here."""
    layer = _layer(programs)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps(
        {
            "os": here().system,
            "architecture": here().machine,
            "config": {"Entrypoint": [f"/bin/{programs[0]}"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    )
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}])
    files = {"config.json": config.encode(), "layer.tar": layer, "manifest.json": manifest.encode()}
    return _tar({path: (content, 0o644) for path, content in files.items()})


def _layer(programs: tuple[str, ...]) -> bytes:
    files: dict[str, tuple[bytes, int]] = {}
    for program in programs:
        path = shutil.which(program) or sys.exit(f"bench: {program} isn't on this machine")
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        files[f"bin/{program}"] = Path(path).read_bytes(), 0o755
        for library in re.findall(r"(/[^\s()]+)", listed):
            files[library[1:]] = Path(library).read_bytes(), 0o755
    return _tar(files)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for path, (content, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()
