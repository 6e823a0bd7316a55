"""What the tests of the model share: manifests made from specs, and the problems found in them."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest

from emulab.cluster.admission.loader import Manifest, load
from emulab.errors import ManifestError
from emulab.kinds.registry import KINDS
from emulab.model.objects import Object
from emulab.model.sources import Source

CONTAINER: dict[str, Any] = {"name": "web", "image": "web:1"}
POD: dict[str, Any] = {"containers": [CONTAINER]}
WORKLOAD: dict[str, Any] = {
    "selector": {"matchLabels": {"app": "web"}},
    "template": {"metadata": {"labels": {"app": "web"}}, "spec": POD},
}
SERVICE: dict[str, Any] = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
BACKEND: dict[str, Any] = {"service": {"name": "web", "port": {"number": 80}}}


def manifest(text: str, name: str = "shop.yaml") -> Manifest:
    return load([Source(name, text)])


def problems(text: str, name: str = "shop.yaml") -> list[str]:
    """The problems of a text, of which there must be some."""
    with pytest.raises(ManifestError) as raised:
        manifest(text, name)
    return raised.value.problems


def described(kind: str, spec: Any = None, name: str = "web", **fields: Any) -> dict[str, Any]:
    """An object of the kind, in its apiVersion."""
    raw = {"apiVersion": KINDS.named(kind).api_version, "kind": kind, "metadata": {"name": name}, **fields}
    return raw if spec is None else {**raw, "spec": spec}


def stream(*objects: dict[str, Any]) -> str:
    """The objects as YAML documents, one a line."""
    return "\n---\n".join(json.dumps(o) for o in objects)


def accepted(*objects: dict[str, Any]) -> list[Object]:
    return list(manifest(stream(*objects)).objects)


def refused(*objects: dict[str, Any]) -> list[str]:
    """The problems of the objects, each without its position and without the Kind/name before the path."""
    return [re.sub(r"^\S+: [^ :]+:? ", "", problem) for problem in problems(stream(*objects))]


def warned(*objects: dict[str, Any]) -> list[str]:
    return [line.split(": ", 1)[1] for line in manifest(stream(*objects)).warnings]


def patched(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `base` with the value at a dotted path replaced; list items are numbers."""
    copy = deepcopy(base)
    steps: list[Any] = [int(step) if step.isdigit() else step for step in path.split(".")]
    inner: Any = copy
    for step, following in pairwise(steps):
        if isinstance(inner, dict):
            inner = inner.setdefault(step, [] if isinstance(following, int) else {})
        else:
            if step == len(inner):
                inner.append({})
            inner = inner[step]
    if isinstance(inner, list) and steps[-1] == len(inner):
        inner.append(value)
    else:
        inner[steps[-1]] = value
    return copy
