"""A stub resolver that asks over given sockets: names as a place's /etc/resolv.conf would resolve them.

A place asks for addresses of the families that it has addresses of itself (getaddrinfo(3), AI_ADDRCONFIG); families are
numbers here, as sockets have them.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.errors import PeerError, UserError

_TIMEOUT = 2.0  # seconds a try
_TRIES = 2

_RECORDS = {int(socket.AF_INET): "A", int(socket.AF_INET6): "AAAA"}
"""The DNS records that hold addresses, by family."""

OpenSocket = Callable[[int, int], Awaitable[socket.socket]]
"""Gives a socket of a family and a kind."""


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """What resolv.conf(5) and hosts(5) of a place say."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int
    hosts: dict[str, str]
    families: tuple[int, ...] = (int(socket.AF_INET),)  # of the place's own addresses, the primary one first

    @staticmethod
    def parse(
        resolv_conf: str, hosts: str, families: Sequence[int] = (int(socket.AF_INET),)
    ) -> ResolverConfig:
        servers, search, ndots = [], [], 1
        for line in resolv_conf.splitlines():
            match line.split():
                case ["nameserver", server]:
                    servers.append(server)
                case ["search", *names]:
                    search = names
                case ["options", *options]:
                    ndots = next((int(o[6:]) for o in options if o.startswith("ndots:")), ndots)
        known = _hosts(hosts.splitlines(), families)
        return ResolverConfig(tuple(servers), tuple(search), ndots, known, tuple(families))

    def candidates(self, name: str) -> list[str]:
        """The absolute names to try, in the order of resolv.conf(5)."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{suffix}." for suffix in self.search]
        return [f"{name}.", *searched] if name.count(".") >= self.ndots else [*searched, f"{name}."]


def _hosts(lines: Iterable[str], families: Iterable[int]) -> dict[str, str]:
    """The address of each name in hosts(5): the first one of the first family that has any."""
    known: dict[int, dict[str, str]] = {family: {} for family in families}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if address and (of_family := known.get(socket_family(address))) is not None:
            of_family |= {n: address for n in names if n not in of_family}
    return {n: a for of_family in reversed(known.values()) for n, a in of_family.items()}


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
    try:
        return str(ip_address(name.strip("[]")))
    except ValueError:
        pass
    if name in config.hosts:
        return config.hosts[name]
    why = ""
    for candidate in config.candidates(name):
        for server in config.servers:
            try:
                addresses = await _first(candidate, server, config.families, open_socket)
            except OSError as error:
                addresses, why = None, f" ({os.strerror(error.errno or 0)})"
            if addresses:
                return addresses[0]
            if addresses is not None:
                break  # an answer, but no address: the next candidate
        else:  # glibc doesn't go on to the next candidate either, as this one may exist
            raise PeerError(f"{name}: no answer from {', '.join(config.servers) or 'any name server'}{why}")
    raise UserError(f"{name}: no such name (NXDOMAIN, or no address)")


async def _first(
    name: str, server: str, families: Iterable[int], open_socket: OpenSocket
) -> list[str] | None:
    """The addresses of the first family that the server has any of; None when it doesn't answer."""
    for family in families:
        addresses = await _ask(name, server, open_socket, _RECORDS[family])
        if addresses is None or addresses:
            return addresses
    return []


async def _ask(name: str, server: str, open_socket: OpenSocket, record: str = "A") -> list[str] | None:
    """The addresses in the server's answer; None when it doesn't answer. Raises OSError when there is no way to it."""
    import dnslib

    query = dnslib.DNSRecord.question(name, record)
    query.header.id = random.randrange(1 << 16)
    loop = asyncio.get_running_loop()
    sock = await open_socket(socket_family(server), socket.SOCK_DGRAM)
    with sock:
        for _ in range(_TRIES):
            try:
                await loop.sock_connect(sock, (server, 53))
                async with asyncio.timeout(_TIMEOUT):
                    await loop.sock_sendall(sock, query.pack())
                    while True:
                        answer = dnslib.DNSRecord.parse(await loop.sock_recv(sock, 65535))
                        if answer.header.id == query.header.id:
                            return [str(r.rdata) for r in answer.rr if dnslib.QTYPE[r.rtype] == record]
            except (TimeoutError, ConnectionRefusedError):
                continue
            except dnslib.DNSError as error:
                raise PeerError(f"{server} answered {name} with no DNS message: {error}") from None
    return None
