"""Where a balancer is, at how many places, and what serves it there. Pure."""

from __future__ import annotations

import hashlib

from emulab.kinds.emulab.balancing import BALANCER_ENGINES, OWN_ENGINE
from emulab.kinds.emulab.balancingview import Balancing
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.servicebalancing import service_balancing
from emulab.kinds.registry import LOAD_BALANCER
from emulab.model.objects import Object


def balancing_of(o: Object) -> Balancing:
    """How the balancer of a LoadBalancer or a Service balances."""
    return LoadBalancer.of(o).balancing if o.type == LOAD_BALANCER else service_balancing(o)


def engine_of(balancing: Balancing, cluster: Cluster) -> str:
    """The engine of a balancer; what is forwarded is the kernel's business, whatever a Cluster says of proxies."""
    return OWN_ENGINE if balancing.mode == "nat" else balancing.engine or cluster.balancer_engine


def replicas_of(balancing: Balancing, cluster: Cluster) -> int:
    """How many nodes a balancer has, of which one has its address."""
    return balancing.replicas or BALANCER_ENGINES[engine_of(balancing, cluster)].replicas


def balancer_place(o: Object) -> str:
    """The place of a LoadBalancer's or a Service's balancer."""
    return o.name if o.type == LOAD_BALANCER else service_place(o)


def service_place(service: Object) -> str:
    """The place of a LoadBalancer Service's balancer: `lb-NAMESPACE-NAME`, shortened with a hash when long."""
    name = f"lb-{service.namespace}-{service.name}"
    if len(name) <= 63 and "-" not in service.namespace:  # else two Services could have one name
        return name
    return name[:54] + "-" + hashlib.sha256(str(service.key).encode()).hexdigest()[:8]


def replica_place(place: str, number: int) -> str:
    """The place of a balancer's node: the first has the balancer's own name, the second NAME-2."""
    return place if number == 1 else f"{place}-{number}"
