"""The way back of what balancers of mode nat forward with the client's own address. Pure.

A node would answer a client directly, or by the router, with an address that the client never asked. So each node
remembers by which balancer a connection came, in the upper half of its mark (the lower one is the proxies'), gives the
mark to the answers, and has a table of routes for each mark: back by that balancer, as targets of IPVS by NAT have it
for their default route, and clouds in the fabric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import Family, families_of, first
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Route, RoutingRule
from emulab.plan.state import Ruleset

TABLE = "balancers"
_MASK = 0xFFFF0000
_FIRST = 10_000  # of tables of routes, and of the priorities of rules that lead there
_PRIORITIES = 22_000  # as many: the kernel's own rules, which come after them, begin at 32766 (ip-rule(8))


class Returning(NamedTuple):
    """A balancer that connections are to go back by: its own addresses, the first one of which its MAC is of."""

    addresses: tuple[IPAddress, ...]


def plan_returning(
    draft: Draft, nodes: Sequence[Node], balancers: Sequence[Returning], cluster: Cluster
) -> None:
    """Has all nodes answer by the balancers that connections came by."""
    for family in families_of(address for one in balancers for address in one.addresses):
        ways = [(one, own) for one in balancers if (own := first(one.addresses, family)) is not None]
        for node in nodes:
            draft.rules(node.name, _marks(ways, family, cluster))
            for _, own in ways:
                number = _number(own, cluster)
                draft.add(
                    Route(node.name, family.everything, "eth0", own, table=_FIRST + number),
                    RoutingRule(
                        *(node.name, _FIRST + number % _PRIORITIES, family.version),
                        mark=number << 16,
                        mask=_MASK,
                        table=_FIRST + number,
                    ),
                )


def _number(own: IPAddress, cluster: Cluster) -> int:
    """What a balancer's marks, routes and rule go by: the place of its address in the vpc, which others haven't."""
    for underlay in cluster.underlays:
        if own in underlay.vpc:
            return (int(own) - int(underlay.vpc.network_address)) & 0xFFFF
    raise AssertionError(f"{own} is in no vpc")


def _marks(ways: Sequence[tuple[Returning, IPAddress]], family: Family, cluster: Cluster) -> Ruleset:
    early = "hook {} priority -150 ; policy accept ; }}"
    came, answers = [], []
    for one, own in ways:
        mark = _number(own, cluster) << 16
        hardware = mac("vpc", str(one.addresses[0]))
        # The balancer's own connections, those of its checks, find back by themselves.
        new = f'iifname "eth0" ether saddr {hardware} {family.nft} saddr != {own} ct state new'
        came.append(f"{new} ct mark set ct mark and 0x0000ffff or {mark:#010x}")
        kept = f"ct direction reply ct mark and {_MASK:#x} == {mark:#010x}"
        answers.append(f"{kept} meta mark set meta mark and 0x0000ffff or {mark:#010x}")
    chains = {
        "arrivals": ("{ type filter " + early.format("prerouting"), *came, *answers),
        "own-answers": ("{ type route " + early.format("output"), *answers),
    }
    return Ruleset(family.nft, TABLE, chains)
