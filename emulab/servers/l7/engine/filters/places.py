"""Filters that change the host or the path of a request, or tell the client to ask elsewhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import Match, PathChange, ReplaceFullPath, RequestRedirect, URLRewrite
from emulab.servers.l7.engine.filters.effect import Asked, Outgoing, OwnAnswer, Page, RequestChange
from emulab.servers.l7.messages.targets import escaped, normalise_path, with_query, without_port

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PORTS = {"http": "80", "https": "443"}
"""The ports that needn't be said."""

_HOSTNAME = re.compile(r"[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")


def with_host(asked: Asked, place: bytes) -> bytes:
    """A place to which a client is sent: a path is one of the host that was asked, without its port, whatever one in
    front says of either (nginx' `absolute_redirect on`, `port_in_redirect off`)."""
    if not place.startswith(b"/"):
        return place
    host = without_port(asked.head.host or asked.host).lower().removesuffix(b".")
    return b"%b://%b%b" % (asked.listener[0].encode("latin-1"), host, place)


def _written(path: str) -> bytes:
    """A path of a configuration, which may be percent-encoded already."""
    return escaped(path.encode()).replace(b"%25", b"%")


def _path(change: PathChange, match: Match) -> Callable[[bytes], bytes]:
    """The target of one request → that of another, with the same query."""
    if isinstance(change, ReplaceFullPath):
        if not change.path.startswith("/"):
            raise BadConfiguration(f"path.path: {change.path!r} does not begin with a slash")
        whole = _written(change.path)

        def full(target: bytes) -> bytes:
            return with_query(whole, target)

        return full
    if match.path_type != "Prefix":
        raise BadConfiguration(
            f"path: the route's path is of type {match.path_type!r}, of which no prefix is left"
        )
    if change.prefix and not change.prefix.startswith("/"):
        raise BadConfiguration(f"path.prefix: {change.prefix!r} does not begin with a slash")
    taken, prefix = len(match.path.encode().rstrip(b"/")), _written(change.prefix.rstrip("/"))

    def beginning(target: bytes) -> bytes:
        rest = normalise_path(target)[taken:]  # what the route was found by
        return with_query(prefix + escaped(rest) or b"/", target)

    return beginning


def _hostname(name: str) -> bytes:
    if _HOSTNAME.fullmatch(name) is None:
        raise BadConfiguration(f"hostname: {name!r} is no name of a host")
    return name.encode()


def rewrite(one: URLRewrite, match: Match) -> RequestChange:
    path = _path(one.path, match) if one.path is not None else None
    hostname = _hostname(one.hostname)
    host = b"Host: %b\r\n" % hostname

    def request(outgoing: Outgoing) -> None:
        if path is not None:
            outgoing.target = path(outgoing.target)
        if hostname:
            outgoing.lines = [host if line[:5].lower() == b"host:" else line for line in outgoing.lines]

    return request


def redirect(one: RequestRedirect, match: Match) -> OwnAnswer:
    """Tells where to ask instead."""
    if one.status not in REDIRECTS:
        raise BadConfiguration(f"status: {one.status} is not one of {', '.join(map(str, sorted(REDIRECTS)))}")
    if one.scheme and one.scheme not in PORTS:
        raise BadConfiguration(f"scheme: {one.scheme!r} is not one of {', '.join(PORTS)}")
    if not 0 <= one.port < 65536:
        raise BadConfiguration(f"port: {one.port} is no number of a port")
    path = _path(one.path, match) if one.path is not None else None
    hostname = _hostname(one.hostname)
    why = "the rule redirects" + (f" to {one.scheme}" if one.scheme else "")

    def answer(asked: Asked) -> Page:
        scheme = one.scheme or asked.scheme
        port = str(one.port) if one.port else "" if one.scheme else asked.port
        said = f":{port}" if port and port != PORTS.get(scheme) else ""
        host, target = hostname or without_port(asked.host), path(asked.target) if path else asked.target
        return Page(one.status, why, b"%b://%b%b%b" % (scheme.encode("latin-1"), host, said.encode(), target))

    return answer
