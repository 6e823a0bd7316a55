"""Conflicts of what comes with what is there, at a cost that goes with what comes.

Services are the many; of everything else that can be in conflict a lab has few. So Services that were found to be
possible together are remembered, each by what no other one may have too (its addresses and node ports), and only
new ones and those that have something in common with them are looked at again. An object is never changed in
place, so one that is still the same object is still in order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from threading import Lock

from emulab.cluster.admission.conflicts import conflicts
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.kind import PLACE
from emulab.kinds.registry import CLUSTER, KINDS, SERVICE
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.keys import GroupKind
from emulab.model.objects import Object


class Newcomers:
    """What is known of one lab's objects. Thread-safe: checking thousands at once is work for a thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cluster = Cluster()
        self._known: dict[int, tuple[Object, Sequence[Hashable]]] = {}  # by identity, which each keeps alive
        self._holder: dict[Hashable, int] = {}  # there is one: two would be in conflict

    def conflicts(self, objects: Objects, given: Iterable[Object]) -> list[Finding]:
        """What `conflicts` says of `objects` with each of `given` in the place of the one that has its key."""
        with self._lock:
            return self._conflicts(objects, given)

    def _conflicts(self, objects: Objects, given: Iterable[Object]) -> list[Finding]:
        latest = {o.key: o for o in given}
        old = {id(there): o for key, o in latest.items() if (there := objects.get(key)) is not None}
        new = [o for key, o in latest.items() if objects.get(key) is None]

        def together(kind: GroupKind) -> list[Object]:
            return [old.get(id(o), o) for o in objects.kind(kind)] + [o for o in new if o.type == kind]

        few = [o for kind in (CLUSTER, *KINDS.of(PLACE)) for o in together(kind)]
        cluster = next((Cluster.of(o) for o in few if o.type == CLUSTER), Cluster())
        if cluster != self._cluster:
            self._cluster, self._known, self._holder = cluster, {}, {}
        services = {id(o): o for o in together(SERVICE)}
        for identity in self._known.keys() - services.keys():
            self._forget(identity)
        fresh = {i: tuple(_claims(services[i])) for i in services.keys() - self._known.keys()}
        near = {self._holder.get(claim) for claim in chain(*fresh.values())}
        found = conflicts([*few, *(o for i, o in services.items() if i in fresh or i in near)], cluster)
        if not found:
            for identity, claims in fresh.items():
                self._known[identity] = services[identity], claims
                self._holder.update(dict.fromkeys(claims, identity))
        return found

    def _forget(self, identity: int) -> None:
        for claim in self._known.pop(identity)[1]:
            self._holder.pop(claim, None)  # it may have claimed it twice


def _claims(o: Object) -> Iterator[Hashable]:
    """What conflicts with the same of another Service."""
    service = Service.of(o)
    yield from service.cluster_ips
    yield from (port.node_port for port in service.ports if port.node_port)
    if service.health_check_node_port:
        yield service.health_check_node_port
