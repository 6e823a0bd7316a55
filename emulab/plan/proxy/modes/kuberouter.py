"""kube-router's own proxy: the kernel's IPVS, as in kube-proxy's mode of that name, with rules of its own. Pure.

What is the same `ipvs` says: a packet's way, and that a device has every address of a Service, here `kube-dummy-if`.
What differs (pkg/controllers/proxy/network_services_controller.go, service_endpoints_sync.go):

* A Service picks its scheduler by an annotation; it is rr otherwise.
* Who asks is masqueraded only on a way that is neither from a pod of the node nor to one: so a pod of the node where
  somebody comes in sees who asks, also by a node port (ensureMasqueradeIptablesRule). What the node itself asks has its
  address: routes to those of `kube-dummy-if` say so (ipAddrAdd).
* A policy Local without an endpoint on the node leaves the node without a virtual server, and the address.
* A pod that asks itself gets an answer only where an annotation says so; it sees the Service's address then
  (hairpinRuleFrom).
* Endpoints that terminate get connections as long as they serve, and hints count for nothing (buildEndpointSliceInfo).
  An endpoint that is gone takes its connections with it (--ipvs-graceful-termination is off unless it is asked for).
* Node ports are at the node's own address alone, loadBalancerSourceRanges the balancer's business.
* Of a Service with direct server return (docs/dsr.md) nobody has the external addresses: packets to one get a mark, by
  which a rule of policy routing has the node take them for its own, and IPVS knows them; endpoints get them as they
  came, in IP in IP, and answer by themselves (`plan.cni.receivers`). What they answer says that less fits in a segment.
* Other ports of a Service's address are refused, but for ICMP (KUBE-ROUTER-SERVICES).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import count
from typing import Self

from emulab.kinds.core.kuberouterservice import (
    HAIRPIN,
    HAIRPIN_EXTERNAL,
    SKIP_BALANCER,
    is_direct,
    is_local,
    scheduler_of,
)
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER
from emulab.model.families import IPV4, IPV6, Family, of_family
from emulab.plan.draft import Draft
from emulab.plan.links import LOCAL, Address, Item, Route, RoutingRule
from emulab.plan.proxy.filters import PORT, ChainTexts, Elements
from emulab.plan.proxy.intents import Candidates, Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import masquerades, rejects
from emulab.plan.proxy.modes.ipvs import (
    COUNTED,
    STRICT_ARP,
    ServerPiece,
    Servers,
    ServerSum,
    ServiceAddress,
    Weights,
    device_items,
)
from emulab.plan.proxy.modes.mode import Mode, Site
from emulab.plan.proxy.modes.nftables import MARK, SET_MARK
from emulab.plan.proxy.tables import Part
from emulab.plan.state import Collection, Ipvs, VirtualServer

BRIDGE = "kube-bridge"
_SYSCTLS = (
    ("net/ipv4/vs/conntrack", "1"),
    ("net/ipv4/vs/expire_nodest_conn", "1"),
    ("net/ipv4/vs/expire_quiescent_template", "1"),
    ("net/ipv4/vs/conn_reuse_mode", "0"),
)
_MARKS = "direct-services"
_TABLE, _RULES = 78, 16000
"""The routing table that has the node take packets for its own, and the priority of its first rule. The real ones have
one for all, 32764; here each has one of its own."""
_EXTERNAL = RoutingRule("", 32764, 4, table=79)
"""A look into a table that is empty: kube-router has the rule, and puts no more routes there. Its priority is 32765, as
that of the rule for table 77; here each has one of its own."""
_HEADER, _TCP = {IPV4: 20, IPV6: 40}, 20
_MANGLE = "priority -150 ; policy accept ;"


class KubeRouterSum(ServerSum):
    """Virtual servers of a family, and the rules beside them."""

    device, up = "kube-dummy-if", True
    counted = COUNTED | {"hairpin-addresses", "hairpin-nodeports"}

    @property
    def marks(self) -> list[int]:
        """Those of packets that endpoints answer by themselves."""
        return sorted(int(mark, 16) for mark in self.ruleset().collections[_MARKS].elements.values())

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._family, self._nodes = family, cluster.underlay(family).vpc
        self._segment = cluster.mtu - 2 * _HEADER[family] - _TCP
        self._known: dict[str, int] = {}  # the marks of addresses and ports
        super().__init__(cluster, family)

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`. The marks of what is gone are free again."""
        if not super().exchange(gone, come):
            return False
        kept = {_mark_name(s) for one in come for s in self._direct(one)}
        for server in (s for one in gone for s in self._direct(one)):
            if _mark_name(server) not in kept:
                del self._known[_mark_name(server)]
        return True

    def _of_address(self, site: Site, address: str) -> Iterator[Item]:
        """A program of the node that asks there is known by the node's own address, not by the one that it asks."""
        yield Address(site.name, self.device, ip_interface(address), routed=False)
        network, (own, *_) = self._family.host(ip_address(address)), of_family(site.addresses, self._family)
        yield Route(site.name, network, self.device, source=own, table=LOCAL, type="local", replaces=True)

    def copy(self) -> Self:
        """See `Sum.copy`."""
        other = super().copy()
        other._known = dict(self._known)
        return other

    def _collections(self) -> dict[str, Collection]:
        words = self._words
        pair = f"{words.source} . {words.destination}"
        keys = {
            "virtual-ips": words.destination,
            "virtual-servers": words.service,
            "service-nodeports": PORT,
            "hairpin-connections": pair,
            "hairpin-addresses": f"{pair} . th dport",
            "hairpin-nodeports": f"{words.source} . th dport",
            "direct-answers": f"{words.source} . meta l4proto . th sport",
        }
        sets = {name: Collection("set", f"typeof {key} ;", {}) for name, key in keys.items()}
        return {**sets, _MARKS: Collection("map", f"typeof {words.service} : meta mark ;", {})}

    def _chains(self) -> ChainTexts:
        words, dstnat = self._words, "priority -100 ; policy accept ;"
        asked, port = f"ct original {words.ip} daddr", "ct original proto-dst"
        # Without the protocols nft doesn't know what number the port is (ct_expr_update_type).
        itself = (
            f"meta l4proto {{ tcp, udp, sctp }} {words.source} . {words.destination} @hairpin-connections"
        )
        return {
            "refuse": ("", rejects("reject")),
            "virtual-servers-check": (
                "",
                f"{words.service} @virtual-servers return",
                "meta l4proto { icmp, ipv6-icmp } return",
                f"{words.destination} @virtual-ips goto refuse",
            ),
            "services": (
                "",
                f"{words.service} @virtual-servers {SET_MARK}",
                f"{words.local_destination} {PORT} @service-nodeports {SET_MARK}",
            ),
            "mangle-prerouting": (
                f"{{ type filter hook prerouting {_MANGLE} }}",
                f"meta mark set {words.service} map @{_MARKS}",
                f'iifname "{BRIDGE}" tcp flags & (syn | rst) == syn {words.source} . meta l4proto . th sport '
                f"@direct-answers tcp option maxseg size set {self._segment}",
            ),
            "mangle-output": (
                f"{{ type route hook output {_MANGLE} }}",
                f"meta mark set {words.service} map @{_MARKS}",
            ),
            "filter-input": (
                "{ type filter hook input priority -110 ; policy accept ; }",
                "ct state new jump virtual-servers-check",
            ),
            "nat-prerouting": (
                f"{{ type nat hook prerouting {dstnat} }}",
                f'iifname != "{BRIDGE}" jump services',
            ),
            "nat-output": (f"{{ type nat hook output {dstnat} }}", "jump services"),
            "nat-postrouting": (
                "{ type nat hook postrouting priority 100 ; policy accept ; }",
                masquerades(f"{itself} {words.source} . {asked} . {port} @hairpin-addresses snat to {asked}"),
                masquerades(
                    f"{itself} {asked} {self._nodes} {words.source} . {port} @hairpin-nodeports snat to {asked}"
                ),
                f"meta mark & {MARK} != {MARK} return",
                "meta mark set meta mark & 0xffffbfff",
                f'oifname "{BRIDGE}" return',
                masquerades("masquerade fully-random"),
            ),
        }

    def _part(self, intent: Intent) -> Part:
        found: dict[str, Elements] = {name: {} for name in self._collections()}
        for f in _frontends(intent):
            found["virtual-ips"][str(f.address)] = ""
            found["virtual-servers"][f"{f.address} . {intent.protocol} . {f.port}"] = ""
        for server in self._direct(intent):
            key = f"{server.address} . {intent.protocol} . {server.port}"
            found[_MARKS][key], found["direct-answers"][key] = f"{server.mark:#010x}", ""
        if intent.node_port and is_served(intent, intent.external_local):
            found["service-nodeports"][f"{intent.protocol} . {intent.node_port}"] = ""
        asked = dict(intent.asked)
        if HAIRPIN in asked:
            own = [*intent.cluster_ips, *(intent.external_ips if HAIRPIN_EXTERNAL in asked else ())]
            for e in intent.reachable:
                found["hairpin-connections"][f"{e.address} . {e.address}"] = ""
                at = {f"{e.address} . {address} . {intent.port.port}": "" for address in own}
                found["hairpin-addresses"] |= at
                if intent.node_port:
                    found["hairpin-nodeports"][f"{e.address} . {intent.node_port}"] = ""
        return Part({}, {name: elements for name, elements in found.items() if elements}, {}, {})

    def _piece(self, intent: Intent) -> ServerPiece:
        scheduler, servers = scheduler_of(dict(intent.asked)), Servers()
        for f in _frontends(intent):
            server = VirtualServer(intent.protocol, f.address, f.port, scheduler, intent.affinity)
            servers[server] = _weights(f.backends)
        servers |= self._direct(intent)
        if not intent.node_port or not is_served(intent, intent.external_local):
            return ServerPiece(servers, None)
        at = (intent.protocol, intent.node_port, scheduler, intent.affinity, _weights(intent.external))
        return ServerPiece(servers, at)

    def _direct(self, intent: Intent) -> Servers:
        """The virtual servers whose endpoints answer by themselves. None with one of a node's: it has no device."""
        if not is_direct(dict(intent.asked)) or not is_served(intent, intent.external_local):
            return {}
        if any(e.address in self._nodes for e in intent.external):
            return {}
        scheduler, port = scheduler_of(dict(intent.asked)), intent.port.port
        found = [
            VirtualServer(intent.protocol, address, port, scheduler, intent.affinity)
            for address in intent.outside_ips
        ]
        return {replace(server, mark=self._mark(server)): _weights(intent.external) for server in found}

    def _mark(self, server: VirtualServer) -> int:
        name = _mark_name(server)
        if name not in self._known:
            taken = {*self._known.values()}
            self._known[name] = next(mark for mark in marks_of(name) if mark not in taken)
        return self._known[name]


