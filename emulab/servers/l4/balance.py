"""Targets, their health, and what orders them (`algorithms`): pure, time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from emulab.servers.base import socket_name
from emulab.servers.health.state import CheckResult, Health


class CheckCounts:
    """What has come of a target's checks so far."""

    __slots__ = ("failures", "flips", "last")

    def __init__(self) -> None:
        self.last: CheckResult | None = None
        self.failures = 0
        self.flips = 0  # from healthy to not

    def add(self, result: CheckResult) -> None:
        """Takes note of a check."""
        self.last = result
        self.failures += not result.passed


class BalancedTarget:
    """One target of a frontend, with what has gone through it."""

    __slots__ = (
        *("address", "bytes_in", "bytes_out", "checked", "errors", "forced"),
        *("health", "name", "open", "port", "total", "weight"),
    )

    def __init__(self, name: str, address: str, port: int, weight: int = 1) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.weight = weight  # 0: nothing new goes there
        self.health = Health(unproven=True)
        self.checked = CheckCounts()
        self.forced = False  # is used although it isn't healthy, as nobody is
        self.errors = 0  # connections that it didn't take
        self.open = 0  # connections, or UDP flows
        self.total = 0
        self.bytes_in = 0  # from clients to the target
        self.bytes_out = 0

    def copied(self) -> BalancedTarget:
        """The same with counters of its own."""
        copy = BalancedTarget(self.name, self.address, self.port, self.weight)
        copy.health, copy.checked, copy.forced = self.health, self.checked, self.forced
        copy.errors, copy.open, copy.total = self.errors, self.open, self.total
        copy.bytes_in, copy.bytes_out = self.bytes_in, self.bytes_out
        return copy

    @property
    def usable(self) -> bool:
        """Whether something new may go there."""
        return self.weight > 0 and (self.health.healthy or self.forced)

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells a target from others: one that is configured otherwise is another."""
        return self.name, self.address, self.port

    @property
    def endpoint(self) -> str:
        """The target's socket name: `address:port`."""
        return socket_name((self.address, self.port))


class Strategy(Protocol):
    """Orders the usable targets for one client: the first is tried first, the others if it fails."""

    def order(self, targets: list[BalancedTarget], client: str) -> list[BalancedTarget]:
        """The usable ones of `targets`, in the order to try them for the client's address."""


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
