"""How connections to upstream servers come about, whatever way leads there."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import cast

from emulab.errors import EmulabError
from emulab.servers.l7.engine.snapshot import split_address
from emulab.servers.l7.engine.ways import UpstreamWay
from emulab.servers.l7.shell.towards import BadCertificate, check_server, client_context
from emulab.servers.l7.shell.upstream import Pool, UpstreamConnection, UpstreamUser, Where, address_of
from emulab.servers.streams.connecting import connect
from emulab.servers.stub import resolve


async def open_upstream(pool: Pool, where: Where, seconds: float, owner: UpstreamUser) -> None:
    """See `Opener`."""
    host, port = split_address(address_of(where))
    try:
        async with asyncio.timeout(seconds):
            found = await resolve(host, pool.resolver, open_socket)
            if isinstance(where, str):
                upstream = UpstreamConnection(pool, where)
                await connect(pool.streams(), found, port, upstream)
            else:
                upstream = await connect_otherwise(pool, where, found, port)
    except TimeoutError:
        owner.connect_failed(f"upstream timed out: no connection within {seconds:g} s", True)
    except ConnectionRefusedError:
        owner.connect_failed("upstream refused the connection", False)
    except EmulabError as error:  # a name without an address
        owner.connect_failed(f"upstream can't be reached: {error}", False)
    except (ssl.SSLError, BadCertificate, ValueError) as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        owner.connect_failed(f"upstream can't be reached over TLS: {why}", False)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        owner.connect_failed(f"upstream can't be reached: {why}", False)
    else:
        pool.opened += 1
        owner.connected(upstream)


async def open_socket(family: int, kind: int) -> socket.socket:
    """A socket in the proxy's own namespace, for who looks names up."""
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


async def connect_otherwise(
    pool: Pool, where: tuple[str, UpstreamWay], host: str, port: int
) -> UpstreamConnection:
    """A connection on a way that isn't plain HTTP/1.1. Raises `ssl.SSLError`, `BadCertificate` or `OSError`."""
    from emulab.servers.l7.shell.http2upstream import Http2UpstreamConnection  # takes a while to load

    _, way = where
    kind: type[UpstreamConnection] = Http2UpstreamConnection if way.http2 else UpstreamConnection
    loop, tls = asyncio.get_running_loop(), way.tls

    def made() -> asyncio.Protocol:
        return cast(asyncio.Protocol, kind(pool, where))

    if tls is None:
        _, plain = await loop.create_connection(made, host, port)
        return cast(UpstreamConnection, plain)
    transport, secured = await loop.create_connection(
        made,
        host,
        port,
        ssl=client_context(tls, way.http2),
        server_hostname=tls.name if tls.server_name else "",
    )
    upstream = cast(UpstreamConnection, secured)
    try:
        check_server(tls, transport.get_extra_info("ssl_object"))
    except BadCertificate:
        upstream.drop()
        raise
    return upstream
