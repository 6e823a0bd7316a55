"""No encapsulation: the other nodes are the next hops of their pods, as flannel's host-gw has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.clusters import Cluster
from emulab.model.families import Family
from emulab.plan.cni.plugin import Node, Plugin
from emulab.plan.cni.podlinks import MASQUERADE_TABLE, masquerade, routed_link
from emulab.plan.draft import Draft
from emulab.plan.state import Route


def plan_node(draft: Draft, node: Node, others: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """A route to each of the others' ranges."""
    for other in others:
        draft.add(Route(node.name, other.pod_range(family), "eth0", other.address(family)))


PLUGIN = Plugin(
    name="routed",
    plan_node=plan_node,
    plan_pod=routed_link,
    masquerade=masquerade,
    overhead=lambda family: 0,
    ports=frozenset(),
    tables=frozenset({MASQUERADE_TABLE}),
)
