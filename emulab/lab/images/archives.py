"""Finding the images in an archive: an OCI layout, or what `docker save` writes, of one platform or several.

The forms are those of the OCI image specification (index, manifest, image layout) and of Docker's image specification
v1.2 (manifest.json). An archive may be both; the OCI's says more. Everything that says its digest is checked by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kernel.layers.streams import ArchiveError
from emulab.lab.images.configs import ImageConfig
from emulab.lab.images.files import Files, blob_name, read_text
from emulab.lab.images.platforms import Platform, here
from emulab.model.imagenames import image_name

_FULL_NAME, _REF_NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"
_CONFIGS = ("", "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_ID = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")
_TAG_ALONE = re.compile(r"latest|v?[0-9][\w.-]*")
"""Of the names in OCI layouts: some write a tag there, as the specification has it, others the image's name."""
_DEEPEST = 4  # indices of indices
_MANIFESTS = 1000
_LAYERS = 127  # as many as Docker lets images have


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """Where a layer's archive is among the files, and what it is: `diff` is the digest of what it unpacks from."""

    name: str
    digest: str
    diff: str


@dataclass(frozen=True, slots=True)
class FoundImage:
    """`id` is the digest of its configuration, `digest` that of its manifest, which Docker's archives don't have.

    `tag`: the archive gives no repository, but a tag of one.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    tag: str
    config: ImageConfig
    raw: bytes  # the configuration as it is
    layers: tuple[LayerBlob, ...]


def images_in(files: Files) -> list[FoundImage]:
    """The images of an archive that this machine can run. Raises ArchiveError when there is none."""
    others: dict[str, None] = {}
    if _has(files, "index.json"):
        found = list(_of_index(files, others))
        if found or not _has(files, "manifest.json"):
            return _some(found, others)
    if not _has(files, "manifest.json"):
        raise ArchiveError(
            "it is neither an OCI layout nor a Docker archive: it has no index.json and no manifest.json"
        )
    return _some(list(_of_docker(files, others)), others)


def _some(found: list[FoundImage], others: Mapping[str, None]) -> list[FoundImage]:
    if not found:
        what = f"images for {', '.join(others)} alone, and this machine is {here()}" if others else "no image"
        raise ArchiveError(f"it has {what}")
    return found


def _has(files: Files, name: str) -> bool:
    try:
        files.open(name).close()
    except KeyError:
        return False
    return True


# of the OCI


def _of_index(files: Files, others: dict[str, None]) -> Iterator[FoundImage]:
    for descriptor in _manifests(_json(read_text(files, "index.json"), "index.json")):
        names, tag = _names(descriptor)
        manifest = _chosen(files, descriptor, others, 0)
        if manifest is not None:
            yield _image(*manifest, names, tag)


def _names(descriptor: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    annotations = descriptor.get("annotations")
    given = annotations if isinstance(annotations, dict) else {}
    full, ref = given.get(_FULL_NAME), given.get(_REF_NAME)
    if isinstance(full, str) and full:
        return (in_full(full),), ""
    if isinstance(ref, str) and ref:
        return ((), ref) if _TAG_ALONE.fullmatch(ref) else ((in_full(ref),), "")
    return (), ""


PlatformManifest = tuple[str, Mapping[str, Any], bytes, ImageConfig]
"""A manifest's digest and text, and the image's configuration, as it is and as it is understood."""


def _chosen(
    files: Files, descriptor: Mapping[str, Any], others: dict[str, None], depth: int
) -> PlatformManifest | None:
    """The manifest that is for this machine, of those that a descriptor leads to."""
    said = descriptor.get("platform")
    platform = Platform.of(said) if isinstance(said, dict) else None
    if platform is not None and not here().runs(platform):
        if platform.system != "unknown":  # an attestation
            others[str(platform)] = None
        return None
    digest = descriptor.get("digest")
    text = _json(read_text(files, blob_name(digest), str(digest)), f"the manifest {digest}")
    if "manifests" in text:
        if depth == _DEEPEST:
            raise ArchiveError("its indices lead to indices without an end")
        inner = [_chosen(files, one, others, depth + 1) for one in _of_variants(_manifests(text))]
        return next((one for one in inner if one is not None), None)
    config = text.get("config")
    if not isinstance(config, dict) or config.get("mediaType", "") not in _CONFIGS:
        return None  # an artifact, which isn't run
    raw = read_text(files, blob_name(config.get("digest")), str(config.get("digest")))
    read = ImageConfig.of(_json(raw, "its configuration"))
    if not here().runs(read.platform):
        others[str(read.platform)] = None
        return None
    return str(digest), text, raw, read


def _of_variants(descriptors: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest variant of a machine first."""

    def variant(descriptor: Mapping[str, Any]) -> str:
        said = descriptor.get("platform")
        return Platform.of(said).variant if isinstance(said, dict) else ""

    return sorted(descriptors, key=variant, reverse=True)


