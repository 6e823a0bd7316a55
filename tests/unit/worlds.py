"""Worlds from manifests, planned without a kernel, for the tests of the planners."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any, TypeVar

from emulab.lab.offline import offline_world
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source
from emulab.plan.links import (
    Address,
    Bridge,
    ForwardingEntry,
    Ipip,
    Item,
    Neighbour,
    Route,
    TunnelVxlan,
    Veth,
    Vxlan,
    Wireguard,
)
from emulab.plan.mesh import expanded
from emulab.plan.state import Network, WireguardPeers, World

T = TypeVar("T", bound=Item)


def plan(*texts: str) -> tuple[Objects, World]:
    return offline_world([Source(f"text{i}", text) for i, text in enumerate(texts)])


def world(*texts: str) -> World:
    return plan(*texts)[1]


def items(network: Network, kind: type[T], namespace: str = "") -> list[T]:
    found = [i for i in expanded(network, namespace) if isinstance(i, kind)]
    return sorted(found, key=repr)


def links(network: Network, namespace: str) -> set[str]:
    """The names of a namespace's links."""
    found = {
        i.name
        for i in network.items
        if i.namespace == namespace and isinstance(i, Bridge | Ipip | TunnelVxlan | Veth | Vxlan | Wireguard)
    }
    return found | {i.peer for i in items(network, Veth) if i.peer_namespace == namespace}


def addresses(network: Network, namespace: str) -> set[str]:
    return {str(i.address) for i in items(network, Address, namespace)}


class Walker:
    """Where a packet goes by addresses and routes alone: no rules, the longest prefix wins."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[tuple[type[Item], str], list[Any]] = {}
        self._peer: dict[tuple[str, str], tuple[str, str]] = {}
        for v in items(network, Veth):
            self._peer[v.namespace, v.name] = (v.peer_namespace, v.peer)
            self._peer[v.peer_namespace, v.peer] = (v.namespace, v.name)
        self._bridged = {(v.namespace, v.name): v.master for v in items(network, Veth) if v.master}
        self._bridges = {(b.namespace, b.name) for b in items(network, Bridge)}
        self._local: dict[str, set[Any]] = {}
        for a in items(network, Address):
            self._local.setdefault(a.namespace, set()).add(a.address.ip)

    def walk(self, namespace: str, destination: str) -> list[str]:
        """The namespaces that a packet passes, the last one holding the address. AssertionError where it is lost."""
        target = ip_address(destination)
        path = [namespace]
        while target not in self._local.get(path[-1], ()):
            assert len(path) < 12, f"a loop: {path}"
            link, hop = self._route(path[-1], target)
            path.append(self._across(path[-1], link, hop))
        return path

    def _items(self, kind: type[T], namespace: str = "") -> list[T]:
        """A namespace's items, found once: each step of a walk asks for them."""
        if (kind, namespace) not in self._known:
            self._known[kind, namespace] = items(self._network, kind, namespace)
        return self._known[kind, namespace]

    def _route(self, namespace: str, target: Any) -> tuple[str, Any]:
        best: tuple[int, str, Any] | None = None
        for r in self._items(Route, namespace):
            if (
                r.type == "unicast"
                and target in r.destination
                and (best is None or r.destination.prefixlen > best[0])
            ):
                best = (r.destination.prefixlen, r.link, r.gateway or target)
        for a in self._items(Address, namespace):
            net = ip_interface(a.address).network
            if net.num_addresses > 1 and target in net and (best is None or net.prefixlen > best[0]):
                best = (net.prefixlen, a.link, target)
        assert best is not None, f"{namespace} has no route to {target}"
        return best[1], best[2]

    def _across(self, namespace: str, link: str, hop: Any) -> str:
        """The namespace at the other end of a link, the one of the segment that has `hop`."""
        if (namespace, link) in self._bridges:
            return self._on_bridge((namespace, link), hop, namespace)
        if (namespace, link) not in self._peer:  # an overlay: by its forwarding entry
            return self._tunnel(namespace, link, hop)
        far = self._peer[namespace, link]
        if far not in self._bridged:
            return far[0]
        return self._on_bridge((far[0], self._bridged[far]), hop, namespace)

    def _on_bridge(self, bridge: tuple[str, str], hop: Any, namespace: str) -> str:
        """Who has an address among those on a bridge: its own namespace, or one at a port of it."""
        if any(a.link == bridge[1] and a.address.ip == hop for a in self._items(Address, bridge[0])):
            return bridge[0]
        ports = [p for p, master in self._bridged.items() if (p[0], master) == bridge]
        ends = [self._peer[p] for p in ports]
        found = [
            n for n, name in ends for a in self._items(Address, n) if a.link == name and a.address.ip == hop
        ]
        assert len(found) == 1, f"{hop} is asked for on {bridge} by {namespace}; it is at {found}"
        return found[0]

    def _tunnel(self, namespace: str, link: str, hop: Any) -> str:
        if any((i.namespace, i.name) == (namespace, link) for i in self._items(Wireguard)):
            peers = (
                peer
                for (owner, _), rules in self._network.rulesets.items()
                if owner == namespace and isinstance(rules, WireguardPeers) and rules.link == link
                for _, peer in rules.to_others()
            )
            (peer,) = (one for one in peers if hop in one.network)
            return self.walk(namespace, str(peer.address))[-1]
        if any((i.namespace, i.name) == (namespace, link) for i in self._items(Ipip)):
            return self.walk(namespace, str(hop))[-1]  # the next hop is the node
        tunnels = {
            r.tunnel.end
            for r in self._items(Route, namespace)
            if (r.link, r.gateway) == (link, hop) and r.tunnel
        }
        for end in tunnels:
            return self.walk(namespace, str(end))[-1]
        (mac,) = [n.mac for n in self._items(Neighbour, namespace) if (n.link, n.address) == (link, hop)]
        (remote,) = [
            e.destination for e in self._items(ForwardingEntry, namespace) if (e.link, e.mac) == (link, mac)
        ]
        (far,) = [v for v in self._items(Vxlan) if v.local == remote]
        assert far.mac == mac
        assert self.walk(namespace, str(remote))[-1] == far.namespace
        return far.namespace


def raw_service(name: str, namespace: str = "default", **spec: Any) -> Object:
    ports = spec.pop("ports", [{"name": "p", "port": 80, "protocol": "TCP"}])
    status = spec.pop("status", {})
    texts = {field: spec.pop(field, {}) for field in ("annotations", "labels")}
    metadata = {"name": name, "namespace": namespace, **texts}
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": ports, **spec},
            "status": status,
        }
    )


def raw_slice(service: str, *addresses: str, namespace: str = "default", **fields: Any) -> Object:
    """An EndpointSlice of ready endpoints at port 8080; `endpoints` and `ports` in `fields` replace them."""
    return Object(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{service}-{len(addresses)}",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": "p", "protocol": "TCP", "port": 8080}],
            "endpoints": [{"addresses": [a]} for a in addresses],
            **fields,
        }
    )
