"""Who is tried first: an algorithm a module, and a line in `STRATEGIES`. Pure."""

from __future__ import annotations

from collections.abc import Callable

from emulab.servers.l4.algorithms.leastconn import LeastConnections
from emulab.servers.l4.algorithms.roundrobin import RoundRobin
from emulab.servers.l4.algorithms.source import SourceHash
from emulab.servers.l4.balance import Strategy

# HAProxy's names.
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "roundrobin": RoundRobin,
    "leastconn": LeastConnections,
    "source": SourceHash,
}
