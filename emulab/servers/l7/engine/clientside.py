"""What an exchange asks of its client: a connection over HTTP/1 while a request lasts, or a stream of HTTP/2. Pure.

A client's side reads the request, knows who asked and how, and says what comes after an answer. What an exchange writes
is HTTP/1, whoever its client is: a stream makes frames of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from emulab.servers.l7.config import Options, Policy
    from emulab.servers.l7.engine.commands import Command
    from emulab.servers.l7.engine.filters.effect import Page
    from emulab.servers.l7.engine.secured import ClientIdentity
    from emulab.servers.l7.engine.surroundings import EngineSurroundings
    from emulab.servers.l7.messages.request import RequestHead
    from emulab.servers.l7.personalities import Personality
    from emulab.servers.l7.personalities.personality import Ends, Front, FrontReader


class ClientSide(Protocol):
    """The client of one request."""

    around: EngineSurroundings
    personality: Personality
    options: Options
    policy: Policy  # that of the request's route, once it has one
    commands: list[Command]
    deadline: float
    ahead: int  # bytes that the client hasn't taken, since it took no more
    keep: bool  # whether the connection outlives the answer

    address: str  # the client's
    name: str  # that, with its port
    local: str  # our end of the connection
    scheme: str
    port: str  # as upstreams are told
    forwarding: bytes
    ends: Ends
    front: tuple[FrontReader, Front] | None  # what the one in front says, where that is so for all requests
    listener: tuple[str, str]  # what the connection itself speaks, and the port that it was accepted at
    secured: ClientIdentity | None  # who is at the other end of TLS, where anybody looks
    shown: str  # the address of who asks, in records
    leaving: list[Callable[[], None]]  # what is to be done once a tunnel is over
    extra: bytes  # more field lines of answers in the name of a route
    everywhere: bytes  # those of every answer

    @property
    def body(self) -> object | None:
        """What of the request's body hasn't come, if anything."""

    @property
    def waits(self) -> bool:
        """Whether the request is whole and its answer isn't."""

    @property
    def reading(self) -> bool:
        """Whether the request's body is read."""

    @property
    def stalled(self) -> bool:
        """Whether the client takes no more bytes."""

    @property
    def closed(self) -> bool:
        """Whether there is nobody to answer."""

    def flow(self, now: float) -> None:
        """Reads the request's body if, and only if, there is a place for it."""

    def send_page(self, page: Page, head: RequestHead) -> tuple[bool, bytes]:
        """Answers with a page of our own. Whether the connection ends after it, and the page as HTTP/1.1 has it."""

    def go_on(self, status: int, close: bool, now: float) -> None:
        """What comes after a page."""

    def linger(self, now: float) -> None:
        """The answer is out, and the rest of the request's body has no taker."""

    def finish(self, now: float) -> None:
        """The request is through."""

    def change_protocol(self) -> bytes:
        """The connection isn't HTTP any more. What has come of the new protocol."""

    def cut_off(self, now: float) -> None:
        """Ends an answer that can't be completed, so that the client learns of it."""

    def tell(self, event: str, **fields: Any) -> None:
        """Tells of this client's request."""
