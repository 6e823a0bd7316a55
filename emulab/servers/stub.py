"""A stub resolver that asks over given sockets: names as a place's /etc/resolv.conf would resolve them.

A place asks for addresses of the families that it has addresses of itself (getaddrinfo(3), AI_ADDRCONFIG): a client for
those of all (`resolve_all`), a server of ours for those of the first that a name has any of (`resolve`). Families are
numbers here, as sockets have them.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.errors import PeerError, UserError
from emulab.servers.destinations import by_preference

_NUMBERS = {"ndots": (1, 0, 15), "timeout": (2, 1, 30), "attempts": (2, 1, 5)}
"""Options of resolv.conf(5) with a number: what it is unless it is said, and the least and the most that counts. glibc
waits for 5 seconds where ours, who are looked at, wait for 2."""

_RECORDS = {int(socket.AF_INET): "A", int(socket.AF_INET6): "AAAA"}
"""The DNS records that hold addresses, by family."""
_REFUSALS = {2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
"""Codes of answers that say nothing about a name: another server may know it (res_send of glibc)."""

OpenSocket = Callable[[int, int], Awaitable[socket.socket]]
"""Gives a socket of a family and a kind."""


class _CannotTell(Exception):
    """A server has answered that it can't tell."""


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """What resolv.conf(5) and hosts(5) of a place say."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int
    hosts: dict[str, tuple[str, ...]]
    families: tuple[int, ...] = (int(socket.AF_INET),)  # of the place's own addresses, the primary one first
    timeout: float = 2  # seconds for which a server is waited for, each time
    attempts: int = 2  # how often each server is asked
    in_turn: bool = False  # one family after the other

    @staticmethod
    def parse(
        resolv_conf: str, hosts: str, families: Sequence[int] = (int(socket.AF_INET),)
    ) -> ResolverConfig:
        servers: list[str] = []
        search: list[str] = []
        said: dict[str, str] = {}
        for line in resolv_conf.splitlines():
            match line.split():
                case ["nameserver", server]:
                    servers.append(server)
                case ["search", *names]:
                    search = names
                case ["options", *options]:
                    said |= {name: value for name, _, value in (o.partition(":") for o in options)}
        ndots, timeout, attempts = (_number(said, option) for option in _NUMBERS)
        return ResolverConfig(
            *(tuple(servers), tuple(search), ndots, _hosts(hosts.splitlines(), families), tuple(families)),
            *(timeout, attempts, "single-request" in said),
        )

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


def socket_family(address: str) -> int:
    """The family of an address, as sockets have it."""
    return int(socket.AF_INET6 if ":" in address else socket.AF_INET)


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


_Asking = Callable[[str, str, ResolverConfig, OpenSocket], Awaitable["list[str] | None"]]


async def _resolved(
    name: str, config: ResolverConfig, asking: _Asking, open_socket: OpenSocket
) -> Sequence[str]:
    """The addresses of a name, as `asking` has them of a name server."""
    try:
        return [str(ip_address(name.strip("[]")))]
    except ValueError:
        pass
    if name in config.hosts:
        return config.hosts[name]
    why = refused = ""
    for candidate in config.candidates(name):
        told = ""
        for server in config.servers:
            try:
                addresses = await asking(candidate, server, config, open_socket)
            except OSError as error:
                addresses, why = None, f" ({os.strerror(error.errno or 0)})"
            except _CannotTell as refusal:
                addresses, told = None, f"{server} answered {refusal}"
            if addresses:
                return addresses
            if addresses is not None:
                break  # an answer, but no address: the next candidate
        else:  # glibc doesn't go on to the next candidate after silence, as this one may exist
            if not told:
                whom = ", ".join(config.servers) or "any name server"
                raise PeerError(f"{name}: no answer from {whom}{why}")
            refused = refused or told
    if refused:  # so it isn't known that nobody has it
        raise PeerError(f"{name}: not resolved, as {refused}")
    raise UserError(f"{name}: no such name (NXDOMAIN, or no address)")


async def _first(name: str, server: str, config: ResolverConfig, open_socket: OpenSocket) -> list[str] | None:
    """The addresses of the first family that the server has any of; None when it doesn't answer."""
    for family in config.families:
        addresses = await _ask(name, server, config, open_socket, _RECORDS[family])
        if addresses is None or addresses:
            return addresses
    return []


async def _every(name: str, server: str, config: ResolverConfig, open_socket: OpenSocket) -> list[str] | None:
    """The addresses of all families, those of IPv6 first; None when the server doesn't answer.

    All are asked for at once (`options single-request`: in turn), and half an answer is one, as for glibc: some
    servers, and rules in front of them, never answer for AAAA, or refuse it. Each is over a socket of its own
    (`single-request-reopen`), so that a trace tells them apart.
    """
    wanted = sorted(config.families, reverse=True)
    at_a_time = asyncio.Semaphore(1 if config.in_turn else len(wanted))

    async def ask(sock: socket.socket, family: int) -> list[str] | None:
        async with at_a_time:
            return await _ask_over(sock, name, server, config, _RECORDS[family])

    with ExitStack() as stack:
        sockets = [
            stack.enter_context(await open_socket(socket_family(server), socket.SOCK_DGRAM)) for _ in wanted
        ]
        answers = await asyncio.gather(*map(ask, sockets, wanted), return_exceptions=True)
    found = [address for answer in answers if isinstance(answer, list) for address in answer]
    for answer in answers:
        if isinstance(answer, BaseException) and not (found and isinstance(answer, Exception)):
            raise answer
    return None if None in answers and not found else found


async def _source(address: str, open_socket: OpenSocket) -> str | None:
    """What the place would send from to an address, which takes no packet; None where it can't."""
    with await open_socket(socket_family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, 53))
        except OSError:
            return None
        return str(sock.getsockname()[0])


async def _ask(
    name: str, server: str, config: ResolverConfig, open_socket: OpenSocket, record: str
) -> list[str] | None:
    """What `_ask_over` finds, over a socket of its own."""
    with await open_socket(socket_family(server), socket.SOCK_DGRAM) as sock:
        return await _ask_over(sock, name, server, config, record)


async def _ask_over(
    sock: socket.socket, name: str, server: str, config: ResolverConfig, record: str
) -> list[str] | None:
    """The addresses in the server's answer; None when it doesn't answer.

    Raises OSError when there is no way to it, _CannotTell when it can't tell, and PeerError for what is no DNS message.
    """
    import dnslib

    query = dnslib.DNSRecord.question(name, record)
    query.header.id = random.randrange(1 << 16)
    loop = asyncio.get_running_loop()
    for _ in range(config.attempts):
        try:
            await loop.sock_connect(sock, (server, 53))
            async with asyncio.timeout(config.timeout):
                await loop.sock_sendall(sock, query.pack())
                while True:
                    answer = dnslib.DNSRecord.parse(await loop.sock_recv(sock, 65535))
                    if answer.header.id == query.header.id:
                        if refusal := _REFUSALS.get(answer.header.rcode):
                            raise _CannotTell(refusal)
                        return [str(r.rdata) for r in answer.rr if dnslib.QTYPE[r.rtype] == record]
        except (TimeoutError, ConnectionRefusedError):
            continue
        except dnslib.DNSError as error:
            raise PeerError(f"{server} answered {name} with no DNS message: {error}") from None
    return None
