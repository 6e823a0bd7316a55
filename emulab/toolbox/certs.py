"""What a server shows as its certificate: the chain, its dates and names, and the Secret that it is of."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from base64 import b64decode
from typing import Any, NamedTuple

from emulab.errors import PeerError, UserError
from emulab.lab.client.requesting import connect_to_one
from emulab.model.addresses import socket_name
from emulab.model.checks import show
from emulab.python import Lab
from emulab.trace.certificates import certificate_problem, describe_certificate


class ShownCertificate(NamedTuple):
    """`problem`: why a client wouldn't take it for the name, "" when it would, the issuer apart.

    `secret`: NAMESPACE/NAME of the Secret whose certificate it is, "" for none of the lab's.
    """

    address: str
    protocol: str  # TLSv1.3
    chain: list[dict[str, Any]]  # as `describe_certificate` tells of each, the server's own first
    problem: str
    secret: str


async def shown_certificate(
    lab: Lab, host: str, port: int, source: str, namespace: str, name: str, timeout: float
) -> ShownCertificate:
    """Asks a server for its certificate, for the server name `name` (SNI). Raises UserError when the name doesn't
    resolve or can't be a server name, OSError where the connection fails, PeerError where no TLS is spoken there,
    TimeoutError."""
    _check_server_name(name)
    async with asyncio.timeout(timeout):
        addresses = await lab.resolve_all(host, source, namespace)

        async def open_socket(family: int, kind: int) -> socket.socket:
            return await lab.socket(source, socket.SocketKind(kind), namespace, family)

        sock = await connect_to_one(addresses, port, open_socket)
        address = str(sock.getpeername()[0])
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        except ssl.SSLError as error:
            raise PeerError(
                f"{socket_name(host, port)} ({address}): no TLS: {error.reason or error}"
            ) from None
    tls = writer.get_extra_info("ssl_object")
    chain, version = _chain(tls), str(tls.version())
    writer.transport.abort()
    described = [describe_certificate(one) for one in chain]
    if not described:
        raise PeerError(f"{socket_name(host, port)} ({address}): the server shows no certificate")
    problem = certificate_problem(described[0], name, time.time())
    return ShownCertificate(address, version, described, problem, await _secret(lab, chain[0]))


def _check_server_name(name: str) -> None:
    """Raises UserError for a name that Python's ssl can't ask for: one with an empty label, or one that is too long."""
    try:
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except (ValueError, TypeError):  # UnicodeError among them; TypeError is of a zero byte
        raise UserError(f"{show(name)} can't be a server name (SNI); give one with --servername") from None


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates as the server sent them, in DER. Python says only the first in its documented words."""
    inner = getattr(tls, "_sslobj", None)
    ask = getattr(tls, "get_unverified_chain", None) or getattr(inner, "get_unverified_chain", None)
    if ask is not None and (sent := ask()):
        return [c if isinstance(c, bytes) else ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in sent]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []


async def _secret(lab: Lab, certificate: bytes) -> str:
    for o in await lab.get("Secret"):
        pem = (o.get("data") or {}).get("tls.crt")
        if pem and _first(pem) == certificate:
            return f"{o['metadata'].get('namespace', 'default')}/{o['metadata']['name']}"
    return ""


def _first(encoded: str) -> bytes | None:
    """The first certificate of a Secret's file, in DER; None where there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return x509.load_pem_x509_certificate(b64decode(encoded)).public_bytes(Encoding.DER)
    except ValueError:
        return None


def split_target(text: str, port: int = 443) -> tuple[str, int]:
    """Host and port of HOST[:PORT]. Raises UserError."""
    host, colon, number = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], port
    if not colon or (host.count(":") and not host.startswith("[")):
        return text, port
    if not re.fullmatch("[0-9]{1,5}", number) or not 0 < int(number) < 1 << 16:
        raise UserError(f"{show(text)}: {show(number)} is no port")
    return host.strip("[]"), int(number)
