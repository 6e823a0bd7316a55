"""One frontend: what was configured (`Spec`) and what has become of it (`Frontend`). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.dataclass import dataclass
from emulab.servers.base import parse_socket_key, socket_name
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.balance import STRATEGIES, Affinity, BalancedTarget, Strategy
from emulab.servers.l4.config import FrontendConfig, HealthPolicy, TargetConfig

NOT_ALLOWED = "source address not allowed"


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


def checked_spec(key: str, given: FrontendConfig) -> Spec:
    """The frontend that the configuration asks for at a socket. Raises ValueError where a value is wrong."""
    balance, policy = given.balance, given.health
    protocol, _, _ = parse_socket_key(key)
    if balance not in STRATEGIES:
        raise ValueError(f"{key}: unknown balance {balance!r}, known are {', '.join(sorted(STRATEGIES))}")
    if len({target.name for target in given.targets}) < len(given.targets):
        raise ValueError(f"{key}: two targets of one name")
    if protocol == "udp" and policy is not None and policy.port is None:
        policy = None  # checks connect by TCP; a UDP port says nothing to them
    acl = Acl(given.source_ranges)
    return Spec(key, acl, balance, given.targets, policy, given.idle_timeout, given.affinity)


class Frontend:
    """A frontend at work. TCP connections keep their target even when it is configured away, UDP flows do not."""

    def __init__(self, spec: Spec) -> None:
        _, address, port = parse_socket_key(spec.key)
        self.key = spec.key
        self.local = socket_name((address, port))
        self.dropped = 0  # clients refused: by the ACL, or for want of a target
        self.targets: list[BalancedTarget] = []
        self._strategy: Strategy = STRATEGIES[spec.balance]()
        self._affinity = Affinity(spec.affinity) if spec.affinity else None
        self.spec = spec
        self.update(spec)

    def update(self, spec: Spec) -> None:
        """Takes a new configuration; targets that stay keep their health and their counters."""
        if spec.balance != self.spec.balance:
            self._strategy = STRATEGIES[spec.balance]()
        if spec.affinity != self.spec.affinity:
            self._affinity = Affinity(spec.affinity) if spec.affinity else None
        known = {target.identity: target for target in self.targets}
        wanted = ((target.name, target.address, target.port) for target in spec.targets)
        self.targets = [known.get(identity) or BalancedTarget(*identity) for identity in wanted]
        if spec.policy is None:
            for target in self.targets:
                target.health.healthy = True  # nobody checks it any more
        self.spec = spec

    def allows(self, address: str) -> bool:
        """Whether a client may come in."""
        return self.spec.acl.allows(address)

    def order(self, client: str, now: float) -> list[BalancedTarget]:
        """The healthy targets in the order to try them for a client's address."""
        ordered = self._strategy.order(self.targets, client)
        return self._affinity.order(ordered, client, now) if self._affinity else ordered

    def chosen(self, target: BalancedTarget, client: str, now: float) -> None:
        """The client has been joined with this target."""
        if self._affinity:
            self._affinity.chosen(target, client, now)

    def explain(self, healthy: int, failed: Sequence[str] = ()) -> str:
        """Why a target was picked, in words: one of `healthy`, after others `failed`."""
        how = f"{self.spec.balance}, client affinity" if self._affinity else self.spec.balance
        reason = f"{how}, {healthy} of {len(self.targets)} targets healthy"
        return f"{reason}, after {', '.join(failed)}" if failed else reason

    def lament(self, failed: Sequence[str] = ()) -> str:
        """Why there is no target, in words."""
        if failed:
            return f"no target answers: {', '.join(failed)}"
        count = len(self.targets)
        return f"no target is healthy: 0 of {count}" if count else "no target is configured"

    def status(self) -> dict[str, Any]:
        """State and counters, JSON-able."""
        return {
            "balance": self.spec.balance,
            "dropped": self.dropped,
            "targets": {
                target.name: {
                    "address": target.address,
                    "port": target.port,
                    "healthy": target.health.healthy,
                    "open": target.open,
                    "total": target.total,
                    "bytes_in": target.bytes_in,
                    "bytes_out": target.bytes_out,
                }
                for target in self.targets
            },
        }
