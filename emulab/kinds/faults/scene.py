"""What a lab has that a fault can be put at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.kind import PLACE
from emulab.kinds.registry import INGRESS, KINDS, NODE, POD, RESOLVER, SERVICE
from emulab.model.keys import GroupKind
from emulab.model.selectors import matches_labels

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup, Pods
    from emulab.model.collection import Objects
    from emulab.model.objects import Object

NODE_TARGET, ZONE_TARGET, PLACE_TARGET = "node", "zone", "place"
"""What a fault is put at: a node, all nodes of a zone, or whatever has a cable of its own."""

SERVICE_TARGET, HOST_TARGET, RESOLVER_TARGET = "service", "host", "resolver"
"""Further: a Service with the Pods that it selects (NAME, or NAMESPACE/NAME), a host of which an Ingress has TLS, and
whoever resolves names for others."""

_BROUGHT = ("kube-system", "ingress-nginx")  # of which no Service is drawn
_DEFAULT = "default"

_ALWAYS = ("dns", "resolver", "router")
_ZONE = "topology.kubernetes.io/zone"


def _names(o: Object) -> list[str]:
    """The places of an object: a balancer of two nodes has two of them."""
    nodes = [str(one["name"]) for one in o.status.get("replicas") or ()]
    second = [f"{o.name}-2"] if o.spec.get("replicas") == 2 else []
    return list(dict.fromkeys([o.name, *nodes, *second]))


ObjectsOf = Callable[[GroupKind], Iterable["Object"]]


def qualified(service: str) -> str:
    """A Service as NAMESPACE/NAME."""
    return service if "/" in service else f"{_DEFAULT}/{service}"


def pods_asked_for(service: str, world: Lookup) -> Sequence[Pods]:
    """What a Service selects of what users ask for."""
    namespace, _, name = qualified(service).partition("/")
    found = world.service(namespace, name)
    return world.selected(namespace, found.selector) if found is not None and found.selector else ()


class Scene(NamedTuple):
    """The nodes with their zones, the other places that have a cable, and all other objects, asked for by kind."""

    nodes: Mapping[str, str]
    places: tuple[str, ...] = ()
    others: ObjectsOf = lambda _: ()

    @staticmethod
    def of(objects: Objects) -> Scene:
        return Scene.of_objects((o for kind in KINDS.of(PLACE) for o in objects.kind(kind)), objects.kind)

    @staticmethod
    def of_objects(places: Iterable[Object], others: ObjectsOf = lambda _: ()) -> Scene:
        """`places`: the objects that are places with a cable, nodes among them."""
        zones, cabled = dict[str, str](), set(_ALWAYS)
        for o in places:
            if o.type == NODE:
                zones[o.name] = str((o.metadata.get("labels") or {}).get(_ZONE) or "")
            else:
                cabled.update(_names(o))
        return Scene(zones, tuple(sorted(cabled)), others)

    def targets(self, kind: str) -> list[str]:
        """What a fault may be put at that wants such a target."""
        if kind == ZONE_TARGET:
            return sorted({zone for zone in self.nodes.values() if zone})
        if kind == SERVICE_TARGET:
            return sorted(_short(o) for o in self.others(SERVICE) if o.spec.get("selector"))
        if kind == HOST_TARGET:
            tls = (tls for o in self.others(INGRESS) for tls in o.spec.get("tls") or ())
            return sorted({str(host) for one in tls for host in one.get("hosts") or ()})
        if kind == RESOLVER_TARGET:
            return sorted({OWN_RESOLVER, *(o.name for o in self.others(RESOLVER))})
        return sorted(self.nodes) if kind == NODE_TARGET else sorted([*self.nodes, *self.places])

    def has(self, kind: str, name: str) -> bool:
        """Whether a fault may be put there."""
        known = self.targets(kind)
        return name in known or (kind == SERVICE_TARGET and name.removeprefix(f"{_DEFAULT}/") in known)

    def selector(self, service: str) -> Mapping[str, str]:
        """The labels of the Pods that a Service selects; none where it isn't there."""
        namespace, _, name = qualified(service).partition("/")
        found = next((o for o in self.others(SERVICE) if (o.namespace, o.name) == (namespace, name)), None)
        return (found.spec.get("selector") if found is not None else None) or {}

    def pods(self, service: str) -> Sequence[Object]:
        """The Pods that a Service selects."""
        namespace, selector = qualified(service).partition("/")[0], self.selector(service)
        if not selector:
            return ()
        return [
            o for o in self.others(POD) if o.namespace == namespace and matches_labels(selector, o.labels)
        ]

    def zone(self, name: str) -> list[str]:
        """The nodes of a zone."""
        return sorted(node for node, zone in self.nodes.items() if zone == name)

    def drawn(self, kind: str, seed: int, name: str) -> str:
        """One of the targets, by seed: the same one for the same lab; "" where there is none."""
        known = [one for one in self.targets(kind) if one.partition("/")[0] not in _BROUGHT]
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        return known[int.from_bytes(digest[:4]) % len(known)] if known else ""


def _short(service: Object) -> str:
    return service.name if service.namespace == _DEFAULT else f"{service.namespace}/{service.name}"
