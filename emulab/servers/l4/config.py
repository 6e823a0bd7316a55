"""What a balancer is told. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Whom a frontend may send to. Names are unique in a frontend."""

    name: str
    address: str
    port: int

    @classmethod
    def nameless(cls, address: str, port: int) -> TargetConfig:
        """A target that goes by its address and port."""
        return cls(f"[{address}]:{port}" if ":" in address else f"{address}:{port}", address, port)


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How a target is checked: seconds between checks and for one, and how many flip its state.

    `down_interval` is the time between checks of a target that isn't healthy (HAProxy's `downinter`); of one that
    hasn't been for long it is a tenth of how long, up to `interval`: who is back soon is noticed soon, and nobody is
    asked ten times a second for good. With a `path` the target is asked by HTTP, and has to answer with status 200.
    """

    interval: float
    timeout: float
    rise: int
    fall: int
    down_interval: float | None = None  # as `interval` if None
    port: int | None = None  # where to connect; the target's own port if None
    path: str = ""


@dataclass(frozen=True, slots=True)
class FrontendConfig:
    """Who is behind a listening socket."""

    balance: str  # one of `balance.STRATEGIES`
    targets: tuple[TargetConfig, ...]
    health: HealthPolicy | None = None  # None: no checks
    source_ranges: tuple[str, ...] = ()  # CIDRs; none: everyone
    idle_timeout: float | None = None  # seconds without a byte; None: for ever (UDP: 30)
    affinity: float = 0.0  # seconds for which a client that doesn't come keeps its target; 0: no affinity


@dataclass(frozen=True, slots=True)
class L4Config(Configuration):
    """The configuration of a balancer: frontends by the keys of their sockets.

    A socket that is listed without a frontend resets its clients.
    """

    PATCHED = frozenset({"frontends"})

    frontends: Mapping[str, FrontendConfig] = field(default_factory=dict)

    @classmethod
    def at(cls, frontends: Mapping[str, FrontendConfig]) -> L4Config:
        """A configuration that listens at its frontends' sockets."""
        return cls(tuple(sorted(frontends)), frontends)
