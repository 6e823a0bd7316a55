"""What of a configuration unbound can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.dns.config import ZoneConfig
from emulab.servers.engines.names.zonefiles import SHARED


def unable(zone: ZoneConfig) -> Iterator[str]:
    """What of a zone, a few words each."""
    if zone.routed:
        yield f"records by weight, failover and health aren't drawn by unbound: they are {SHARED}"
    if zone.clients is None:
        return
    own = {record.name.lower() for record in zone.records}
    for record in zone.records:
        if record.name.startswith("*."):
            yield f"{record.name} isn't answered by unbound: its views know no wildcards"
        if record.type == "CNAME" and f"{record.data.lower().rstrip('.')}." not in own:
            yield f"{record.name} leads out of its zone, where unbound follows no alias of a private one"