def _mark_name(server: VirtualServer) -> str:
    return f"{server.address}-{server.protocol}-{server.port}"


def marks_of(name: str) -> Iterator[int]:
    """What may tell packets to an address and port from others, the first that nobody has: 14 bits of a digest
    (generateUniqueFWMark), but for 0, which is no mark."""
    names = (f"{name}-{n}" if n else name for n in count())
    return (mark for one in names if (mark := fnv1a(one.encode()) & 0x3FFF))


def fnv1a(text: bytes) -> int:
    """The FNV-1a digest of 32 bits."""
    found = 0x811C9DC5
    for octet in text:
        found = (found ^ octet) * 0x01000193 & 0xFFFFFFFF
    return found


def is_served(intent: Intent, local: bool) -> bool:
    """Whether a node has virtual servers for traffic of which the policy is Local, or isn't."""
    return not local or bool(intent.local)


def heeds(c: Candidates) -> Candidates:
    """A Service port as its annotations have it, with all endpoints that get connections."""
    said = c.service.annotations
    if is_local(said):
        said_so = replace(c.service, external_traffic_policy="Local", internal_traffic_policy="Cluster")
        c = c._replace(service=said_so)
    c = c._replace(backends=tuple(map(_served, c.backends)))
    return c._replace(balancer_ips=()) if SKIP_BALANCER in said else c


