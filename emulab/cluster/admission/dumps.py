"""Objects that were saved from a cluster: what of them is another cluster's is replaced, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import JOB, SERVICE
from emulab.model.findings import one_line
from emulab.model.objects import Object, Position
from emulab.model.paths import FieldPath

_SERVERS_WORD = ("uid", "resourceVersion")
"""Metadata that only an API server writes: what has it is a dump, and what it says may be the server's word."""
_ADDRESSES = ("clusterIP", "clusterIPs")
_FAMILIES = ("ipFamilies", "ipFamilyPolicy")
"""Those that a cluster gave its Services, of which another one may not have any."""


class Dumps:
    """The Services and Jobs among what is read that an API server had, with the places of what it gave them."""

    def __init__(self) -> None:
        self._places: dict[int, Position] = {}
        self._selectors: dict[int, Position] = {}

    def meet(self, number: int, raw: Mapping[str, Any], place: Callable[[FieldPath], Position]) -> None:
        """Looks at the object with that number."""
        if not any(word in raw["metadata"] for word in _SERVERS_WORD):
            return
        if raw["kind"] == SERVICE.kind:
            self._places[number] = place(("spec", "clusterIP"))
        elif (
            raw["kind"] == JOB.kind and raw["spec"].get("selector") and not raw["spec"].get("manualSelector")
        ):
            self._selectors[number] = place(("spec", "selector"))

    def adapt(self, objects: list[Object], cluster: Cluster) -> list[str]:
        """Takes from Services addresses of other clusters, and from Jobs selectors that are made of another uid than
        theirs will be. They get others then; what is to be said of it."""
        return [*self._own_selectors(objects), *self._own_addresses(objects, cluster)]

    def _own_selectors(self, objects: list[Object]) -> Iterator[str]:
        for number, position in self._selectors.items():
            o = objects[number]
            objects[number] = o.replace(spec={f: value for f, value in o.spec.items() if f != "selector"})
            why = "is made of the uid that the Job had; it gets one of its own"
            yield one_line(position, o.raw, ("spec", "selector"), why)

    def _own_addresses(self, objects: list[Object], cluster: Cluster) -> list[str]:
        told: list[str] = []
        for number, position in self._places.items():
            o = objects[number]
            foreign = [
                ip for ip in Service.of(o).cluster_ips if not any(ip in net for net in cluster.service_cidrs)
            ]
            if not foreign or o.type != SERVICE:
                continue
            known = {family.name for family in cluster.families}
            gone = (*_ADDRESSES, *(() if known.issuperset(o.spec.get("ipFamilies") or ()) else _FAMILIES))
            spec = {field: value for field, value in o.spec.items() if field not in gone}
            objects[number] = o.replace(spec=spec)
            cidrs = ",".join(map(str, cluster.service_cidrs))
            why = f"{foreign[0]} is not in serviceCIDR {cidrs}; it gets another address"
            told.append(one_line(position, o.raw, ("spec", "clusterIP"), why))
        return told
