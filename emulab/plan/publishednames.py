"""The addresses that a name has outside the cluster, as those say who own it. Pure."""

from __future__ import annotations

from emulab.plan.owner import Owner
from emulab.plan.state import World
from emulab.servers.dns.config import DnsConfig

_ADDRESSES = ("A", "AAAA")


def published(world: World, name: str) -> Owner | None:
    """The addresses of a name; None where it has none, or is an alias."""
    wanted = f"{name.rstrip('.').lower()}."
    found: dict[str, None] = {}
    for server in world.servers.values():
        for zone in server.config.zones if isinstance(server.config, DnsConfig) else ():
            if not wanted.endswith(zone.origin):
                continue
            found |= {r.data: None for r in zone.records if r.name == wanted and r.type in _ADDRESSES}
            routed = (r for r in zone.routed if r.name == wanted and r.type in _ADDRESSES)
            found |= {data: None for record in routed for data in record.data}
    return Owner("names", "", name, name, {"addresses": [*found]}) if found else None
