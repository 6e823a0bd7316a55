"""What a balancer is told. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration
from emulab.servers.health.config import HealthPolicy


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Whom a frontend may send to. Names are unique in a frontend. Nothing new goes to one of weight 0."""

    name: str
    address: str
    port: int
    weight: int = 1

    @classmethod
    def nameless(cls, address: str, port: int) -> TargetConfig:
        """A target that goes by its address and port."""
        return cls(f"[{address}]:{port}" if ":" in address else f"{address}:{port}", address, port)


@dataclass(frozen=True, slots=True)
class FrontendLimits:
    """What a frontend takes at most; 0: any number."""

    connections: int = 0  # at a time
    connections_per_source: int = 0  # at a time, of one address
    rate: int = 0  # new ones a second

    @property
    def any(self) -> bool:
        return bool(self.connections or self.connections_per_source or self.rate)


UNLIMITED = FrontendLimits()


@dataclass(frozen=True, slots=True)
class FrontendConfig:
    """Who is behind a listening socket."""

    balance: str  # one of `algorithms.STRATEGIES`
    targets: tuple[TargetConfig, ...]
    health: HealthPolicy | None = None  # None: no checks
    source_ranges: tuple[str, ...] = ()  # CIDRs; none: everyone
    idle_timeout: float | None = None  # seconds without a byte; None: for ever (UDP: 30)
    affinity: float = 0.0  # seconds for which a client that doesn't come keeps its target; 0: no affinity
    fail_open: bool = False  # without any healthy target, whether all are used
    drain: float | None = (
        None  # seconds after which connections to removed targets are reset; None: they go on
    )
    proxy_protocol: int = 0  # version of the header that targets are sent first; 0: none
    limits: FrontendLimits = UNLIMITED


@dataclass(frozen=True, slots=True)
class L4Config(Configuration):
    """The configuration of a balancer: frontends by the keys of their sockets.

    A socket that is listed without a frontend resets its clients. Frontends that are `watched` have no sockets: their
    packets are the kernel's business, and what is told of their targets is their health. At the sockets of `metrics`
    numbers are answered by HTTP. A `worker` of a number isn't the first of its crew, and leaves checks and numbers to
    that one: it is told whose targets are `unhealthy`.
    """

    PATCHED = frozenset({"frontends"})

    frontends: Mapping[str, FrontendConfig] = field(default_factory=dict)
    watched: Mapping[str, FrontendConfig] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    worker: int = 0
    unhealthy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def at(cls, frontends: Mapping[str, FrontendConfig], metrics: tuple[str, ...] = ()) -> L4Config:
        """A configuration that listens at its frontends' sockets."""
        return cls((*sorted(frontends), *metrics), frontends, metrics=metrics)