def _served(e: ProxiedEndpoint) -> ProxiedEndpoint:
    """An endpoint that is as ready as kube-router takes it for, and meant for nobody."""
    ready = e.ready or (e.serving and e.terminating)
    if ready == e.ready and not (e.zone_hints or e.node_hints):
        return e
    return e._replace(ready=ready, zone_hints=(), node_hints=())


def _frontends(intent: Intent) -> Iterator[ServiceAddress]:
    if is_served(intent, intent.internal_local):
        for address in intent.cluster_ips:
            yield ServiceAddress(address, intent.port.port, "cluster", intent.internal)
    if is_served(intent, intent.external_local) and not is_direct(dict(intent.asked)):
        for address in intent.outside_ips:
            yield ServiceAddress(address, intent.port.port, "external", intent.external)


def _weights(endpoints: tuple[ProxiedEndpoint, ...]) -> Weights:
    return {e.target: 1 for e in endpoints}


def _plan(draft: Draft, site: Site, cluster: Cluster, sums: Mapping[Family, KubeRouterSum]) -> None:
    draft.include_items(device_items(site, sums.values()))
    servers = Servers()
    for family, made in sums.items():
        servers |= dict(made.servers(of_family(site.addresses, family)))
        draft.rules(site.name, made.ruleset())
        draft.add(replace(_EXTERNAL, namespace=site.name, version=family.version))
        if marks := made.marks:
            draft.add(Route(site.name, family.everything, "lo", table=_TABLE, type="local"))
        for mark in marks:
            draft.add(RoutingRule(site.name, _RULES + mark, family.version, mark=mark, table=_TABLE))
    draft.rules(site.name, Ipvs(servers, _SYSCTLS + (STRICT_ARP if IPV4 in sums else ()), graceful=False))


MODE = Mode(
    name=KUBE_ROUTER,
    sum=KubeRouterSum,
    plan=_plan,
    shows="ipvsadm -Ln",
    needs=("nftables", "ipvs", "dummy"),
    differences=frozenset(
        {
            "takes turns",
            "cluster IPs are the node's own",
            "Local is for everybody",
            "how TCP is refused",
            "who asks is seen on the node",
            "nobody reaches itself",
        }
    ),
    heeds=heeds,
    virtual=True,
)
