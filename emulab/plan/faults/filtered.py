"""What a node's firewall drops of what its pods send, before anything is translated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import DNS, Filtered
from emulab.plan.cni.plugin import Node
from emulab.plan.state import Rules, Ruleset

TABLE = "faults"
_CHAIN = "{ type filter hook prerouting priority -150 ; policy accept ; }"  # before kube-proxy's DNAT
_WHAT = {DNS: "meta l4proto { tcp, udp } th dport 53"}


def filtered(
    effects: Sequence[Filtered], nodes: Sequence[Node], cluster: Cluster
) -> Iterator[tuple[tuple[str, str], Rules]]:
    """Tables of nftables, of each family one, by namespace."""
    known = {node.name: node for node in nodes}
    for name in sorted({effect.node for effect in effects} & known.keys()):
        for family in cluster.families:
            source = f"{family.nft} saddr {known[name].pod_range(family)}"
            rules = [f"{source} {_WHAT[e.what]} counter drop" for e in effects if e.node == name]
            table = Ruleset(family.nft, TABLE, {"prerouting": (_CHAIN, *rules)})
            yield (name, f"{family.nft} {TABLE}"), table
