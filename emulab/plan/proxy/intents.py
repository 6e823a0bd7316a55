"""What kube-proxy of a node has to bring about for each Service port, whatever the mode. Pure.

An intent says where a Service port is reached, which endpoints serve each kind of traffic from this node, and
what becomes of traffic that none serves. It is of one family of addresses: like kube-proxy, which has a proxier for
each (pkg/proxy/metaproxier), whoever plans for two has two lists of intents, a Service being in those that it has a
cluster IP of. The rules are those of kube-proxy's CategorizeEndpoints
(pkg/proxy/topology.go) and of its proxiers' common part:

* Traffic to cluster IPs is *internal*, all other *external*; each has a policy. Cluster: any ready endpoint,
  narrowed by topology hints. Local: ready endpoints of this node alone.
* Without a ready endpoint, those that serve while they terminate are used (KEP-1669), for each policy apart.
* Without any usable endpoint in the cluster, traffic is rejected; without one for its policy alone, dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.kinds.core.kuberouterservice import asked_of_proxies
from emulab.kinds.core.serviceview import Service, ServicePort, ingress_ips, is_proxied
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress, IPNetwork, parse_address
from emulab.model.families import Family, of_family
from emulab.model.objects import Object

ZONE_LABEL = "topology.kubernetes.io/zone"


class ProxiedEndpoint(NamedTuple):
    """An endpoint as a proxy sees it."""

    address: IPAddress
    port: int
    node: str
    ready: bool
    serving: bool
    terminating: bool
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]

    @property
    def target(self) -> tuple[IPAddress, int]:
        return self.address, self.port


class Viewer(NamedTuple):
    """The node for which is asked."""

    name: str
    zone: str
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True)
class Intent:
    """One port of one Service, for one node (or for all, where nothing in it depends on the node)."""

    namespace: str
    name: str
    port: ServicePort
    cluster_ips: tuple[IPAddress, ...]
    external_ips: tuple[IPAddress, ...]
    balancer_ips: tuple[IPAddress, ...]  # status.loadBalancer.ingress with ipMode VIP (KEP-1860)
    source_ranges: tuple[IPNetwork, ...]  # for balancer_ips; what of the node's own is let in, too
    node_port: int  # 0: none
    internal_local: bool
    external_local: bool
    affinity: int  # seconds for which a client stays with an endpoint; 0: no affinity
    cluster: tuple[ProxiedEndpoint, ...]  # for the policy Cluster
    local: tuple[ProxiedEndpoint, ...]  # for the policy Local
    has_any: bool  # whether anybody in the cluster serves it
    health_check_port: int = 0  # the Service's healthCheckNodePort, 0 for none
    asked: tuple[
        tuple[str, str], ...
    ] = ()  # the Service's annotations that are for proxies, and their values

    @property
    def protocol(self) -> str:
        """tcp, udp or sctp."""
        return self.port.protocol.lower()

    @property
    def title(self) -> str:
        """kube-proxy's name for a Service port: `namespace/name:portname`."""
        suffix = f":{self.port.name}" if self.port.name else ""
        return f"{self.namespace}/{self.name}{suffix}"

    @property
    def internal(self) -> tuple[ProxiedEndpoint, ...]:
        return self.local if self.internal_local else self.cluster

    @property
    def external(self) -> tuple[ProxiedEndpoint, ...]:
        return self.local if self.external_local else self.cluster

    @property
    def internal_verdict(self) -> str:
        """What becomes of internal traffic that nobody serves: reject, drop, or "" when somebody does."""
        return "" if self.internal else "drop" if self.has_any else "reject"

    @property
    def external_verdict(self) -> str:
        return "" if self.external else "drop" if self.has_any else "reject"

    @property
    def outside_ips(self) -> tuple[IPAddress, ...]:
        """Addresses of external traffic, those of balancers included."""
        return (*self.external_ips, *self.balancer_ips)

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.external_ips or self.balancer_ips)

    @cached_property
    def reachable(self) -> tuple[ProxiedEndpoint, ...]:
        """Every endpoint that this node may send to."""
        if not (self.cluster and self.local):
            return self.cluster or self.local  # either is in order
        return tuple(sorted({*self.cluster, *self.local}, key=_by_address))


class Candidates(NamedTuple):
    """A Service port with all its addresses and endpoints of a family, before anybody's point of view is taken."""

    service: Service
    port: ServicePort
    family: Family
    cluster_ips: tuple[IPAddress, ...]
    external_ips: tuple[IPAddress, ...]
    balancer_ips: tuple[IPAddress, ...]
    backends: tuple[ProxiedEndpoint, ...]

    @property
    def same_everywhere(self) -> bool:
        """Whether all nodes have the same intent."""
        guarded = self.balancer_ips and self.source_ranges
        hinted = any(b.zone_hints or b.node_hints for b in self.backends)
        return not (uses_local(self) or guarded or hinted)

    @property
    def source_ranges(self) -> tuple[IPNetwork, ...]:
        """Who may use the balancer's addresses. As in kube-proxy, ranges of the other family alone close nothing."""
        return of_family(self.service.load_balancer_source_ranges, self.family)


def viewer(node: Object) -> Viewer:
    """A Node object's point of view."""
    return Viewer(node.name, node.labels.get(ZONE_LABEL, ""), underlay_addresses(node))


