"""Which certificate a TLS client sees.

SNI picks: an exact name, then a wildcard for its one label, else the default certificate: the one for any host, where
there is one, or ingress-nginx's self-signed fake one. The default one is also what a client without SNI sees, and that
of a name whose own can't be used: a wildcard has no say there. Letters' case and a dot at the end mean nothing
(`get_pem_cert_uid` of certificate.lua).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from emulab.servers.l7.config import ANY_HOST, Certificate
from emulab.servers.selfsigned import make_context, self_signed

FAKE_NAME = "Kubernetes Ingress Controller Fake Certificate"


@lru_cache(maxsize=1)
def fake_certificate() -> tuple[str, str]:
    """Certificate and key, PEM, made once a process."""
    return self_signed("Acme Co", FAKE_NAME, ["ingress.local"])


class CertificateStore:
    """The certificates in use, and the context that listeners are given."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        """`on_error` is told about each certificate that can't be used; the others are."""
        self._on_error = on_error
        self._made: dict[Certificate, ssl.SSLContext | None] = {}
        self._names: dict[str, ssl.SSLContext | None] = {}  # None: the default certificate
        self._base: ssl.SSLContext | None = None
        # Servers aren't told it otherwise: `server_hostname` is for clients.
        self._asked: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()

    def configure(self, certificates: Iterable[Certificate]) -> None:
        """Replaces all certificates. Contexts of those that stay are kept, and their sessions with them."""
        made: dict[Certificate, ssl.SSLContext | None] = {}
        names: dict[str, ssl.SSLContext | None] = {}
        for certificate in certificates:
            context = None
            if certificate.certificate:
                known = certificate in self._made
                context = made[certificate] = self._made[certificate] if known else self._make(certificate)
            for host in certificate.hosts:
                names.setdefault(host.lower(), context)
        self._made, self._names = made, names

    def _make(self, certificate: Certificate) -> ssl.SSLContext | None:
        try:
            return make_context(certificate.certificate, certificate.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            hosts = ", ".join(certificate.hosts) or "no host"
            self._on_error(f"the certificate for {hosts} can't be used: {error}")
            return None

    def offer(self, protocols: Iterable[str]) -> None:
        """What is spoken over TLS, the most wanted first (ALPN)."""
        told = list(protocols)
        for context in {self.base, *(one for one in self._made.values() if one is not None)}:
            context.set_alpn_protocols(told)

    def find(self, name: str) -> ssl.SSLContext | None:
        """The context for a server name, None for the fake certificate's."""
        name = name.lower().removesuffix(".")
        for one in (name, "*." + name.partition(".")[2]):
            if one in self._names:
                return self._names[one] or self._names.get(ANY_HOST)
        return self._names.get(ANY_HOST)

    @property
    def base(self) -> ssl.SSLContext:
        """The context for listeners; it changes to the right one once the client has named its server."""
        if self._base is None:
            self._base = make_context(*fake_certificate())
            self._base.sni_callback = self._choose
        return self._base

    def own(self) -> ssl.SSLContext:
        """A context for what the proxy answers by itself, which speaks HTTP/1.1 alone."""
        return make_context(*fake_certificate())

    def _choose(self, connection: ssl.SSLObject, name: str | None, base: ssl.SSLContext) -> None:
        if name:
            self._asked[connection] = name
        if (context := self.find(name or "")) is not None:
            connection.context = context

    def told(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """What records tell of a handshake; the certificate by the names it is for."""
        used, cipher = connection.context, connection.cipher()
        hosts = [host for one, context in self._made.items() if context is used for host in one.hosts]
        hosts = ["any host" if host == ANY_HOST else host for host in hosts]
        return {
            "version": connection.version() or "",
            "cipher": cipher[0] if cipher else "",
            "server_name": self._asked.get(connection, ""),
            "certificate": "fake" if used is self._base else ", ".join(hosts),
        }
