"""Whose an address is, and what of which Service it stands for: labs are compared in these words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import NamedTuple

from emulab.kinds.apps.givenlabels import HASH_LABEL
from emulab.kinds.core.serviceview import Service, ingress_ips, is_proxied
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import engine_of
from emulab.kinds.registry import NODE, POD, SERVICE
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.twins.asks import Ask

ITSELF = "itself"

CLUSTER_IP, NODE_PORT, OUTSIDE = "cluster IP", "node port", "external address"
UNUSED_PORT, UNUSED_ADDRESS, ELSEWHERE = "port that no Service has", "address that no Service has", ""


class Situation(NamedTuple):
    """What a request is about, which is the same in every mode."""

    reaches: str = ELSEWHERE  # one of the above
    sticky: bool = False  # sessionAffinity: one client gets one endpoint, whichever
    local: bool = False  # externalTrafficPolicy Local, at an address that it is about
    inside: bool = False  # internalTrafficPolicy Local, at a cluster IP
    of_node: bool = False  # a node asks, not a pod and nobody outside


def _name(pod: Object) -> str:
    """Of a Pod; the ingress controller's, whose image names its engine and so whose hash is another in each lab, has
    its Deployment's."""
    hashed = pod.labels.get(HASH_LABEL, "")
    deployment = pod.name.rpartition(f"-{hashed}-")[0]
    if deployment and any(engine_of(str(one.get("image"))) for one in pod.spec.get("containers") or ()):
        return f"deployment/{pod.namespace}/{deployment}"
    return f"pod/{pod.namespace}/{pod.name}"


class Owners:
    """Whose the addresses of one lab are."""

    def __init__(self, objects: Objects, places: Mapping[str, Sequence[str]]) -> None:
        """`places`: the addresses of each, pods being NAMESPACE.NAME."""
        pods = {f"{p.namespace}.{p.name}": _name(p) for p in objects.kind(POD)}
        nodes = {o.name: o for o in objects.kind(NODE)}
        self._names = {a: pods.get(place, place) for place, addresses in places.items() for a in addresses}
        for name in nodes.keys() & places.keys():  # pods in a node's own network have its address, too
            self._names |= dict.fromkeys(places[name], f"node/{name}")
        # What a node's masquerading shows of it: its end of the overlay, or the gateway of its pods.
        for name, node in nodes.items():
            for cidr in node.spec.get("podCIDRs") or ():
                for address in islice(ip_network(cidr), 2):
                    self._names.setdefault(str(address), f"node/{name}")

    def whose(self, address: str, asker: str = "") -> str:
        """`itself` for the asker's own address, `node/NAME`, `pod/NAMESPACE/NAME` (see `_name`), a place or
        the address."""
        owner = self._names.get(address, address)
        return ITSELF if asker and owner == self._names.get(asker, asker) else owner


class Frontends:
    """Which Service is at which address and port."""

    def __init__(self, objects: Objects, cluster: Cluster) -> None:
        self._services = cluster.service_cidrs
        self._nodes = {str(o.status.get("address")) for o in objects.kind(NODE)}
        self._node_names = {o.name for o in objects.kind(NODE)}
        self._cluster_ips: set[str] = set()
        self._known: dict[tuple[str, str, int], Situation] = {}
        for o in filter(is_proxied, objects.kind(SERVICE)):  # nobody has others' addresses
            service = Service.of(o)
            sticky = service.session_affinity == "ClientIP"
            local = service.external_traffic_policy == "Local"
            outside = [*map(str, service.external_ips), *ingress_ips(o)]
            self._cluster_ips.update(map(str, service.cluster_ips))
            for port in service.ports:
                inside = service.internal_traffic_policy == "Local"
                internal, external = (
                    Situation(CLUSTER_IP, sticky, inside=inside),
                    Situation(OUTSIDE, sticky, local),
                )
                self._add_frontends(map(str, service.cluster_ips), port.protocol, port.port, internal)
                self._add_frontends(outside, port.protocol, port.port, external)
                if port.node_port:
                    at_node = Situation(NODE_PORT, sticky, local)
                    self._add_frontends(self._nodes, port.protocol, port.node_port, at_node)

    def _add_frontends(
        self, addresses: Iterable[str], protocol: str, port: int, situation: Situation
    ) -> None:
        for address in addresses:  # the first Service that claims one has it (`emulab.plan.proxy.intents`)
            self._known.setdefault((address, protocol, port), situation)

    def situation(self, ask: Ask, address: str) -> Situation:
        """What the request is about whose name resolves to `address` ("" if it doesn't)."""
        protocol = "UDP" if ask.target.protocol == "udp" else "TCP"
        known = self._known.get((address, protocol, ask.target.port))
        if known:
            return known._replace(of_node=ask.source in self._node_names)
        if not address:
            return Situation()
        if address in self._cluster_ips:
            return Situation(UNUSED_PORT)
        if any(ip_address(address) in network for network in self._services):
            return Situation(UNUSED_ADDRESS)
        return Situation()
