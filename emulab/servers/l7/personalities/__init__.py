"""Makes of proxies: what the engine asks them is in `personality`, each has a package here and a line in the table."""

from __future__ import annotations

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.personalities import ingress_nginx
from emulab.servers.l7.personalities.personality import Personality

__all__ = ["Personality", "personality_of"]

PERSONALITIES = {one.name: one for one in (ingress_nginx.PERSONALITY,)}


def personality_of(name: str) -> Personality:
    """The personality of this name. Raises `BadConfiguration`."""
    if name not in PERSONALITIES:
        raise BadConfiguration(f"config.personality: {name!r} is not one of {', '.join(PERSONALITIES)}")
    return PERSONALITIES[name]
