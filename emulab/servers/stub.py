"""A stub resolver that asks over given sockets: names as a place's /etc/resolv.conf would resolve them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.errors import PeerError, UserError

_TIMEOUT = 2.0  # seconds a try
_TRIES = 2

OpenSocket = Callable[[int, int], Awaitable[socket.socket]]


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """What resolv.conf(5) and hosts(5) of a place say."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int
    hosts: dict[str, str]

    @staticmethod
    def parse(resolv_conf: str, hosts: str) -> ResolverConfig:
        servers, search, ndots = [], [], 1
        for line in resolv_conf.splitlines():
            match line.split():
                case ["nameserver", server]:
                    servers.append(server)
                case ["search", *names]:
                    search = names
                case ["options", *options]:
                    ndots = next((int(o[6:]) for o in options if o.startswith("ndots:")), ndots)
        known: dict[str, str] = {}
        for line in hosts.splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            known |= {n: address for n in names if n not in known and ":" not in address}
        return ResolverConfig(tuple(servers), tuple(search), ndots, known)

    def candidates(self, name: str) -> list[str]:
        """The absolute names to try, in the order of resolv.conf(5)."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{suffix}." for suffix in self.search]
        return [f"{name}.", *searched] if name.count(".") >= self.ndots else [*searched, f"{name}."]


async def resolve(name: str, config: ResolverConfig, open_socket: OpenSocket) -> str:
    """The first IPv4 address of a name. Raises UserError when there is none, PeerError when nobody answers."""
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
                addresses = await _ask(candidate, server, open_socket)
            except OSError as error:
                addresses, why = None, f" ({os.strerror(error.errno or 0)})"
            if addresses:
                return addresses[0]
            if addresses is not None:
                break  # an answer, but no address: the next candidate
        else:  # glibc doesn't go on to the next candidate either, as this one may exist
            raise PeerError(f"{name}: no answer from {', '.join(config.servers) or 'any name server'}{why}")
    raise UserError(f"{name}: no such name (NXDOMAIN, or no address)")


async def _ask(name: str, server: str, open_socket: OpenSocket) -> list[str] | None:
    """The addresses in the server's answer; None when it doesn't answer. Raises OSError when there is no way to it."""
    import dnslib

    query = dnslib.DNSRecord.question(name, "A")
    query.header.id = random.randrange(1 << 16)
    loop = asyncio.get_running_loop()
    sock = await open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        for _ in range(_TRIES):
            try:
                await loop.sock_connect(sock, (server, 53))
                async with asyncio.timeout(_TIMEOUT):
                    await loop.sock_sendall(sock, query.pack())
                    while True:
                        answer = dnslib.DNSRecord.parse(await loop.sock_recv(sock, 65535))
                        if answer.header.id == query.header.id:
                            return [str(r.rdata) for r in answer.rr if r.rtype == dnslib.QTYPE.A]
            except (TimeoutError, ConnectionRefusedError):
                continue
            except dnslib.DNSError as error:
                raise PeerError(f"{server} answered {name} with no DNS message: {error}") from None
    return None
