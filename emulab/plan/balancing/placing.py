"""One balancer: its place, its server, and the rules that its mode needs there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from emulab.kinds.emulab.balancerplaces import engine_of
from emulab.kinds.emulab.balancing import BALANCER_ENGINES, OWN_ENGINE
from emulab.kinds.emulab.balancingview import Balancing
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.families import IPV6, family_of, first
from emulab.plan.balancing.nat import BalancerRules, forwarding_rules, guarding_rules, udp_targets
from emulab.plan.draft import Draft
from emulab.plan.state import PlannedServer, Tuning
from emulab.plan.sysctls import Sysctls, forwarder
from emulab.plan.topology import BalancerNode, plug_balancer, plug_nodes
from emulab.servers.l4.config import FrontendConfig, L4Config
from emulab.servers.vrrp.config import FIRST, SECOND, VrrpConfig

_VRIDS = 255
VRRP = "/vrrp"
"""Behind a place: the server that speaks VRRP there."""
METRICS_PORT = 8404
"""Where HAProxy's own examples have its numbers."""


class BalancerPlan(NamedTuple):
    """What there is to plan of a balancer. `unhealthy`: targets, by frontend and address, that rules leave out."""

    place: str
    owner: str  # the object, in words
    addresses: tuple[IPAddress, ...]
    vips: tuple[IPAddress, ...]
    frontends: Mapping[str, FrontendConfig]
    balancing: Balancing
    unhealthy: frozenset[tuple[str, str]]
    nodes: tuple[BalancerNode, ...] = ()  # where the addresses move between several


def place_balancer(draft: Draft, plan: BalancerPlan, cluster: Cluster, identifier: int) -> None:
    """Adds all of a balancer: at its own place, or at each of its nodes. `identifier`: its VRID."""
    if not plan.nodes:
        plug_balancer(draft, plan.place, plan.addresses, plan.vips, cluster)
        _serve(draft, plan, plan.place, plan.addresses, cluster)
        return
    plug_nodes(draft, plan.nodes, plan.addresses, plan.vips, cluster)
    for number, node in enumerate(plan.nodes):
        _serve(draft, plan, node.place, node.addresses, cluster)
        name, kind = f"{node.place}{VRRP}", BALANCER_ENGINES[engine_of(plan.balancing, cluster)].vrrp
        other = plan.nodes[1 - number]
        config = _virtual_router(plan, node, other, (FIRST, SECOND)[number], identifier)
        draft.servers[name] = PlannedServer(name, kind, node.place, config, {})


def _virtual_router(
    plan: BalancerPlan, node: BalancerNode, other: BalancerNode, priority: int, identifier: int
) -> VrrpConfig:
    """What a node says of the addresses, and waits for: those of the first family are advertised."""
    family = family_of(plan.addresses[0])
    moving = dict.fromkeys((*plan.addresses, *plan.vips))
    asked = plan.balancing.vrrp
    return VrrpConfig(
        (),
        name=plan.place,
        version=3 if family is IPV6 else asked.version,
        identifier=identifier,
        priority=priority,
        interval=asked.interval,
        preempt=asked.preempt,
        own=str(first(node.addresses, family)),
        addresses=tuple(str(a) for a in moving if family_of(a) is family),
        along=tuple(str(a) for a in moving if family_of(a) is not family),
        peer=str(first(other.addresses, family)) if plan.balancing.mode == "nat" else "",
    )


def identifiers(plans: Sequence[BalancerPlan], cluster: Cluster) -> Mapping[str, int]:
    """The VRIDs of the balancers with several nodes, by place: by their addresses' place in the vpc, each its own."""
    found: dict[str, int] = {}
    for plan in sorted((one for one in plans if one.nodes), key=lambda one: one.place):
        address = plan.addresses[0]
        vpc = cluster.underlay(family_of(address)).vpc
        begin = int(address) - int(vpc.network_address)
        ring = ((begin + step) % _VRIDS + 1 for step in range(_VRIDS))
        found[plan.place] = next((one for one in ring if one not in found.values()), begin % _VRIDS + 1)
    return found


