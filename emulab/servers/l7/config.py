"""What an L7 proxy is told. Times are in seconds, sizes in bytes; the defaults are ingress-nginx's.

A `RequestRoute` says which requests it takes, who gets them, what is changed on their way, and by what policy they are
served. The words of `path_type` and what they mean are the personality's (see `personalities`). Filters have the names
and the meaning that they have in the Gateway API, and `engine.filters` has a line for each.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration, Variant

EXACT, REGULAR_EXPRESSION = "Exact", "RegularExpression"


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """What a header field or a parameter of a query must be: it is of this value, or the expression takes all of it."""

    name: str
    value: str
    type: str = EXACT


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a route takes: those for which all of it holds. No host, methods, fields or parameters: any."""

    host: str = ""  # `*.foo.com` for exactly one label
    path: str = "/"
    path_type: str = "ImplementationSpecific"
    methods: tuple[str, ...] = ()
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightedUpstream:
    """An upstream by its name, and its share of a route's requests."""

    upstream: str
    weight: int = 1


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


Filter = RequestHeaderModifier | ResponseHeaderModifier | URLRewrite | RequestRedirect


@dataclass(frozen=True, slots=True)
class Policy:
    """How a request is served."""

    ssl_redirect: bool = False  # plain HTTP is told to come back over TLS
    body_max: int = 1 << 20  # of the request; 0: unlimited
    request_buffer: int = 0  # a body of at most so much has to be whole first; 0: it goes on as it comes
    body_timeout: float = 60.0  # between two pieces of the request's body
    connect_timeout: float = 5.0
    read_timeout: float = 60.0  # between two pieces of the response
    send_timeout: float = 60.0  # for which either side may take nothing
    tries: int = 3  # with servers, not with connections that were kept and are closed
    response_head_max: int = 4096  # proxy-buffer-size: a larger head is a 502

    @property
    def body_limit(self) -> int:
        """The largest body of a request that is taken; 0: any."""
        return min((one for one in (self.body_max, self.request_buffer) if one), default=0)


@dataclass(frozen=True, slots=True)
class RequestRoute:
    """A route: requests that match go to one of the backends."""

    match: Match
    backends: tuple[WeightedUpstream, ...]
    origin: str = ""  # what the route comes from, in records
    filters: tuple[Filter, ...] = ()
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Servers that do the same: `10.96.12.7:80`, `[fd00::7]:80`, or a name with a port. None of them: a 503."""

    servers: tuple[str, ...] = ()
    balance: str = "roundrobin"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate chain with its key, both PEM, for the names in `hosts`; SNI picks.

    Without both it is the default certificate: that of `ANY_HOST`, or one that the proxy makes itself.
    """

    hosts: tuple[str, ...]
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What is wrong with what a configuration was made of, from one time (Unix time) to another; 0 for neither."""

    text: str
    since: float = 0.0
    until: float = 0.0


ANY_HOST = "_"
"""Among the hosts of a certificate: those that have none, and who names none (nginx's name for its default server)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is decided before a request has a route."""

    keepalive_timeout: float = 75.0
    header_timeout: float = 60.0
    upstream_keepalive: int = 320  # idle connections kept to one server
    upstream_keepalive_timeout: float = 60.0
    trust_forwarded: bool = False
    hsts: str = "max-age=31536000; includeSubDomains"  # on every answer over TLS; empty: none


@dataclass(frozen=True, slots=True)
class L7Config(Configuration):
    """The configuration of a proxy.

    `tls_listen` names those of `listen` that speak TLS. `default_upstream` takes what no route takes; without one that
    is a 404. `resolv_conf` and `hosts` are texts as of resolv.conf(5) and hosts(5), by which servers that are names are
    resolved; they are asked anew for each connection. `policy` is that of requests without a route.

    `notices` go into the log, each once when it comes or its time has come.

    `pages` are sockets of `listen` at which the proxy answers by itself: with the text of a path, and 404 elsewhere.
    """

    tls_listen: tuple[str, ...] = ()
    personality: str = "ingress-nginx"
    routes: tuple[RequestRoute, ...] = ()
    default_upstream: str | None = None
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()
    options: Options = field(default_factory=Options)
    policy: Policy = field(default_factory=Policy)
    pages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    resolv_conf: str = ""
    hosts: str = ""
    notices: tuple[Notice, ...] = ()
