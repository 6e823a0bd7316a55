"""One frontend: what was configured (`Spec`) and what has become of it (`Frontend`). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from emulab.dataclass import dataclass
from emulab.servers.base import parse_socket_key, socket_name
from emulab.servers.health.checks import CHECKS, kind_of
from emulab.servers.health.checks.http import ranges_of
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.algorithms import STRATEGIES
from emulab.servers.l4.balance import Affinity, BalancedTarget, Strategy
from emulab.servers.l4.config import UNLIMITED, FrontendConfig, FrontendLimits, TargetConfig
from emulab.servers.l4.limits import ConnectionCount

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


class Frontend:
    """A frontend at work. TCP connections keep their target even when it is configured away, UDP flows do not."""

    def __init__(self, spec: Spec) -> None:
        _, address, port = parse_socket_key(spec.key)
        self.key = spec.key
        self.local = socket_name((address, port))
        self.dropped = 0  # clients refused: by the ACL or a limit, or for want of a target
        self.denied = 0  # of these, those that the ACL or a limit refused
        self.total = 0  # clients that were let in
        self.bytes_in = self.bytes_out = 0  # also of targets that are gone
        self.gate = ConnectionCount(spec.limits)
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
        self.targets = []
        for wanted in spec.targets:
            target = BalancedTarget(wanted.name, wanted.address, wanted.port, wanted.weight)
            target = known.get(target.identity) or target
            target.weight = wanted.weight
            self.targets.append(target)
        self.gate.change(spec.limits)
        if spec.policy is None:
            for target in self.targets:
                target.health.healthy = True  # nobody checks it any more
        self.spec = spec

    def allows(self, address: str) -> bool:
        """Whether a client may come in."""
        return self.spec.acl.allows(address)

    def order(self, client: str, now: float) -> list[BalancedTarget]:
        """The usable targets in the order to try them for a client's address."""
        if self.spec.fail_open:
            forced = not any(target.health.healthy for target in self.targets)
            for target in self.targets:
                target.forced = forced
        ordered = self._strategy.order(self.targets, client)
        return self._affinity.order(ordered, client, now) if self._affinity else ordered

    @property
    def healthy(self) -> int:
        """How many targets are healthy."""
        return sum(target.health.healthy for target in self.targets)

    def chosen(self, target: BalancedTarget, client: str, now: float) -> None:
        """The client has been joined with this target."""
        if self._affinity:
            self._affinity.chosen(target, client, now)

    def explain(self, healthy: int, failed: Sequence[str] = ()) -> str:
        """Why a target was picked, in words: one of `healthy`, after others `failed`."""
        how = f"{self.spec.balance}, client affinity" if self._affinity else self.spec.balance
        if self.spec.fail_open and self.targets and self.targets[0].forced:
            how, healthy = f"{how}, failing open", 0
        reason = f"{how}, {healthy} of {len(self.targets)} targets healthy"
        if self.spec.proxy_protocol:
            reason += f", PROXY protocol v{self.spec.proxy_protocol}"
        return f"{reason}, after {', '.join(failed)}" if failed else reason

    def lament(self, failed: Sequence[str] = ()) -> str:
        """Why there is no target, in words."""
        if failed:
            return f"no target answers: {', '.join(failed)}"
        count = len(self.targets)
        return f"no target is healthy: 0 of {count}" if count else "no target is configured"

    def with_others(self, others: Sequence[Mapping[str, Any]]) -> Frontend:
        """A copy with the counters of other workers' in it, which their `status` says."""
        if not others:
            return self
        joined = copy(self)
        joined.gate, joined.targets = copy(self.gate), [copy(target) for target in self.targets]
        joined.gate.open += sum(other["open"] for other in others)
        limits = self.gate.limits
        joined.gate.limits = replace(limits, connections=limits.connections * (1 + len(others)))
        for name in ("dropped", "denied", "total", "bytes_in", "bytes_out"):
            setattr(joined, name, getattr(self, name) + sum(other[name] for other in others))
        for target in joined.targets:
            there = [t for other in others if (t := other["targets"].get(target.name))]
            for name in ("errors", "open", "total", "bytes_in", "bytes_out"):
                setattr(target, name, getattr(target, name) + sum(t[name] for t in there))
        return joined

    def status(self) -> dict[str, Any]:
        """State and counters, JSON-able."""
        return {
            "balance": self.spec.balance,
            "dropped": self.dropped,
            "denied": self.denied,
            "open": self.gate.open,
            "total": self.total,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "targets": {
                target.name: {
                    "address": target.address,
                    "port": target.port,
                    "healthy": target.health.healthy,
                    "weight": target.weight,
                    "errors": target.errors,
                    "check": _check(target),
                    "open": target.open,
                    "total": target.total,
                    "bytes_in": target.bytes_in,
                    "bytes_out": target.bytes_out,
                }
                for target in self.targets
            },
        }


def _check(target: BalancedTarget) -> dict[str, Any] | None:
    """The last check of a target, and how many there were; None where there was none."""
    last, counts = target.checked.last, target.checked
    if last is None:
        return None
    told = {"word": last.word, "detail": last.detail, "seconds": last.seconds}
    return {**told, "failures": counts.failures, "flips": counts.flips}
