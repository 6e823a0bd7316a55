"""What looks odd in a Pod's spec, or in a template's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object


def oddities(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Of the spec that stands at `base` of an object."""
    node = spec.get("nodeName")
    if node and node not in world.nodes:
        yield Finding(o, (*base, "nodeName"), f"there is no node {node}")
    for index, container in enumerate(spec["containers"]):
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if "grpc" in (container.get(probe) or ()):
                path = (*base, "containers", index, probe, "grpc")
                yield Finding(o, path, "is run as a TCP connection to its port")
