"""The interface between a server and the process that hosts it.

Rules:

* Configuration comes whole, but for what is `Patchable`, and as plain data, of which `configuration.from_json` makes
  the value that the server's `config` module describes: `configure` compares it with what is there and changes only
  what differs. Connections that a change doesn't concern survive it.
* `config["listen"]` lists the keys of the sockets that shall be open: `"tcp/10.0.0.10/80"`, and
  `"tcp/127.0.0.1/10249@node1"` where several places have the address. Sockets arrive open, bound,
  listening (TCP) and non-blocking in `sockets`, only those that are new; a server closes those that are no
  longer listed.
* A server that connects outwards simply creates sockets: its process is in the right namespace.
* What happens is told through `emit(record)`: a new mapping with `"event"` and fields; it must not block.
  Who tells about single requests looks at `emit.wanted` first, so that nobody's listening costs nothing.
* An address in a record is `ip:port` as the server's own socket has it. `client` and `local` are the two ends
  of a connection that came, `upstream_source` and `upstream` those of the one that was made for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import IO, Any, Protocol, TypeVar, runtime_checkable

Config = Mapping[str, Any]
"""A configuration as plain data."""


def socket_key(protocol: str, address: str, port: int, place: str = "") -> str:
    """The name of a listening socket in configurations: `tcp/10.0.0.10/80`, or `tcp/127.0.0.1/80@node1`."""
    return f"{protocol}/{address}/{port}" + (f"@{place}" if place else "")


def parse_socket_key(key: str) -> tuple[str, str, int]:
    """The protocol (`tcp` or `udp`), address and port of a socket's key."""
    protocol, address, port = key.partition("@")[0].split("/")
    return protocol, address, int(port)


def socket_name(name: Any) -> str:
    """A socket's name, as sockets have it, as records do: `10.0.0.1:80` or `[fd00::1]:80`; "" where there is none."""
    if not name:
        return ""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


Result = TypeVar("Result")


class ProgramEnded(Exception):
    """A program without which its server can't go on has ended. The server ends with the same status."""

    def __init__(self, program: str, status: int) -> None:
        super().__init__(f"{program} has ended of its own accord, with status {status}")
        self.status = status


class WontStart(Exception):
    """The program for which a server stands doesn't start with what it is told: these are its last words."""


def vital(task: asyncio.Task[Result]) -> asyncio.Task[Result]:
    """A task that its server lives by: an exception that ends the task is one that the server can't go on after."""

    def done(ended: asyncio.Task[Result]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            ended.get_loop().call_exception_handler({"message": "a vital task has ended", "exception": error})

    task.add_done_callback(done)
    return task


class Emit(Protocol):
    """Where a server tells what happens."""

    @property
    def wanted(self) -> bool:
        """Whether anyone hears more than what is always told (`records.ALWAYS`)."""

    def __call__(self, record: dict[str, Any], /) -> None:
        """Tells one event. The record is the listener's from then on."""


class Server(Protocol):
    """A running server. Each kind has a module (`host.SERVERS`) that offers `create(emit: Emit) -> Server`."""

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Makes the running server equal to `config`, whole; `sockets` are the new listeners."""

    async def close(self, grace: float = 0.0) -> None:
        """Stops accepting, lets work under way end for up to `grace` seconds, then closes everything."""

    def status(self) -> dict[str, Any]:
        """Counters and states for people and tests; cheap, JSON-able."""


@runtime_checkable
class Journaling(Protocol):
    """A server that writes into logs of others."""

    def journal(self, pipe: int) -> None:
        """Takes a pipe, which is the server's from then on: lines that `servers.logs.keeper` parts again."""

    def flush(self) -> None:
        """Writes the lines that there are."""


@runtime_checkable
class Informed(Protocol):
    """A server that is told of what happens elsewhere, besides its configuration."""

    def tell(self, message: Mapping[str, Any]) -> None:
        """Takes note of a message. Cheap: there may be one for every change in a lab."""


class Others(Protocol):
    """The other workers of a server, as the leader of a crew has them (`servers.crew`)."""

    async def statuses(self) -> list[dict[str, Any]]:
        """What the others say of themselves; who doesn't answer in time is missing."""

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tells all of them."""


@runtime_checkable
class Crewed(Protocol):
    """A server that may be several processes, of which one leads the others (`servers.crew`)."""

    def lead(self, others: Others) -> None:
        """It is the leader of these."""

    def for_worker(self, config: Config, number: int) -> dict[str, Any]:
        """What of a configuration the worker of this number, from 1 on, is told. It has the same sockets at most."""

    def together(self, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Its status, with what the others have said of themselves in it."""


@runtime_checkable
class Orderly(Protocol):
    """A server that does what an operator asks of it, besides its configuration."""

    def order(self, order: Mapping[str, Any]) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """Does it, and says what came of it, at once or once what is returned is awaited. Raises UserError."""


@runtime_checkable
class Filed(Protocol):
    """A server that has files which a program beside it sees: the configuration of a real program, say."""

    def files(self) -> Mapping[str, str]:
        """The texts by their paths."""


@runtime_checkable
class Housed(Protocol):
    """A server that has a folder of the lab's, for sockets say, which programs beside it see, too (`host.HOUSED`)."""

    def house(self, folder: int) -> None:
        """Takes a descriptor of it, before the first configuration."""


@runtime_checkable
class Refreshed(Protocol):
    """A server that has to ask somebody for what its status and records say: a real program, say."""

    async def refresh(self) -> None:
        """Asks, tells what is new, and keeps what `status` says from then on."""


@runtime_checkable
class Patchable(Protocol):
    """A server that takes what differs in large mappings of its configuration without the rest."""

    def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> Awaitable[None] | None:
        """Makes the changes, that `patches.patch_between` describes, at once, or once what is returned is awaited.
        Raises BadConfiguration, and has changed nothing then."""


@runtime_checkable
class Manifold(Protocol):
    """A server of several processes, of which the first one tells for all."""

    async def status_of_all(self) -> dict[str, Any]:
        """What `status` would say of all of them."""

    def record(self, recorders: list[int]) -> None:
        """Tells the others who records, whole (`records.Records.record`)."""

    async def records(self, recorder: int, file: IO[str]) -> list[dict[str, int]]:
        """Writes the records that others have for one who records, a line of JSON each, and what each says of them:
        their `count`, how many were `lost`, and when it `began`."""


@runtime_checkable
class Figuring(Protocol):
    """A server that may be one of several processes, whose figures are added up."""

    def figures(self) -> dict[str, Any]:
        """What it has counted."""
