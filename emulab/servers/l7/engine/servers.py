"""What is decided of a request's host before a route is looked for: what ingress-nginx writes into a `server`. Pure.

Rules, in nginx's order:

* Over TLS, a host that looks at clients' certificates is only for who has named it in the handshake (421).
* A certificate that is wrong, or missing where there has to be one, is a 400 (495 and 496), or leads to the error page.
* `block-user-agents` and `block-referers` are a 403, and so is a subject that the host doesn't want.
* What clients say under the names `ssl-client-*` is dropped there: upstreams believe it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import ClientVerification, L7Config
from emulab.servers.l7.config.servers import VERIFY
from emulab.servers.l7.engine.conditions import pattern
from emulab.servers.l7.engine.filters.effect import Page
from emulab.servers.l7.engine.mapped import MappedValues
from emulab.servers.l7.engine.secured import NO_AUTHORITY, ClientIdentity
from emulab.servers.l7.messages.headers import replaced_lines
from emulab.servers.l7.messages.request import RequestHead

WRONG_CERTIFICATE, NO_CERTIFICATE, PLAIN_ON_TLS = 495, 496, 497
"""nginx's own numbers for a 400 with a reason of its own; only the page sees them."""

_TOLD = frozenset(
    {b"ssl-client-cert", b"ssl-client-verify", b"ssl-client-subject-dn", b"ssl-client-issuer-dn"}
)


class Blocked(NamedTuple):
    """Values of a header field that nobody may come with."""

    field: bytes
    values: MappedValues
    source: str


def _blocked(field: bytes, said: Iterable[str], source: str) -> Blocked | None:
    values = MappedValues(said)
    return Blocked(field, values, source) if values else None


class Verified(NamedTuple):
    """A host's wish about certificates of clients, ready to be followed."""

    told: ClientVerification
    match: re.Pattern[str] | None

    @property
    def looks(self) -> bool:
        """Whether certificates are looked at."""
        return bool(self.told.authorities) and self.told.verify != "off" and not self.told.error


class HostRules:
    """What hosts decide. Only made where one of them decides anything."""

    def __init__(self, hosts: dict[str, Verified | None], blocked: list[Blocked]) -> None:
        self._hosts = hosts
        self._blocked = blocked

    def _find(self, host: str) -> Verified | None:
        if host in self._hosts:
            return self._hosts[host]
        parent = "*." + host.partition(".")[2]
        return self._hosts.get(parent) if parent in self._hosts else self._hosts.get("")

    def refuse(
        self, host: str, head: RequestHead, scheme: str, secured: ClientIdentity | None
    ) -> Page | None:
        """Why a request to a host may not be, if it may not. What upstreams are told of TLS is in its head, then."""
        verified = self._find(host)
        if verified is not None and scheme == "https" and verified.looks:
            page = _handshake(verified.told, host, secured or ClientIdentity())
            if page is not None:
                if page.instead:
                    _tell(verified.told, head, secured, scheme)
                return page
        for one in self._blocked:
            value = head.field(one.field)
            if value and value in one.values:
                return Page(403, f"{one.field.decode()} {value!r} is in {one.source}", source=one.source)
        if verified is None:
            return None
        told = verified.told
        if verified.match is not None:
            subject = secured.subject if secured is not None and verified.looks else ""
            if verified.match.search(subject) is None:
                why = f"the client certificate's subject {subject!r} doesn't match {told.match!r} ({told.source})"
                return Page(403, why, body=b"client certificate unauthorized", source=told.source)
        if told.error:
            return Page(403, f"{told.error} ({told.source})", source=told.source)
        if told.authorities:
            _tell(told, head, secured, scheme)
        return None


def _handshake(told: ClientVerification, host: str, secured: ClientIdentity) -> Page | None:
    """What is wrong with a client's certificate."""
    if secured.server_name and secured.server_name != host:
        why = (
            f"the client asks for {host}, which looks at certificates, and has named {secured.server_name}"
            f" in the handshake ({told.source})"
        )
        return Page(421, why, source=told.source)
    if secured.code and not (told.verify == "optional_no_ca" and secured.code in NO_AUTHORITY):
        why = f"client SSL certificate verify error: ({secured.code}:{secured.reason}) ({told.source})"
        return _error(told, WRONG_CERTIFICATE, why)
    if told.verify == "on" and not secured.certificate:
        return _error(told, NO_CERTIFICATE, f"client sent no required SSL certificate ({told.source})")
    return None


def _error(told: ClientVerification, status: int, why: str) -> Page:
    page = told.error_page
    if not page:
        return Page(status, why, source=told.source)
    if page.startswith("/"):
        return Page(status, why, source=told.source, instead=page.encode())
    return Page(302, why, page.encode(), source=told.source)


def _tell(told: ClientVerification, head: RequestHead, secured: ClientIdentity | None, scheme: str) -> None:
    """Upstreams are told what is known of a client's certificate, an error page's among them."""
    head.lines = replaced_lines(head.lines, _TOLD, list(_lines(told, secured, scheme)))


def _lines(told: ClientVerification, secured: ClientIdentity | None, scheme: str) -> Iterable[bytes]:
    """What upstreams are told of a client's certificate; nothing over plain HTTP."""
    if scheme != "https" or secured is None:
        return
    values = [("ssl-client-verify", secured.verdict)]
    if told.pass_certificate:
        values.append(("ssl-client-cert", quote(secured.certificate, safe="~")))
    values += [("ssl-client-subject-dn", secured.subject), ("ssl-client-issuer-dn", secured.issuer)]
    yield from (f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in values if value)


def servers_of(config: L7Config) -> HostRules | None:
    """What the hosts of a configuration decide; None if they decide nothing. Raises `BadConfiguration`."""
    options = config.options
    blocked = [
        _blocked(b"user-agent", options.block_agents, "block-user-agents"),
        _blocked(b"referer", options.block_referers, "block-referers"),
    ]
    found = [one for one in blocked if one is not None]
    if not found and not config.verifications:
        return None
    hosts: dict[str, Verified | None] = {route.match.host.lower(): None for route in config.routes}
    for index, one in enumerate(config.verifications):
        if one.verify not in VERIFY:
            raise BadConfiguration(
                f"config.verifications[{index}].verify: {one.verify!r} is not one of {', '.join(VERIFY)}"
            )
        verified = Verified(one, pattern(one.match) if one.match else None)
        hosts |= {host.lower(): verified for host in one.hosts}
    return HostRules(hosts, found)
