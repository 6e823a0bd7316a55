"""Certificates of clients: who is asked for one, and what is known of it after the handshake.

The handshake ends well whatever the certificate is: it is the machines that refuse, with a page that says why. A
session that is taken up again has no certificate verified; it counts for what the same certificate was found to be by
the same authorities in a whole handshake, and for nothing without one.
"""

from __future__ import annotations

import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from emulab.errors import KernelError
from emulab.kernel.openssl import Authorities, verdict
from emulab.servers.l7.config import ClientVerification
from emulab.servers.l7.engine.secured import ClientIdentity

_KNOWN_MAX = 4096
_UNSEEN = 50, "a session was taken up again whose certificate nobody has looked at"
"""X509_V_ERR_APPLICATION_VERIFICATION: what OpenSSL itself never says."""


class ClientCertificates:
    """Whose certificates are looked at."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        """`on_error` is told what can't be used."""
        self._on_error = on_error
        self._wanted: dict[str, ClientVerification] = {}
        self._others: frozenset[str] = frozenset()
        self._made: dict[ClientVerification, Authorities | None] = {}
        self._asked: WeakKeyDictionary[ssl.SSLObject, ClientVerification] = WeakKeyDictionary()
        self._known: OrderedDict[tuple[ClientVerification, bytes], tuple[int, str]] = OrderedDict()

    def configure(self, verifications: Iterable[ClientVerification], hosts: Iterable[str]) -> None:
        """Replaces all wishes; `hosts` are all that there are, in lower case: those without a wish want none."""
        found = {
            host.lower(): one
            for one in verifications
            if one.authorities and one.verify != "off" and not one.error
            for host in one.hosts
        }
        made = {one: self._made[one] if one in self._made else self._make(one) for one in set(found.values())}
        self._wanted, self._made = found, made
        self._others = frozenset(hosts) - found.keys()

    @property
    def wanted(self) -> bool:
        """Whether anybody's are."""
        return bool(self._wanted)

    def _make(self, one: ClientVerification) -> Authorities | None:
        try:
            return Authorities(one.authorities, one.revoked, one.depth)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self._on_error(f"the authorities of {one.source} can't be used: {error}")
            return None

    def _find(self, name: str) -> ClientVerification | None:
        for host in (name, "*." + name.partition(".")[2]):
            if host in self._wanted:
                return self._wanted[host]
            if host in self._others:
                return None
        return self._wanted.get("")

    def ask(self, connection: ssl.SSLObject, name: str) -> None:
        """A client has named the host that it wants: it is asked for a certificate, if the host wants one."""
        wanted = self._find(name.lower())
        authorities = self._made.get(wanted) if wanted is not None else None
        if wanted is None or authorities is None:
            return
        try:
            authorities.ask(connection)
        except (KernelError, OSError, AttributeError) as error:
            self._on_error(f"no client can be asked for a certificate: {error}")
        else:
            self._asked[connection] = wanted

    def secured(self, connection: ssl.SSLObject, name: str) -> ClientIdentity:
        """What is known after the handshake; `name` is the host that the client has named."""
        wanted = self._asked.get(connection)
        certificate = connection.getpeercert(True) if wanted is not None else None
        if wanted is None or certificate is None:
            return ClientIdentity(name)
        key = wanted, certificate
        if connection.session_reused:
            code, reason = self._known.get(key, _UNSEEN)
        else:
            code, reason = self._known[key] = verdict(connection)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        subject, issuer = names(certificate)
        return ClientIdentity(name, ssl.DER_cert_to_PEM_cert(certificate), code, reason, subject, issuer)


def names(certificate: bytes) -> tuple[str, str]:
    """Subject and issuer of a certificate as RFC 2253 writes them, which is how nginx does."""
    # Imported here: it takes a while, and only who looks at certificates has a use for it.
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    own = {
        NameOID.EMAIL_ADDRESS: "emailAddress",
        NameOID.SERIAL_NUMBER: "serialNumber",
        NameOID.GIVEN_NAME: "GN",
        NameOID.SURNAME: "SN",
        NameOID.TITLE: "title",
    }
    try:
        found = x509.load_der_x509_certificate(certificate)
        return _ascii(found.subject.rfc4514_string(own)), _ascii(found.issuer.rfc4514_string(own))
    except ValueError:
        return "", ""


def _ascii(name: str) -> str:
    """A name with what isn't ASCII as OpenSSL writes it: each byte of its UTF-8 in hexadecimal digits."""
    return re.sub(r"[^\x20-\x7e]", lambda match: "".join(f"\\{byte:02X}" for byte in match[0].encode()), name)
