"""A stub resolver that asks over given sockets: names as a place's /etc/resolv.conf would resolve them.

A place asks for addresses of the families that it has addresses of itself (getaddrinfo(3), AI_ADDRCONFIG): a client for
those of all (`resolve_all`), a server of ours for those of the first that a name has any of (`resolve`). Families are
numbers here, as sockets have them.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.errors import PeerError, UserError
from emulab.servers.destinations import by_preference
from emulab.servers.stubquestions import (
    AskedServer,
    CannotTell,
    Manner,
    OpenSocket,
    ask_server,
    socket_family,
)

_NUMBERS = {"ndots": (1, 0, 15), "timeout": (5, 1, 30), "attempts": (2, 1, 5)}
"""Options of resolv.conf(5) with a number: what it is unless it is said, and the least and the most that counts."""
_MOST_SERVERS = 3  # MAXNS of resolv.conf(5)
_LONGEST = 253  # octets of a name as it is written

_RECORDS = {int(socket.AF_INET): "A", int(socket.AF_INET6): "AAAA"}
"""The DNS records that hold addresses, by family."""


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """What resolv.conf(5) and hosts(5) of a place say."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int
    hosts: dict[str, tuple[str, ...]]
    # That are asked for: those of the place's own addresses, the primary one first (not IPv6: `no-aaaa`).
    families: tuple[int, ...] = (int(socket.AF_INET),)
    timeout: float = 5  # seconds for which the first server is waited for
    attempts: int = 2  # how often each server is asked
    in_turn: bool = False  # one family after the other (`single-request`)
    reopens: bool = False  # so, and each from a port of its own (`single-request-reopen`)
    stream: bool = False  # over TCP alone (`use-vc`)
    rotates: bool = False  # each lookup begins with another server (`rotate`)

    @staticmethod
    def parse(
        resolv_conf: str, hosts: str, families: Sequence[int] = (int(socket.AF_INET),)
    ) -> ResolverConfig:
        servers: list[str] = []
        search: list[str] = []
        said: dict[str, str] = {}
        for line in resolv_conf.splitlines():
            match line.split():
                case ["nameserver", server, *_]:
                    servers.append(server)
                case ["search", *names]:
                    search = names
                case ["domain", name, *_]:
                    search = [name]
                case ["options", *options]:
                    said |= {name: value for name, _, value in (o.partition(":") for o in options)}
        ndots, timeout, attempts = (_number(said, option) for option in _NUMBERS)
        asked = [one for one in families if one != socket.AF_INET6 or "no-aaaa" not in said]
        reopens = "single-request-reopen" in said
        return ResolverConfig(
            *(tuple(servers[:_MOST_SERVERS]), tuple(search), ndots, _hosts(hosts.splitlines(), families)),
            families=tuple(asked),
            timeout=timeout,
            attempts=attempts,
            in_turn="single-request" in said or reopens,
            reopens=reopens,
            stream="use-vc" in said,
            rotates="rotate" in said,
        )

    def turns(self) -> list[tuple[str, float]]:
        """The servers of one round in their order, each with the seconds for which it is waited for: twice as many
        from one to the next, of which all but the first have their share (`get_timeout` in glibc's res_send.c)."""
        count = len(self.servers)
        found = [
            (server, max(self.timeout * 2**place // count, 1) if place else self.timeout)
            for place, server in enumerate(self.servers)
        ]
        first = random.randrange(len(found)) if self.rotates and found else 0
        return found[first:] + found[:first]

    def candidates(self, name: str) -> list[str]:
        """The absolute names to try, in the order of resolv.conf(5)."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{suffix}." for suffix in self.search]
        return [f"{name}.", *searched] if name.count(".") >= self.ndots else [*searched, f"{name}."]


def _number(said: Mapping[str, str], option: str) -> int:
    usual, least, most = _NUMBERS[option]
    text = said.get(option, "")
    return min(max(int(text[:9]), least), most) if text.isdecimal() else usual


def _hosts(lines: Iterable[str], families: Iterable[int]) -> dict[str, tuple[str, ...]]:
    """The addresses of each name in hosts(5): the first one of each family, in the order of these."""
    known: dict[int, dict[str, str]] = {family: {} for family in families}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if address and (of_family := known.get(socket_family(address))) is not None:
            of_family |= {n: address for n in names if n not in of_family}
    every = dict.fromkeys(name for of_family in known.values() for name in of_family)
    return {name: tuple(found[name] for found in known.values() if name in found) for name in every}


def families_at(keys: Iterable[str]) -> tuple[int, ...]:
    """The families of a server's own addresses, by the keys of its sockets (`tcp/fd00::1/80`); IPv4 without any."""
    found = dict.fromkeys(socket_family(key.split("/")[1]) for key in keys)
    return tuple(found) or (int(socket.AF_INET),)


async def resolve(name: str, config: ResolverConfig, open_socket: OpenSocket) -> str:
    """The first address of a name, of the first of the place's families that it has any of.

    Raises UserError when there is none, PeerError when nobody answers.
    """
    return (await _resolved(name, config, _first, open_socket))[0]


async def resolve_all(
    name: str, config: ResolverConfig, open_socket: OpenSocket, open_other: OpenSocket | None = None
) -> list[str]:
    """All addresses of a name that the place may connect to, in the order in which a client tries them.

    Those of IPv6 are asked for first (RFC 8305, section 3), and sorted as getaddrinfo(3) sorts them. `open_other` gives
    sockets over which nothing is sent, where these are to be others. Raises UserError when there is no address,
    PeerError when nobody answers.
    """
    found = list(dict.fromkeys(await _resolved(name, config, _every, open_socket)))
    if len(found) == 1 or not any(":" in address for address in found):
        return found
    return by_preference({one: await _source(one, open_other or open_socket) for one in found})


_Asking = Callable[[str, ResolverConfig, OpenSocket], Awaitable["list[str]"]]


async def _resolved(
    name: str, config: ResolverConfig, asking: _Asking, open_socket: OpenSocket
) -> Sequence[str]:
    """The addresses of a name, as `asking` has them of the name servers."""
    try:
        return [str(ip_address(name.strip("[]")))]
    except ValueError:
        pass
    if name in config.hosts:
        return config.hosts[name]
    unknown: _Unanswered | None = None
    candidates = [one for one in config.candidates(name) if _fits(one)]
    if not candidates:
        raise UserError(f"{name}: DNS has no such names: 1 to 63 octets from dot to dot, 253 in all")
    while candidates:
        candidate = candidates.pop(0)
        try:
            if addresses := await asking(candidate, config, open_socket):
                return addresses
        except _Unanswered as failure:
            unknown = unknown or failure
            if not failure.reached:
                break
            # After silence of a name that was searched for, as this one may exist, glibc has done with the list: it
            # tries the name itself. Where a server has said that it can't tell, the next one may be known.
            if failure.told != "SERVFAIL" and candidate != f"{name}.":
                candidates = [one for one in candidates if one == f"{name}."]
    if unknown is not None:  # so it isn't known that nobody has it
        raise PeerError(f"{name}: {unknown}")
    raise UserError(f"{name}: no such name (NXDOMAIN, or no address)")


def _fits(name: str) -> bool:
    """Whether DNS can have such a name (RFC 1035, section 2.3.4). One that is searched for may be too long."""
    try:
        return len(name.encode("idna").rstrip(b".")) <= _LONGEST
    except UnicodeError:  # of a label
        return False


class _Unanswered(Exception):
    """No server has said whether there is a name. `told` is what the last one said that couldn't tell; none was
    `reached` where all refuse questions."""

    def __init__(self, text: str, told: str, reached: bool) -> None:
        super().__init__(text)
        self.told, self.reached = told, reached


async def _first(name: str, config: ResolverConfig, open_socket: OpenSocket) -> list[str]:
    """The addresses of the first family that there are any of."""
    for family in config.families:
        if addresses := await _asked(name, (_RECORDS[family],), config, open_socket):
            return addresses
    return []


async def _every(name: str, config: ResolverConfig, open_socket: OpenSocket) -> list[str]:
    """The addresses of all families, those of IPv6 first."""
    wanted = sorted(config.families, reverse=True)
    return await _asked(name, [_RECORDS[family] for family in wanted], config, open_socket)


async def _asked(
    name: str, records: Sequence[str], config: ResolverConfig, open_socket: OpenSocket
) -> list[str]:
    """The addresses that the first server has told which tells anything: the servers are asked in turn, and all of them
    again (`__res_context_send` in glibc's res_send.c). Raises _Unanswered."""
    manner = Manner(config.in_turn, config.reopens, config.stream)
    why = refused = told = ""
    broken: PeerError | None = None
    reached = False
    for server, seconds in config.turns() * config.attempts:
        try:
            return await ask_server(name, records, AskedServer(server, seconds), manner, open_socket)
        except CannotTell as answer:
            told, reached = str(answer), True
            refused = refused or f"{server} answered {told}"
        except TimeoutError:
            reached = True
        except OSError as error:
            why = f" ({os.strerror(error.errno or 0)})"
        except PeerError as error:
            broken, reached = error, True
    if refused:
        raise _Unanswered(f"not resolved, as {refused}", told, reached)
    if broken is not None:
        raise broken
    whom = ", ".join(config.servers) or "any name server"
    raise _Unanswered(f"no answer from {whom}{why}", told, reached)


async def _source(address: str, open_socket: OpenSocket) -> str | None:
    """What the place would send from to an address, which takes no packet; None where it can't."""
    with await open_socket(socket_family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, 53))
        except OSError:
            return None
        return str(sock.getsockname()[0])
