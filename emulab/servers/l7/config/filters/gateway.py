"""Filters that have the names and the meaning that they have in the Gateway API (HTTPRouteFilter)."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant


@dataclass(frozen=True, slots=True)
class Field:
    """A header field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class HeaderModifier(Variant):
    """What becomes of header fields: some go, some take the place of those of their name, some come beside them."""

    remove: tuple[str, ...] = ()
    set: tuple[Field, ...] = ()
    add: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestHeaderModifier(HeaderModifier):
    """Changes fields of the request, as it goes to the upstream."""


@dataclass(frozen=True, slots=True)
class ResponseHeaderModifier(HeaderModifier):
    """Changes fields of the upstream's response, as it goes to the client."""


@dataclass(frozen=True, slots=True)
class ReplaceFullPath(Variant):
    """The path becomes another."""

    path: str


@dataclass(frozen=True, slots=True)
class ReplacePrefixMatch(Variant):
    """What the route's path, whose type has to be `Prefix`, takes of the request's path becomes another beginning."""

    prefix: str


PathChange = ReplaceFullPath | ReplacePrefixMatch


@dataclass(frozen=True, slots=True)
class URLRewrite(Variant):
    """The upstream is asked for another host or path. A query stays."""

    hostname: str = ""  # empty: as the client asked
    path: PathChange | None = None


@dataclass(frozen=True, slots=True)
class RequestRedirect(Variant):
    """The client is told to ask elsewhere; what isn't said is as it asked. No upstream is needed."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0  # 0: the scheme's own, or without a scheme the one that was asked
    path: PathChange | None = None
    status: int = 302