def _serve(
    draft: Draft, plan: BalancerPlan, place: str, addresses: Sequence[IPAddress], cluster: Cluster
) -> None:
    """The server and the rules at one place, which has these addresses of its own."""
    own = {family_of(address): address for address in plan.addresses}
    rules = BalancerRules(plan.owner, plan.frontends, plan.balancing.deny, own)
    metrics = tuple(key for a in addresses if (key := f"tcp/{a}/{METRICS_PORT}") not in plan.frontends)
    engine = engine_of(plan.balancing, cluster)
    # A real program has processes and threads of its own.
    workers = plan.balancing.workers if engine == OWN_ENGINE else 0
    tuning = _tuning(plan.balancing, cluster) if plan.balancing.mode == "nat" else ()
    if (
        plan.nodes and plan.balancing.mode == "nat"
    ):  # a connection went on elsewhere, with other sequence numbers
        tuning += (("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),)
    if plan.nodes:  # who hasn't the addresses just now listens at them all the same
        tuning += tuple((f"net/ipv{family.version}/ip_nonlocal_bind", "1") for family in cluster.families)
    if tuning:
        draft.rules(place, Tuning(tuning))
    if plan.balancing.mode != "nat":
        shared = _shared(plan.frontends, workers)
        config = L4Config.at(served_frontends(shared, engine), metrics)
        for table in guarding_rules(rules):
            draft.rules(place, table)
    else:
        config = L4Config(metrics, watched=plan.frontends, metrics=metrics)
        usable = {key: _usable(key, one, plan.unhealthy) for key, one in plan.frontends.items()}
        rules = rules._replace(frontends=usable, hides_clients=not plan.balancing.preserve_client_ip)
        for table in forwarding_rules(rules):
            draft.rules(place, table)
        if (flows := udp_targets(usable)) is not None:
            draft.rules(place, flows)
    listen = dict.fromkeys(config.listen, place)
    kind = BALANCER_ENGINES[engine].server
    draft.servers[place] = PlannedServer(place, kind, place, config, listen, workers=workers)


def served_frontends(frontends: Mapping[str, FrontendConfig], engine: str) -> Mapping[str, FrontendConfig]:
    """Those that an engine serves: no other than our own takes datagrams."""
    if engine == OWN_ENGINE:
        return frontends
    return {key: one for key, one in frontends.items() if not key.startswith("udp/")}


def _shared(frontends: Mapping[str, FrontendConfig], workers: int) -> Mapping[str, FrontendConfig]:
    """The frontends of one of several workers: each takes a part of what all of them take."""
    if workers <= 1:
        return frontends
    found = {}
    for key, one in frontends.items():
        limits = replace(
            one.limits,
            connections=ceil(one.limits.connections / workers),
            rate=ceil(one.limits.rate / workers),
        )
        found[key] = replace(one, limits=limits)
    return found


def _usable(key: str, frontend: FrontendConfig, unhealthy: frozenset[tuple[str, str]]) -> FrontendConfig:
    """The frontend with healthy targets alone, or, failing open, with all where none is healthy."""
    healthy = tuple(
        t for t in frontend.targets if (key, socket_name(parse_address(t.address), t.port)) not in unhealthy
    )
    return replace(frontend, targets=healthy or (frontend.targets if frontend.fail_open else ()))


def _tuning(balancing: Balancing, cluster: Cluster) -> Sysctls:
    """A balancer that forwards is a router, which sends nobody past itself, and forgets what is idle."""
    found = [
        *forwarder(cluster.families),
        *((f"net/ipv4/conf/eth0/{name}", "0") for name in ("rp_filter", "send_redirects")),
    ]
    if balancing.idle_timeout:
        names = ("tcp_timeout_established", "udp_timeout", "udp_timeout_stream")
        found += [(f"net/netfilter/nf_conntrack_{name}", str(balancing.idle_timeout)) for name in names]
    return tuple(found)
