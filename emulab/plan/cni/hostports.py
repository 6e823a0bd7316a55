"""Host ports: what the CNI plug-in portmap makes of `hostPort` (containernetworking/plugins, meta/portmap). Pure.

A table for each node that has any: what comes to one of its addresses, or is sent to one by the node itself, goes to
the pod. A pod that asks itself so, and who asks from the node's loopback address, is masqueraded; for the latter the
pod's link lets 127/8 across. UDP flows that began before are forgotten, as the rules are asked about new ones alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import POD
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.families import IPV4, Family, family_of
from emulab.model.objects import Object
from emulab.plan.cni import plugin_of
from emulab.plan.cni.plugin import Node
from emulab.plan.cni.podlinks import HOST_PORT_TABLE
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.pods import has_network, identity, pod_addresses
from emulab.plan.rules.meaning import DNAT, SNAT, Meaning, meant
from emulab.plan.state import Ruleset, Tuning, UdpBackends

UDP, LINKS = "udp-host-ports", "host-port-links"
"""What the rest is in a node's rulesets."""
_FIELD = "spec.containers.ports.hostPort"
_NAT = "{{ type nat hook {hook} priority {priority} ; policy accept ; }}"


class MappedPort(NamedTuple):
    """One port of a node that leads to a pod. `host`: the one address where it does, None for all of the node's."""

    node: str
    protocol: str  # tcp | udp | sctp
    number: int
    host: IPAddress | None
    address: IPAddress
    port: int
    identity: str  # tells the pod from others
    pod: str  # NAMESPACE/NAME


def host_ports(pod: Object) -> tuple[MappedPort, ...] | None:
    """Those of a Pod with a network of its own; None where there are none."""
    spec = pod.spec
    if spec.get("hostNetwork") or not has_network(pod):
        return None
    given = [p for c in spec.get("containers") or () for p in c.get("ports") or () if p.get("hostPort")]
    found = [mapped for p in given for a in pod_addresses(pod) if (mapped := _mapped(pod, p, a))]
    return tuple(found) or None


def _mapped(pod: Object, port: dict[str, Any], address: IPAddress) -> MappedPort | None:
    """One port for one address; None where `hostIP` is of another family."""
    host = parse_address(port["hostIP"]) if port.get("hostIP") else None
    if host is not None and family_of(host) is not family_of(address):
        return None
    if host is not None and host.is_unspecified:
        host = None
    protocol = (port.get("protocol") or "TCP").lower()
    own = f"{pod.namespace}/{pod.name}"
    return MappedPort(
        pod.spec["nodeName"],
        protocol,
        port["hostPort"],
        host,
        address,
        port["containerPort"],
        identity(pod),
        own,
    )


def plan_host_ports(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """The rules of every node; with plug-ins of the cluster's own they are these's to make."""
    if cluster.chain:
        return
    by_node: dict[str, list[MappedPort]] = {}
    for ports in source.facts(POD, host_ports).values():
        for port in ports:
            by_node.setdefault(port.node, []).append(port)
    for node in nodes:
        own = by_node.get(node.name, [])
        # Without any as well: what there was before the first one is forgotten when that comes.
        draft.rulesets[node.name, UDP] = _flows(own)
        for family in cluster.families:
            if of_family := [p for p in own if family_of(p.address) is family]:
                draft.rules(node.name, _table(of_family, family))
        plugin = plugin_of(cluster)
        if links := dict.fromkeys(plugin.way_in(p.identity) for p in own if family_of(p.address) is IPV4):
            settings = tuple((f"net/ipv4/conf/{link}/route_localnet", "1") for link in links)
            draft.rulesets[node.name, LINKS] = Tuning(settings)


def _table(ports: Sequence[MappedPort], family: Family) -> Ruleset:
    ip = family.nft
    entrance = "fib daddr type local jump hostports"
    masquerading = list[str]()
    for address, pod in {p.address: p.pod for p in ports}.items():
        sources = (str(address), str(family.loopback)) if family is IPV4 else (str(address),)
        meaning = Meaning("portmap", SNAT, _FIELD, f"pod {pod}")
        masquerading += [
            meant(f"{ip} saddr {source} {ip} daddr {address} masquerade", meaning) for source in sources
        ]
    return Ruleset(
        ip,
        HOST_PORT_TABLE,
        {
            "hostports": ("", *(_rule(p, ip) for p in ports)),
            "prerouting": (_NAT.format(hook="prerouting", priority=-100), entrance),
            "output": (_NAT.format(hook="output", priority=-100), entrance),
            "masquerading": (_NAT.format(hook="postrouting", priority=100), *masquerading),
        },
    )


def _rule(port: MappedPort, ip: str) -> str:
    at = f"{ip} daddr {port.host} " if port.host else ""
    text = f"{at}{port.protocol} dport {port.number} dnat to {socket_name(port.address, port.port)}"
    return meant(text, Meaning("portmap", DNAT, _FIELD, f"pod {port.pod}"))


def _flows(ports: Iterable[MappedPort]) -> UdpBackends:
    found: dict[tuple[str, int], frozenset[str]] = {}
    for p in ports:
        if p.protocol == "udp":
            frontend = (str(p.host) if p.host else "", p.number)
            found[frontend] = found.get(frontend, frozenset()) | {socket_name(p.address, p.port)}
    return UdpBackends(found)
