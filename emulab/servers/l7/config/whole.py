"""A proxy's whole configuration: its routes, and what is decided before a request has one."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration
from emulab.servers.l7.config.filters import Filter
from emulab.servers.l7.config.filters.gateway import Field
from emulab.servers.l7.config.matching import Match
from emulab.servers.l7.config.policy import Policy
from emulab.servers.l7.config.servers import ClientVerification
from emulab.servers.l7.config.upstreams import Canary, Upstream, WeightedUpstream

ANY_HOST = "_"
"""Among the hosts of a certificate: those that have none, and who names none (nginx's name for its default server)."""


CIPHERS = (
    ":".join(
        f"{exchange}-{cipher}"
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        for exchange in ("ECDHE-ECDSA", "ECDHE-RSA")
    )
    + ":DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256"
)
"""ingress-nginx' `ssl-ciphers`, those of TLS 1.3 aside."""


@dataclass(frozen=True, slots=True)
class RequestRoute:
    """A route: requests that match go to one of the backends."""

    match: Match
    backends: tuple[WeightedUpstream, ...]
    origin: str = ""  # what the route comes from, in records
    filters: tuple[Filter, ...] = ()
    policy: Policy = field(default_factory=Policy)
    canary: Canary | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate chain with its key, both PEM, for the names in `hosts`; SNI picks.

    Without both it is the default certificate: that of `ANY_HOST`, or one that the proxy makes itself. With `begins` or
    `ends` it is shown as if it were valid at other times: seconds from when it is shown first.
    """

    hosts: tuple[str, ...]
    certificate: str
    key: str
    secret: str = ""  # where it comes from, NAMESPACE/NAME
    expires: float = 0.0  # Unix time; 0: unknown
    begins: int = 0
    ends: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """What is wrong with what a configuration was made of, from one time (Unix time) to another; 0 for neither.

    With a `secret` it is so of each host that shows its certificate; `{host}` in the text stands for that. `about` is
    the object that is wrong, `KIND NAMESPACE/NAME`, where nobody else tells of it in Events.
    """

    text: str
    since: float = 0.0
    until: float = 0.0
    secret: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What is decided before a request has a route."""

    keepalive_timeout: float = 75.0
    keepalive_requests: int = 1000  # on one connection of a client
    header_timeout: float = 60.0
    header_buffer: int = 1024  # client_header_buffer_size
    header_buffers: int = (
        4  # large_client_header_buffers: how many, and the size, which is the longest line's
    )
    header_buffer_max: int = 8192
    upstream_keepalive: int = 320  # idle connections kept to one server
    upstream_keepalive_timeout: float = 60.0
    upstream_keepalive_requests: int = 10000  # after which a connection isn't kept
    trust_forwarded: bool = False  # fields of those in front (`use-forwarded-headers`)
    real_ip: bool = False  # of their fields, the address alone (`enable-real-ip`)
    proxy_protocol: bool = False  # a PROXY header is in front of every connection
    proxy_optional: bool = False  # which those may leave out who speak for themselves
    trusted: tuple[str, ...] | None = None  # who is believed about addresses; None: as the make has it
    forwarded_for_header: str = "X-Forwarded-For"
    full_forwarded_for: bool = False  # upstreams are told of all who were in front
    block_agents: tuple[str, ...] = ()  # texts, or `~expression`, `~*expression`, as nginx's `map` has them
    block_referers: tuple[str, ...] = ()
    ssl_protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ssl_ciphers: str = CIPHERS  # as OpenSSL has them; empty: its own
    reject_handshake: bool = False  # whether a host that nobody has gets no handshake
    http2: bool = True  # with clients: over TLS where they want it, and without for those who begin so
    http2_streams: int = 128  # requests at once of one connection
    log_format: str = ""  # of the access log, as nginx's `log_format`; empty: the personality's own
    log_escape: str = "default"  # or `json`, or `none`, as nginx has them
    hsts: str = "max-age=31536000; includeSubDomains"  # on answers of routes over TLS; empty: none
    fields: tuple[Field, ...] = ()  # on every answer
    pass_server: bool = False  # whether an upstream's Server goes to the client
    underscores: bool = False  # whether names of fields may have underscores; others aren't passed on
    invalid_names: bool = False  # whether any name is
    unlogged: tuple[str, ...] = ()  # targets whose requests have no line in the access log, as `block_agents`
    log_default: bool = True  # whether requests for hosts that no route is of have one


@dataclass(frozen=True, slots=True)
class MeasuredAs:
    """What is counted of requests, for who reads metrics. Bounds are those of histograms: seconds and bytes."""

    labels: Mapping[str, str]  # of every sample: who counts
    per_host: bool = True
    per_undefined_host: bool = False  # hosts that no route names, too
    status_classes: bool = False  # 2xx instead of 200
    time_bounds: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    length_bounds: tuple[float, ...] = tuple(float(10 * n) for n in range(1, 11))
    size_bounds: tuple[float, ...] = tuple(10.0**n for n in range(1, 8))
    excluded: tuple[str, ...] = ()  # names of metrics


@dataclass(frozen=True, slots=True)
class L7Config(Configuration):
    """The configuration of a proxy.

    `tls_listen` names those of `listen` that speak TLS. `default_upstream` takes what no route takes, by
    `default_filters`; without one that is a 404. `resolv_conf` and `hosts` are texts as of resolv.conf(5) and hosts(5),
    by which servers that are names are resolved; they are asked anew for each connection. `policy` is that of requests
    without a route.

    `workers` is the number of processes that serve; one of them is enough for all that isn't about speed.

    `notices` go into the log, each once when it comes or its time has come.

    `pages` are sockets of `listen` at which the proxy answers by itself: with the text of a path, and 404 elsewhere. At
    those of them that are in `metrics_at` the path `/metrics` has the metrics of `measured`, or of the process alone.
    """

    PATCHED = frozenset({"routes"})

    tls_listen: tuple[str, ...] = ()
    personality: str = "ingress-nginx"
    routes: tuple[RequestRoute, ...] = ()
    default_upstream: str | None = None
    default_filters: tuple[Filter, ...] = ()
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()
    verifications: tuple[ClientVerification, ...] = ()
    options: Options = field(default_factory=Options)
    policy: Policy = field(default_factory=Policy)
    pages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics_at: tuple[str, ...] = ()
    measured: MeasuredAs | None = None  # None: requests aren't counted
    resolv_conf: str = ""
    hosts: str = ""
    notices: tuple[Notice, ...] = ()
    workers: int = 1
