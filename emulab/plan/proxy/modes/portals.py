"""The ports at which a node's process of the userspace mode listens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from emulab.errors import UserError
from emulab.model.addresses import spread
from emulab.plan.proxy.intents import Intent

PORTS = range(61000, 65536)
"""Above those that the kernel gives to connections (ip_local_port_range, 32768 to 60999)."""
PROTOCOLS = ("tcp", "udp")


class Portal(NamedTuple):
    """One listening socket of the process: a Service port, and which of its endpoints are meant."""

    protocol: str
    title: str  # kube-proxy's name of the Service port
    use: str  # cluster | local: the policy


Portals = Mapping[Portal, int]


def portals(intents: Iterable[Intent]) -> Portals:
    """The port of every portal, hashed from its name, the next free one where that is taken. Raises UserError."""
    wanted = sorted(portal for intent in proxied(intents) for portal in portals_of(intent))
    found: dict[Portal, int] = {}
    used: set[tuple[str, int]] = set()
    for portal in wanted:
        size = len(PORTS)
        first = _first(portal, size)
        ports = (PORTS[(first + step) % size] for step in range(size))
        port = next((p for p in ports if (portal.protocol, p) not in used), 0)
        if not port:
            raise UserError(
                f"Cluster spec.proxy.mode: userspace has room for {size} {portal.protocol.upper()} Service ports"
                " a node, and there are more; take another mode"
            )
        used.add((portal.protocol, port))
        found[portal] = port
    return found


@lru_cache(1 << 14)
def _first(portal: Portal, size: int) -> int:
    """Which of so many ports a portal has if nobody else has it."""
    return spread("/".join(portal), size)


def none_moved(before: Portals, after: Portals) -> bool:
    """Whether all portals that are there still have the ports that they had."""
    return before is after or all(after.get(portal, port) == port for portal, port in before.items())


def proxied(intents: Iterable[Intent]) -> list[Intent]:
    """Those that the process cares for: it knew no SCTP."""
    return [intent for intent in intents if intent.protocol in PROTOCOLS]


def portal(intent: Intent, use: str) -> Portal:
    """The portal of a Service port for traffic of one policy."""
    return Portal(intent.protocol, intent.title, use)


def portals_of(intent: Intent) -> list[Portal]:
    """The portals of a Service port, whether or not anybody serves it now."""
    return [portal(intent, use) for use in uses(intent)]


def uses(intent: Intent) -> list[str]:
    """The policies that some traffic of a Service port follows, whether or not anybody serves it now."""
    outside = intent.externally_accessible
    cluster = not intent.internal_local or outside
    local = intent.internal_local or (intent.external_local and outside)
    return [use for use, wanted in (("cluster", cluster), ("local", local)) if wanted]
