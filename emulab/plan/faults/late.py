"""Pods in which nobody listens yet: whoever asks for a connection is refused, as by a port without a listener. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import LateStart
from emulab.plan.state import Place, Rules, Ruleset

TABLE = "faults"
_CHAIN = "{ type filter hook input priority 0 ; policy accept ; }"


def late(
    places: Mapping[str, Place], effects: Sequence[LateStart], cluster: Cluster
) -> Iterator[tuple[tuple[str, str], Rules]]:
    """Tables of nftables, of each family one, by namespace. The kernel itself knows when the time has come."""
    for effect in effects:
        place = places.get(effect.pod)
        if place is None or place.namespace in places:  # of a node's network nothing is the pod's alone
            continue
        for family in cluster.families:
            before = f"meta time < {effect.until} " if effect.until else ""
            refused = f"{before}meta l4proto tcp counter reject with tcp reset"
            yield (
                (place.namespace, f"{family.nft} {TABLE}"),
                Ruleset(family.nft, TABLE, {"input": (_CHAIN, refused)}),
            )