def _image(
    digest: str,
    manifest: Mapping[str, Any],
    raw: bytes,
    config: ImageConfig,
    names: tuple[str, ...],
    tag: str,
) -> FoundImage:
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not all(isinstance(one, dict) for one in layers):
        raise ArchiveError(f"the manifest {digest} has no list of layers")
    blobs = [(blob_name(one.get("digest")), str(one.get("digest"))) for one in layers]
    return FoundImage(
        str(manifest["config"]["digest"]), digest, names, tag, config, raw, _layers(blobs, config)
    )


def _manifests(index: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = index.get("manifests")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ArchiveError("its index has no list of manifests")
    if len(found) > _MANIFESTS:
        raise ArchiveError(f"its index has more than {_MANIFESTS} manifests")
    return found


# of Docker


def _of_docker(files: Files, others: dict[str, None]) -> Iterator[FoundImage]:
    listed = _json(read_text(files, "manifest.json"), "manifest.json", list)
    for entry in listed[:_MANIFESTS]:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise ArchiveError("its manifest.json names no Config")
        stem = _ID.fullmatch(entry["Config"])
        raw = read_text(files, entry["Config"], f"sha256:{stem[1]}" if stem else "")
        config = ImageConfig.of(_json(raw, entry["Config"]))
        tags, layers = entry.get("RepoTags") or [], entry.get("Layers") or []
        if not all(isinstance(text, str) for text in (*tags, *layers)):
            raise ArchiveError("its manifest.json has names that are no texts")
        if here().runs(config.platform):
            names = tuple(in_full(tag) for tag in tags)
            blobs = _layers([(one, "") for one in layers], config)
            yield FoundImage(_digest(raw), "", names, "", config, raw, blobs)
        else:
            others[str(config.platform)] = None


# of both


def _layers(blobs: list[tuple[str, str]], config: ImageConfig) -> tuple[LayerBlob, ...]:
    if len(blobs) > _LAYERS:
        raise ArchiveError(f"an image of it has {len(blobs)} layers; {_LAYERS} are the most")
    if len(blobs) != len(config.layers):
        raise ArchiveError(f"its manifest has {len(blobs)} layers, its configuration {len(config.layers)}")
    for diff in config.layers:
        blob_name(diff)  # refuses what is no digest
    return tuple(LayerBlob(*blob, diff) for blob, diff in zip(blobs, config.layers, strict=True))


def in_full(given: str) -> str:
    """The name by which an image is kept. Raises ArchiveError for what is none."""
    name = image_name(given)
    if name is None or not name.tag:
        raise ArchiveError(f"{given!r} is no name and tag of an image; --name gives another one")
    return name.tagged


def _json(data: bytes, what: str, kind: type = dict) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ArchiveError(f"{what} is no JSON") from None
    if not isinstance(found, kind):
        raise ArchiveError(f"{what} isn't what it should be")
    return found


def _digest(data: bytes) -> str:
    import hashlib  # of Docker's archives alone

    return f"sha256:{hashlib.sha256(data).hexdigest()}"
