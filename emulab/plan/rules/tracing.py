"""The rules that make the kernel tell what its rules decide about one request. Pure.

nftables tells every rule that a marked packet meets (`meta nftrace set 1`, NFT_MSG_TRACE). What is marked is
every packet of the sender's own port, and, as proxies send from ports that nobody knows beforehand, the first
packet of each new connection of theirs: translations are decided on that one alone. Whatever of it
belongs to somebody else, who joins the story leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulab.kinds.emulab.balancing import BALANCER_ENGINES
from emulab.kinds.images import ENGINES
from emulab.model.addresses import IPAddress
from emulab.model.families import IPV4, Family, of_family
from emulab.plan.cni import OVERLAY_PORTS
from emulab.plan.links import Address
from emulab.plan.rules.meaning import TRACE_TABLE
from emulab.plan.state import Place, Ruleset, World

_TRACE = "meta nftrace set 1"

_BEFORE_ALL = "priority -301 ; policy accept ;"  # before the raw chains: NF_IP_PRI_RAW is -300
_AFTER_CONNTRACK = "priority -150 ; policy accept ;"  # NF_IP_PRI_MANGLE
TRACED_KINDS = ("router", "node")
"""Kinds of places whose rules are looked at: those that translate or filter."""


def trace_rules(
    number: int,
    protocol: str,
    ports: Iterable[int],
    source: Place,
    proxies: Sequence[IPAddress],
    family: Family = IPV4,
) -> Ruleset:
    """The table of one trace, for a place with rules, of one family.

    `ports` are the sender's own, `proxies` addresses of others.
    """
    own = _set(sorted(ports))
    names = _set(of_family(source.addresses, family))
    others = _set(of_family(proxies, family))
    new, address = "ct state new", f"{family.nft} saddr"
    early = [f"meta l4proto {protocol} th sport {own} {_TRACE}"] if own else []
    late = []
    if OVERLAY_PORTS:  # the overlay's outer packets carry everybody's
        carriers = sorted(OVERLAY_PORTS)
        late.append(
            f"meta l4proto udp th dport {carriers[0] if len(carriers) == 1 else _set(carriers)} return"
        )
    if names:
        late.append(f"{new} {address} {names} meta l4proto {{ tcp, udp }} th dport 53 {_TRACE}")
    if others:
        late.append(f"{new} {address} {others} meta l4proto {{ tcp, udp }} {_TRACE}")
    # Of the answers the first one alone: rules that let it through let the others through.
    first = {"tcp": "tcp flags & (syn | ack) == syn | ack ", "udp": ""}[protocol]
    if own:
        late.append(f"meta l4proto {protocol} ct direction reply ct original proto-src {own} {first}{_TRACE}")
    if others:
        late.append(
            f"ct direction reply ct original {address} {others} tcp flags & (syn | ack) == syn | ack {_TRACE}"
        )
    chains = {}
    for hook in ("prerouting", "output"):
        chains[f"{hook}-own"] = (f"{{ type filter hook {hook} {_BEFORE_ALL} }}", *early)
        chains[f"{hook}-new"] = (f"{{ type filter hook {hook} {_AFTER_CONNTRACK} }}", *late)
    return Ruleset(family.nft, f"{TRACE_TABLE}{number}", chains)


def _set(members: Iterable[object]) -> str:
    """An anonymous set; "" for none, which nftables has no words for."""
    text = ", ".join(map(str, members))
    return f"{{ {text} }}" if text else ""


def proxy_addresses(world: World) -> list[IPAddress]:
    """The addresses that connections which a server of emulab starts for somebody else may come from.

    Those of nodes are among them, as nodes put their own in place of others'.
    """
    kinds = {"dns", *ENGINES.values(), *(engine.server for engine in BALANCER_ENGINES.values())}
    namespaces = {s.namespace for s in world.servers.values() if s.kind in kinds}
    places = [p for p in world.places.values() if p.namespace in namespaces or p.kind == "node"]
    found = {a for p in places for a in p.addresses}
    nodes = {p.namespace for p in world.places.values() if p.kind == "node"}
    given = (i for i in world.network.items if isinstance(i, Address) and i.namespace in nodes)
    found |= {i.address.ip for i in given}
    return sorted(found, key=lambda address: (address.version, str(address)))


def namespace_places(world: World) -> dict[str, str]:
    """The place that stands for each namespace: pods in their node's network are seen there as the node."""
    found: dict[str, str] = {}
    for place in world.places.values():
        if place.namespace not in found or place.kind != "pod":
            found[place.namespace] = place.name
    return found
