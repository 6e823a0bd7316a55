"""Filters that decide who may in: addresses, passwords, another service's word, and how often somebody may come.

`source` says whose wish it is, for records and logs: an annotation, or a key of the controller's ConfigMap.
"""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant
from emulab.servers.l7.config.filters.gateway import Field


@dataclass(frozen=True, slots=True)
class Refusal(Variant):
    """Nobody may in, because nobody can tell who may: what was asked for can't be done."""

    reason: str
    source: str = ""
    status: int = 503


@dataclass(frozen=True, slots=True)
class SourceRanges:
    """Clients by their addresses: networks (`10.0.0.0/8`, `fd00::/8`) or single addresses."""

    cidrs: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class BasicAuthentication:
    """HTTP Basic (RFC 7617). `users` is the text of a file of htpasswd(1)."""

    realm: str
    users: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class ExternalAuthentication:
    """Another service is asked by a request of its own: 2xx lets in, 401 and 403 are passed on, all else is a 500.

    Texts may have variables of nginx (`config.variables`). `cache_key` keeps answers, for as long as
    `cache_durations` say it (`proxy_cache_valid`: `200 202 401 5m`).
    """

    url: str
    method: str = ""  # of the question; empty: GET
    set_headers: tuple[Field, ...] = ()  # more fields of the question
    response_headers: tuple[str, ...] = ()  # fields of the answer that the upstream gets
    request_redirect: str = ""  # X-Auth-Request-Redirect; empty: the client's path
    signin: str = ""  # where a client that isn't let in is sent; empty: it gets the 401
    signin_param: str = "rd"
    cache_key: str = ""
    cache_durations: tuple[str, ...] = ("200 202 401 5m",)
    always_set_cookie: bool = False
    source: str = ""
    signin_relative: bool = False  # whether a path stays one, or becomes a URL of the host


@dataclass(frozen=True, slots=True)
class AccessControl(Variant):
    """Who may in: whom every one of the checks lets in, or any one of them.

    Whom `deny` has may not, before `allow` is looked at; with an `allow` nobody else may.
    """

    deny: SourceRanges | None = None
    allow: SourceRanges | None = None
    basic: BasicAuthentication | None = None
    external: ExternalAuthentication | None = None
    any: bool = False  # whether one check that lets in is enough (`satisfy any`)


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """How many requests a client may make: nginx's leaky bucket (`limit_req`), which delays nobody.

    Those of one `zone` count together, and on over changes of the configuration.
    """

    zone: str
    rate: int  # thousandths of a request a second
    burst: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """How many requests of a client may be under way at a time (`limit_conn`)."""

    zone: str
    most: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class ClientLimits(Variant):
    """What a client may ask for, by its address."""

    requests: tuple[RequestLimit, ...] = ()
    connections: ConnectionLimit | None = None
    exempt: tuple[str, ...] = ()  # networks whose clients aren't counted
    request_status: int = 503
    connection_status: int = 503
