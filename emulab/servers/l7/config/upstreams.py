"""Who gets requests."""

from __future__ import annotations

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class WeightedUpstream:
    """An upstream by its name, and its share of a route's requests."""

    upstream: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Upstream:
    """Servers that do the same: `10.96.12.7:80`, `[fd00::7]:80`, or a name with a port. None of them: a 503."""

    servers: tuple[str, ...] = ()
    balance: str = "roundrobin"
