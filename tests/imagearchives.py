"""Small images, and archives of them in all the forms that there are. Some are of nobody's good will."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emulab.kernel.layers.streams import Hashed
from emulab.lab.images.platforms import here

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def file(name: str, text: str | bytes = "", mode: int = 0o644, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.REGTYPE, text, mode=mode, **more)


def folder(name: str, mode: int = 0o755, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.DIRTYPE, mode=mode, **more)


def link(name: str, target: str, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.SYMTYPE, linkname=target, mode=0o777, **more)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.LNKTYPE, linkname=target)


def device(
    name: str, major: int = 1, minor: int = 3, kind: bytes = tarfile.CHRTYPE
) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind, devmajor=major, devminor=minor)


def member(name: str, kind: bytes, text: str | bytes = "", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    body = text.encode() if isinstance(text, str) else text
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(body), 1_700_000_000
    for field, value in more.items():
        setattr(info, field, value)
    return info, body


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An uncompressed layer."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return written.getvalue()


def digest(data: bytes) -> str:
    hashed = Hashed(io.BytesIO(data))
    hashed.drain()
    assert hashed.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return hashed.digest


class Image:
    """An image of layers, the lowest first. `config`: what containers of it get, in the words of the OCI."""

    def __init__(self, *layers: bytes, platform: tuple[str, str] | None = None, **config: Any) -> None:
        self.layers = layers
        system, machine = platform or (here().system, here().machine)
        self.config = json.dumps(
            {
                "os": system,
                "architecture": machine,
                "created": "2026-01-02T03:04:05Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
            }
        ).encode()

    @property
    def id(self) -> str:
        return digest(self.config)

    def blobs(self, pack: Any = gzip.compress) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Everything of it by digest, and the descriptor of its manifest."""
        packed = [pack(one) for one in self.layers]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(CONFIG, self.config),
                "layers": [described(LAYER, one) for one in packed],
            }
        ).encode()
        return {digest(one): one for one in (self.config, manifest, *packed)}, described(MANIFEST, manifest)


def described(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def oci(
    images: Mapping[str, Image] | Iterable[tuple[dict[str, Any], Image]], pack: Any = gzip.compress
) -> dict[str, bytes]:
    """The files of an OCI layout with images by name, or each with the rest of its descriptor."""
    pairs = images.items() if isinstance(images, Mapping) else images
    files, manifests = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}, []
    for name, image in pairs:
        blobs, descriptor = image.blobs(pack)
        files |= {f"blobs/{key.replace(':', '/')}": data for key, data in blobs.items()}
        more = {"annotations": {"org.opencontainers.image.ref.name": name}} if isinstance(name, str) else name
        manifests.append({**descriptor, **more})
    files["index.json"] = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    ).encode()
    return files


def docker(names: list[str] | None, image: Image) -> dict[str, bytes]:
    """The files of what `docker save` wrote before version 25."""
    config = f"{image.id.removeprefix('sha256:')}.json"
    layers = {f"{digest(one)[7:]}/layer.tar": one for one in image.layers}
    manifest = [{"Config": config, "RepoTags": names, "Layers": list(layers)}]
    return {config: image.config, **layers, "manifest.json": json.dumps(manifest).encode()}


def archive(files: Mapping[str, bytes]) -> bytes:
    return layer(*(file(name, data) for name, data in files.items()))


def spread(files: Mapping[str, bytes], where: Path) -> Path:
    """The files as a folder."""
    for name, data in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(data)
    return where


def programs(*names: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Programs of this machine, with the libraries that they load, where an image would have them."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for name in names:
        path = shutil.which(name)
        assert path is not None, f"{name} isn't on this machine"
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        libraries = re.findall(r"(/[^\s()]+)", listed)
        members[f"bin/{name}"] = file(f"bin/{name}", Path(path).read_bytes(), 0o755)
        for library in libraries:
            members[library] = file(library[1:], Path(library).read_bytes(), 0o755)
    return list(members.values())
