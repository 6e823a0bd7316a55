"""TLS towards servers: contexts, and what is asked of a server's certificate once it is there.

`ssl` checks names only as far as they are told to the server, which nginx does only if it is asked to, and knows no
depth; so both are looked at here after the handshake.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Any

from emulab.servers.l7.config import UpstreamTLS


class BadCertificate(Exception):
    """A server's certificate isn't what is asked of it."""


@lru_cache(maxsize=256)
def client_context(tls: UpstreamTLS, http2: bool) -> ssl.SSLContext:
    """The context of connections to servers. Raises `ssl.SSLError` or `ValueError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.verify:
        context.load_verify_locations(cadata=tls.authorities)
    versions = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
    wanted = sorted(versions[one] for one in tls.protocols if one in versions)
    context.minimum_version, context.maximum_version = wanted[0], wanted[-1]
    context.set_ciphers(tls.ciphers)
    if http2:
        context.set_alpn_protocols(["h2"])
    if tls.certificate:
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(f"{tls.certificate}\n{tls.key}\n".encode())
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
        finally:
            os.close(descriptor)
    return context


def check_server(tls: UpstreamTLS, connection: ssl.SSLObject) -> None:
    """Raises `BadCertificate` where a verified certificate is for another name, or too far from its authority."""
    if not tls.verify:
        return
    certificate: dict[str, Any] = connection.getpeercert() or {}
    if not any(_matches(name.lower(), tls.name.lower()) for name in _names(certificate)):
        raise BadCertificate(f"its certificate is not for {tls.name}")
    between = len(_chain(connection)) - 2
    if between > tls.depth:
        raise BadCertificate(f"there are {between} certificates between its own and the authority's")


def _names(certificate: dict[str, Any]) -> list[str]:
    """The DNS names; without any, the common name (as `X509_check_host` has it)."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    subject = [
        value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"
    ]
    return names or subject


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return pattern[1:] == "." + name.partition(".")[2] and not name.startswith(".")
    return pattern == name


def _chain(connection: ssl.SSLObject) -> list[Any]:
    """The certificates from the server's to the authority's."""
    public = getattr(connection, "get_verified_chain", None)  # of Python 3.13
    if public is None:
        public = connection._sslobj.get_verified_chain  # type: ignore[attr-defined]
    return public() or []
