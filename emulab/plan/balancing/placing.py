"""One balancer: its place, its server, and the rules that its mode needs there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from emulab.kinds.emulab.balancingview import Balancing
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.families import family_of
from emulab.plan.balancing.nat import BalancerRules, forwarding_rules, guarding_rules, udp_targets
from emulab.plan.draft import Draft
from emulab.plan.state import PlannedServer, Tuning
from emulab.plan.sysctls import Sysctls, forwarder
from emulab.plan.topology import plug_balancer
from emulab.servers.l4.config import FrontendConfig, L4Config

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


def place_balancer(draft: Draft, plan: BalancerPlan, cluster: Cluster) -> None:
    """Adds all of a balancer that is at its own place."""
    plug_balancer(draft, plan.place, plan.addresses, plan.vips, cluster)
    own = {family_of(address): address for address in plan.addresses}
    rules = BalancerRules(plan.owner, plan.frontends, plan.balancing.deny, own)
    metrics = tuple(key for a in plan.addresses if (key := f"tcp/{a}/{METRICS_PORT}") not in plan.frontends)
    if plan.balancing.mode != "nat":
        config = L4Config.at(_shared(plan.frontends, plan.balancing.workers), metrics)
        for table in guarding_rules(rules):
            draft.rules(plan.place, table)
    else:
        config = L4Config(metrics, watched=plan.frontends, metrics=metrics)
        usable = {key: _usable(key, one, plan.unhealthy) for key, one in plan.frontends.items()}
        rules = rules._replace(frontends=usable, hides_clients=not plan.balancing.preserve_client_ip)
        for table in forwarding_rules(rules):
            draft.rules(plan.place, table)
        if (flows := udp_targets(usable)) is not None:
            draft.rules(plan.place, flows)
        draft.rules(plan.place, Tuning(_tuning(plan.balancing, cluster)))
    listen = dict.fromkeys(config.listen, plan.place)
    draft.servers[plan.place] = PlannedServer(
        *(plan.place, "l4", plan.place, config, listen), workers=plan.balancing.workers
    )


def _shared(frontends: Mapping[str, FrontendConfig], workers: int) -> Mapping[str, FrontendConfig]:
    """The frontends of one of several workers: each takes a part of what all of them take."""
    if workers == 1:
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
