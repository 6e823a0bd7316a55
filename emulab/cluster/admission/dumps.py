"""Objects that were saved from a cluster: what of them is another cluster's is replaced, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import SERVICE
from emulab.model.findings import one_line
from emulab.model.objects import Object, Position
from emulab.model.paths import FieldPath

_SERVERS_WORD = ("uid", "resourceVersion")
"""Metadata that only an API server writes: what has it is a dump, and what it says may be the server's word."""
_ADDRESSES = ("clusterIP", "clusterIPs")


class Dumps:
    """The Services among what is read that an API server had, with the places of their addresses."""

    def __init__(self) -> None:
        self._places: dict[int, Position] = {}

    def meet(self, number: int, raw: Mapping[str, Any], place: Callable[[FieldPath], Position]) -> None:
        """Looks at the object with that number."""
        if raw["kind"] == SERVICE.kind and any(word in raw["metadata"] for word in _SERVERS_WORD):
            self._places[number] = place(("spec", "clusterIP"))

    def adapt(self, objects: list[Object], cluster: Cluster) -> list[str]:
        """Takes addresses of other clusters from Services, which get others then; what is to be said of it."""
        told: list[str] = []
        for number, position in self._places.items():
            o = objects[number]
            foreign = [
                ip for ip in Service.of(o).cluster_ips if not any(ip in net for net in cluster.service_cidrs)
            ]
            if not foreign or o.type != SERVICE:
                continue
            spec = {field: value for field, value in o.spec.items() if field not in _ADDRESSES}
            objects[number] = o.replace(spec=spec)
            cidrs = ",".join(map(str, cluster.service_cidrs))
            why = f"{foreign[0]} is not in serviceCIDR {cidrs}; it gets another address"
            told.append(one_line(position, o.raw, ("spec", "clusterIP"), why))
        return told
