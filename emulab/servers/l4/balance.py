"""Targets, their health and the strategies that order them: pure, time is an argument."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from emulab.servers.base import socket_name
from emulab.servers.l4.config import HealthPolicy


class Health:
    """The health of one target. It is healthy until checks say otherwise, as HAProxy's servers start UP."""

    __slots__ = ("_begun", "_fell", "_streak", "due", "healthy")

    def __init__(self, now: float = 0.0) -> None:
        self.healthy = True
        self.due = now  # when the next check is to begin; the first one at once
        self._streak = 0  # results in a row that contradict `healthy`
        self._begun = now  # the last check
        self._fell = now  # when the check began by which it wasn't healthy any more

    def begin(self, policy: HealthPolicy, now: float) -> None:
        """A check begins: the next is due an interval after this one's beginning, whatever it takes."""
        interval = policy.interval
        if not self.healthy and policy.down_interval is not None:
            interval = max(policy.down_interval, min(interval, (now - self._fell) / 10))
        self._begun, self.due = now, now + interval

    def record(self, policy: HealthPolicy, passed: bool) -> bool:
        """Takes a check's result; True if the target's health has flipped by it."""
        if passed is self.healthy:
            self._streak = 0
            return False
        self._streak += 1
        if self._streak < (policy.rise if passed else policy.fall):
            return False
        self.healthy, self._streak = passed, 0
        if not passed:
            self._fell = self._begun
            if policy.down_interval is not None:
                self.due = self._begun + policy.down_interval
        return True


class BalancedTarget:
    """One target of a frontend, with what has gone through it."""

    __slots__ = ("address", "bytes_in", "bytes_out", "health", "name", "open", "port", "total")

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.health = Health()
        self.open = 0  # connections, or UDP flows
        self.total = 0
        self.bytes_in = 0  # from clients to the target
        self.bytes_out = 0

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells a target from others: one that is configured otherwise is another."""
        return self.name, self.address, self.port

    @property
    def endpoint(self) -> str:
        """The target's socket name: `address:port`."""
        return socket_name((self.address, self.port))


class Strategy(Protocol):
    """Orders the healthy targets for one client: the first is tried first, the others if it fails."""

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        """The healthy ones of `targets`, in the order to try them for the client's address."""


class RoundRobin:
    """Each healthy target in turn."""

    def __init__(self) -> None:
        self._next = 0

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        count = len(targets)
        ring = [(self._next + step) % count for step in range(count)]
        healthy = [place for place in ring if targets[place].health.healthy]
        if healthy:
            self._next = healthy[0] + 1
        return [targets[place] for place in healthy]


class LeastConnections:
    """The target with the fewest open connections; among equals, in turn."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        return sorted(self._turns.order(targets, client), key=lambda target: target.open)


class SourceHash:
    """By a hash of the client's address: the same client, the same target, while health doesn't change."""

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        healthy = [target for target in targets if target.health.healthy]
        first = zlib.crc32(client.encode()) % len(healthy) if healthy else 0
        return healthy[first:] + healthy[:first]


class Affinity:
    """Keeps a client's address at its target, until it hasn't come for some seconds or the target is gone.

    This is Kubernetes' `sessionAffinity: ClientIP`. It goes before a strategy, which deals with the others.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._kept: OrderedDict[str, tuple[BalancedTarget, float]] = OrderedDict()  # the longest away first

    def order(self, ordered: list[BalancedTarget], client: str, now: float) -> list[BalancedTarget]:
        """The same targets, with the client's own one first if it still has one among them."""
        target, last = self._kept.get(client, (None, 0.0))
        if target is None or now - last >= self.seconds or target not in ordered:
            return ordered
        return [target, *(other for other in ordered if other is not target)]

    def chosen(self, target: BalancedTarget, client: str, now: float) -> None:
        """The client has come, and was sent to this target."""
        self._kept[client] = (target, now)
        self._kept.move_to_end(client)
        while now - next(iter(self._kept.values()))[1] >= self.seconds:
            self._kept.popitem(last=False)


# HAProxy's names.
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "roundrobin": RoundRobin,
    "leastconn": LeastConnections,
    "source": SourceHash,
}