def service_candidates(o: Object, slices: Iterable[EndpointSlice], family: Family) -> list[Candidates]:
    """The ports of one Service, with all that it claims and its endpoints, of a family.

    None of a Service that isn't proxied, or has no cluster IP of the family: no proxier of that family knows it then
    (pkg/proxy/servicechangetracker.go).
    """
    service = Service.of(o)
    cluster_ips = of_family(service.cluster_ips, family)
    if not is_proxied(o) or not cluster_ips:
        return []
    balanced = ingress_ips(o, proxied=False) if service.type == "LoadBalancer" else []
    balancer_ips = of_family(map(parse_address, balanced), family)
    external_ips = of_family(service.external_ips, family)
    own = [view for view in slices if view.address_type == family.name and view.proxied]
    return [
        Candidates(service, port, family, cluster_ips, external_ips, balancer_ips, backends(own, port))
        for port in service.ports
    ]


def backends(slices: Iterable[EndpointSlice], port: ServicePort) -> tuple[ProxiedEndpoint, ...]:
    """The endpoints of a Service port.

    Of one that two slices have, that counts which doesn't terminate: its address is another pod's already. Of two that
    don't, kube-proxy takes the one that it sees last; here it is one that is ready.
    """
    found: dict[tuple[IPAddress, int], ProxiedEndpoint] = {}
    for view in slices:
        if view.address_type == "FQDN":
            continue
        for number in view.ports:
            if (number.name, number.protocol) != (port.name, port.protocol) or not number.port:
                continue
            for e in view.endpoints:
                if not e.addresses:
                    continue
                # The first address stands for the endpoint (EndpointSlice API: all others are to be ignored).
                backend = ProxiedEndpoint(
                    *(
                        parse_address(e.addresses[0]),
                        number.port,
                        e.node_name,
                        e.ready,
                        e.serving,
                        e.terminating,
                    ),
                    *(e.zone_hints, e.node_hints),
                )
                known = found.get(backend.target)
                if known is None or _rank(backend) < _rank(known):
                    found[backend.target] = backend
    return tuple(sorted(found.values(), key=_by_address))


def _rank(backend: ProxiedEndpoint) -> tuple[bool, bool]:
    return backend.terminating, not backend.ready


def _by_address(backend: ProxiedEndpoint) -> tuple[int, IPAddress, int]:
    return backend.address.version, backend.address, backend.port


def intents(all_candidates: Iterable[Candidates], nodes: Sequence[Viewer]) -> dict[str, tuple[Intent, ...]]:
    """The intents of each node. What is the same on all nodes is one value, shared; so is the whole, then."""
    given = list(all_candidates)
    if not nodes:
        return {}
    common = [intent(c, nodes[0]) if c.same_everywhere else None for c in given]
    if None not in common:
        shared = tuple(one for one in common if one is not None)
        return {node.name: shared for node in nodes}
    return {
        node.name: tuple(one or intent(c, node) for one, c in zip(common, given, strict=True))
        for node in nodes
    }


def intent(c: Candidates, node: Viewer) -> Intent:
    """A Service port as a node sees it."""
    service, port = c.service, c.port
    cluster = _cluster(c.backends, node) if _uses_cluster(c) else ()
    local: tuple[ProxiedEndpoint, ...] = ()
    has_any = bool(cluster)
    if uses_local(c):
        has_any = has_any or any(b.ready or (b.serving and b.terminating) for b in c.backends)
        local = usable([b for b in c.backends if b.node == node.name])
    return Intent(
        namespace=service.namespace,
        name=service.name,
        port=port,
        cluster_ips=c.cluster_ips,
        external_ips=c.external_ips,
        balancer_ips=c.balancer_ips,
        source_ranges=_source_ranges(c, node),
        node_port=port.node_port,
        internal_local=service.internal_traffic_policy == "Local",
        external_local=service.external_traffic_policy == "Local",
        affinity=service.affinity_timeout if service.session_affinity == "ClientIP" else 0,
        cluster=cluster,
        local=local,
        has_any=has_any,
        health_check_port=service.health_check_node_port,
        asked=asked_of_proxies(service.annotations) if service.annotations else (),
    )


def _source_ranges(c: Candidates, node: Viewer) -> tuple[IPNetwork, ...]:
    """Who may use the balancer's addresses on a node.

    Where the node may, so may the addresses themselves: one that is local to the node is the source of what the node
    sends there.
    """
    ranges = c.source_ranges
    if any(address in r for r in ranges for address in of_family(node.addresses, c.family)):
        ranges += tuple(map(c.family.host, c.balancer_ips))
    return ranges


def _accessible(c: Candidates) -> bool:
    return bool(c.port.node_port or c.external_ips or c.balancer_ips)


def _uses_cluster(c: Candidates) -> bool:
    """Whether any traffic goes to all endpoints. Pods' own traffic to external addresses does whatever the
    policy says, so a Service that is only internal and Local is the one that doesn't."""
    return c.service.internal_traffic_policy != "Local" or _accessible(c)


def uses_local(c: Candidates) -> bool:
    external = c.service.external_traffic_policy == "Local" and _accessible(c)
    return c.service.internal_traffic_policy == "Local" or external


def usable(given: Sequence[ProxiedEndpoint]) -> tuple[ProxiedEndpoint, ...]:
    """The ready ones, else those that serve while they terminate (KEP-1669)."""
    ready = tuple(b for b in given if b.ready)
    return ready or tuple(b for b in given if b.serving and b.terminating)


def _cluster(backends: Sequence[ProxiedEndpoint], node: Viewer) -> tuple[ProxiedEndpoint, ...]:
    """Ready endpoints of the cluster, narrowed by hints (KEP-2433, KEP-3015).

    Hints count when every ready endpoint has one and one is meant for this node, or else for its zone.
    """
    ready = [b for b in backends if b.ready]
    if not ready:
        return usable(backends)
    if all(b.node_hints for b in ready):
        meant = tuple(b for b in ready if node.name in b.node_hints)
        if meant:
            return meant
    if all(b.zone_hints for b in ready):
        meant = tuple(b for b in ready if node.zone and node.zone in b.zone_hints)
        if meant:
            return meant
    return tuple(ready)
