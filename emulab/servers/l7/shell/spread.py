"""How requests spread over endpoints that all have one address, as those behind a cluster IP have. Pure.

Whom a connection is with is decided when it is opened, by others, and nobody tells; so what is sent over one connection
goes to one endpoint, and requests spread as well as the connections that they use. With N of them used in turn a share
differs from the others as that of N draws does: 10 endpoints and 320 connections are even to one part in six, and 1,000
requests over one connection each to one in ten.

So more are opened than the clients need. There are to be `PER_ENDPOINT` for each endpoint, as far as so many may be
kept, of which the one that was used least recently goes first. Beyond that requests get fresh connections while there
is credit for it, and the oldest are closed in their place: a few requests a second have one each, which is as even as
it gets, and under load the kept ones are replaced little by little.
"""

from __future__ import annotations

PER_ENDPOINT = 32
CREDIT = 2048.0
"""Fresh connections beyond those that are to be there, at once: enough for whoever tries it by hand or in a test."""
CREDIT_A_SECOND = 16.0
"""So that ports that wait for their end (`TIME_WAIT`, 60 s) are few of the 28,000 that a client has."""


class Spread:
    """The connections to one address."""

    __slots__ = ("_credit", "_filled", "connections", "size")

    def __init__(self) -> None:
        self.size = 0  # how many there are to be
        self.connections = 0  # how many there are, those included that are being opened
        self._credit = CREDIT
        self._filled = 0.0  # when there was so much credit

    def configure(self, endpoints: int, most: int) -> None:
        """There are so many endpoints now, and `most` connections may be kept."""
        size = min(PER_ENDPOINT * endpoints, most)
        if size != self.size:
            self._credit = CREDIT  # who has come is to get its share soon
        self.size = size

    def tried(self, _: object) -> None:
        """One that was being opened isn't any more: it is there, and counted as such, or there is none."""
        self.connections -= 1

    @property
    def grows(self) -> bool:
        """Whether there are fewer than there are to be."""
        return self.connections < self.size

    def replaces(self, now: float) -> bool:
        """Whether the next request is to get a fresh connection in the place of the oldest that is kept."""
        self._credit = min(CREDIT, self._credit + (now - self._filled) * CREDIT_A_SECOND)
        self._filled = now
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
