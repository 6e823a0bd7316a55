"""What a lab has that a fault can be put at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from emulab.kinds.registry import CLIENT, LOAD_BALANCER, NODE, RESOLVER

if TYPE_CHECKING:
    from emulab.model.collection import Objects
    from emulab.model.objects import Object

NODE_TARGET, ZONE_TARGET, PLACE_TARGET = "node", "zone", "place"
"""What a fault is put at: a node, all nodes of a zone, or whatever has a cable of its own."""

_ALWAYS = ("dns", "resolver", "router")
_ZONE = "topology.kubernetes.io/zone"


class Scene(NamedTuple):
    """The nodes with their zones, and the other places that have a cable."""

    nodes: Mapping[str, str]
    places: tuple[str, ...] = ()

    @staticmethod
    def of(objects: Objects) -> Scene:
        others = [o for kind in (CLIENT, LOAD_BALANCER, RESOLVER) for o in objects.kind(kind)]
        return Scene.of_objects(objects.kind(NODE), others)

    @staticmethod
    def of_objects(nodes: Iterable[Object], others: Iterable[Object]) -> Scene:
        """`others`: objects that are places with a cable."""
        zones = {o.name: str((o.metadata.get("labels") or {}).get(_ZONE) or "") for o in nodes}
        return Scene(zones, tuple(sorted({*(o.name for o in others), *_ALWAYS})))

    def targets(self, kind: str) -> list[str]:
        """What a fault may be put at that wants such a target."""
        if kind == ZONE_TARGET:
            return sorted({zone for zone in self.nodes.values() if zone})
        return sorted(self.nodes) if kind == NODE_TARGET else sorted([*self.nodes, *self.places])

    def zone(self, name: str) -> list[str]:
        """The nodes of a zone."""
        return sorted(node for node, zone in self.nodes.items() if zone == name)

    def drawn(self, kind: str, seed: int, name: str) -> str:
        """One of the targets, by seed: the same one for the same lab; "" where there is none."""
        known = self.targets(kind)
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        return known[int.from_bytes(digest[:4]) % len(known)] if known else ""
