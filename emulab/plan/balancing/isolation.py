"""`network: {isolated: true}`: the internet reaches balancers alone, as a cloud's security groups have it. Pure.

Nodes' ports and whatever else is in the vpc can't be gone to past a balancer's source ranges then. What the vpc begins
itself is answered.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import of_family
from emulab.plan.draft import Draft
from emulab.plan.rules.meaning import DROP, Meaning, meant
from emulab.plan.state import Collection, Ruleset

TABLE = "isolation"
_MEANING = Meaning(
    "router", DROP, "spec.network.isolated", "Cluster", "reach it by a balancer, or set isolated: false"
)


def plan_isolation(draft: Draft, vips: Iterable[IPAddress], cluster: Cluster) -> None:
    """Closes the router to all that isn't for one of these virtual addresses."""
    if not cluster.isolated:
        return
    reachable = list(vips)
    for family in cluster.families:
        chain = "{ type filter hook forward priority 0 ; policy accept ; }"
        came = f'iifname "internet" oifname "vpc" ct state new {family.nft} daddr != @balancers drop'
        elements = {str(address): "" for address in of_family(reachable, family)}
        balancers = Collection("set", f"type {family.nft_address} ;", elements)
        table = Ruleset(
            family.nft, TABLE, {"forward": (chain, meant(came, _MEANING))}, {"balancers": balancers}
        )
        draft.rules("router", table)
