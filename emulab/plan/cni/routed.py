"""No encapsulation: the other nodes are the next hops of their pods, as flannel's host-gw has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family
from emulab.plan.cni.plugin import Node, Plugin
from emulab.plan.cni.podlinks import HOST_PORT_TABLE, MASQUERADE_TABLE, masquerade_table, routed_link
from emulab.plan.draft import Draft
from emulab.plan.state import Mesh, Way


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """On each node a route to the pods' range of each other node."""
    ways = _ways(tuple(nodes), family)
    for node in nodes:
        draft.rules(node.name, Mesh(node.name, "eth0", ways), family)


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _ways(nodes: tuple[Node, ...], family: Family) -> Mapping[str, Way]:
    return {n.name: Way(n.pod_range(family), n.address(family)) for n in nodes}


PLUGIN = Plugin(
    name="routed",
    plan_nodes=plan_nodes,
    plan_pod=routed_link,
    masquerade=masquerade_table,
    overhead=lambda family: 0,
    ports=frozenset(),
    tables=frozenset({MASQUERADE_TABLE, HOST_PORT_TABLE}),
)
