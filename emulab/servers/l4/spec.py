"""A frontend as configured: checked, and ready to be followed. Pure."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.base import parse_socket_key
from emulab.servers.health.checks import CHECKS, kind_of
from emulab.servers.health.checks.http import ranges_of
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.algorithms import STRATEGIES
from emulab.servers.l4.config import UNLIMITED, FrontendConfig, FrontendLimits, TargetConfig


@dataclass(frozen=True)
class Spec:
    """A frontend as configured, checked."""

    key: str
    acl: Acl
    balance: str = "roundrobin"
    targets: tuple[TargetConfig, ...] = ()
    policy: HealthPolicy | None = None
    idle_timeout: float | None = None  # seconds without a byte; None: for ever (UDP: 30)
    affinity: float = 0.0  # seconds for which a client that doesn't come keeps its target; 0: no affinity
    fail_open: bool = False
    drain: float | None = None
    proxy_protocol: int = 0
    limits: FrontendLimits = UNLIMITED


def checked_spec(key: str, given: FrontendConfig) -> Spec:
    """The frontend that the configuration asks for at a socket. Raises ValueError where a value is wrong."""
    balance, policy = given.balance, given.health
    protocol, _, _ = parse_socket_key(key)
    if balance not in STRATEGIES:
        raise ValueError(f"{key}: unknown balance {balance!r}, known are {', '.join(sorted(STRATEGIES))}")
    if len({target.name for target in given.targets}) < len(given.targets):
        raise ValueError(f"{key}: two targets of one name")
    if given.proxy_protocol not in (0, 1, 2):
        raise ValueError(f"{key}: there is no version {given.proxy_protocol} of the PROXY protocol")
    if policy is not None:
        ranges_of(policy.codes)
        if kind_of(policy) not in CHECKS:
            raise ValueError(
                f"{key}: unknown check {kind_of(policy)!r}, known are {', '.join(sorted(CHECKS))}"
            )
    if protocol == "udp" and policy is not None and policy.port is None:
        policy = None  # checks connect by TCP; a UDP port says nothing to them
    return Spec(
        *(key, Acl(given.source_ranges), balance, given.targets, policy, given.idle_timeout, given.affinity),
        *(given.fail_open, given.drain, given.proxy_protocol, given.limits),
    )
