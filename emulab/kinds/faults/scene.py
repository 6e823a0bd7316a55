"""What a lab has that a fault can be put at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from emulab.kinds.kind import PLACE
from emulab.kinds.registry import KINDS, NODE

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
        return Scene.of_objects(o for kind in KINDS.of(PLACE) for o in objects.kind(kind))

    @staticmethod
    def of_objects(places: Iterable[Object]) -> Scene:
        """`places`: the objects that are places with a cable, nodes among them."""
        zones, others = dict[str, str](), set(_ALWAYS)
        for o in places:
            if o.type == NODE:
                zones[o.name] = str((o.metadata.get("labels") or {}).get(_ZONE) or "")
            else:
                others.add(o.name)
        return Scene(zones, tuple(sorted(others)))

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
