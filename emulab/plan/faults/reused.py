"""Nodes whose IPVS takes new connections for old ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from emulab.kinds.faults.effects import ReusedPorts
from emulab.plan.state import Ipvs, Rules

_SETTINGS = {"net/ipv4/vs/conn_reuse_mode": "0", "net/ipv4/vs/expire_nodest_conn": "0"}
"""Since Linux 5.16 the second one spares connections to a server of weight 0 what the first one does to them."""


def reusing(
    rulesets: Mapping[tuple[str, str], Rules], effects: Sequence[ReusedPorts]
) -> Iterator[tuple[tuple[str, str], Rules]]:
    """The tables of IPVS of those nodes."""
    nodes = {effect.node for effect in effects}
    for key, table in list(rulesets.items()) if nodes else ():
        if key[0] in nodes and isinstance(table, Ipvs):
            settings = tuple((name, _SETTINGS.get(name, value)) for name, value in table.sysctls)
            yield key, replace(table, sysctls=settings)
