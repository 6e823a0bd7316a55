"""The nodes of balancers that have several: an own address for each, and a name. Pure.

`status.address` is the balancer's all the same: it is that of whichever node is active.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emulab.cluster.freeaddresses import first_free, underlay_taken
from emulab.kinds.emulab.balancerplaces import balancer_place, balancing_of, replica_place, replicas_of
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import LOAD_BALANCER, SERVICE
from emulab.kinds.underlay import underlay_addresses
from emulab.model.collection import Change, Objects, PutStatus
from emulab.model.families import families_of
from emulab.model.objects import Object


def replica_changes(objects: Objects, cluster: Cluster) -> list[Change]:
    """Nodes for balancers that lack them, and none for those that shall have none."""
    several = [o for kind in (LOAD_BALANCER, SERVICE) for o in objects.facts(kind, _several).values()]
    used = None
    changes: list[Change] = []
    for o in several:
        wanted, there = replicas_of(balancing_of(o), cluster), len(o.status.get("replicas") or ())
        if wanted == 1 and there:
            changes.append(PutStatus(o.key, {k: v for k, v in o.status.items() if k != "replicas"}))
        elif wanted > 1 and there != wanted and o.status.get("address"):
            used = used if used is not None else underlay_taken(objects, cluster)
            nodes = list(_nodes(o, wanted, used, cluster))
            changes.append(PutStatus(o.key, {**o.status, "replicas": nodes}))
    return changes


def _several(o: Object) -> Object | None:
    """A balancer that may have several nodes; whether it has is the Cluster's affair, too."""
    balances = o.type == LOAD_BALANCER or o.spec.get("type") == "LoadBalancer"
    return o if balances and (o.status.get("address") or o.status.get("replicas")) else None


def _nodes(o: Object, wanted: int, used: set[Any], cluster: Cluster) -> Iterator[dict[str, Any]]:
    families = families_of(underlay_addresses(o))
    for number in range(1, wanted + 1):
        given = []
        for u in (cluster.underlay(family) for family in families):
            address = first_free(u.vpc, u.first_balancer, used, str(o.key))
            used.add(address)
            given.append(str(address))
        yield {"name": replica_place(balancer_place(o), number), "addresses": given}
