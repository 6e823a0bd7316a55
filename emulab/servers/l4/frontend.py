"""One frontend at work: its targets, whose turn it is, and its counters. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulab.servers.base import parse_socket_key, socket_name
from emulab.servers.l4.algorithms import STRATEGIES
from emulab.servers.l4.balance import Affinity, BalancedTarget, Strategy
from emulab.servers.l4.limits import ConnectionCount
from emulab.servers.l4.spec import Spec

NOT_ALLOWED = "source address not allowed"


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
        self.guarded = self.affine = False  # what each connection asks of `spec`
        self.proxy_protocol = 0
        self.idle_timeout: float | None = None
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
        self.guarded, self.affine = bool(spec.acl.ranges), bool(spec.affinity)
        self.proxy_protocol, self.idle_timeout = spec.proxy_protocol, spec.idle_timeout

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
        joined = Frontend(self.spec)
        joined.targets = [target.copied() for target in self.targets]
        joined.gate.open = self.gate.open + sum(other["open"] for other in others)
        limits = self.gate.limits
        joined.gate.limits = replace(limits, connections=limits.connections * (1 + len(others)))
        joined.dropped = self.dropped + _sum(others, "dropped")
        joined.denied = self.denied + _sum(others, "denied")
        joined.total = self.total + _sum(others, "total")
        joined.bytes_in = self.bytes_in + _sum(others, "bytes_in")
        joined.bytes_out = self.bytes_out + _sum(others, "bytes_out")
        for target in joined.targets:
            there = [t for other in others if (t := other["targets"].get(target.name))]
            target.errors += _sum(there, "errors")
            target.open += _sum(there, "open")
            target.total += _sum(there, "total")
            target.bytes_in += _sum(there, "bytes_in")
            target.bytes_out += _sum(there, "bytes_out")
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


def _sum(counts: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(count[name] for count in counts)
