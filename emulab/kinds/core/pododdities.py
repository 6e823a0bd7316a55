"""What looks odd in a Pod's spec, or in a template's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_NAMESERVERS = 3


def oddities(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Of the spec that stands at `base` of an object."""
    node = spec.get("nodeName")
    if node and node not in world.nodes:
        yield Finding(o, (*base, "nodeName"), f"there is no node {node}")
    yield from _left_out(o, base, spec)
    for index, container in enumerate(spec["containers"]):
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if "grpc" in (container.get(probe) or ()):
                path = (*base, "containers", index, probe, "grpc")
                yield Finding(o, path, "is run as a TCP connection to its port")


def _left_out(o: Object, base: FieldPath, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Name servers for which a resolv.conf has no line left behind the kubelet's own (`DNSConfigForming`)."""
    servers = (spec.get("dnsConfig") or {}).get("nameservers") or ()
    own = 0 if spec.get("dnsPolicy") == "None" else 1
    if len(servers) + own > _NAMESERVERS:
        path = (*base, "dnsConfig", "nameservers", _NAMESERVERS - own)
        yield Finding(
            o, path, "is left out: the kubelet writes three name servers, of which its own is the first"
        )
