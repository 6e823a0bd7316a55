"""What the arguments of `@pytest.mark.emulab` mean: manifests, and the proxy modes to run them in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from emulab.errors import UserError
from emulab.plan.proxy.modes import MODES

Given = tuple[str, str]
"""A manifest's name and text."""


def modes(asked: str | Sequence[str]) -> list[str]:
    """The proxy modes that are asked for; `all` stands for all. Raises UserError."""
    names = list(MODES) if asked == "all" else [asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in MODES:
            raise UserError(f"proxy={name!r}: the modes are {', '.join(MODES)}, or 'all'")
    return names


def read(given: Sequence[object], folder: Path, proxy: str) -> list[Given]:
    """The manifests of a marker: paths from `folder`, YAML texts, objects as dicts. Raises UserError."""
    found: list[Given] = []
    for i, manifest in enumerate(given, 1):
        if isinstance(manifest, Mapping):
            found.append((f"marker-{i}", json.dumps(manifest)))
        elif isinstance(manifest, str) and any(mark in manifest for mark in ("\n", ": ", "{")):
            found.append((f"marker-{i}", manifest))
        elif isinstance(manifest, str | Path):
            found += _files(folder / manifest)
        else:
            raise UserError(f"the marker's manifest {manifest!r} is no path, YAML text or dict")
    return _in_mode(found, proxy) if proxy else found


def _files(path: Path) -> list[Given]:
    from emulab.model.sources import read_sources

    return [(source.name, source.text) for source in read_sources([path])]


def _in_mode(given: Sequence[Given], mode: str) -> list[Given]:
    """These manifests with this proxy mode: their Cluster gets it, and there is one if there was none."""
    from emulab.cluster.admission.loader import load
    from emulab.model.sources import Source
    from emulab.twins.axes import PROXY
    from emulab.twins.running import manifest

    objects = load([Source(name, text) for name, text in given]).objects if given else []
    return [("marker", manifest(objects, PROXY, mode))]
