"""Filters that answer without an upstream. Pure."""

from __future__ import annotations

import re

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import CORS, DirectResponse, HostRedirect, Match, RootRedirect
from emulab.servers.l7.engine.filters.effect import Asked, Incoming, OwnAnswer, Page, ResponseChange
from emulab.servers.l7.engine.filters.places import REDIRECTS, with_host
from emulab.servers.l7.messages.headers import replaced_lines
from emulab.servers.l7.messages.targets import normalise_path

_ORIGIN = rb"[A-Za-z0-9\-]+"


def direct_response(one: DirectResponse, _match: Match) -> OwnAnswer:
    if not 200 <= one.status < 600:
        raise BadConfiguration(f"status: {one.status} is no status of an answer")
    location = one.location.encode()
    if location and one.status in REDIRECTS:
        page = Page(one.status, one.why or f"the rule redirects to {one.location}", location)
        if not one.relative:
            return lambda asked: page._replace(location=with_host(asked, location))
    else:
        text = (one.body or one.location).encode()
        body = text or (b"" if one.status < 300 else None)
        page = Page(one.status, one.why or "the rule answers", body=body, plain=one.plain)
    return lambda _asked: page


def root_redirect(one: RootRedirect, _match: Match) -> OwnAnswer:
    """By the scheme of the connection and the Host as the client sent it, whoever is believed about others."""
    path = one.path.encode()

    def answer(asked: Asked) -> Page | None:
        if normalise_path(asked.head.target) != b"/":
            return None
        location = b"%b://%b%b" % (asked.listener[0].encode("latin-1"), asked.head.host or b"", path)
        return Page(302, "the rule redirects / to the application's root", location, plain=True)

    return answer


def host_redirect(one: HostRedirect, _match: Match) -> OwnAnswer:
    """Says the port always, as ingress-nginx does: that of the connection, and its scheme, unless one in front is
    believed about them (`ngx_srv_redirect.lua`)."""
    host = one.host.encode()

    def answer(asked: Asked) -> Page:
        scheme, port = (said.encode("latin-1") for said in asked.listener)
        if one.trusts_front:
            scheme, port = asked.head.forwarded_proto or scheme, asked.head.forwarded_port or port
        location = b"%b://%b:%b%b" % (scheme, host, port, asked.target.removesuffix(b"/"))
        return Page(one.status, f"the rule redirects to {one.host}", location, plain=True)

    return answer


class _Origins:
    """Whose requests are allowed, and what they are told."""

    def __init__(self, one: CORS) -> None:
        self._everybody = one.origins == ("*",)
        origins = (re.escape(origin.encode()).replace(rb"\*", _ORIGIN, 1) for origin in one.origins)
        # As in nginx's configuration: what stands before an origin is no matter.
        self._known = re.compile(rb"(?:%b)$" % b"|".join(origins), re.IGNORECASE) if one.origins else None
        told = [
            *([("Access-Control-Allow-Credentials", "true")] if one.credentials else ()),
            ("Access-Control-Allow-Methods", one.methods),
            ("Access-Control-Allow-Headers", one.headers),
            *([("Access-Control-Expose-Headers", one.expose)] if one.expose else ()),
            ("Access-Control-Max-Age", str(one.max_age)),
        ]
        self._lines = [f"{name}: {value}\r\n".encode() for name, value in told]
        self.names = frozenset({b"access-control-allow-origin"} | {name.lower().encode() for name, _ in told})

    def lines(self, asked: Asked) -> list[bytes]:
        """The field lines for a request; none where its origin isn't allowed."""
        if self._everybody:
            return [b"Access-Control-Allow-Origin: *\r\n", *self._lines]
        origin = asked.head.field(b"origin").encode("latin-1")
        if self._known is None or self._known.search(origin) is None:
            return []
        told = [b"Access-Control-Allow-Origin: %b\r\n" % origin] if origin else []
        return [*told, *self._lines]


def preflight(one: CORS, _match: Match) -> OwnAnswer:
    origins = _Origins(one)

    def answer(asked: Asked) -> Page | None:
        if asked.head.method == b"OPTIONS" and origins.lines(asked):
            return Page(204, "the rule answers preflights", body=b"")
        return None

    return answer


def allow_origins(one: CORS, _match: Match) -> ResponseChange:
    """Changes all answers, the one to a preflight among them."""
    origins = _Origins(one)

    def response(incoming: Incoming) -> None:
        if lines := origins.lines(incoming.asked):
            incoming.lines = replaced_lines(incoming.lines, origins.names, lines)

    return response
