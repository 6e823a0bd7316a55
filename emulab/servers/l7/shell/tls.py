"""Which certificate a TLS client sees.

SNI picks: an exact name, then a wildcard for its one label, else the default certificate: the one for any host, where
there is one, or ingress-nginx's self-signed fake one. The default one is also what a client without SNI sees, and that
of a name whose own can't be used: a wildcard has no say there. Letters' case and a dot at the end mean nothing
(`get_pem_cert_uid` of certificate.lua).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from emulab.servers.l7.config import ANY_HOST, Certificate, ClientVerification, Options
from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.shell.clientcertificates import ClientCertificates
from emulab.servers.selfsigned import make_context, self_signed

TICKETS = 1
"""For how many later connections each handshake of TLS 1.3 gives a ticket; each costs a twentieth of the handshake."""
FOUND_MAX = 1024
"""Names that clients give of which is remembered whose certificate they see."""
FAKE_NAME = "Kubernetes Ingress Controller Fake Certificate"


@lru_cache(maxsize=1)
def fake_certificate() -> tuple[str, str]:
    """Certificate and key, PEM, made once a process."""
    return self_signed("Acme Co", FAKE_NAME, ["ingress.local"])


_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""By nginx's names; what is older isn't in OpenSSL any more."""


def versions(protocols: Iterable[str]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    """The oldest and the newest version that is spoken."""
    known = [_VERSIONS[name] for name in protocols if name in _VERSIONS] or [ssl.TLSVersion.TLSv1_2]
    return min(known), max(known)


def _asked_of(connection: ssl.SSLObject) -> str:
    return connection.asked if isinstance(connection, ServerObject) else ""


def _is_among(name: str, hosts: Collection[str]) -> bool:
    name = name.lower()
    return bool(name) and (name in hosts or "*." + name.partition(".")[2] in hosts)


class ServerObject(ssl.SSLObject):
    """The server's side of a connection."""

    asked = ""
    """The name that the client gave the server; `server_hostname` is for clients."""


class CertificateStore:
    """The certificates in use, and the context that listeners are given."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        """`on_error` is told about each certificate that can't be used; the others are."""
        self._on_error = on_error
        self._made: dict[Certificate, ssl.SSLContext | None] = {}
        self._names: dict[str, ssl.SSLContext | None] = {}  # None: the default certificate
        self._base: ssl.SSLContext | None = None
        self._found: dict[str, ssl.SSLContext | None] = {}  # of names that clients gave
        self.clients = ClientCertificates(on_error)
        self._options = Options()
        self._hosts: Collection[str] | None = None  # those that get a handshake, where not everybody does

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
        self._made, self._names, self._found = made, names, {}

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
            self._base.sslobject_class = ServerObject
            self._base.num_tickets = TICKETS
            self._speak(self._base)
        return self._base

    def own(self) -> ssl.SSLContext:
        """A context for what the proxy answers by itself, which speaks HTTP/1.1 alone."""
        return make_context(*fake_certificate())

    def configure_handshakes(
        self, options: Options, verifications: Iterable[ClientVerification], hosts: Collection[str]
    ) -> None:
        """What is spoken, whose certificates are looked at, and for which hosts; `hosts` are all that there are."""
        self.clients.configure(verifications, hosts)
        self._hosts = hosts if options.reject_handshake else None
        self._options = options
        if self._base is not None:
            self._speak(self._base)

    def _speak(self, base: ssl.SSLContext) -> None:
        options = self._options
        base.minimum_version, base.maximum_version = versions(options.ssl_protocols)
        try:
            base.set_ciphers(options.ssl_ciphers or "DEFAULT")
        except ssl.SSLError as error:
            self._on_error(f"ssl-ciphers {options.ssl_ciphers!r} can't be used: {error}")

    def _choose(self, connection: ssl.SSLObject, name: str | None, base: ssl.SSLContext) -> int | None:
        asked = name or ""
        if isinstance(connection, ServerObject):
            connection.asked = asked
        if self._hosts is not None and not _is_among(asked, self._hosts):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        found = self._found
        if asked not in found:
            if len(found) >= FOUND_MAX:
                found.clear()
            found[asked] = self.find(asked)
        if (context := found[asked]) is not None:
            connection.context = context
        if self.clients.wanted:
            self.clients.ask(connection, asked)
        return None

    def secured(self, connection: ssl.SSLObject) -> ClientIdentity | None:
        """What is known of who is at the other end, where anybody looks at certificates."""
        if not self.clients.wanted:
            return None
        return self.clients.secured(connection, _asked_of(connection).lower())

    def told(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """What records tell of a handshake; the certificate by the names it is for."""
        used, cipher = connection.context, connection.cipher()
        hosts = [host for one, context in self._made.items() if context is used for host in one.hosts]
        hosts = ["any host" if host == ANY_HOST else host for host in hosts]
        return {
            "version": connection.version() or "",
            "cipher": cipher[0] if cipher else "",
            "server_name": _asked_of(connection),
            "certificate": "fake" if used is self._base else ", ".join(hosts),
        }
