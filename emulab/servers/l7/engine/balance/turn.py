"""What a request has to do with its upstream's balancer, and the shape of an algorithm. Pure."""

from __future__ import annotations

from collections.abc import Callable

from emulab.servers.l7.config import RequestRoute
from emulab.servers.l7.engine.balance.limits import QueuedRequest
from emulab.servers.l7.engine.filters.effect import Asked


class Turn:
    """One request, as its upstream's balancer sees it. Only upstreams that aren't plain have them."""

    __slots__ = (
        "asked", "asking", "begun", "date", "draw", "entered", "failed", "lines", "note", "retrying", "route", "tried",
        "waiting",
    )  # fmt: skip

    def __init__(
        self, asked: Asked, route: RequestRoute, draw: Callable[[int], int], date: Callable[[], bytes]
    ) -> None:
        """`draw` draws one of so many, from 0; `date` makes the Date line for now."""
        self.asked = asked
        self.route = route
        self.draw = draw
        self.date = date
        self.tried: list[str] = []
        self.asking = False  # whether the last of them is being asked
        self.failed = False  # whether the last try has
        self.begun = 0.0  # the last try
        self.lines: list[bytes] = []  # of the answer, besides
        self.entered = False  # whether the request counts among those that the upstream's limits know
        self.retrying = False
        self.waiting: QueuedRequest | None = None
        self.note = ""  # for records


class Balancer:
    """An algorithm with the servers among which it picks, of which there is at least one when it is asked."""

    def __init__(self, name: str, servers: tuple[str, ...]) -> None:
        """`name` is the upstream's."""
        self.name = name
        self.servers = servers

    def pick(self, turn: Turn) -> str:
        """Whose turn it is."""
        raise NotImplementedError

    def owns(self, turn: Turn) -> bool:
        """Whether the client was sent to one of these servers before, and is to stay."""
        return False

    def begun(self, server: str) -> None:
        """A request goes to a server now."""

    def left(self, server: str) -> None:
        """A request that went to a server is through there, whatever became of it."""

    def answered(self, turn: Turn, now: float) -> None:
        """The last server that was asked has answered to the end."""

    def follow(self, servers: tuple[str, ...], now: float) -> None:
        """The servers are others from now on."""
        self.servers = servers

    def inherit(self, old: Balancer, now: float) -> None:
        """Takes over what `old`, which is of this type and goes on for a while, knows of servers that stay."""
