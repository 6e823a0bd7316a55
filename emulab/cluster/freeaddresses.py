"""Which addresses outside of the cluster somebody has, and which are free."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from emulab.errors import UserError
from emulab.kinds.core.servicefamilies import families_for
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.kind import ADDRESSED
from emulab.kinds.registry import KINDS, LOAD_BALANCER, SERVICE
from emulab.kinds.underlay import replica_addresses, underlay_address, underlay_addresses
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.collection import Objects
from emulab.model.families import Families
from emulab.model.objects import Object

_MOST = 1 << 16  # addresses of a network that are given out of


def first_free(network: IPNetwork, start: int, used: Collection[IPAddress], who: str) -> IPAddress:
    """The first address of a network from a place on that nobody has. Raises UserError."""
    for index in range(start, min(network.num_addresses, _MOST) - 1):
        address = network[index]
        if address not in used:
            return address
    raise UserError(f"{who}: no address is left in {network}")


def underlay_taken(objects: Objects, cluster: Cluster) -> set[IPAddress]:
    """Every underlay address that somebody has or asks for."""
    used = {address for underlay in cluster.underlays for address in underlay.fixed}
    for kind in KINDS.of(ADDRESSED):
        used.update(a for o in objects.kind(kind) for a in underlay_addresses(o))
    for kind in (LOAD_BALANCER, SERVICE):
        used.update(a for o in objects.kind(kind) for own in replica_addresses(o) for a in own)
    for o in objects.kind(LOAD_BALANCER):
        asked = LoadBalancer.of(o).address
        if asked is not None:
            used.add(asked)
    return used


def service_families(spec: Mapping[str, Any], cluster: Cluster) -> Families:
    """The families of a Service's addresses. One that the cluster hasn't is left out; admission tells of it."""
    names = families_for(spec, [family.name for family in cluster.families])
    return tuple(family for name in names for family in cluster.families if family.name == name)


def unplaced(o: Object) -> Object | None:
    """A Client or LoadBalancer that has no address yet."""
    return o if underlay_address(o) is None else None
